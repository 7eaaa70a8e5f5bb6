//! The tables of keys as documentation, and values that come with a type.

use super::key::find;
use super::{ENVIRONMENT_PREFIX, Error, Key, Kind, Value};

/// One row of a table of keys, to be shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyInfo {
    /// Its name.
    pub name: &'static str,
    /// Other names it is known by.
    pub aliases: &'static [&'static str],
    /// What its values look like.
    pub kind: Kind,
    /// The default, as text.
    pub default: String,
    /// A running server or client takes a change.
    pub is_live: bool,
    /// The variable of the environment.
    pub environment: String,
    /// What it does.
    pub doc: &'static str,
}

/// Every row, in the order of the table.
pub fn describe<T: Default>(keys: &'static [Key<T>]) -> Vec<KeyInfo> {
    let defaults = T::default();
    let row = |key: &Key<T>| KeyInfo {
        name: key.name,
        aliases: key.aliases,
        kind: key.kind,
        default: key.print(&defaults),
        is_live: key.is_live,
        environment: format!("{ENVIRONMENT_PREFIX}{}", key.name.to_ascii_uppercase()),
        doc: key.doc,
    };
    keys.iter().map(row).collect()
}

/// Puts a value that has its type already: checked as one that came as text.
pub fn set_value<T>(keys: &'static [Key<T>], config: &mut T, name: &str, value: Value) -> Result<(), Error> {
    let key = find(keys, name)?;
    let is_good = match (key.kind, &value) {
        (Kind::Bool, Value::Bool(_)) => true,
        (Kind::Number(min, max) | Kind::Bytes(min, max), Value::Number(number)) => (min..=max).contains(number),
        (Kind::Lifetime, Value::Number(seconds)) => *seconds <= u64::from(u32::MAX),
        _ => false,
    };
    if !is_good {
        let value = match value {
            Value::Bool(value) => value.to_string(),
            Value::Number(value) => value.to_string(),
            Value::Text(value) => value,
        };
        return Err(Error::Value { key: key.name.to_owned(), value, expected: key.kind.to_string() });
    }
    (key.write)(config, value);
    Ok(())
}

/// The value of a key with its type; text for what is neither a flag nor a number.
pub fn value_of<T>(keys: &'static [Key<T>], config: &T, name: &str) -> Result<Value, Error> {
    let key = find(keys, name)?;
    Ok(match key.kind {
        Kind::Bool | Kind::Number(..) | Kind::Bytes(..) | Kind::Lifetime => (key.read)(config),
        _ => Value::Text(key.print(config)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ClientConfig, client_keys};

    #[test]
    fn typed_values_are_checked_like_texts() {
        let mut config = ClientConfig::default();
        let mut set = |key, value| set_value(client_keys(), &mut config, key, value);
        assert!(set("keepalive", Value::Number(30)).is_ok());
        assert!(set("Clean_Session", Value::Bool(false)).is_ok());
        assert!(set("keepalive", Value::Number(65_536)).is_err());
        assert!(set("keepalive", Value::Bool(true)).is_err());
        assert!(set("client_id", Value::Number(1)).is_err());
        assert!(matches!(set("keepaliv", Value::Number(1)), Err(Error::UnknownKey { nearest: Some("keepalive"), .. })));
        assert_eq!(value_of(client_keys(), &config, "keepalive"), Ok(Value::Number(30)));
        assert_eq!(value_of(client_keys(), &config, "version"), Ok(Value::Text("3.1.1".to_owned())));
    }

    #[test]
    fn every_row_is_described() {
        let rows = describe(client_keys());
        assert_eq!(rows.len(), client_keys().len());
        let row = rows.iter().find(|row| row.name == "keepalive").expect("there");
        assert_eq!((row.default.as_str(), row.environment.as_str(), row.is_live), ("60", "NLMQTT_KEEPALIVE", false));
    }
}
