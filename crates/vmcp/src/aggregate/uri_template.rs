//! Which URIs a template could have been expanded to (RFC 6570).
//!
//! This says whom to ask, and not what the variables are: the backend finds that out. So it is generous within an
//! expression, whose values may hold whatever does not end it, and exact about what stands between expressions.

/// The longest URI that is compared; its length times that of the template is what comparing costs at most.
const MAX_BYTES: usize = 4 * 1024;
/// Expressions that a template may have.
const MAX_EXPRESSIONS: usize = 32;

/// A template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UriTemplate {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// What it begins with, if there is anything of it; and the bytes that do not stand in it.
    Expression {
        first: Option<u8>,
        ends: &'static [u8],
    },
}

impl UriTemplate {
    /// `None` for what is no template, or a very long one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_BYTES {
            return None;
        }
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((literal, behind)) = rest.split_once('{') {
            if parts.len() >= 2 * MAX_EXPRESSIONS {
                return None;
            }
            let (inside, behind) = behind.split_once('}')?;
            parts.push(literal_part(literal)?);
            parts.push(expression(inside)?);
            rest = behind;
        }
        parts.push(literal_part(rest)?);
        Some(Self { parts })
    }

    /// Whether a URI could be an expansion.
    pub(super) fn fits(&self, uri: &str) -> bool {
        let uri = uri.as_bytes();
        if uri.len() > MAX_BYTES {
            return false;
        }
        // Where in the URI the parts so far can have ended, in order.
        let mut ends = vec![0];
        for part in &self.parts {
            ends = part.ends_after(uri, &ends);
            if ends.is_empty() {
                return false;
            }
        }
        ends.last() == Some(&uri.len())
    }
}

impl Part {
    fn ends_after(&self, uri: &[u8], starts: &[usize]) -> Vec<usize> {
        match self {
            Self::Literal(literal) => {
                let fitting = starts.iter().filter(|start| uri[**start..].starts_with(literal.as_bytes()));
                fitting.map(|start| start + literal.len()).collect()
            }
            Self::Expression { first, ends } => {
                let mut reached = vec![false; uri.len() + 1];
                for start in starts {
                    reached[*start] = true;
                    let from = match first {
                        Some(first) if uri.get(*start) == Some(first) => start + 1,
                        Some(_) => continue,
                        None => *start,
                    };
                    let mut at = from;
                    // What was reached from an earlier start was walked on from there.
                    while at < uri.len() && !ends.contains(&uri[at]) && !(at > from && reached[at]) {
                        reached[at] = true;
                        at += 1;
                    }
                    reached[at] = true;
                }
                (0..=uri.len()).filter(|at| reached[*at]).collect()
            }
        }
    }
}

fn literal_part(text: &str) -> Option<Part> {
    (!text.contains('}')).then(|| Part::Literal(text.to_owned()))
}

fn expression(inside: &str) -> Option<Part> {
    let (first, ends, names): (_, &[u8], _) = match inside.as_bytes().first()? {
        b'+' => (None, b"", &inside[1..]),
        b'#' => (Some(b'#'), b"", &inside[1..]),
        b'.' => (Some(b'.'), b"/?#", &inside[1..]),
        b'/' => (Some(b'/'), b"?#", &inside[1..]),
        b';' => (Some(b';'), b"/?#", &inside[1..]),
        b'?' => (Some(b'?'), b"#", &inside[1..]),
        b'&' => (Some(b'&'), b"#", &inside[1..]),
        _ => (None, b"/?#", inside),
    };
    names.split(',').all(is_variable).then_some(Part::Expression { first, ends })
}

/// A name, perhaps with a length or a star behind it.
fn is_variable(text: &str) -> bool {
    let name = text.strip_suffix('*').unwrap_or(text);
    let name = match name.split_once(':') {
        Some((name, length)) if length.parse::<u16>().is_ok() => name,
        Some(_) => return false,
        None => name,
    };
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.%-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_uri_fits_its_template() {
        for (template, uri, expect) in [
            ("file:///{path}", "file:///a", true),
            ("file:///{path}", "file:///a/b", false),
            ("file:///{+path}", "file:///a/b?c#d", true),
            ("file:///{path}", "http:///a", false),
            ("file://{/path*}", "file:///a/b", true),
            ("file://{/path*}", "file://", true),
            ("a://{x}/b/{y}.txt", "a://1/b/2.txt", true),
            ("a://{x}/b/{y}.txt", "a://1/c/2.txt", false),
            ("a://{x}.txt", "a://one.txt.txt", true),
            ("a://{x}/b", "a://1/b", true),
            ("a://{x}/b", "a://1/bc", false),
            ("a://b", "a://b", true),
            ("a://b", "a://bc", false),
            ("a://b{?q,r}", "a://b?q=1&r=2", true),
            ("a://b{?q,r}", "a://b", true),
            ("a://b{?q,r}", "a://b/q=1", false),
            ("a://b?x=1{&q}", "a://b?x=1&q=2", true),
            ("a://b{#f}", "a://b#x/y", true),
            ("a://b{.ext}", "a://b.json", true),
            ("a://b{.ext}", "a://bjson", false),
            ("a://{x,y}", "a://1,2", true),
            ("a://{x:3}/{y}", "a://abc/d", true),
            ("{x}", "anything", true),
        ] {
            let parsed = UriTemplate::parse(template).expect("a template");
            assert_eq!(parsed.fits(uri), expect, "{template} {uri}");
        }
    }

    #[test]
    fn what_is_no_template_is_none() {
        for text in ["a{broken", "a}b", "{}", "{+}", "{a b}", "{x:y}", "{a,}", "{{a}}"] {
            assert_eq!(UriTemplate::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_longest_texts_are_compared_at_once() {
        let template = UriTemplate::parse(&"{+a}x".repeat(MAX_EXPRESSIONS)).expect("a template");
        assert!(template.fits("xy".repeat(MAX_BYTES / 2 - 1).trim_end_matches('y')));
        assert!(!template.fits(&"xy".repeat(MAX_BYTES / 2)));
        assert!(!template.fits(&"x".repeat(MAX_BYTES + 1)));
        assert_eq!(UriTemplate::parse(&"{a}".repeat(MAX_EXPRESSIONS + 1)), None);
    }

    proptest! {
        #[test]
        fn an_expansion_fits(parts in prop::collection::vec(("[a-z/:]{0,4}", "[a-z0-9%.-]{0,5}"), 0..6)) {
            let (mut template, mut uri) = (String::new(), String::new());
            for (literal, value) in &parts {
                template.push_str(&format!("{literal}{{v}}"));
                uri.push_str(&format!("{literal}{value}"));
            }
            let parsed = UriTemplate::parse(&template).expect("a template");
            prop_assert!(parsed.fits(&uri), "{template} {uri}");
        }
    }
}
