//! A shell pattern for one part of a path: `*`, `?`, `[a-z]`, `[^a-z]`, and `\` before a character that is meant.

/// A pattern.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Vec<Token>);

#[derive(Clone, Debug)]
enum Token {
    Star,
    /// One character in one of the ranges; or in none, where they are excluded.
    OneOf {
        ranges: Vec<(char, char)>,
        excluded: bool,
    },
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut rest = text.chars();
        let mut tokens = Vec::new();
        while let Some(c) = rest.next() {
            tokens.push(match c {
                '*' => Token::Star,
                '?' => Token::OneOf { ranges: Vec::new(), excluded: true },
                '[' => class(&mut rest)?,
                '\\' => only(rest.next().ok_or("ends with a \\: write the character it is for")?),
                c => only(c),
            });
        }
        Ok(Self(tokens))
    }

    /// Whether a whole name fits.
    pub(super) fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut token, mut at) = (0, 0);
        // Where to go on if this does not lead to the end: the last star takes one more character.
        let mut retry = None;
        loop {
            match (self.0.get(token), name.get(at)) {
                (Some(Token::Star), _) => {
                    retry = Some((token + 1, at + 1));
                    token += 1;
                }
                (Some(one), Some(c)) if one.fits(*c) => (token, at) = (token + 1, at + 1),
                (None, None) => return true,
                _ => match retry {
                    Some((after_star, next)) if next <= name.len() => {
                        (token, at) = (after_star, next);
                        retry = Some((after_star, next + 1));
                    }
                    _ => return false,
                },
            }
        }
    }
}

impl Token {
    fn fits(&self, c: char) -> bool {
        match self {
            Self::Star => false,
            Self::OneOf { ranges, excluded } => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&c)) != *excluded
            }
        }
    }
}

fn only(c: char) -> Token {
    Token::OneOf { ranges: vec![(c, c)], excluded: false }
}

/// What is after a `[`.
fn class(rest: &mut std::str::Chars<'_>) -> Result<Token, &'static str> {
    const OPEN: &str = "has a [ that is not closed, or nothing in it: write [abc] or [a-z]";
    let excluded = rest.as_str().starts_with('^');
    if excluded {
        rest.next();
    }
    let mut ranges = Vec::new();
    loop {
        let first = match rest.next().ok_or(OPEN)? {
            ']' if ranges.is_empty() => return Err(OPEN),
            ']' => return Ok(Token::OneOf { ranges, excluded }),
            '\\' => rest.next().ok_or(OPEN)?,
            c => c,
        };
        let mut last = first;
        if rest.as_str().starts_with('-') {
            rest.next();
            last = match rest.next().ok_or(OPEN)? {
                '\\' => rest.next().ok_or(OPEN)?,
                ']' => return Err(OPEN),
                c => c,
            };
        }
        if last < first {
            return Err("has a range that ends before it begins: write [a-z]");
        }
        ranges.push((first, last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_fit_patterns() {
        for (pattern, name, fits) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("", "", true),
            ("*", "", true),
            ("*", ".hidden", true),
            ("*.key", "a.key", true),
            ("*.key", "a.key.bak", false),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1b2b3", false),
            ("**", "abc", true),
            ("?", "é", true),
            ("?", "", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[\\]]", "]", true),
            ("[a\\-c]", "-", true),
            ("[!a]", "b", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(name), fits, "{pattern} {name}");
        }
        for pattern in ["[", "[]", "[a", "[a-", "[a-]", "[^", "[^]", "[b-a]", "a\\"] {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
    }

    /// The definition, which takes long where there are many stars.
    fn fits(pattern: &[char], name: &[char]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => fits(rest, name) || !name.is_empty() && fits(pattern, &name[1..]),
            (Some(('?', rest)), Some((_, tail))) => fits(rest, tail),
            (Some((c, rest)), Some((d, tail))) => c == d && fits(rest, tail),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_is_what_the_definition_says(pattern in "[ab*?]{0,8}", name in "[ab]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let expect = fits(&chars(&pattern), &chars(&name));
            prop_assert_eq!(Pattern::parse(&pattern).unwrap().matches(&name), expect);
        }

        #[test]
        fn no_pattern_takes_long(pattern in "(\\*a){20,30}b", name in "a{40}") {
            prop_assert!(!Pattern::parse(&pattern).unwrap().matches(&name));
        }
    }
}
