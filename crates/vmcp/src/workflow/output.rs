//! What a composite tool answers: its properties, each made by a template and of its type.

use thiserror::Error;

use super::coerce;
use super::template::{Data, Evaluated, Number, Options, RenderError, Template};
use crate::config::{Output, OutputProperty, OutputType, OutputValue};

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum OutputError {
    /// A property could not be made, and has no default.
    #[error("construct output property {name:?}")]
    Property {
        /// Which.
        name: String,
        /// Why.
        #[source]
        error: PropertyError,
    },
    /// A property that must be there is not, or is null.
    #[error("required output field {0:?} is missing")]
    Missing(String),
}

/// Why a property could not be made.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum PropertyError {
    /// Its template failed.
    #[error("render its value")]
    Render(#[source] RenderError),
    /// Its text is not of its type.
    #[error("{text:?} is not {noun}")]
    NotOfType {
        /// The text.
        text: String,
        /// What it should be.
        noun: &'static str,
    },
    /// Its text is no JSON.
    #[error("failed to deserialize JSON: {0}")]
    Json(String),
}

/// What Go prints of what is not there.
const NO_VALUE: &str = "<no value>";

/// Makes the answer over the state of a workflow.
///
/// # Errors
/// The first property that could not be made, or that must be there and is not.
pub fn construct(output: &Output, state: &Data, options: Options) -> Result<Data, OutputError> {
    let all = properties(&output.properties, state, options)?;
    let is_missing = |name: &&String| matches!(all.get(name), None | Some(Data::Null));
    match output.required.iter().find(is_missing) {
        Some(name) => Err(OutputError::Missing(name.clone())),
        None => Ok(all),
    }
}

/// Properties are nested no deeper than the configuration allows.
fn properties(all: &[(String, OutputProperty)], state: &Data, options: Options) -> Result<Data, OutputError> {
    let mut members = Vec::new();
    for (name, property) in all {
        let value = match &property.value {
            OutputValue::Properties(inner) => properties(inner, state, options)?,
            OutputValue::Nothing => Data::Null,
            OutputValue::Template(template) => made(property, template, state, options)
                .map_err(|error| OutputError::Property { name: name.clone(), error })?,
        };
        members.push((name.as_str(), value));
    }
    Ok(Data::map(members))
}

/// What the template comes to, or else the default.
fn made(
    property: &OutputProperty,
    template: &Template,
    state: &Data,
    options: Options,
) -> Result<Data, PropertyError> {
    let found = found(property, template, state, options);
    match (&found, &property.default) {
        (Ok(Some(value)), _) => Ok(value.clone()),
        (_, Some(default)) => Ok(default_of(property.kind, default)),
        (Ok(None), None) if property.kind == OutputType::String => Ok(Data::from(NO_VALUE)),
        (Ok(None), None) => typed(property.kind, NO_VALUE),
        (Err(error), None) => Err(error.clone()),
    }
}

/// What the template comes to, if it comes to anything.
fn found(
    property: &OutputProperty,
    template: &Template,
    state: &Data,
    options: Options,
) -> Result<Option<Data>, PropertyError> {
    let text = match template.evaluate(state, options).map_err(PropertyError::Render)? {
        Evaluated::Missing => return Ok(None),
        Evaluated::Value(value) if is_of(&value, property.kind) => return Ok(Some(value)),
        Evaluated::Text(text) => text,
        Evaluated::Value(_) => template.render(state, options).map_err(PropertyError::Render)?,
    };
    if text == NO_VALUE {
        return Ok(None);
    }
    typed(property.kind, &text).map(Some)
}

/// Whether a value can be kept as it is.
fn is_of(value: &Data, kind: OutputType) -> bool {
    match kind {
        OutputType::String => matches!(value, Data::Text(text) if &**text != NO_VALUE),
        OutputType::Integer => matches!(value, Data::Int(_) | Data::Number(Number::Int(_) | Number::Uint(_))),
        OutputType::Number => matches!(value, Data::Int(_) | Data::Number(_)),
        OutputType::Boolean => matches!(value, Data::Bool(_)),
        OutputType::Object => matches!(value, Data::Map(_)),
        OutputType::Array => matches!(value, Data::List(_)),
    }
}

/// A text as a value of a type.
fn typed(kind: OutputType, text: &str) -> Result<Data, PropertyError> {
    let (value, noun) = match kind {
        OutputType::String => (Some(Data::from(text)), "a text"),
        OutputType::Integer => (coerce::integer(text), "an integer"),
        OutputType::Number => (coerce::number(text), "a number"),
        OutputType::Boolean => (coerce::boolean(text), "a boolean"),
        OutputType::Object | OutputType::Array => {
            let value: Data =
                serde_json::from_str(text).map_err(|error| PropertyError::Json(error.to_string()))?;
            let fits = is_of(&value, kind) || value == Data::Null;
            (fits.then_some(value), if kind == OutputType::Object { "an object" } else { "a list" })
        }
    };
    value.ok_or_else(|| PropertyError::NotOfType { text: text.to_owned(), noun })
}

/// A default as a value of its property's type, or as it is where there is no way.
fn default_of(kind: OutputType, default: &Data) -> Data {
    if is_of(default, kind) || *default == Data::Null {
        return default.clone();
    }
    let coerced = match (kind, default) {
        // Towards zero, as Go does.
        (OutputType::Integer, Data::Number(Number::Float(value))) => {
            Some(Data::Number(Number::Int(*value as i64)))
        }
        (OutputType::Boolean, Data::Int(value) | Data::Number(Number::Int(value))) => {
            Some(Data::Bool(*value == 1))
        }
        (OutputType::String, value) => serde_json::to_string(value).ok().map(Data::from),
        (kind, Data::Text(text)) => typed(kind, text).ok(),
        _ => None,
    };
    coerced.unwrap_or_else(|| default.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(json: &str) -> Data {
        serde_json::from_str(json).expect("JSON")
    }

    fn property(kind: OutputType, value: &str, default: Option<&str>) -> OutputProperty {
        OutputProperty {
            kind,
            description: "what it is".to_owned(),
            value: OutputValue::Template(Template::compile(value).expect("a template")),
            default: default.map(data),
        }
    }

    fn constructed(output: OutputProperty, required: &[&str], state: &str) -> Result<String, String> {
        let output = Output {
            properties: vec![("a".to_owned(), output)],
            required: required.iter().map(|name| (*name).to_owned()).collect(),
        };
        construct(&output, &data(state), Options::LIKE_GO)
            .map(|answer| serde_json::to_string(answer.get("a").expect("it is there")).expect("JSON"))
            .map_err(|error| {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                source.unwrap_or_else(|| error.to_string())
            })
    }

    #[test]
    fn properties_are_of_their_type_or_their_default() {
        use OutputType::{Array, Boolean, Integer, Number, Object, String};
        let state = r#"{"s":{"data":"test_value","count":"42","ok":"true","big":9007199254740993,"empty":"","l":[1]}}"#;
        for (kind, value, default, expect) in [
            (String, "{{.s.data}}", None, Ok(r#""test_value""#)),
            (Integer, "{{.s.count}}", None, Ok("42")),
            (Boolean, "{{.s.ok}}", None, Ok("true")),
            (Object, r#"{"name": "test", "count": 42}"#, None, Ok(r#"{"count":42,"name":"test"}"#)),
            (String, "{{.gone.output.data}}", Some(r#""default_value""#), Ok(r#""default_value""#)),
            (String, "{{.gone.output.data}}", None, Ok(r#""<no value>""#)),
            (Integer, "{{.s.gone}}", Some("123"), Ok("123")),
            (Boolean, "{{.s.gone}}", Some("true"), Ok("true")),
            (String, "{{.s.empty}}", Some(r#""x""#), Ok(r#""""#)),
            (
                Object,
                "not valid json",
                None,
                Err("failed to deserialize JSON: expected ident at line 1 column 2"),
            ),
            (Boolean, "maybe", None, Err(r#""maybe" is not a boolean"#)),
            (Integer, "not_a_number", None, Err(r#""not_a_number" is not an integer"#)),
            (Integer, "{{.s.gone}}", None, Err(r#""<no value>" is not an integer"#)),
            (Boolean, "1", None, Ok("true")),
            (Boolean, "0", None, Ok("false")),
            (Number, "3.14", None, Ok("3.14")),
            (Integer, "x", Some(r#""123""#), Ok("123")),
            (Number, "x", Some("42"), Ok("42")),
            (Boolean, "x", Some(r#""true""#), Ok("true")),
            (Object, "x", Some(r#""{\"key\": \"value\"}""#), Ok(r#"{"key":"value"}"#)),
            (Integer, "x", Some("2.9"), Ok("2")),
            (Boolean, "x", Some("1"), Ok("true")),
            (String, "{{.s.data.x}}", Some("null"), Ok("null")),
            (Integer, "{{.s.big}}", None, Ok("9007199254740993")),
            (Array, "{{.s.l}}", None, Ok("[1]")),
            (Array, "{{json .s.l}}", None, Ok("[1]")),
            (Array, "{}", None, Err(r#""{}" is not a list"#)),
            (Object, "null", None, Ok("null")),
        ] {
            let found = constructed(property(kind, value, default), &[], state);
            let expect = expect.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(found, expect, "{kind:?} {value} {default:?}");
        }
    }

    #[test]
    fn properties_have_properties() {
        let inner = vec![
            ("version".to_owned(), property(OutputType::String, "{{.v}}", None)),
            ("timestamp".to_owned(), property(OutputType::Integer, "{{.t}}", None)),
        ];
        let outer = OutputProperty {
            value: OutputValue::Properties(inner),
            ..property(OutputType::Object, "", None)
        };
        let found = constructed(outer, &["a"], r#"{"v":"1.0.0","t":"1234567890"}"#);
        assert_eq!(found.as_deref(), Ok(r#"{"timestamp":1234567890,"version":"1.0.0"}"#));
    }

    #[test]
    fn what_is_required_must_be_there() {
        let found = constructed(property(OutputType::String, "x", None), &["b"], "{}");
        assert_eq!(found, Err(r#"required output field "b" is missing"#.to_owned()));
        let found = constructed(property(OutputType::Object, "{{.s.x}}", Some("null")), &["a"], r#"{"s":1}"#);
        assert_eq!(found, Err(r#"required output field "a" is missing"#.to_owned()));
    }
}
