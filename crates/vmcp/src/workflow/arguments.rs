//! Arguments of a call: templates rendered, and fitted to what the tool says it takes.
//!
//! A template that is one action and whose tool wants no text gives its value as it is, so that nothing is lost on the way
//! through a text: a million stays a million, a list stays a list. Everything else is a text first, and then what the
//! schema makes of it.

use thiserror::Error;

use super::coerce;
use super::template::{Data, Evaluated, Number, Options, RenderError, Template};
use crate::config::Arguments;

/// Why arguments could not be made. Their values are not in it.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("expand {path}")]
pub struct ExpandError {
    /// Which argument, such as `filter.labels[0]`.
    pub path: String,
    /// What its template said.
    #[source]
    pub error: RenderError,
}

/// Makes arguments over some data, for a tool with this input schema.
///
/// # Errors
/// The first template that could not be rendered, and which argument that is.
pub fn expand(
    arguments: &Arguments,
    schema: Option<&Data>,
    data: &Data,
    options: Options,
) -> Result<Data, ExpandError> {
    Expansion { data, options }.expand(arguments, schema, "")
}

/// What a composite tool was given, with the defaults of its parameters for what it was not. Only those at the top count.
#[must_use]
pub fn with_defaults(parameters: &Data, given: &Data) -> Data {
    let Data::Map(given) = given else { return given.clone() };
    let mut all = (**given).clone();
    if let Some(Data::Map(properties)) = parameters.get("properties") {
        for (name, property) in properties.iter().filter(|(name, _)| !given.contains_key(*name)) {
            all.extend(property.get("default").map(|default| (name.clone(), default.clone())));
        }
    }
    Data::map(all)
}

struct Expansion<'d> {
    data: &'d Data,
    options: Options,
}

impl Expansion<'_> {
    /// Arguments are nested no deeper than the configuration allows.
    fn expand(&self, arguments: &Arguments, schema: Option<&Data>, path: &str) -> Result<Data, ExpandError> {
        match arguments {
            Arguments::Value(value) => Ok(value.clone()),
            Arguments::Template(template) => {
                self.fit(template, schema).map_err(|error| ExpandError { path: path.to_owned(), error })
            }
            Arguments::List(values) => {
                let schema = schema.and_then(|schema| schema.get("items"));
                let values = values.iter().enumerate();
                let list: Result<Vec<Data>, _> = values
                    .map(|(index, value)| self.expand(value, schema, &format!("{path}[{index}]")))
                    .collect();
                list.map(Data::list)
            }
            Arguments::Map(members) => {
                let properties = schema.and_then(|schema| schema.get("properties"));
                let members = members.iter().map(|(name, value)| {
                    let schema = properties.and_then(|properties| properties.get(name));
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    Ok((name.as_str(), self.expand(value, schema, &path)?))
                });
                members.collect::<Result<Vec<_>, _>>().map(Data::map)
            }
        }
    }

    fn fit(&self, template: &Template, schema: Option<&Data>) -> Result<Data, RenderError> {
        let kind = match schema.and_then(|schema| schema.get("type")) {
            Some(Data::Text(kind)) => &**kind,
            _ => "",
        };
        if !matches!(kind, "integer" | "number" | "boolean" | "object" | "array") {
            return template.render(self.data, self.options).map(Data::from);
        }
        let text = match template.evaluate(self.data, self.options)? {
            Evaluated::Value(value) if is_of(&value, kind) => return Ok(value),
            Evaluated::Text(text) => text,
            Evaluated::Value(Data::Text(text)) => text.to_string(),
            Evaluated::Value(_) | Evaluated::Missing => template.render(self.data, self.options)?,
        };
        let coerced = match kind {
            "integer" => coerce::integer(&text),
            "number" => coerce::number(&text),
            "boolean" => coerce::boolean(&text),
            _ => None,
        };
        Ok(coerced.unwrap_or_else(|| Data::from(text)))
    }
}

/// Whether a value is what a schema's type says already.
fn is_of(value: &Data, kind: &str) -> bool {
    match kind {
        "integer" => matches!(value, Data::Int(_) | Data::Number(Number::Int(_) | Number::Uint(_))),
        "number" => matches!(value, Data::Int(_) | Data::Number(_)),
        "boolean" => matches!(value, Data::Bool(_)),
        "object" => matches!(value, Data::Map(_)),
        _ => matches!(value, Data::List(_)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(json: &str) -> Data {
        serde_json::from_str(json).expect("JSON")
    }

    /// Arguments as a configuration has them.
    fn arguments(value: &Data) -> Arguments {
        match value {
            Data::Text(text) => Arguments::Template(Template::compile(text).expect("a template")),
            Data::List(values) => Arguments::List(values.iter().map(arguments).collect()),
            Data::Map(members) => {
                let members = members.iter().map(|(name, value)| (name.to_string(), arguments(value)));
                Arguments::Map(members.collect())
            }
            value => Arguments::Value(value.clone()),
        }
    }

    fn check(written: &str, schema: Option<&str>, over: &str, expect: &str) {
        let schema = schema.map(data);
        let found = expand(&arguments(&data(written)), schema.as_ref(), &data(over), Options::LIKE_GO);
        let found = found.map(|found| serde_json::to_string(&found).expect("JSON"));
        assert_eq!(found.as_deref(), Ok(expect), "{written}");
    }

    #[test]
    fn trees_are_expanded_and_what_is_no_text_stays() {
        let over = r#"{"params":{"repo":"myrepo","f1":"a.go","f2":"b.go","title":"Test","n":1000000}}"#;
        check(r#"{"cfg":{"repo":"{{.params.repo}}"}}"#, None, over, r#"{"cfg":{"repo":"myrepo"}}"#);
        check(r#"{"l":["{{.params.f1}}","{{.params.f2}}"]}"#, None, over, r#"{"l":["a.go","b.go"]}"#);
        check(
            r#"{"title":"{{.params.title}}","num":42,"flag":true}"#,
            None,
            over,
            r#"{"flag":true,"num":42,"title":"Test"}"#,
        );
        check(r#"{"{{.x}}":"{{.params.n}}"}"#, None, over, r#"{"{{.x}}":"1e+06"}"#);
    }

    #[test]
    fn texts_become_what_the_tool_takes() {
        let row = |kind: &str, template: &str, over: &str, expect: &str| {
            let schema = format!(r#"{{"properties":{{"a":{{"type":"{kind}"}}}}}}"#);
            let over = format!(r#"{{"v":{over}}}"#);
            check(&format!(r#"{{"a":"{template}"}}"#), Some(&schema), &over, &format!(r#"{{"a":{expect}}}"#));
        };
        for (kind, over, expect) in [
            ("integer", r#""123""#, "123"),
            ("integer", r#""-42""#, "-42"),
            ("integer", "1000000", "1000000"),
            ("integer", "9007199254740993", "9007199254740993"),
            ("integer", r#""3.5""#, r#""3.5""#),
            ("integer", "null", r#""<no value>""#),
            ("number", r#""3.14""#, "3.14"),
            ("number", r#""42""#, "42"),
            ("number", "1000000", "1000000"),
            ("number", r#""inf""#, r#""inf""#),
            ("boolean", r#""T""#, "true"),
            ("boolean", "false", "false"),
            ("boolean", r#""maybe""#, r#""maybe""#),
            ("string", "1000000", r#""1e+06""#),
            ("array", "[1,2]", "[1,2]"),
            ("object", r#"{"b":1}"#, r#"{"b":1}"#),
            ("object", r#""{}""#, r#""{}""#),
            ("what", "42", r#""42""#),
        ] {
            row(kind, "{{.v}}", over, expect);
        }
        row("integer", "{{.v}}0", "12", "120");
        let nested = r#"{"properties":{"a":{"type":"array","items":{"type":"integer"}}}}"#;
        check(r#"{"a":["{{.v}}","7"],"b":"7"}"#, Some(nested), r#"{"v":1}"#, r#"{"a":[1,7],"b":"7"}"#);
    }

    #[test]
    fn an_error_says_which_argument_it_is_about() {
        let written = arguments(&data(r#"{"a":{"b":["x","{{.v.w}}"]}}"#));
        let error = expand(&written, None, &data(r#"{"v":null}"#), Options::LIKE_GO)
            .expect_err("null has no members");
        assert_eq!(error.path, "a.b[1]");
        assert_eq!(error.error.path.as_deref(), Some(".v"));
    }

    #[test]
    fn defaults_are_for_what_is_not_there_at_all() {
        let schema = data(
            r#"{"type":"object","properties":{"url":{"default":"https://default.example.com"},"count":{"default":42},"x":{}}}"#,
        );
        for (given, expect) in [
            ("{}", r#"{"count":42,"url":"https://default.example.com"}"#),
            (r#"{"url":null,"count":1}"#, r#"{"count":1,"url":null}"#),
        ] {
            let found = with_defaults(&schema, &data(given));
            assert_eq!(serde_json::to_string(&found).expect("JSON"), expect);
        }
    }
}
