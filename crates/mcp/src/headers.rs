//! MCP's HTTP headers: their names, the encoding of values that are not plain ASCII, and the check that a header says
//! what the body says (2026-07-28 "Streamable HTTP", SEP-2243).

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::message::Message;
use crate::method::Target;

/// `Mcp-Session-Id`, legacy era.
pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// `MCP-Protocol-Version`.
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// `Mcp-Method`, mirrors `method`.
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// `Mcp-Name`, mirrors `params.name`, `params.uri` or `params.taskId`.
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// `Last-Event-ID`, on GET.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Headers of this prefix mirror tool arguments.
pub const PARAM_PREFIX: &str = "mcp-param-";

const ENCODED_PREFIX: &str = "=?base64?";
const ENCODED_SUFFIX: &str = "?=";

/// How a header fails to say what the body says (-32020).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderProblem {
    #[error("header {header} is required")]
    Missing { header: &'static str },
    #[error("header {header} is given more than once")]
    Repeated { header: String },
    #[error("header {header} is malformed")]
    Malformed { header: &'static str },
    #[error("header {header} differs from the body")]
    Differs { header: &'static str },
}

/// The one value of a header, surrounding white space removed; `None` where it is absent.
///
/// # Errors
/// [`HeaderProblem::Repeated`] where there are several: which of them counts would be anybody's guess.
pub fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, HeaderProblem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(HeaderProblem::Repeated { header: name.to_string() });
    }
    // A value with bytes outside visible ASCII equals nothing that we look for.
    Ok(Some(value.to_str().unwrap_or("\u{fffd}").trim()))
}

/// The meaning of a header value: `=?base64?…?=` is decoded, everything else is literal.
///
/// # Errors
/// [`HeaderProblem::Malformed`] where the frame is there and its content is not base64 of UTF-8.
pub fn decode_value<'a>(header: &'static str, value: &'a str) -> Result<Cow<'a, str>, HeaderProblem> {
    let framed = value.strip_prefix(ENCODED_PREFIX).and_then(|rest| rest.strip_suffix(ENCODED_SUFFIX));
    let Some(encoded) = framed else {
        return Ok(Cow::Borrowed(value));
    };
    let bytes = STANDARD.decode(encoded).map_err(|_| HeaderProblem::Malformed { header })?;
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| HeaderProblem::Malformed { header })
}

/// A header value that means `text`: literal where that is safe, else framed base64.
#[must_use]
pub fn encode_value(text: &str) -> HeaderValue {
    let plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        && text.trim() == text
        && !(text.starts_with(ENCODED_PREFIX) && text.ends_with(ENCODED_SUFFIX));
    let value = if plain {
        HeaderValue::from_str(text)
    } else {
        HeaderValue::from_str(&format!("{ENCODED_PREFIX}{}{ENCODED_SUFFIX}", STANDARD.encode(text)))
    };
    value.expect("visible ASCII is a header value")
}

/// Checks `Mcp-Method` and `Mcp-Name` against the body (modern requests).
///
/// # Errors
/// The first [`HeaderProblem`] found.
pub fn check_mirrors(headers: &HeaderMap, message: &Message) -> Result<(), HeaderProblem> {
    let Some(method) = message.method_name() else {
        return Ok(());
    };
    let header = single(headers, &METHOD)?.ok_or(HeaderProblem::Missing { header: "Mcp-Method" })?;
    if header != method {
        return Err(HeaderProblem::Differs { header: "Mcp-Method" });
    }
    if message.method().target() == Target::None {
        return Ok(());
    }
    let Some(target) = message.target() else {
        return Ok(());
    };
    let header = single(headers, &NAME)?.ok_or(HeaderProblem::Missing { header: "Mcp-Name" })?;
    if decode_value("Mcp-Name", header)? != target {
        return Err(HeaderProblem::Differs { header: "Mcp-Name" });
    }
    Ok(())
}

/// Whether a text may stand in `Mcp-Session-Id`: visible ASCII, 0x21 to 0x7E, not empty (2025-03-26 "Session
/// Management").
#[must_use]
pub fn is_session_id(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| (0x21..=0x7e).contains(byte))
}

/// Whether a header belongs to one connection only and is never forwarded (RFC 9110 §7.6.1).
#[must_use]
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    use http::header;
    matches!(
        *name,
        header::CONNECTION
            | header::TE
            | header::TRAILER
            | header::TRANSFER_ENCODING
            | header::UPGRADE
            | header::PROXY_AUTHENTICATE
            | header::PROXY_AUTHORIZATION
    ) || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// The headers that `Connection` names (RFC 9110 §7.6.1); nearly always none.
#[must_use]
pub fn connection_names(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(http::header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).map(str::trim);
    let options = ["close", "keep-alive"];
    let names = names.filter(|name| !options.iter().any(|option| name.eq_ignore_ascii_case(option)));
    names.filter_map(|name| name.parse().ok()).collect()
}

/// Removes what belongs to one connection only, including what `Connection` itself names.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in connection_names(headers) {
        headers.remove(name);
    }
    // Most answers have one of them, if any: looking is cheaper than removing each.
    while let Some(name) = headers.keys().find(|name| is_hop_by_hop(name)).cloned() {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_without_the_exact_frame_are_literal() {
        for (value, meaning) in [
            ("a", Ok("a")),
            ("=?base64?YQ==?=", Ok("a")),
            ("=?BASE64?YQ==?=", Ok("=?BASE64?YQ==?=")),
            ("=?base64?YQ==", Ok("=?base64?YQ==")),
            ("=?base64?w6k=?=", Ok("é")),
            ("=?base64?!!?=", Err(HeaderProblem::Malformed { header: "Mcp-Name" })),
            ("=?base64?/w==?=", Err(HeaderProblem::Malformed { header: "Mcp-Name" })),
        ] {
            assert_eq!(decode_value("Mcp-Name", value), meaning.map(Cow::Borrowed), "{value}");
        }
    }

    #[test]
    fn what_connection_names_goes_too() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("keep-alive", "5"),
            ("x-kept", "1"),
            ("te", "x"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
    }

    #[test]
    fn session_ids_are_visible_ascii() {
        assert!(is_session_id(b"abc~!"));
        for bad in [&b""[..], b"a b", b"a\n", b"\x7f", "é".as_bytes()] {
            assert!(!is_session_id(bad));
        }
    }

    proptest! {
        #[test]
        fn an_encoded_value_means_its_text(text in "\\PC{0,30}") {
            let value = encode_value(&text);
            prop_assert_eq!(decode_value("Mcp-Name", value.to_str().unwrap()).unwrap(), text);
        }
    }
}
