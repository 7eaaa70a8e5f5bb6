//! include/nlmqtt.h is what src/ffi says: regenerated and compared, and it stands alone.
//! `UPDATE_HEADER=1 cargo test --test header` rewrites it.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn header() -> PathBuf {
    root().join("include/nlmqtt.h")
}

#[test]
fn the_committed_header_is_the_generated_one() {
    let config = cbindgen::Config::from_file(root().join(".cbindgen.toml")).expect("configuration");
    let bindings = cbindgen::generate_with_config(root(), config).expect("bindings");
    let mut generated = Vec::new();
    bindings.write(&mut generated);
    let generated = String::from_utf8(generated).expect("text");
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(header(), &generated).expect("header written");
    }
    let committed = std::fs::read_to_string(header()).expect("include/nlmqtt.h");
    assert!(committed == generated, "include/nlmqtt.h is stale: UPDATE_HEADER=1 cargo test --test header");
}

#[test]
fn the_header_compiles_alone_as_c99_and_as_cxx11() {
    for (compiler, standard, language) in [("cc", "-std=c99", "c"), ("c++", "-std=c++11", "c++")] {
        let status = Command::new(compiler)
            .args([standard, "-x", language, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"])
            .arg(header())
            .status()
            .expect("a compiler");
        assert!(status.success(), "{compiler} {standard}");
    }
}

#[test]
fn every_function_is_named_nlmqtt_and_documented() {
    let text = std::fs::read_to_string(header()).expect("include/nlmqtt.h");
    let mut previous = "";
    let mut functions = 0;
    for line in text.lines() {
        let is_function = line.contains("nlmqtt_") && line.contains('(') && !line.starts_with([' ', '*', '/', 't', '#', '}']);
        if is_function {
            functions += 1;
            assert!(previous.trim_end().ends_with("*/"), "no comment before: {line}");
        }
        previous = line;
    }
    assert!(functions > 50, "only {functions} functions were found");
}
