//! Constants in templates: numbers, characters and quoted texts, read as Go reads them.

use super::data::{Data, Number};

/// A number or character constant.
#[derive(Debug, PartialEq)]
pub(super) enum BadLiteral {
    Syntax,
    /// It is no 64 bit integer.
    Overflow,
    /// Imaginary numbers have no meaning over JSON.
    Imaginary,
    /// Bytes that are no text.
    NotUtf8,
}

/// What a number in a template is: an integer, unless it has a point or an exponent.
pub(super) fn number(text: &str) -> Result<Data, BadLiteral> {
    let unsigned = text.trim_start_matches(['+', '-']);
    let is_negative = text.starts_with('-');
    if unsigned.ends_with('i') {
        return Err(BadLiteral::Imaginary);
    }
    let prefix = unsigned.get(..2).unwrap_or_default();
    let is_hex = matches!(prefix, "0x" | "0X");
    if is_hex && unsigned.contains(['p', 'P']) {
        return hex_float(unsigned).map(|value| float(is_negative, value));
    }
    if !is_hex && unsigned.contains(['.', 'e', 'E']) {
        return decimal_float(unsigned).map(|value| float(is_negative, value));
    }
    integer(unsigned, is_negative)
}

fn float(is_negative: bool, value: f64) -> Data {
    Data::Number(Number::Float(if is_negative { -value } else { value }))
}

fn integer(unsigned: &str, is_negative: bool) -> Result<Data, BadLiteral> {
    let (radix, digits) = match unsigned.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &unsigned[2..]),
        [b'0', b'o' | b'O', ..] => (8, &unsigned[2..]),
        [b'0', b'b' | b'B', ..] => (2, &unsigned[2..]),
        [b'0', _, ..] => (8, &unsigned[1..]),
        [b'_', ..] => return Err(BadLiteral::Syntax),
        _ => (10, unsigned),
    };
    let digits = without_underscores(digits)?;
    let signed = if is_negative { format!("-{digits}") } else { digits };
    i64::from_str_radix(&signed, radix).map(Data::Int).map_err(|error| match error.kind() {
        std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => BadLiteral::Overflow,
        _ => BadLiteral::Syntax,
    })
}

/// Digits without the single underscores between them.
fn without_underscores(digits: &str) -> Result<String, BadLiteral> {
    let misplaced = digits.contains("__") || digits.ends_with('_');
    if misplaced { Err(BadLiteral::Syntax) } else { Ok(digits.replace('_', "")) }
}

fn decimal_float(unsigned: &str) -> Result<f64, BadLiteral> {
    let is_between_digits = |at: usize| {
        let digit =
            |at: Option<usize>| at.and_then(|at| unsigned.as_bytes().get(at)).is_some_and(u8::is_ascii_digit);
        digit(at.checked_sub(1)) && digit(Some(at + 1))
    };
    if !unsigned.match_indices('_').all(|(at, _)| is_between_digits(at)) {
        return Err(BadLiteral::Syntax);
    }
    let value: f64 = unsigned.replace('_', "").parse().map_err(|_| BadLiteral::Syntax)?;
    if value.is_finite() { Ok(value) } else { Err(BadLiteral::Overflow) }
}

fn hex_float(unsigned: &str) -> Result<f64, BadLiteral> {
    let (mantissa, exponent) = unsigned[2..].split_once(['p', 'P']).ok_or(BadLiteral::Syntax)?;
    let exponent: i32 = exponent.parse().map_err(|_| BadLiteral::Syntax)?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let whole = without_underscores(whole)?;
    let digits = whole + fraction;
    // Thirteen digits are what a float holds; more would be rounded twice.
    if digits.is_empty() || digits.trim_start_matches('0').len() > 13 || exponent.abs() > 2000 {
        return Err(BadLiteral::Syntax);
    }
    let mantissa = u64::from_str_radix(&digits, 16).map_err(|_| BadLiteral::Syntax)?;
    let scale = exponent - 4 * i32::try_from(fraction.len()).map_err(|_| BadLiteral::Syntax)?;
    // In two halves, since 2^scale may be out of range where the product is not.
    let half = scale / 2;
    let value = mantissa as f64 * 2f64.powi(half) * 2f64.powi(scale - half);
    if value.is_finite() { Ok(value) } else { Err(BadLiteral::Overflow) }
}

/// What stands between single quotes, as an integer.
pub(super) fn character(quoted: &str) -> Result<Data, BadLiteral> {
    let inner = inside(quoted)?;
    let mut unquoted = Vec::new();
    let rest = unquote_one(inner, '\'', &mut unquoted)?;
    let value = match unquoted.as_slice() {
        [] => return Err(BadLiteral::Syntax),
        // A byte that was escaped is a number of its own.
        [byte] => u32::from(*byte),
        bytes => std::str::from_utf8(bytes).ok().and_then(|text| text.chars().next()).map_or(0, u32::from),
    };
    if rest.is_empty() { Ok(Data::Int(i64::from(value))) } else { Err(BadLiteral::Syntax) }
}

/// What stands between double quotes.
pub(super) fn quoted(quoted: &str) -> Result<String, BadLiteral> {
    let mut rest = inside(quoted)?;
    if !rest.contains('\\') {
        return Ok(rest.to_owned());
    }
    let mut unquoted = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        rest = unquote_one(rest, '"', &mut unquoted)?;
    }
    String::from_utf8(unquoted).map_err(|_| BadLiteral::NotUtf8)
}

/// What stands between backquotes; carriage returns do not count.
pub(super) fn raw(quoted: &str) -> String {
    inside(quoted).unwrap_or_default().replace('\r', "")
}

fn inside(quoted: &str) -> Result<&str, BadLiteral> {
    quoted.len().checked_sub(1).and_then(|end| quoted.get(1..end)).ok_or(BadLiteral::Syntax)
}

/// Takes one character or escape and returns the rest.
fn unquote_one<'t>(text: &'t str, quote: char, to: &mut Vec<u8>) -> Result<&'t str, BadLiteral> {
    let mut characters = text.chars();
    let first = characters.next().ok_or(BadLiteral::Syntax)?;
    if first != '\\' {
        if first == quote {
            return Err(BadLiteral::Syntax);
        }
        to.extend_from_slice(first.encode_utf8(&mut [0; 4]).as_bytes());
        return Ok(characters.as_str());
    }
    let escape = characters.next().ok_or(BadLiteral::Syntax)?;
    let simple = match escape {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' => b'\\',
        '\'' | '"' if escape == quote => quote as u8,
        _ => return unquote_coded(escape, characters.as_str(), to),
    };
    to.push(simple);
    Ok(characters.as_str())
}

fn unquote_coded<'t>(escape: char, rest: &'t str, to: &mut Vec<u8>) -> Result<&'t str, BadLiteral> {
    let (length, radix, offset) = match escape {
        'x' => (2, 16, 0),
        'u' => (4, 16, 0),
        'U' => (8, 16, 0),
        '0'..='7' => (2, 8, escape as u32 - '0' as u32),
        _ => return Err(BadLiteral::Syntax),
    };
    let digits = rest.get(..length).ok_or(BadLiteral::Syntax)?;
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(BadLiteral::Syntax);
    }
    let mut value = u32::from_str_radix(digits, radix).map_err(|_| BadLiteral::Syntax)?;
    if radix == 8 {
        value += offset * 64;
    }
    if matches!(escape, 'u' | 'U') {
        let character = char::from_u32(value).ok_or(BadLiteral::Syntax)?;
        to.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        to.push(u8::try_from(value).map_err(|_| BadLiteral::Syntax)?);
    }
    Ok(&rest[length..])
}
