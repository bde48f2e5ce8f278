//! What a step asks of a text: whether it is done, and over what.

use std::sync::Arc;

use thiserror::Error;

use super::template::{Data, Evaluated, Options, RenderError, Template};

/// Why a condition decides nothing.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ConditionError {
    /// Its template failed.
    #[error("evaluate the condition")]
    Render(#[source] RenderError),
    /// It came to neither.
    #[error("condition must evaluate to 'true' or 'false', got: {0:?}")]
    Neither(String),
}

/// Whether a step is done. Without a condition it is.
///
/// # Errors
/// When the condition comes to anything but true or false, spaces included.
pub fn holds(condition: Option<&Template>, data: &Data, options: Options) -> Result<bool, ConditionError> {
    let Some(condition) = condition else { return Ok(true) };
    let text = condition.render(data, options).map_err(ConditionError::Render)?;
    match text.as_str() {
        "" if condition.source().is_empty() => Ok(true),
        "true" | "True" | "TRUE" => Ok(true),
        "false" | "False" | "FALSE" => Ok(false),
        _ => Err(ConditionError::Neither(shortened(&text))),
    }
}

/// Why there is nothing to walk.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum CollectionError {
    /// Its template failed.
    #[error("evaluate the collection")]
    Render(#[source] RenderError),
    /// It came to something else.
    #[error("collection must resolve to a JSON array, got: {0:?}")]
    NotAList(String),
    /// It is too long.
    #[error("collection size {size} exceeds maxIterations {most}")]
    TooLong {
        /// How long it is.
        size: usize,
        /// How long it may be.
        most: usize,
    },
}

/// The elements that a step walks: a list, or the text of one in JSON. Null is none.
///
/// # Errors
/// When it is no list, or too long.
pub fn collection(
    template: &Template,
    data: &Data,
    most: usize,
    options: Options,
) -> Result<Arc<[Data]>, CollectionError> {
    let value = match template.evaluate(data, options).map_err(CollectionError::Render)? {
        Evaluated::Value(Data::Text(text)) => parsed(&text)?,
        Evaluated::Text(text) => parsed(&text)?,
        Evaluated::Value(value) => value,
        // The contract parses what Go prints of it, which is no JSON.
        Evaluated::Missing => return Err(CollectionError::NotAList("<no value>".to_owned())),
    };
    let values: Arc<[Data]> = match value {
        Data::List(values) => values,
        Data::Null => Arc::new([]),
        _ => return Err(CollectionError::NotAList(shortened(&text_of(&value)))),
    };
    let size = values.len();
    if size > most { Err(CollectionError::TooLong { size, most }) } else { Ok(values) }
}

fn parsed(text: &str) -> Result<Data, CollectionError> {
    serde_json::from_str(text).map_err(|_| CollectionError::NotAList(shortened(text)))
}

fn text_of(value: &Data) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Enough of a text to know it by.
fn shortened(text: &str) -> String {
    const MOST: usize = 100;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = r#"{"params":{"enabled":true,"off":false,"a":"x"},"steps":{
        "s1":{"status":"completed","output":{"packages":[{"n":1},{"n":2},{"n":3}],"items":"[\"a\",\"b\",\"c\"]",
        "junk":"not-json","object":{"a":1},"null":null}}}}"#;

    fn state() -> Data {
        serde_json::from_str(STATE).expect("JSON")
    }

    #[test]
    fn conditions_are_true_or_false_to_the_letter() {
        for (condition, expect) in [
            ("", Some(true)),
            ("true", Some(true)),
            ("True", Some(true)),
            ("TRUE", Some(true)),
            ("false", Some(false)),
            ("{{if eq .params.enabled true}}true{{else}}false{{end}}", Some(true)),
            ("{{if eq .params.off true}}true{{else}}false{{end}}", Some(false)),
            (r#"{{if eq .steps.s1.status "completed"}}true{{else}}false{{end}}"#, Some(true)),
            (r#"{{eq .params.a "x"}}"#, Some(true)),
            ("not_boolean", None),
            (" true", None),
            ("1", None),
            ("{{.params.a.b}}", None),
        ] {
            let template = Template::compile(condition).expect("a template");
            let found = holds(Some(&template), &state(), Options::LIKE_GO);
            assert_eq!(found.ok(), expect, "{condition:?}");
        }
        assert_eq!(holds(None, &state(), Options::LIKE_GO), Ok(true));
        let template = Template::compile(" true").expect("a template");
        let error = holds(Some(&template), &state(), Options::LIKE_GO).expect_err("there is a space");
        assert_eq!(error.to_string(), r#"condition must evaluate to 'true' or 'false', got: " true""#);
    }

    #[test]
    fn collections_are_lists_or_texts_of_lists() {
        for (template, expect) in [
            ("{{json .steps.s1.output.packages}}", Ok(3)),
            ("{{.steps.s1.output.packages}}", Ok(3)),
            ("{{.steps.s1.output.items}}", Ok(3)),
            ("[1, 2]", Ok(2)),
            ("[]", Ok(0)),
            ("{{json .steps.s1.output.null}}", Ok(0)),
            ("{{.steps.s1.output.junk}}", Err(r#"collection must resolve to a JSON array, got: "not-json""#)),
            (
                "{{.steps.s1.output.gone}}",
                Err(r#"collection must resolve to a JSON array, got: "<no value>""#),
            ),
            (
                "{{.steps.s1.output.object}}",
                Err(r#"collection must resolve to a JSON array, got: "{\"a\":1}""#),
            ),
            ("[1,2,3,4]", Err("collection size 4 exceeds maxIterations 3")),
        ] {
            let compiled = Template::compile(template).expect("a template");
            let found = collection(&compiled, &state(), 3, Options::LIKE_GO).map(|values| values.len());
            assert_eq!(found.map_err(|error| error.to_string()), expect.map_err(str::to_owned), "{template}");
        }
    }
}
