//! A name as DNS has it, in the one form in which names are compared.

use std::fmt;
use std::sync::Arc;

/// The longest name, without the final dot.
const LONGEST: usize = 253;

/// Lower-case letters, digits, `-` and `_` in labels between dots; no dot at the end. Other scripts are there as
/// punycode. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(Arc<str>);

impl HostName {
    /// Takes a name in any case, with or without its final dot. What could be read as an address is no name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let is_name = text.len() <= LONGEST && text.split('.').all(is_label) && !ends_in_a_number(text);
        is_name.then(|| Self(text.to_ascii_lowercase().into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name itself, then without its first label, and so on.
    pub(super) fn with_parents(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(self.as_str()), |name| name.split_once('.').map(|(_, parent)| parent))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_label(label: &str) -> bool {
    let fits = (1..=63).contains(&label.len());
    fits && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// Parsers of addresses take `10.1`, `0x7f.1` and the like.
fn ends_in_a_number(text: &str) -> bool {
    let last = text.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    last.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_what_is_none() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(HostName::parse(text).as_ref().map(HostName::as_str), expect, "{text:?}");
        };
        check("Example.COM", Some("example.com"));
        check("example.com.", Some("example.com"));
        check("_dmarc.a-b.xn--bcher-kva.example", Some("_dmarc.a-b.xn--bcher-kva.example"));
        check("localhost", Some("localhost"));
        for text in ["", ".", "a..b", ".a", "a..", "bücher.example", "a b", "a/b", "a:1", "*", "a\0b"] {
            check(text, None);
        }
        for text in ["10.0.0.1", "0x7f.1", "a.0X7F", "1", "example.127"] {
            check(text, None);
        }
        check(&"a".repeat(64), None);
        check(&["a".repeat(63).as_str(); 4].join("."), None);
    }
}
