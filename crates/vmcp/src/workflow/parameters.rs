//! Whether what a composite tool is given fits its `parameters`.
//!
//! Of JSON Schema this reads `type`, `enum`, `required`, `properties`, `additionalProperties: false` and `items`, which is
//! what tools of the field are described with. What else a schema says is for whoever calls, and is not checked here.
//!
//! What is wrong is said by its path, never by its value.

use super::template::{Data, Number};

/// No more than this is said of one call.
const MAX_TOLD: usize = 10;

/// What is wrong; nothing, where it fits.
#[must_use]
pub fn check(schema: &Data, given: &Data) -> Vec<String> {
    let mut problems = Vec::new();
    value(schema, given, "arguments", &mut problems);
    problems.truncate(MAX_TOLD);
    problems
}

fn value(schema: &Data, given: &Data, path: &str, problems: &mut Vec<String>) {
    let kinds = texts(schema.get("type"));
    if !kinds.is_empty() && !kinds.iter().any(|kind| is_of(given, kind)) {
        return problems.push(format!("{path} must be {}", kinds.join(" or ")));
    }
    if let Some(Data::List(values)) = schema.get("enum")
        && !values.iter().any(|one| same(one, given))
    {
        problems.push(format!("{path} is none of the values that are allowed"));
    }
    match given {
        Data::Map(members) => {
            for name in texts(schema.get("required")).iter().filter(|name| given.get(name).is_none()) {
                problems.push(format!("{path}.{name} is required"));
            }
            for (name, member) in members.iter() {
                match schema.get("properties").and_then(|properties| properties.get(name)) {
                    Some(schema) => value(schema, member, &format!("{path}.{name}"), problems),
                    None if schema.get("additionalProperties") == Some(&Data::Bool(false)) => {
                        problems.push(format!("{path}.{name} is not taken"));
                    }
                    None => {}
                }
            }
        }
        Data::List(items) => {
            let Some(schema) = schema.get("items") else { return };
            for (place, item) in items.iter().enumerate() {
                value(schema, item, &format!("{path}[{place}]"), problems);
            }
        }
        _ => {}
    }
}

/// A text, or those of a list.
fn texts(data: Option<&Data>) -> Vec<&str> {
    match data {
        Some(Data::Text(text)) => vec![text],
        Some(Data::List(all)) => all
            .iter()
            .filter_map(|one| match one {
                Data::Text(text) => Some(&**text),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn number(data: &Data) -> Option<f64> {
    match data {
        Data::Int(number) => Some(*number as f64),
        Data::Number(number) => Some(number.as_f64()),
        _ => None,
    }
}

/// Equal as JSON Schema has it: 1 and 1.0 are.
fn same(one: &Data, other: &Data) -> bool {
    one == other || number(one).is_some_and(|one| number(other) == Some(one))
}

fn is_of(given: &Data, kind: &str) -> bool {
    match kind {
        "object" => matches!(given, Data::Map(_)),
        "array" => matches!(given, Data::List(_)),
        "string" => matches!(given, Data::Text(_)),
        "boolean" => matches!(given, Data::Bool(_)),
        "null" => *given == Data::Null,
        "number" => number(given).is_some(),
        "integer" => match given {
            Data::Number(Number::Float(number)) => number.fract() == 0.0,
            given => number(given).is_some(),
        },
        // Nothing is known of it.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_named_by_its_path() {
        let schema = r#"{"type":"object","required":["queue"],"additionalProperties":false,"properties":{
            "queue":{"type":"string"},"limit":{"type":"integer"},"mode":{"enum":["a",1]},
            "tags":{"type":["array","null"],"items":{"type":"string"}},
            "deep":{"type":"object","required":["x"],"properties":{"x":{"type":"number"}}}}}"#;
        let schema = serde_json::from_str(schema).expect("JSON");
        for (given, expect) in [
            (r#"{"queue":"q"}"#, &[][..]),
            (r#"{"queue":"q","limit":3,"mode":1.0,"tags":null,"deep":{"x":1.5}}"#, &[]),
            (r#"{"queue":"q","limit":3.0}"#, &[]),
            ("{}", &["arguments.queue is required"]),
            ("[]", &["arguments must be object"]),
            (r#"{"queue":1}"#, &["arguments.queue must be string"]),
            (r#"{"queue":"q","limit":3.5}"#, &["arguments.limit must be integer"]),
            (r#"{"queue":"q","limit":"3"}"#, &["arguments.limit must be integer"]),
            (r#"{"queue":"q","mode":"b"}"#, &["arguments.mode is none of the values that are allowed"]),
            (r#"{"queue":"q","tags":["a",1]}"#, &["arguments.tags[1] must be string"]),
            (r#"{"queue":"q","tags":{}}"#, &["arguments.tags must be array or null"]),
            (r#"{"queue":"q","deep":{}}"#, &["arguments.deep.x is required"]),
            (r#"{"queue":"q","more":1}"#, &["arguments.more is not taken"]),
        ] {
            let given = serde_json::from_str(given).expect("JSON");
            assert_eq!(check(&schema, &given), expect, "{given:?}");
        }
    }
}
