//! From the texts that templates make to the types that schemas ask for. What has no way there stays as it was.

use super::template::{Data, Number};

/// A text as an integer, in base ten.
pub(super) fn integer(text: &str) -> Option<Data> {
    text.parse::<i64>().ok().map(|value| Data::Number(Number::Int(value)))
}

/// A text as a number.
pub(super) fn number(text: &str) -> Option<Data> {
    let looks_like_one = text.bytes().any(|byte| byte.is_ascii_digit());
    let value = text.parse::<f64>().ok().filter(|value| looks_like_one && value.is_finite())?;
    Some(integer(text).unwrap_or(Data::Number(Number::Float(value))))
}

/// A text as a boolean, in one of Go's spellings.
pub(super) fn boolean(text: &str) -> Option<Data> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(Data::Bool(true)),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(Data::Bool(false)),
        _ => None,
    }
}
