//! JSON: one object of keys, and arrays of objects for the names that are allowed to be tables.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::entry::{Entry, line_of, unusable};
use super::{Error, Problem};

type Object<'a> = BTreeMap<String, &'a RawValue>;

/// Gives every entry of `text` to `take`; only `lists` may be arrays of values. What is wrong with
/// the syntax and what `take` refuses comes back, sorted by line.
pub fn load(text: &str, lists: &[&str], mut take: impl FnMut(Entry<'_>) -> Result<(), Problem>) -> Vec<Problem> {
    let root: Object<'_> = match serde_json::from_str(text) {
        Ok(root) => root,
        Err(error) => return vec![Problem { line: error.line(), error: Error::Syntax(error.to_string()) }],
    };
    let mut problems = Vec::new();
    for (name, value) in &root {
        for element in elements(value, lists.contains(&name.as_str())) {
            let entry = match serde_json::from_str::<Object<'_>>(element.get()) {
                Ok(table) => rows(text, &table).map(|rows| Entry::Table(name, rows)),
                Err(_) => scalar(element).map(|value| Entry::Value(name, value)),
            };
            let unusable = Problem { line: 0, error: unusable(name) };
            if let Err(mut problem) = entry.ok_or(unusable).and_then(&mut take) {
                problem.line = if problem.line > 0 { problem.line } else { line(text, element) };
                problems.push(problem);
            }
        }
    }
    problems.sort_by_key(|problem| problem.line);
    problems
}

/// The elements of an array that may be one, else the value itself.
fn elements<'a>(value: &'a RawValue, is_list: bool) -> Vec<&'a RawValue> {
    let Ok(array) = serde_json::from_str::<Vec<&'a RawValue>>(value.get()) else { return vec![value] };
    if is_list || array.iter().all(|element| element.get().starts_with('{')) { array } else { vec![value] }
}

fn rows(text: &str, table: &Object<'_>) -> Option<Vec<(String, String, usize)>> {
    table.iter().map(|(key, value)| Some((key.clone(), scalar(value)?, line(text, value)))).collect()
}

/// Text, a whole number, true or false.
fn scalar(value: &RawValue) -> Option<String> {
    match serde_json::from_str(value.get()).ok()? {
        serde_json::Value::String(text) => Some(text),
        serde_json::Value::Bool(value) => Some(value.to_string()),
        serde_json::Value::Number(number) if number.is_u64() || number.is_i64() => Some(number.to_string()),
        _ => None,
    }
}

/// A raw value is a part of `text`: its place is the distance of the two.
fn line(text: &str, value: &RawValue) -> usize {
    line_of(text, (value.get().as_ptr() as usize).wrapping_sub(text.as_ptr() as usize))
}
