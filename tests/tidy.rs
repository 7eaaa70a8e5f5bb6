//! What matters is a test (rule 19): the floors are one-way, what is banned below floor 5 stays out, `unsafe` stays in
//! `ffi`, files and functions keep their size, `cargo fmt` has nothing to say, and neither comments nor prose (which that leaves alone) have
//! lines too long to read.

use std::fs;
use std::path::{Path, PathBuf};

/// Room and floor.
const FLOORS: [(&str, u8); 14] = [
    ("base", 0),
    ("topic", 0),
    ("codec", 1),
    ("stack", 1),
    ("proto", 2),
    ("route", 2),
    ("broker", 3),
    ("service", 4),
    ("net", 5),
    ("config", 6),
    ("client", 7),
    ("server", 7),
    ("ffi", 9),
    ("lib", 10),
];

/// Not below floor 5.
const BANNED: [&str; 12] = [
    "mio::",
    "TcpStream",
    "UdpSocket",
    "TcpListener",
    "std::fs",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "Mutex",
    "println!",
    "RandomState",
    "std::sync::atomic",
];

/// (file, word, reason)
const EXCEPTIONS: [(&str, &str, &str); 4] = [
    ("base/budget.rs", "std::sync::atomic", "the one byte budget of all workers"),
    ("base/level.rs", "std::sync::atomic", "what the workers of a server count together"),
    ("route/share.rs", "std::sync::atomic", "the cursor of a shared group moves under a read lock"),
    ("stack/rudp/known.rs", "std::sync::atomic", "what all clients of a process have learnt of servers"),
];

const CODE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
/// As in .rustfmt.toml.
const COLUMNS_MAX: usize = 160;

struct Source {
    name: String,
    text: String,
}

impl Source {
    fn room(&self) -> &str {
        self.name.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    fn floor(&self) -> Option<u8> {
        FLOORS.iter().find(|(room, _)| *room == self.room()).map(|(_, floor)| *floor)
    }

    /// Lines of code before the tests, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
            .filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with("//"))
            .map(|(index, line)| (index + 1, line))
    }

    fn is_test(&self) -> bool {
        self.name.contains("/tests") || self.name.contains("test")
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(&root).expect("below src").to_string_lossy().into_owned();
                found.push(Source { name, text: fs::read_to_string(&path).expect("text") });
            }
        }
    }
    assert!(found.len() > 50, "the tree was not found");
    found
}

fn floor_faults(source: &Source) -> Vec<String> {
    let Some(own) = source.floor() else { return vec![format!("{}: no floor", source.name)] };
    let mut faults = Vec::new();
    for (number, line) in source.code() {
        for (room, floor) in FLOORS {
            let uses = line.contains(&format!("crate::{room}::")) || line.contains(&format!("crate::{room};"));
            if uses && room != source.room() && floor >= own {
                faults.push(format!("{}:{number}: floor {own} uses crate::{room} on floor {floor}", source.name));
            }
        }
        let is_excepted = |word: &str| EXCEPTIONS.iter().any(|(file, what, _)| *file == source.name && *what == word);
        for word in BANNED {
            if own < 5 && !source.is_test() && line.contains(word) && !is_excepted(word) {
                faults.push(format!("{}:{number}: {word} below floor 5", source.name));
            }
        }
        let is_unsafe = line.contains("unsafe ") && !line.contains("unsafe_code");
        if own != 9 && is_unsafe {
            faults.push(format!("{}:{number}: unsafe outside ffi", source.name));
        }
    }
    faults
}

fn size_faults(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = source.code().count();
    if lines > CODE_LINES_MAX {
        faults.push(format!("{}: {lines} lines of code", source.name));
    }
    let mut start: Option<(usize, usize)> = None;
    for (number, line) in source.code() {
        let indent = line.len() - line.trim_start().len();
        let is_function = line.trim_start().trim_start_matches("pub ").trim_start_matches("pub(super) ").starts_with("fn ");
        if is_function && start.is_none() && line.trim_end().ends_with('{') {
            start = Some((number, indent));
        } else if let Some((first, depth)) = start.filter(|(_, depth)| indent == *depth && line.trim_end() == "}") {
            let _ = depth;
            if number - first > FUNCTION_LINES_MAX {
                faults.push(format!("{}:{first}: a function of {} lines", source.name, number - first));
            }
            start = None;
        }
    }
    faults
}

fn wording_faults(source: &Source) -> Vec<String> {
    let unfinished = ["to", "unimplemented"].map(|word| if word == "to" { "todo!(".to_owned() } else { format!("{word}!(") });
    let marks = ["TO", "FIX"].map(|word| if word == "TO" { "TODO".to_owned() } else { "FIXME".to_owned() });
    let ignored = format!("#[{}", "ignore");
    let words = unfinished.iter().chain(&marks).chain(std::iter::once(&ignored));
    let mut faults = Vec::new();
    for word in words {
        if let Some(index) = source.text.lines().position(|line| line.contains(word.as_str())) {
            faults.push(format!("{}:{}: {word}", source.name, index + 1));
        }
    }
    faults
}

/// Lines of comments that are too long; they are in the C header, too.
fn comment_faults(source: &Source) -> Vec<String> {
    let is_comment = |line: &str| line.trim_start().starts_with("//");
    let long = source.text.lines().enumerate().filter(|(_, line)| is_comment(line) && line.chars().count() > COLUMNS_MAX);
    long.map(|(index, line)| format!("{}:{}: a comment of {} columns", source.name, index + 1, line.chars().count())).collect()
}

/// The same of prose; a row of a table, and what is in a block of code, is as long as it is.
fn prose_faults(name: &str, text: &str) -> Vec<String> {
    let mut is_code = false;
    let mut faults = Vec::new();
    for (index, line) in text.lines().enumerate() {
        is_code ^= line.starts_with("```");
        if !is_code && !line.starts_with('|') && line.chars().count() > COLUMNS_MAX {
            faults.push(format!("{name}:{}: {} columns", index + 1, line.chars().count()));
        }
    }
    faults
}

#[test]
fn comments_and_prose_can_be_read() {
    let mut faults: Vec<String> = sources().iter().flat_map(comment_faults).collect();
    for name in ["README.md", "src/ARCHITECTURE.md"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("a page");
        faults.extend(prose_faults(name, &text));
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn floors_are_one_way_and_pure_below_net() {
    let faults: Vec<String> = sources().iter().flat_map(floor_faults).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn files_and_functions_keep_their_size() {
    let faults: Vec<String> = sources().iter().flat_map(size_faults).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn nothing_is_left_unfinished() {
    let faults: Vec<String> = sources().iter().flat_map(wording_faults).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_code_is_formatted() {
    let cargo =
        |arguments: &[&str]| std::process::Command::new(env!("CARGO")).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    if !cargo(&["fmt", "--version"]).status.success() {
        eprintln!("not looked at: this toolchain has no rustfmt");
        return;
    }
    let told = cargo(&["fmt", "--check", "--", "--files-with-diff"]);
    assert!(told.status.success(), "run `cargo fmt`:\n{}{}", String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
}

#[test]
fn the_checks_find_what_they_look_for() {
    let bad = |name: &str, text: &str| Source { name: name.to_owned(), text: text.to_owned() };
    assert_eq!(floor_faults(&bad("codec/x.rs", "use crate::net::Net;")).len(), 1);
    assert_eq!(floor_faults(&bad("route/x.rs", "use crate::proto::Sender;")).len(), 1);
    assert_eq!(floor_faults(&bad("broker/x.rs", "use std::fs;")).len(), 1);
    assert_eq!(floor_faults(&bad("net/x.rs", "let x = unsafe { y };")).len(), 1);
    assert!(floor_faults(&bad("net/x.rs", "use crate::broker::Shard;")).is_empty());
    assert_eq!(size_faults(&bad("a.rs", &"x();\n".repeat(CODE_LINES_MAX + 1))).len(), 1);
    let long = format!("fn f() {{\n{}}}\n", "    x();\n".repeat(FUNCTION_LINES_MAX + 1));
    assert_eq!(size_faults(&bad("a.rs", &long)).len(), 1);
    let long = "x ".repeat(COLUMNS_MAX / 2 + 1);
    assert_eq!(comment_faults(&bad("a.rs", &format!("    /// {long}\nlet {long}"))).len(), 1);
    assert_eq!(prose_faults("a.md", &format!("{long}\n| {long} |\n```\n{long}\n```\n{long}")).len(), 2);
    assert_eq!(wording_faults(&bad("a.rs", &format!("// {}", ["TO", "DO"].concat()))).len(), 1);
}
