//! Where a value is in the data, for people who read an error.

use super::data::Data;

/// How many values are looked at before the answer is that nobody knows.
const MAX_LOOKED_AT: usize = 100_000;

/// The path of the value that is at this very address, such as `.steps.fetch.output.items[3]`.
pub(super) fn path_to(root: &Data, wanted: &Data) -> Option<String> {
    let mut todo = vec![(root, String::new())];
    let mut looked_at = 0;
    while let Some((value, path)) = todo.pop() {
        looked_at += 1;
        if std::ptr::eq(value, wanted) {
            return Some(if path.is_empty() { ".".to_owned() } else { path });
        }
        if looked_at > MAX_LOOKED_AT {
            return None;
        }
        match value {
            Data::Map(members) if !contains(members.values(), wanted) => {
                let members = members.iter().filter(|(_, value)| is_collection(value));
                todo.extend(members.map(|(name, value)| (value, member(&path, name))));
            }
            Data::Map(members) => {
                let found = members.iter().find(|(_, value)| std::ptr::eq(*value, wanted));
                return found.map(|(name, _)| member(&path, name));
            }
            Data::List(values) => {
                if let Some(index) = values.iter().position(|value| std::ptr::eq(value, wanted)) {
                    return Some(format!("{path}[{index}]"));
                }
                let values = values.iter().enumerate().filter(|(_, value)| is_collection(value));
                todo.extend(values.map(|(index, value)| (value, format!("{path}[{index}]"))));
            }
            _ => {}
        }
    }
    None
}

fn contains<'a>(mut values: impl Iterator<Item = &'a Data>, wanted: &Data) -> bool {
    values.any(|value| std::ptr::eq(value, wanted))
}

fn is_collection(value: &Data) -> bool {
    matches!(value, Data::List(_) | Data::Map(_))
}

fn member(path: &str, name: &str) -> String {
    let is_plain = name.starts_with(|first: char| first.is_alphabetic() || first == '_')
        && name.chars().all(|character| character.is_alphanumeric() || character == '_');
    if is_plain { format!("{path}.{name}") } else { format!("{path}[{name:?}]") }
}
