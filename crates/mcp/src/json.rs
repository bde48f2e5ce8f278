//! A strict, single-pass JSON reader that reports where things stand instead of building a tree.
//!
//! It validates the whole text (RFC 8259), refuses an object that names a member twice at any depth, and bounds
//! nesting. Two parsers that disagree about a message are how a policy is bypassed, so what this reader accepts has
//! one meaning only. It never copies a value; the caller keeps [`Span`]s into the original text.
//!
//! Deliberately absent: numbers as values, trees, serialisation (serde_json does that where it is wanted).

use std::borrow::Cow;
use std::collections::HashSet;

/// Nesting beyond this is refused. Real MCP messages (JSON Schemas included) stay far below.
pub const MAX_DEPTH: usize = 128;

/// Up to this many members, duplicates are looked for by comparing; beyond, with a hash set.
const LINEAR_MEMBERS: usize = 24;

/// A byte range of the text that was read. The empty default means "not there".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// A span from byte offsets. The text is shorter than 4 GiB ([`Reader::new`] sees to it).
    #[must_use]
    pub fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && u32::try_from(end).is_ok());
        Self { start: start as u32, end: end as u32 }
    }

    /// Whether the member was there. No JSON value is empty text, so an empty span is "absent".
    #[must_use]
    pub fn is_present(self) -> bool {
        self.end > self.start
    }

    /// The range to index the text with.
    #[must_use]
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The bytes of this span in `text`, or `None` where the member was absent.
    #[must_use]
    pub fn of(self, text: &[u8]) -> Option<&[u8]> {
        self.is_present().then(|| &text[self.range()])
    }
}

/// Why a text is not acceptable JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    #[error("not valid UTF-8")]
    NotUtf8,
    #[error("not valid JSON at byte {at}")]
    Syntax { at: usize },
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("member {name:?} is named twice in one object (second time at byte {at})")]
    DuplicateMember { name: String, at: usize },
    #[error("longer than 4 GiB")]
    TooLong,
}

/// The member name of an object, unescaped only where it has to be.
pub type Name<'a> = Cow<'a, [u8]>;

/// A cursor over one JSON text.
#[derive(Debug)]
pub struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    /// Member names of all objects that are open, innermost last.
    names: Vec<NameSpan>,
}

/// Where a member's name stands, quotes included.
#[derive(Clone, Copy, Debug)]
struct NameSpan {
    span: Span,
    escaped: bool,
}

impl NameSpan {
    /// The name, unescaped. `None` for a lone surrogate.
    fn of(self, text: &[u8]) -> Option<Name<'_>> {
        let quoted = &text[self.span.range()];
        if self.escaped { decode(quoted) } else { Some(Cow::Borrowed(&quoted[1..quoted.len() - 1])) }
    }
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `text`, which must be UTF-8.
    ///
    /// # Errors
    /// [`JsonError::NotUtf8`], [`JsonError::TooLong`].
    pub fn new(text: &'a [u8]) -> Result<Self, JsonError> {
        if u32::try_from(text.len()).is_err() {
            return Err(JsonError::TooLong);
        }
        simdutf8::basic::from_utf8(text).map_err(|_| JsonError::NotUtf8)?;
        Ok(Self { text, at: 0, depth: 0, names: Vec::with_capacity(LINEAR_MEMBERS) })
    }

    /// The first byte of the next value, with white space passed over; `None` at the end of the text.
    pub fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.text.get(self.at).copied()
    }

    /// Requires that nothing but white space follows.
    ///
    /// # Errors
    /// [`JsonError::Syntax`] at the first other byte.
    pub fn finish(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.syntax()),
        }
    }

    /// Reads an object; `member` is called with each name and must consume its value from the reader.
    ///
    /// # Errors
    /// As [`Reader::value`], and whatever `member` returns.
    pub fn object<E: From<JsonError>>(
        &mut self,
        mut member: impl FnMut(&mut Self, &[u8]) -> Result<(), E>,
    ) -> Result<Span, E> {
        let start = self.open(b'{')?;
        let mut seen = Members { base: self.names.len(), many: None };
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                let name = self.name(&mut seen)?;
                member(self, &name)?;
                if self.comma_or(b'}')? {
                    break;
                }
            }
        }
        self.names.truncate(seen.base);
        self.depth -= 1;
        Ok(Span::new(start, self.at))
    }

    /// Reads an array; `item` is called at each item and must consume it from the reader.
    ///
    /// # Errors
    /// As [`Reader::value`], and whatever `item` returns.
    pub fn array<E: From<JsonError>>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<Span, E> {
        let start = self.open(b'[')?;
        if self.peek() == Some(b']') {
            self.at += 1;
        } else {
            loop {
                item(self)?;
                if self.comma_or(b']')? {
                    break;
                }
            }
        }
        self.depth -= 1;
        Ok(Span::new(start, self.at))
    }

    /// Reads any value and says where it stood, without its surrounding white space.
    ///
    /// # Errors
    /// [`JsonError::Syntax`], [`JsonError::TooDeep`], [`JsonError::DuplicateMember`].
    pub fn value(&mut self) -> Result<Span, JsonError> {
        match self.peek() {
            Some(b'{') => self.object(|reader, _| reader.value().map(drop)),
            Some(b'[') => self.array(|reader| reader.value().map(drop)),
            Some(b'"') => self.string().map(|(span, _)| span),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.syntax()),
        }
    }

    fn syntax(&self) -> JsonError {
        JsonError::Syntax { at: self.at }
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.text.get(self.at) {
            self.at += 1;
        }
    }

    fn open(&mut self, bracket: u8) -> Result<usize, JsonError> {
        if self.peek() != Some(bracket) {
            return Err(self.syntax());
        }
        if self.depth == MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        self.depth += 1;
        self.at += 1;
        Ok(self.at - 1)
    }

    /// True when the bracket closed, false when a comma was read.
    fn comma_or(&mut self, bracket: u8) -> Result<bool, JsonError> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(false)
            }
            Some(byte) if byte == bracket => {
                self.at += 1;
                Ok(true)
            }
            _ => Err(self.syntax()),
        }
    }

    fn name(&mut self, seen: &mut Members<'a>) -> Result<Name<'a>, JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.syntax());
        }
        let (span, escaped) = self.string()?;
        let place = NameSpan { span, escaped };
        let name = place.of(self.text).ok_or_else(|| JsonError::Syntax { at: span.range().start })?;
        if seen.contains(self, &name) {
            let name = String::from_utf8_lossy(&name).chars().take(64).collect();
            return Err(JsonError::DuplicateMember { name, at: span.range().start });
        }
        self.names.push(place);
        if self.peek() != Some(b':') {
            return Err(self.syntax());
        }
        self.at += 1;
        Ok(name)
    }

    /// Where a string stands, and whether it has escapes in it.
    fn string(&mut self) -> Result<(Span, bool), JsonError> {
        let start = self.at;
        let mut escaped = false;
        self.at += 1;
        loop {
            self.at += plain_run(&self.text[self.at..]);
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok((Span::new(start, self.at), escaped));
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return Err(self.syntax()),
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        match self.text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = self.text.get(self.at + 2..self.at + 6).ok_or_else(|| self.syntax())?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(self.syntax());
                }
                self.at += 6;
            }
            _ => return Err(self.syntax()),
        }
        Ok(())
    }

    fn literal(&mut self, word: &[u8]) -> Result<Span, JsonError> {
        let start = self.at;
        if !self.text[start..].starts_with(word) {
            return Err(self.syntax());
        }
        self.at += word.len();
        Ok(Span::new(start, self.at))
    }

    /// RFC 8259 §6: `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
    fn number(&mut self) -> Result<Span, JsonError> {
        let start = self.at;
        if self.text[self.at] == b'-' {
            self.at += 1;
        }
        match self.text.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return Err(self.syntax()),
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.text.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.text.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Span::new(start, self.at))
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.text.get(self.at) {
            self.at += 1;
        }
        if self.at == start { Err(self.syntax()) } else { Ok(()) }
    }
}

/// The names one open object has used so far: those from `base` on, and a set of them once they are many.
struct Members<'a> {
    base: usize,
    many: Option<HashSet<Name<'a>>>,
}

impl<'a> Members<'a> {
    fn contains(&mut self, reader: &Reader<'a>, name: &Name<'a>) -> bool {
        let earlier = &reader.names[self.base..];
        if earlier.len() < LINEAR_MEMBERS {
            return earlier.iter().any(|place| place.of(reader.text).as_ref() == Some(name));
        }
        let many = self
            .many
            .get_or_insert_with(|| earlier.iter().filter_map(|place| place.of(reader.text)).collect());
        !many.insert(name.clone())
    }
}

/// How many bytes from the start need no look of their own inside a string: not `"`, not `\`, not a control character.
fn plain_run(text: &[u8]) -> usize {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut run = 0;
    for chunk in text.chunks_exact(8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("chunks_exact(8) gives eight bytes"));
        let zero_byte = |x: u64| x.wrapping_sub(LOW) & !x & HIGH;
        let control = word.wrapping_sub(LOW * 0x20) & !word & HIGH;
        let found =
            control | zero_byte(word ^ (LOW * u64::from(b'"'))) | zero_byte(word ^ (LOW * u64::from(b'\\')));
        if found != 0 {
            return run + (found.trailing_zeros() / 8) as usize;
        }
        run += 8;
    }
    run + text[run..].iter().take_while(|&&byte| byte >= 0x20 && byte != b'"' && byte != b'\\').count()
}

/// The text of a JSON string literal (with its quotes), unescaped. `None` if it is not a string or holds a lone
/// surrogate, which no UTF-8 text can express.
#[must_use]
pub fn decode(quoted: &[u8]) -> Option<Cow<'_, [u8]>> {
    let inner = quoted.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if !inner.contains(&b'\\') {
        return Some(Cow::Borrowed(inner));
    }
    let text: String = serde_json::from_slice(quoted).ok()?;
    Some(Cow::Owned(text.into_bytes()))
}

/// As [`decode`], as text.
#[must_use]
pub fn decode_str(quoted: &[u8]) -> Option<Cow<'_, str>> {
    match decode(quoted)? {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str) -> Result<(), JsonError> {
        let mut reader = Reader::new(text.as_bytes())?;
        reader.value()?;
        reader.finish()
    }

    #[test]
    fn accepts_what_rfc_8259_calls_json() {
        for text in [
            "null",
            " true ",
            "false",
            "0",
            "-0",
            "-0.5e+10",
            "1E9",
            "\"\"",
            r#""a\"b\\\/\b\f\n\r\t\u00e9""#,
            "[]",
            "[ ]",
            "[1,[2,[3]]]",
            "{}",
            r#"{"a":{"a":1},"b":[{"a":2}]}"#,
            "\"é漢🎉\"",
            r#""\ud800""#,
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_json() {
        for text in [
            "",
            " ",
            "nul",
            "tru",
            "01",
            "1.",
            ".5",
            "1e",
            "+1",
            "-",
            "[1,]",
            "[1 2]",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "{\"a\":1,}",
            "\"a",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "\"\u{1}\"",
            "[",
            "{",
            "1 2",
            "'a'",
            "NaN",
            "// c\n1",
            "\u{feff}1",
        ] {
            assert!(matches!(check(text), Err(JsonError::Syntax { .. })), "{text:?}");
        }
    }

    #[test]
    fn refuses_a_member_named_twice_at_any_depth_however_it_is_spelt() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"\u0061":1,"a":2}"#,
            r#"{"\u0061":1,"\u0061":2}"#,
            r#"[{"x":{"k":1,"l":2,"k":3}}]"#,
        ] {
            assert!(matches!(check(text), Err(JsonError::DuplicateMember { .. })), "{text}");
        }
        let many: String = (0..1000).map(|n| format!("\"k{n}\":0,")).collect();
        assert_eq!(check(&format!("{{{many}\"z\":1}}")), Ok(()));
        let twice = format!("{{{many}\"k7\":1}}");
        assert!(matches!(check(&twice), Err(JsonError::DuplicateMember { name, .. }) if name == "k7"));
        // An escaped backslash is not the letter it precedes.
        assert_eq!(check(r#"{"\\u0061":1,"a":2}"#), Ok(()));
    }

    #[test]
    fn bounds_nesting() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(check(&nested(MAX_DEPTH)), Ok(()));
        assert_eq!(check(&nested(MAX_DEPTH + 1)), Err(JsonError::TooDeep));
        assert_eq!(check(&"[".repeat(1_000_000)), Err(JsonError::TooDeep));
    }

    #[test]
    fn refuses_bytes_that_are_not_utf8() {
        assert_eq!(Reader::new(b"\"\xff\"").err(), Some(JsonError::NotUtf8));
    }

    proptest! {
        /// serde_json is the oracle: both accept or both refuse. (Depth and duplicates are ours alone; the
        /// generator makes neither. A lone surrogate is left out: serde_json cannot represent it.)
        #[test]
        fn agrees_with_serde_json(text in r#"[\[\]{}:,"\\0-9eE+.truefalsn \-a]{0,40}"#) {
            let ours = check(&text);
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            if !matches!(ours, Err(JsonError::DuplicateMember { .. })) && !text.contains("\\u") {
                // A number too large for f64 is out of range for serde_json, yet it is JSON.
                let range = theirs.as_ref().err().is_some_and(|e| e.to_string().contains("out of range"));
                prop_assert!(ours.is_ok() == theirs.is_ok() || range, "{ours:?} {theirs:?}");
            }
        }

        #[test]
        fn a_plain_run_ends_at_the_first_byte_that_matters(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            let naive = text.iter().position(|&b| b < 0x20 || b == b'"' || b == b'\\').unwrap_or(text.len());
            prop_assert_eq!(plain_run(&text), naive);
        }
    }
}
