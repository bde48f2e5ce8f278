//! Tool arguments mirrored into `Mcp-Param-*` headers (2026-07-28 "Custom Headers from Tool Parameters", SEP-2243).
//!
//! A tool's `inputSchema` marks a parameter with `x-mcp-header`; the caller repeats the argument in a header of that
//! name, and whoever reads the body checks that both say the same. Everything here is a function of texts: which marks
//! a schema has and whether they are allowed, which headers given arguments want, whether given headers fit.
//!
//! Deliberately absent: remembering which tool has which marks (that is the caller's), and judging arguments by the
//! rest of their schema.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::headers::{self, PARAM_PREFIX};
use crate::json::{self, JsonError, Reader, Span};

/// The member of a parameter's schema that names its header.
const ANNOTATION: &[u8] = b"x-mcp-header";

/// Why a tool's annotations are not allowed; a client leaves such a tool out of what it lists.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnnotationProblem {
    #[error("x-mcp-header {name:?} is not a header name")]
    Name { name: String },
    #[error("x-mcp-header {name:?} is used twice")]
    Repeated { name: String },
    #[error("x-mcp-header {name:?} is on a parameter that is not a string, an integer or a boolean")]
    Type { name: String },
    #[error("x-mcp-header {name:?} is not on a parameter reached through \"properties\" alone")]
    Unreachable { name: String },
    #[error(transparent)]
    Json(#[from] JsonError),
}

/// How a request's headers fail to repeat its arguments (-32020).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamProblem {
    #[error("header {header} is required: the argument it repeats is given")]
    Missing { header: HeaderName },
    #[error("header {header} is given, the argument it repeats is not")]
    Unexpected { header: HeaderName },
    #[error("header {header} is given more than once")]
    Repeated { header: HeaderName },
    #[error("header {header} is malformed")]
    Malformed { header: HeaderName },
    #[error("header {header} differs from the argument it repeats")]
    Differs { header: HeaderName },
    #[error("the arguments are not a JSON object")]
    Arguments,
}

/// One marked parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Param {
    header: HeaderName,
    /// The names to follow from the arguments to the value; never empty.
    path: Vec<String>,
}

/// The marked parameters of one tool, in the order of its schema.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParamHeaders {
    params: Vec<Param>,
}

impl ParamHeaders {
    /// Reads the annotations of an `inputSchema`.
    ///
    /// # Errors
    /// The first [`AnnotationProblem`] found: one of them spoils the tool.
    pub fn from_schema(schema: &[u8]) -> Result<Self, AnnotationProblem> {
        let mut walk = SchemaWalk { text: schema, found: Self::default() };
        walk.schema(&mut Reader::new(schema)?, &mut Some(Vec::new()))?;
        Ok(walk.found)
    }

    /// Whether no parameter is marked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.params.is_empty()
    }

    /// The headers that a call with these arguments carries. A value that is absent, null or not a scalar has none.
    ///
    /// # Errors
    /// [`ParamProblem::Arguments`].
    pub fn expected(&self, arguments: Option<&[u8]>) -> Result<Vec<(HeaderName, HeaderValue)>, ParamProblem> {
        let values = self.values(arguments)?;
        let pairs = self.params.iter().zip(values);
        Ok(pairs.filter_map(|(param, value)| Some((param.header.clone(), value?.to_header()))).collect())
    }

    /// Checks that the headers repeat the arguments, no less and no more. Headers that no annotation asks for are none
    /// of our business.
    ///
    /// # Errors
    /// The first [`ParamProblem`] found.
    pub fn check(&self, given: &HeaderMap, arguments: Option<&[u8]>) -> Result<(), ParamProblem> {
        for (param, value) in self.params.iter().zip(self.values(arguments)?) {
            let header = || param.header.clone();
            let text = headers::single(given, &param.header)
                .map_err(|_| ParamProblem::Repeated { header: header() })?;
            match (text, value) {
                (None, None) => {}
                (None, Some(_)) => return Err(ParamProblem::Missing { header: header() }),
                (Some(_), None) => return Err(ParamProblem::Unexpected { header: header() }),
                (Some(text), Some(value)) => {
                    let text = headers::decode_value("Mcp-Param", text)
                        .map_err(|_| ParamProblem::Malformed { header: header() })?;
                    if !value.equals(&text) {
                        return Err(ParamProblem::Differs { header: header() });
                    }
                }
            }
        }
        Ok(())
    }

    /// The argument of each parameter, in the same order.
    fn values<'a>(&self, arguments: Option<&'a [u8]>) -> Result<Vec<Option<Scalar<'a>>>, ParamProblem> {
        let mut spans = vec![Span::default(); self.params.len()];
        let Some(text) = arguments.filter(|text| *text != b"null" && !self.is_empty()) else {
            return Ok(vec![None; self.params.len()]);
        };
        let all: Vec<usize> = (0..self.params.len()).collect();
        Reader::new(text)
            .and_then(|mut reader| self.find(&mut reader, 0, &all, &mut spans))
            .map_err(|_| ParamProblem::Arguments)?;
        Ok(spans.into_iter().map(|span| span.of(text).and_then(Scalar::read)).collect())
    }

    /// Follows the paths of the `wanted` parameters, all at once, below an object at `depth`.
    fn find(
        &self,
        reader: &mut Reader<'_>,
        depth: usize,
        wanted: &[usize],
        spans: &mut [Span],
    ) -> Result<(), JsonError> {
        reader.object::<JsonError>(|reader, name| {
            let matches = |param: &&usize| {
                self.params[**param].path.get(depth).is_some_and(|step| step.as_bytes() == name)
            };
            let here: Vec<usize> = wanted.iter().filter(matches).copied().collect();
            if here.is_empty() || reader.peek() != Some(b'{') {
                let span = reader.value()?;
                for param in here {
                    if self.params[param].path.len() == depth + 1 {
                        spans[param] = span;
                    }
                }
                return Ok(());
            }
            self.find(reader, depth + 1, &here, spans)
        })?;
        Ok(())
    }
}

/// An argument that can stand in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Scalar<'a> {
    Text(std::borrow::Cow<'a, str>),
    Number(&'a str),
    Flag(&'a str),
}

impl<'a> Scalar<'a> {
    fn read(value: &'a [u8]) -> Option<Self> {
        match value.first()? {
            b'"' => json::decode_str(value).map(Self::Text),
            b't' | b'f' => std::str::from_utf8(value).ok().map(Self::Flag),
            b'-' | b'0'..=b'9' => std::str::from_utf8(value).ok().map(Self::Number),
            _ => None,
        }
    }

    fn to_header(&self) -> HeaderValue {
        match self {
            Self::Text(text) => headers::encode_value(text),
            Self::Flag(text) => headers::encode_value(text),
            Self::Number(text) => headers::encode_value(&decimal(text)),
        }
    }

    fn equals(&self, header: &str) -> bool {
        match self {
            Self::Text(text) => text == header,
            Self::Flag(text) => *text == header,
            Self::Number(text) => same_number(text, header),
        }
    }
}

/// An integer however it is spelt (`4e1`, `42.0`), in decimal digits; what is no safe integer stays as it is.
fn decimal(text: &str) -> String {
    const SAFE: f64 = 9_007_199_254_740_991.0;
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return text.to_owned();
    }
    match text.parse::<f64>() {
        // Truncation is the point: the range was just checked.
        Ok(number) if number.fract() == 0.0 && number.abs() <= SAFE => (number as i64).to_string(),
        _ => text.to_owned(),
    }
}

/// Whether two spellings are one number. Integers are compared exactly, whatever their size.
fn same_number(body: &str, header: &str) -> bool {
    if let (Ok(body), Ok(header)) = (body.parse::<i128>(), header.parse::<i128>()) {
        return body == header;
    }
    let plain = header.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    plain
        && match (body.parse::<f64>(), header.parse::<f64>()) {
            (Ok(body), Ok(header)) => body == header,
            _ => body == header,
        }
}

/// A walk over a JSON Schema, looking for annotations where they are allowed and where they are not.
struct SchemaWalk<'a> {
    text: &'a [u8],
    found: ParamHeaders,
}

impl<'a> SchemaWalk<'a> {
    /// Reads one schema. `path` leads to it through `properties` alone; `None` where it is reached in any other way.
    fn schema(
        &mut self,
        reader: &mut Reader<'a>,
        path: &mut Option<Vec<String>>,
    ) -> Result<(), AnnotationProblem> {
        match reader.peek() {
            Some(b'{') => {}
            Some(b'[') => {
                return reader.array(|reader| self.schema(reader, path)).map(drop);
            }
            _ => {
                reader.value()?;
                return Ok(());
            }
        }
        let (mut annotation, mut kind) = (Span::default(), Span::default());
        reader.object::<AnnotationProblem>(|reader, name| {
            match name {
                ANNOTATION => annotation = reader.value()?,
                b"type" => kind = reader.value()?,
                b"properties" => self.schemas_by_name(reader, path)?,
                b"patternProperties" | b"$defs" | b"definitions" | b"dependentSchemas" => {
                    self.schemas_by_name(reader, &mut None)?;
                }
                // Data, not schemas.
                b"default" | b"const" | b"enum" | b"examples" | b"example" => {
                    reader.value()?;
                }
                _ => self.schema(reader, &mut None)?,
            }
            Ok(())
        })?;
        if annotation.is_present() { self.annotated(annotation, kind, path.as_deref()) } else { Ok(()) }
    }

    fn schemas_by_name(
        &mut self,
        reader: &mut Reader<'a>,
        path: &mut Option<Vec<String>>,
    ) -> Result<(), AnnotationProblem> {
        if reader.peek() != Some(b'{') {
            reader.value()?;
            return Ok(());
        }
        reader.object(|reader, name| {
            if let Some(path) = path {
                path.push(String::from_utf8_lossy(name).into_owned());
            }
            let walked = self.schema(reader, path);
            if let Some(path) = path {
                path.pop();
            }
            walked
        })?;
        Ok(())
    }

    fn annotated(
        &mut self,
        annotation: Span,
        kind: Span,
        path: Option<&[String]>,
    ) -> Result<(), AnnotationProblem> {
        let raw = &self.text[annotation.range()];
        let name = json::decode_str(raw).unwrap_or_else(|| String::from_utf8_lossy(raw)).into_owned();
        let header = (raw.starts_with(b"\"") && !name.is_empty())
            .then(|| format!("{PARAM_PREFIX}{name}").parse::<HeaderName>().ok())
            .flatten();
        let Some(header) = header else {
            return Err(AnnotationProblem::Name { name });
        };
        let Some(path) = path.filter(|path| !path.is_empty()) else {
            return Err(AnnotationProblem::Unreachable { name });
        };
        if !kind.of(self.text).is_some_and(is_mirrorable) {
            return Err(AnnotationProblem::Type { name });
        }
        if self.found.params.iter().any(|param| param.header == header) {
            return Err(AnnotationProblem::Repeated { name });
        }
        self.found.params.push(Param { header, path: path.to_vec() });
        Ok(())
    }
}

/// Whether a schema's `type` is one that can be mirrored, possibly with null beside it.
fn is_mirrorable(kind: &[u8]) -> bool {
    let names: Vec<String> = match serde_json::from_slice(kind) {
        Ok(serde_json::Value::String(name)) => vec![name],
        Ok(serde_json::Value::Array(names)) => {
            names.iter().map(|name| name.as_str().unwrap_or_default().to_owned()).collect()
        }
        _ => return false,
    };
    let mut others = names.iter().filter(|name| *name != "null");
    matches!(others.next().map(String::as_str), Some("string" | "integer" | "boolean"))
        && others.next().is_none()
}

/// One entry of a `tools/list` result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedTool {
    pub name: String,
    /// Where the entry stands in the list's text.
    pub span: Span,
    /// Its marked parameters, or what is wrong with them.
    pub headers: Result<ParamHeaders, AnnotationProblem>,
}

/// Reads the annotations of all tools of a `tools` array. Entries that are not objects with a name are passed over.
///
/// # Errors
/// [`JsonError`] where the text is not a JSON array.
pub fn read_tools(tools: &[u8]) -> Result<Vec<ListedTool>, JsonError> {
    let mut listed = Vec::new();
    Reader::new(tools)?.array::<JsonError>(|reader| {
        if reader.peek() != Some(b'{') {
            reader.value()?;
            return Ok(());
        }
        let (mut name, mut schema) = (Span::default(), Span::default());
        let span = reader.object::<JsonError>(|reader, member| {
            let value = reader.value()?;
            match member {
                b"name" => name = value,
                b"inputSchema" => schema = value,
                _ => {}
            }
            Ok(())
        })?;
        if let Some(name) = name.of(tools).and_then(json::decode_str) {
            let headers =
                schema.of(tools).map_or_else(|| Ok(ParamHeaders::default()), ParamHeaders::from_schema);
            listed.push(ListedTool { name: name.into_owned(), span, headers });
        }
        Ok(())
    })?;
    Ok(listed)
}

/// The `tools` array without the entries whose annotations are not allowed; `None` where all may stay. `listed` is
/// what [`read_tools`] gave for this text.
#[must_use]
pub fn without_rejected(tools: &[u8], listed: &[ListedTool]) -> Option<Bytes> {
    if listed.iter().all(|tool| tool.headers.is_ok()) {
        return None;
    }
    let kept = listed.iter().filter(|tool| tool.headers.is_ok()).filter_map(|tool| tool.span.of(tools));
    let mut text = vec![b'['];
    for (place, entry) in kept.enumerate() {
        if place > 0 {
            text.push(b',');
        }
        text.extend_from_slice(entry);
    }
    text.push(b']');
    Some(Bytes::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(schema: &str) -> Result<Vec<(String, String)>, String> {
        let found = ParamHeaders::from_schema(schema.as_bytes()).map_err(|problem| problem.to_string())?;
        Ok(found.params.iter().map(|param| (param.header.to_string(), param.path.join("."))).collect())
    }

    #[test]
    fn finds_annotations_through_properties_at_any_depth() {
        let schema = r#"{"type":"object","properties":{
            "region":{"type":"string","x-mcp-header":"Region"},
            "x-mcp-header":{"type":"string"},
            "options":{"type":"object","properties":{"limit":{"type":["integer","null"],"x-mcp-header":"Limit"}},
                       "default":{"x-mcp-header":"data"}}}}"#;
        let expect = [("mcp-param-region", "region"), ("mcp-param-limit", "options.limit")];
        assert_eq!(read(schema).unwrap(), expect.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!(read(r#"{"type":"object"}"#).unwrap(), []);
        assert_eq!(read("true").unwrap(), []);
    }

    #[test]
    fn refuses_what_the_revision_forbids() {
        let one = |schema: &str| read(&format!(r#"{{"properties":{{"a":{schema}}}}}"#)).unwrap_err();
        for (schema, part) in [
            (r#"{"type":"string","x-mcp-header":""}"#, "not a header name"),
            (r#"{"type":"string","x-mcp-header":"a b"}"#, "not a header name"),
            (r#"{"type":"string","x-mcp-header":"a\r\nb"}"#, "not a header name"),
            (r#"{"type":"string","x-mcp-header":"é"}"#, "not a header name"),
            (r#"{"type":"string","x-mcp-header":7}"#, "not a header name"),
            (r#"{"type":"number","x-mcp-header":"A"}"#, "not a string"),
            (r#"{"type":"object","x-mcp-header":"A"}"#, "not a string"),
            (r#"{"x-mcp-header":"A"}"#, "not a string"),
            (r#"{"type":["string","integer"],"x-mcp-header":"A"}"#, "not a string"),
            (r#"{"type":"array","items":{"type":"string","x-mcp-header":"A"}}"#, "reached through"),
            (r#"{"oneOf":[{"type":"string","x-mcp-header":"A"}]}"#, "reached through"),
            (r#"{"if":{"properties":{"b":{"type":"string","x-mcp-header":"A"}}}}"#, "reached through"),
        ] {
            let problem = one(schema);
            assert!(problem.contains(part), "{schema}: {problem}");
        }
        for (schema, part) in [
            (r#"{"type":"string","x-mcp-header":"A"}"#, "reached through"),
            (r#"{"$defs":{"d":{"type":"string","x-mcp-header":"A"}}}"#, "reached through"),
            (
                r#"{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}}"#,
                "used twice",
            ),
        ] {
            let problem = read(schema).unwrap_err();
            assert!(problem.contains(part), "{schema}: {problem}");
        }
    }

    fn sample() -> ParamHeaders {
        ParamHeaders::from_schema(
            br#"{"properties":{"s":{"type":"string","x-mcp-header":"S"},"n":{"type":"integer","x-mcp-header":"N"},
                "o":{"properties":{"b":{"type":"boolean","x-mcp-header":"B"}}}}}"#,
        )
        .unwrap()
    }

    #[test]
    fn headers_repeat_the_arguments() {
        let given = |arguments: &str| -> Vec<String> {
            let headers = sample().expected(Some(arguments.as_bytes())).unwrap();
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
        };
        for (arguments, expect) in [
            (
                r#"{"s":"us-west1","n":42,"o":{"b":false}}"#,
                &["mcp-param-s: us-west1", "mcp-param-n: 42", "mcp-param-b: false"][..],
            ),
            (r#"{"s":"Hello, 世界"}"#, &["mcp-param-s: =?base64?SGVsbG8sIOS4lueVjA==?="]),
            (r#"{"s":" padded "}"#, &["mcp-param-s: =?base64?IHBhZGRlZCA=?="]),
            (r#"{"s":"line1\nline2"}"#, &["mcp-param-s: =?base64?bGluZTEKbGluZTI=?="]),
            (r#"{"s":"=?base64?literal?="}"#, &["mcp-param-s: =?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="]),
            (r#"{"n":-4.2e1}"#, &["mcp-param-n: -42"]),
            (r#"{"s":null,"n":[1],"o":true,"b":true}"#, &[]),
            (r#"{"s":{"deep":1}}"#, &[]),
        ] {
            assert_eq!(given(arguments), expect, "{arguments}");
        }
        assert_eq!(sample().expected(None).unwrap(), []);
        assert_eq!(sample().expected(Some(b"[]")), Err(ParamProblem::Arguments));
    }

    #[test]
    fn headers_that_differ_are_told_apart() {
        let check = |pairs: &[(&'static str, &str)], arguments: &str| {
            let mut map = HeaderMap::new();
            for (name, value) in pairs {
                map.append(*name, HeaderValue::from_str(value).unwrap());
            }
            sample().check(&map, Some(arguments.as_bytes()))
        };
        let header = |name: &'static str| HeaderName::from_static(name);
        let [s, n] = ["mcp-param-s", "mcp-param-n"];
        for (pairs, arguments, expect) in [
            (&[(s, "a"), ("mcp-param-other", "x")][..], r#"{"s":"a"}"#, Ok(())),
            (&[(s, "=?base64?YQ==?=")], r#"{"s":"a"}"#, Ok(())),
            (&[(n, "42.0")], r#"{"n":42}"#, Ok(())),
            (&[(n, "42")], r#"{"n":4.2e1}"#, Ok(())),
            (&[], r#"{"s":null}"#, Ok(())),
            (&[], r#"{"s":"a"}"#, Err(ParamProblem::Missing { header: header(s) })),
            (&[(s, "a")], "{}", Err(ParamProblem::Unexpected { header: header(s) })),
            (&[(s, "A")], r#"{"s":"a"}"#, Err(ParamProblem::Differs { header: header(s) })),
            (&[(s, "a"), (s, "a")], r#"{"s":"a"}"#, Err(ParamProblem::Repeated { header: header(s) })),
            (&[(s, "=?base64?!?=")], r#"{"s":"a"}"#, Err(ParamProblem::Malformed { header: header(s) })),
            (
                &[(n, "9007199254740993")],
                r#"{"n":9007199254740992}"#,
                Err(ParamProblem::Differs { header: header(n) }),
            ),
            (&[(n, "inf")], r#"{"n":1e999}"#, Err(ParamProblem::Differs { header: header(n) })),
        ] {
            assert_eq!(check(pairs, arguments), expect, "{pairs:?} {arguments}");
        }
    }

    #[test]
    fn a_tool_with_forbidden_annotations_leaves_the_list_alone() {
        let tools = br#"[ {"name":"good","inputSchema":{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}},
            {"name":"bad","inputSchema":{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}}, {"name":"plain","x":1} ]"#;
        let listed = read_tools(tools).unwrap();
        let names: Vec<_> = listed.iter().map(|tool| (tool.name.as_str(), tool.headers.is_ok())).collect();
        assert_eq!(names, [("good", true), ("bad", false), ("plain", true)]);
        let kept = without_rejected(tools, &listed).unwrap();
        assert!(kept.ends_with(br#"}}},{"name":"plain","x":1}]"#) && !kept.windows(3).any(|w| w == b"bad"));
        assert_eq!(without_rejected(b"[]", &read_tools(b"[]").unwrap()), None);
    }
}
