//! Texts and characters as Go writes them in programs.

use std::fmt::Write as _;

/// Whether Go would show a character as it is: letters, marks, numbers, punctuation, symbols and the space.
pub(super) fn is_printable(character: char) -> bool {
    if character.is_ascii() {
        return (' '..='~').contains(&character);
    }
    // The standard library shows what is printable as it is, and marks too unless they are the first.
    let mut buffer = [b'a', 0, 0, 0, 0];
    let length = character.encode_utf8(&mut buffer[1..]).len();
    let text = std::str::from_utf8(&buffer[..=length]).unwrap_or("a");
    !text.escape_debug().any(|shown| shown == '\\')
}

/// A text in double quotes.
pub(super) fn quote_text(text: &str, ascii_only: bool) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    text.chars().for_each(|character| push_quoted(&mut quoted, character, '"', ascii_only));
    quoted.push('"');
    quoted
}

/// A character in single quotes.
pub(super) fn quote_char(character: char, ascii_only: bool) -> String {
    let mut quoted = String::from('\'');
    push_quoted(&mut quoted, character, '\'', ascii_only);
    quoted.push('\'');
    quoted
}

fn push_quoted(to: &mut String, character: char, quote: char, ascii_only: bool) {
    match character {
        '\\' => to.push_str("\\\\"),
        _ if character == quote => to.extend(['\\', quote]),
        '\u{7}' => to.push_str("\\a"),
        '\u{8}' => to.push_str("\\b"),
        '\u{c}' => to.push_str("\\f"),
        '\n' => to.push_str("\\n"),
        '\r' => to.push_str("\\r"),
        '\t' => to.push_str("\\t"),
        '\u{b}' => to.push_str("\\v"),
        _ if is_printable(character) && (!ascii_only || character.is_ascii()) => to.push(character),
        _ => {
            let code = u32::from(character);
            // Writing to a text cannot fail.
            let _ = match code {
                0..=0x7f => write!(to, "\\x{code:02x}"),
                0x80..=0xffff => write!(to, "\\u{code:04x}"),
                _ => write!(to, "\\U{code:08x}"),
            };
        }
    }
}
