//! Headers that people have sent along: written in flags or in a configuration.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Headers that belong to the connection or the protocol; setting them would break it.
const NOT_SETTABLE: [HeaderName; 6] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
];

/// Why texts are no headers. Values are not shown.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotHeaders {
    #[error("a header is written Name=Value; there is no '=' in {0:?}")]
    NoValue(String),
    #[error("{0:?} is not a header name")]
    Name(String),
    #[error("header {0} is set by skep itself")]
    Ours(HeaderName),
    #[error("the value of header {0} has characters that no header can carry")]
    Value(HeaderName),
}

/// Reads `Name=Value` texts. Values are kept out of logs and errors.
///
/// # Errors
/// A text without `=`, a name or value that no header can have, a header that is skep's to set.
pub fn parse(texts: &[String]) -> Result<HeaderMap, NotHeaders> {
    let pairs = texts.iter().map(|text| pair(text));
    of(pairs.collect::<Result<Vec<_>, _>>()?)
}

/// Splits a `Name=Value` text.
///
/// # Errors
/// There is no `=`.
pub fn pair(text: &str) -> Result<(&str, &str), NotHeaders> {
    text.split_once('=')
        .map(|(name, value)| (name.trim(), value.trim()))
        .ok_or_else(|| NotHeaders::NoValue(shortened(text)))
}

/// Makes headers of names and values.
///
/// # Errors
/// As [`parse`].
pub fn of<N: AsRef<str>, V: AsRef<str>>(
    pairs: impl IntoIterator<Item = (N, V)>,
) -> Result<HeaderMap, NotHeaders> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = name.as_ref();
        let name: HeaderName = name.parse().map_err(|_| NotHeaders::Name(name.to_owned()))?;
        if NOT_SETTABLE.contains(&name) || name.as_str().starts_with("mcp-") {
            return Err(NotHeaders::Ours(name));
        }
        let mut value = HeaderValue::from_str(value.as_ref()).map_err(|_| NotHeaders::Value(name.clone()))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

/// The text may be a token that was pasted in the wrong place.
fn shortened(text: &str) -> String {
    text.chars().take(4).collect::<String>() + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_checked_and_values_not_shown() {
        let read = parse(&["Authorization=Bearer a=b".into(), "x-a = 1".into()]).unwrap();
        assert_eq!(read[header::AUTHORIZATION], "Bearer a=b");
        assert_eq!(read["x-a"], "1");
        for (text, part) in [
            ("sk-123456", "there is no '='"),
            ("a b=1", "not a header name"),
            ("x=a\nb", "no header can carry"),
            ("Host=evil", "set by skep itself"),
            ("Mcp-Session-Id=1", "set by skep itself"),
        ] {
            let error = parse(&[text.into()]).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("123456"), "{error}");
        }
    }
}
