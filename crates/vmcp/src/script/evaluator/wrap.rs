//! A script as the body of a function, so that `return` gives its result. Texts that go over lines stay as they are, so
//! lines are moved to the right only where one begins outside of a text.

/// Where the reader of a script is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Code,
    Comment,
    /// In a text: its quote, whether that stands there three times, and whether backslashes are nothing special.
    Text {
        quote: char,
        is_long: bool,
    },
}

/// A function with this body, and its call.
pub(super) fn wrapped(script: &str) -> String {
    let mut out = String::with_capacity(script.len() + script.len() / 8 + 64);
    out.push_str("def __script():\n");
    let mut at = At::Code;
    let mut is_new_line = true;
    let mut chars = script.chars().filter(|char| *char != '\r').peekable();
    while let Some(char) = chars.next() {
        if is_new_line && at == At::Code {
            if char == '\t' {
                out.push_str("    ");
                continue;
            }
            if char != ' ' && char != '\n' {
                out.push_str("    ");
                is_new_line = false;
            }
        }
        out.push(char);
        match (at, char) {
            (At::Code, '#') => at = At::Comment,
            (At::Code, '"' | '\'') => {
                let mut ahead = chars.clone();
                let is_long = ahead.next() == Some(char) && ahead.next() == Some(char);
                if is_long {
                    out.extend([char, char]);
                    chars = ahead;
                }
                at = At::Text { quote: char, is_long };
            }
            (At::Text { .. }, '\\') => out.extend(chars.next()),
            (At::Text { quote, is_long: false }, _) if char == quote => at = At::Code,
            (At::Text { quote, is_long: true }, _) if char == quote => {
                let mut ahead = chars.clone();
                if ahead.next() == Some(quote) && ahead.next() == Some(quote) {
                    out.extend([quote, quote]);
                    chars = ahead;
                    at = At::Code;
                }
            }
            // A text that does not end is the parser's to refuse.
            (At::Comment | At::Text { is_long: false, .. }, '\n') => at = At::Code,
            _ => {}
        }
        if char == '\n' {
            is_new_line = true;
        }
    }
    // There may be nothing but comments.
    out.push_str("\n    pass\n__script()\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_moved_and_texts_are_not() {
        for (script, expect) in [
            ("return 1", "    return 1"),
            ("a = 1\nif a:\n  return 2\n", "    a = 1\n    if a:\n      return 2\n"),
            ("if 1:\n\treturn 2", "    if 1:\n        return 2"),
            ("a = '''x\n  y\nz'''\nreturn a", "    a = '''x\n  y\nz'''\n    return a"),
            ("a = \"\"\"\n\"\"\"\nb = ''\nc", "    a = \"\"\"\n\"\"\"\n    b = ''\n    c"),
            ("a = 'it\\'s' # it's\nb", "    a = 'it\\'s' # it's\n    b"),
            ("a = r'\\'\nb", "    a = r'\\'\n    b"),
            ("\r\n# only this", "\n    # only this"),
        ] {
            let found = wrapped(script);
            let body = found
                .strip_prefix("def __script():\n")
                .and_then(|rest| rest.strip_suffix("\n    pass\n__script()\n"));
            assert_eq!(body, Some(expect), "{script:?}");
        }
    }
}
