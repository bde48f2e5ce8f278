//! Headers given on the command line.

use anyhow::{Context, bail};
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

/// Reads `Name=Value` texts. Values are kept out of logs and errors.
///
/// # Errors
/// A text without `=`, a name or value that no header can have, a header that is skep's to set.
pub(crate) fn parse(texts: &[String]) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for text in texts {
        let Some((name, value)) = text.split_once('=') else {
            bail!("a header is written Name=Value; there is no '=' in {:?}", shortened(text));
        };
        let name: HeaderName =
            name.trim().parse().with_context(|| format!("{name:?} is not a header name"))?;
        if NOT_SETTABLE.contains(&name) || name.as_str().starts_with("mcp-") {
            bail!("header {name} is set by skep itself");
        }
        let mut value = HeaderValue::from_str(value.trim())
            .with_context(|| format!("the value of header {name} has characters that no header can carry"))?;
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
            let error = format!("{:#}", parse(&[text.into()]).unwrap_err());
            assert!(error.contains(part) && !error.contains("123456"), "{error}");
        }
    }
}
