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
fn the_header_compiles_alone_as_c99_and_as_cxx11_and_cxx20() {
    for (compiler, standard, language) in [("cc", "-std=c99", "c"), ("c++", "-std=c++11", "c++"), ("c++", "-std=c++20", "c++")] {
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

#[test]
fn every_name_in_the_header_is_ours() {
    let text = std::fs::read_to_string(header()).expect("include/nlmqtt.h");
    let mut names = 0;
    for line in text.lines().map(|line| line.trim_end_matches(';')) {
        // A macro, a type at the end of its struct, a type of one line, an enumeration.
        let name = if let Some(rest) = line.strip_prefix("#define ") {
            rest.split_whitespace().next()
        } else if line.starts_with("} ") || (line.starts_with("typedef ") && !line.contains(['(', '{'])) {
            line.split_whitespace().last()
        } else if let Some(rest) = line.strip_prefix("enum ").or_else(|| line.strip_prefix("struct ")) {
            rest.split_whitespace().next()
        } else {
            continue;
        };
        let name = name.unwrap_or_default();
        names += 1;
        let is_ours = ["nlmqtt_", "NLMQTT_"].iter().any(|prefix| name.starts_with(prefix)) || line.contains("extern \"C\"");
        assert!(is_ours, "not a name of this library: {line}");
    }
    assert!(names > 100, "only {names} names were found");
}
