//! The README's tables are what the code says. `UPDATE_README=1 cargo test --test readme` rewrites
//! them; the C programs in it are built and run by tests/c/readme.sh.

use std::fmt::Write as _;

use nlmqtt::config::{ClientConfig, Key, ServerConfig, client_keys, listener_keys, server_keys};
use nlmqtt::net::ListenerOptions;

fn table<C: 'static>(keys: &[Key<C>], defaults: &C) -> String {
    let mut text = String::from("| key | default | what it does |\n|---|---|---|\n");
    // A client takes nothing while it lives; of a server, what it does not take is marked.
    let marks = keys.iter().any(|key| key.is_live);
    for key in keys {
        let default = key.print(defaults);
        let default = if default.is_empty() { "-".to_owned() } else { format!("`{default}`") };
        let mark = if marks && !key.is_live { " (after a restart)" } else { "" };
        writeln!(text, "| `{}` | {default} | {}{mark} |", key.name, key.doc.replace('|', "\\|")).expect("to a string");
    }
    text
}

fn listener_table() -> String {
    let mut text = String::from("| key | default | what it does |\n|---|---|---|\n");
    let defaults = ListenerOptions::at(([127, 0, 0, 1], 0).into());
    for key in listener_keys() {
        let default = key.print(&defaults);
        let default = if default.is_empty() { "-".to_owned() } else { format!("`{default}`") };
        let aliases: String = key.aliases.iter().map(|alias| format!("; also `{alias}`, as in mosquitto.conf")).collect();
        writeln!(text, "| `{}` | {default} | {}{aliases} |", key.name, key.doc).expect("to a string");
    }
    text
}

fn between(readme: &str, name: &str) -> std::ops::Range<usize> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let start = readme.find(&begin).expect("the begin mark") + begin.len();
    start..start + readme[start..].find(&end).expect("the end mark")
}

#[test]
fn the_tables_of_keys_are_those_of_the_code() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let mut readme = std::fs::read_to_string(&path).expect("README.md");
    let tables = [
        ("server keys", table(server_keys(), &ServerConfig::default())),
        ("listener keys", listener_table()),
        ("client keys", table(client_keys(), &ClientConfig::default())),
    ];
    for (name, table) in &tables {
        if std::env::var_os("UPDATE_README").is_some() {
            readme.replace_range(between(&readme, name), table);
            std::fs::write(&path, &readme).expect("README.md written");
        }
        assert!(&readme[between(&readme, name)] == table, "{name}: UPDATE_README=1 cargo test --test readme");
    }
}
