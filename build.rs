//! Link arguments of the plain cdylib (for cargo users; `cmake/install.sh` makes the packaged one).
//! Writes nothing.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libnlmqtt.so.1");
    // Threads may still run library code when the host calls dlclose.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
