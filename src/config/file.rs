//! TOML: flat keys, and tables of the names that are allowed to be tables.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::entry::{Entry, line_of, unusable};
use super::{Error, Problem};

/// Gives every entry of `text` to `take`; only `lists` may be arrays of values. What is wrong with the syntax and what `take` refuses
/// comes back, sorted by line.
pub fn load(text: &str, lists: &[&str], mut take: impl FnMut(Entry<'_>) -> Result<(), Problem>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut text = text.to_owned();
    while problems.len() < FAULTS_MAX {
        let Some(fault) = first_fault(&text) else { break };
        if problems.iter().any(|known: &Problem| known.line == fault.line) {
            break; // Already without that line.
        }
        blank_line(&mut text, fault.line);
        problems.push(fault);
    }
    let (text, (root, _)) = (text.as_str(), DeTable::parse_recoverable(&text));
    for (name, value) in root.get_ref() {
        let elements: Vec<&Spanned<DeValue<'_>>> = match value.get_ref() {
            DeValue::Array(array) if lists.contains(&name.get_ref().as_ref()) || array.iter().all(|element| element.get_ref().is_table()) => {
                array.iter().collect()
            }
            _ => vec![value],
        };
        for element in elements {
            let entry = match element.get_ref() {
                DeValue::Table(table) => table_entry(text, name.get_ref(), table),
                scalar => text_of(scalar).map(|value| Entry::Value(name.get_ref(), value)),
            };
            let unusable = Problem { line: 0, error: unusable(name.get_ref()) };
            if let Err(mut problem) = entry.ok_or(unusable).and_then(&mut take) {
                problem.line = if problem.line > 0 { problem.line } else { line_of(text, element.span().start) };
                problems.push(problem);
            }
        }
    }
    problems.sort_by_key(|problem| problem.line);
    problems
}

/// The parser loses its way after a fault: it is asked again without that line.
const FAULTS_MAX: usize = 20;

fn first_fault(text: &str) -> Option<Problem> {
    let (_, faults) = DeTable::parse_recoverable(text);
    let start = |fault: &toml::de::Error| fault.span().map_or(0, |span| span.start);
    let fault = faults.iter().min_by_key(|fault| start(fault))?;
    Some(Problem { line: line_of(text, start(fault)), error: Error::Syntax(fault.message().to_owned()) })
}

/// Makes a line a comment, where it stands.
fn blank_line(text: &mut String, line: usize) {
    let lines = text.split_inclusive('\n').enumerate();
    *text = lines.map(|(at, content)| if at + 1 == line { "#\n" } else { content }).collect();
}

fn table_entry<'a>(text: &str, name: &'a str, table: &DeTable<'_>) -> Option<Entry<'a>> {
    let rows = table.iter().map(|(key, value)| {
        let value = text_of(value.get_ref())?;
        Some((key.get_ref().to_string(), value, line_of(text, key.span().start)))
    });
    Some(Entry::Table(name, rows.collect::<Option<_>>()?))
}

fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
            Some(number.to_string())
        }
        _ => None,
    }
}
