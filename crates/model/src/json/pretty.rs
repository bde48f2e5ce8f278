//! JSON with two spaces of indentation, every token to the letter.

/// Indents a valid JSON text and ends it with a newline.
pub(super) fn indented(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0;
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let token = &rest[..token_length(rest, first)];
        rest = rest[token.len()..].trim_start();
        match first {
            '{' | '[' if rest.starts_with(['}', ']']) => {
                out.push(first);
                out.extend(rest.chars().next());
                rest = rest[1..].trim_start();
            }
            '{' | '[' => {
                depth += 1;
                out.push(first);
                new_line(&mut out, depth);
            }
            '}' | ']' => {
                depth -= 1;
                new_line(&mut out, depth);
                out.push(first);
            }
            ',' => {
                out.push(first);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => out.push_str(token),
        }
    }
    out.push('\n');
    out
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

/// How long the token is that a text begins with.
fn token_length(text: &str, first: char) -> usize {
    match first {
        '"' => {
            let mut escaped = false;
            let end = text[1..].find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            end.map_or(text.len(), |end| end + 2)
        }
        '{' | '}' | '[' | ']' | ',' | ':' => 1,
        _ => text.find(['{', '}', '[', ']', ',', ':', '"', ' ', '\n', '\r', '\t']).unwrap_or(text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_are_indented_to_the_letter() {
        for (text, expect) in [
            ("{ }", "{}\n"),
            ("{\"a\":[ ],\"b\":1e400}", "{\n  \"a\": [],\n  \"b\": 1e400\n}\n"),
            (
                "[1,\n{\"x\\\"]\\\\\":\t\"a, b: {\"}]",
                "[\n  1,\n  {\n    \"x\\\"]\\\\\": \"a, b: {\"\n  }\n]\n",
            ),
        ] {
            assert_eq!(indented(text), expect);
            assert_eq!(indented(expect), expect);
        }
    }

    proptest! {
        #[test]
        fn what_is_said_stays(texts in proptest::collection::vec(any::<String>(), 0..4), number: i64) {
            let value = serde_json::json!({"texts": texts, "number": number, "deep": [[{"a": texts}]]});
            let same = serde_json::to_string_pretty(&value).unwrap() + "\n";
            prop_assert_eq!(indented(&value.to_string()), same);
        }
    }
}
