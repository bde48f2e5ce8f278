//! Texts for other languages: HTML, JavaScript, queries in URLs, JSON.

use super::data::{Data, Number};
use super::float;
use super::limits::{Bounded, Exceeded};
use super::quote::is_printable;
use super::value::Value;

/// For HTML, in texts and attributes.
pub(super) fn html(out: &mut Bounded, text: &str) -> Result<(), Exceeded> {
    escape(out, text, |character| {
        Some(match character {
            '\0' => "\u{fffd}",
            '"' => "&#34;",
            '\'' => "&#39;",
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            _ => return None,
        })
    })
}

/// Writes what stays as it is in one piece, and what does not as it is to be.
fn escape(
    out: &mut Bounded,
    text: &str,
    replace: impl Fn(char) -> Option<&'static str>,
) -> Result<(), Exceeded> {
    let mut written = 0;
    for (at, character) in text.char_indices() {
        if let Some(replacement) = replace(character) {
            out.push_str(&text[written..at])?;
            out.push_str(replacement)?;
            written = at + character.len_utf8();
        }
    }
    out.push_str(&text[written..])
}

/// For a JavaScript text between quotes.
pub(super) fn js(out: &mut Bounded, text: &str) -> Result<(), Exceeded> {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\")?,
            '\'' => out.push_str("\\'")?,
            '"' => out.push_str("\\\"")?,
            '<' => out.push_str("\\u003C")?,
            '>' => out.push_str("\\u003E")?,
            '&' => out.push_str("\\u0026")?,
            '=' => out.push_str("\\u003D")?,
            '\u{7f}' => out.push(character)?,
            _ if is_printable(character) => out.push(character)?,
            _ => out.push_str(&format!("\\u{:04X}", u32::from(character)))?,
        }
    }
    Ok(())
}

/// For the query of a URL.
pub(super) fn url_query(out: &mut Bounded, text: &str) -> Result<(), Exceeded> {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte))?
            }
            b' ' => out.push('+')?,
            _ => out.push_str(&format!("%{byte:02X}"))?,
        }
    }
    Ok(())
}

/// A value as JSON, compact, names sorted, safe to stand in HTML.
pub(super) fn json_of(out: &mut Bounded, value: &Value<'_>) -> Result<(), Exceeded> {
    match value {
        Value::Missing => out.push_str("null"),
        Value::Byte(byte) => out.push_str(&byte.to_string()),
        Value::Lent(data) => json(out, data, 0),
        Value::Own(data) => json(out, data, 0),
    }
}

fn json(out: &mut Bounded, data: &Data, depth: usize) -> Result<(), Exceeded> {
    out.check_depth(depth)?;
    match data {
        Data::Null => out.push_str("null"),
        Data::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Data::Int(value) | Data::Number(Number::Int(value)) => out.push_str(&value.to_string()),
        Data::Number(Number::Uint(value)) => out.push_str(&value.to_string()),
        Data::Number(Number::Float(value)) => out.push_str(&json_float(*value)),
        Data::Text(text) => json_text(out, text),
        Data::List(values) => {
            out.push('[')?;
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(',')?;
                }
                json(out, value, depth + 1)?;
            }
            out.push(']')
        }
        Data::Map(members) => {
            out.push('{')?;
            for (index, (name, value)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(',')?;
                }
                json_text(out, name)?;
                out.push(':')?;
                json(out, value, depth + 1)?;
            }
            out.push('}')
        }
    }
}

fn json_text(out: &mut Bounded, text: &str) -> Result<(), Exceeded> {
    out.push('"')?;
    let mut written = 0;
    for (at, character) in text.char_indices() {
        let is_plain =
            !matches!(character, '"' | '\\' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | ..='\u{1f}');
        if is_plain {
            continue;
        }
        out.push_str(&text[written..at])?;
        written = at + character.len_utf8();
        match character {
            '"' => out.push_str("\\\"")?,
            '\\' => out.push_str("\\\\")?,
            '\n' => out.push_str("\\n")?,
            '\r' => out.push_str("\\r")?,
            '\t' => out.push_str("\\t")?,
            '\u{8}' => out.push_str("\\b")?,
            '\u{c}' => out.push_str("\\f")?,
            _ => out.push_str(&format!("\\u{:04x}", u32::from(character)))?,
        }
    }
    out.push_str(&text[written..])?;
    out.push('"')
}

/// The shortest digits, and an exponent where Go's encoder has one.
fn json_float(value: f64) -> String {
    if !value.is_finite() {
        // No JSON text holds one, and nothing here makes one.
        return "null".to_owned();
    }
    let size = value.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return float::format(value, 'f', None);
    }
    let text = float::format(value, 'e', None);
    text.replace("e-0", "e-")
}
