//! One value as one verb wants it.

use super::super::data::Map;
use super::super::float;
use super::super::limits::{Bounded, Exceeded, Numbers};
use super::super::quote::{is_printable, quote_char, quote_text};
use super::super::value::Kind;
use crate::workflow::template::Data;

/// What stands between the percent sign and the verb.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    pub(super) sharp: bool,
    pub(super) zero: bool,
    pub(super) plus: bool,
    pub(super) minus: bool,
    pub(super) space: bool,
    /// `%#v`: as Go would write it in a program.
    pub(super) go_syntax: bool,
    pub(super) width: Option<usize>,
    pub(super) precision: Option<usize>,
}

impl Flags {
    /// With `%v`, the sharp sign has a meaning of its own, and the plus sign none.
    pub(super) fn for_verb(mut self, verb: char) -> Self {
        if matches!(verb, 'v' | 'w') {
            self.go_syntax = self.sharp;
            self.sharp = false;
            self.plus = false;
        }
        self
    }
}

/// Writes values with the same flags.
pub(super) struct Printer<'o> {
    pub(super) out: &'o mut Bounded,
    pub(super) flags: Flags,
    pub(super) numbers: Numbers,
}

/// A value as `print` writes it.
pub(in super::super) fn print_value(
    out: &mut Bounded,
    kind: Kind<'_>,
    numbers: Numbers,
) -> Result<(), Exceeded> {
    Printer { out, flags: Flags::default(), numbers }.value(kind, 'v')
}

impl Printer<'_> {
    pub(super) fn value(&mut self, kind: Kind<'_>, verb: char) -> Result<(), Exceeded> {
        match (kind, verb) {
            (Kind::Nil, 'T' | 'v') => self.pad("<nil>"),
            (Kind::Nil, _) | (Kind::List(_) | Kind::Map(_), 'p' | 'w') => self.bad_verb(kind, verb),
            (kind, 'T') => self.text(kind.type_name()),
            _ => self.inner(kind, verb, 0),
        }
    }

    /// A value that may be in another one.
    fn inner(&mut self, kind: Kind<'_>, verb: char, depth: usize) -> Result<(), Exceeded> {
        self.out.check_depth(depth)?;
        match kind {
            Kind::Nil if self.flags.go_syntax => self.out.push_str("interface {}(nil)"),
            Kind::Nil => self.out.push_str("<nil>"),
            Kind::Bool(value) if matches!(verb, 't' | 'v') => self.pad(if value { "true" } else { "false" }),
            Kind::Bool(_) => self.bad_verb(kind, verb),
            Kind::Int(value) => self.integer(kind, value.unsigned_abs(), value < 0, verb),
            Kind::Byte(value) => self.integer(kind, u64::from(value), false, verb),
            Kind::Uint(value) => self.integer(kind, value, false, verb),
            Kind::Float(value) => self.float(kind, value, verb),
            Kind::Text(text) => match verb {
                'v' if self.flags.go_syntax => self.quoted(text),
                'v' | 's' => self.text(text),
                'x' | 'X' => self.hex(text, verb),
                'q' => self.quoted(text),
                _ => self.bad_verb(kind, verb),
            },
            Kind::List(values) => self.list(values, verb, depth),
            Kind::Map(members) => self.map(members, verb, depth),
        }
    }

    fn list(&mut self, values: &[Data], verb: char, depth: usize) -> Result<(), Exceeded> {
        self.out.push_str(if self.flags.go_syntax { "[]interface {}{" } else { "[" })?;
        for (index, value) in values.iter().enumerate() {
            self.separate(index)?;
            self.inner(value.kind(self.numbers), verb, depth + 1)?;
        }
        self.out.push_str(if self.flags.go_syntax { "}" } else { "]" })
    }

    fn map(&mut self, members: &Map, verb: char, depth: usize) -> Result<(), Exceeded> {
        self.out.push_str(if self.flags.go_syntax { "map[string]interface {}{" } else { "map[" })?;
        for (index, (name, value)) in members.iter().enumerate() {
            self.separate(index)?;
            self.inner(Kind::Text(name), verb, depth + 1)?;
            self.out.push(':')?;
            self.inner(value.kind(self.numbers), verb, depth + 1)?;
        }
        self.out.push_str(if self.flags.go_syntax { "}" } else { "]" })
    }

    fn separate(&mut self, index: usize) -> Result<(), Exceeded> {
        match index {
            0 => Ok(()),
            _ if self.flags.go_syntax => self.out.push_str(", "),
            _ => self.out.push(' '),
        }
    }

    /// `%!verb(type=value)`
    fn bad_verb(&mut self, kind: Kind<'_>, verb: char) -> Result<(), Exceeded> {
        self.out.push_str("%!")?;
        self.out.push(verb)?;
        self.out.push('(')?;
        self.out.push_str(kind.type_name())?;
        if !matches!(kind, Kind::Nil) {
            self.out.push('=')?;
            self.inner(kind, 'v', 0)?;
        }
        self.out.push(')')
    }

    /// Fills up to the width, with spaces or zeros on the left, or with spaces on the right.
    fn pad(&mut self, text: &str) -> Result<(), Exceeded> {
        let Some(width) = self.flags.width else { return self.out.push_str(text) };
        let missing = width.saturating_sub(text.chars().count());
        if self.flags.minus {
            self.out.push_str(text)?;
            return self.out.push_times(' ', missing);
        }
        self.out.push_times(self.filler(), missing)?;
        self.out.push_str(text)
    }

    fn filler(&self) -> char {
        if self.flags.zero && !self.flags.minus { '0' } else { ' ' }
    }

    /// [`Self::pad`], never with zeros.
    fn pad_with_spaces(&mut self, text: &str) -> Result<(), Exceeded> {
        let zero = std::mem::replace(&mut self.flags.zero, false);
        let result = self.pad(text);
        self.flags.zero = zero;
        result
    }

    fn cut<'t>(&self, text: &'t str) -> &'t str {
        let end = self.flags.precision.and_then(|precision| text.char_indices().nth(precision));
        end.map_or(text, |(end, _)| &text[..end])
    }

    fn text(&mut self, text: &str) -> Result<(), Exceeded> {
        self.pad(self.cut(text))
    }

    fn quoted(&mut self, text: &str) -> Result<(), Exceeded> {
        let text = self.cut(text);
        let is_plain = |character: char| {
            character != '`' && character != '\u{feff}' && character != '\u{7f}' && {
                character >= ' ' || character == '\t'
            }
        };
        if self.flags.sharp && text.chars().all(is_plain) {
            return self.pad(&format!("`{text}`"));
        }
        self.pad(&quote_text(text, self.flags.plus))
    }

    /// The bytes of a text.
    fn hex(&mut self, text: &str, verb: char) -> Result<(), Exceeded> {
        let length = self.flags.precision.map_or(text.len(), |precision| precision.min(text.len()));
        let Flags { sharp, space, width, minus, .. } = self.flags;
        if length == 0 {
            let filler = self.filler();
            return self.out.push_times(filler, width.unwrap_or_default());
        }
        let digits = match (space, sharp) {
            (true, true) => 5 * length - 1,
            (true, false) => 3 * length - 1,
            (false, true) => 2 * length + 2,
            (false, false) => 2 * length,
        };
        let missing = width.unwrap_or_default().saturating_sub(digits);
        if !minus {
            let filler = self.filler();
            self.out.push_times(filler, missing)?;
        }
        let prefix = if verb == 'X' { "0X" } else { "0x" };
        for (index, byte) in text.bytes().take(length).enumerate() {
            if space && index > 0 {
                self.out.push(' ')?;
            }
            if sharp && (space || index == 0) {
                self.out.push_str(prefix)?;
            }
            self.out.push_str(&if verb == 'X' { format!("{byte:02X}") } else { format!("{byte:02x}") })?;
        }
        if minus { self.out.push_times(' ', missing) } else { Ok(()) }
    }

    fn integer(&mut self, kind: Kind<'_>, value: u64, negative: bool, verb: char) -> Result<(), Exceeded> {
        let bits = if negative { value.wrapping_neg() } else { value };
        let character = u32::try_from(bits).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
        match verb {
            'v' if self.flags.go_syntax && matches!(kind, Kind::Byte(_) | Kind::Uint(_)) => {
                let sharp = std::mem::replace(&mut self.flags.sharp, true);
                let result = self.digits(format!("{value:x}"), "0x", false);
                self.flags.sharp = sharp;
                result
            }
            'v' | 'd' => self.digits(value.to_string(), "", negative),
            'b' => self.digits(format!("{value:b}"), "0b", negative),
            'o' => self.digits(format!("{value:o}"), "0", negative),
            'O' => self.digits(format!("{value:o}"), "0o", negative),
            'x' => self.digits(format!("{value:x}"), "0x", negative),
            'X' => self.digits(format!("{value:X}"), "0X", negative),
            'c' => self.pad(character.encode_utf8(&mut [0; 4])),
            'q' => self.pad(&quote_char(character, self.flags.plus)),
            'U' => self.unicode(bits),
            _ => self.bad_verb(kind, verb),
        }
    }

    fn unicode(&mut self, value: u64) -> Result<(), Exceeded> {
        let precision = self.flags.precision.map_or(4, |precision| precision.max(4));
        self.make_room(precision)?;
        let mut text = format!("U+{value:0>precision$X}", precision = precision.min(usize::from(u16::MAX)));
        if let Some(missing) = precision.checked_sub(usize::from(u16::MAX)) {
            text.insert_str(2, &"0".repeat(missing));
        }
        let character = u32::try_from(value).ok().and_then(char::from_u32);
        if let Some(character) = character.filter(|character| self.flags.sharp && is_printable(*character)) {
            text.extend([' ', '\'', character, '\'']);
        }
        self.pad_with_spaces(&text)
    }

    /// Refuses to make what would not fit anyway.
    fn make_room(&mut self, bytes: usize) -> Result<(), Exceeded> {
        self.out.check_room(bytes)
    }

    /// Digits with zeros, prefix and sign in front of them.
    fn digits(&mut self, mut digits: String, prefix: &str, negative: bool) -> Result<(), Exceeded> {
        let Flags { sharp, plus, space, zero, minus, width, precision, .. } = self.flags;
        if precision == Some(0) && digits == "0" {
            return self.out.push_times(' ', width.unwrap_or_default());
        }
        let wanted = match (precision, width) {
            (Some(precision), _) => precision,
            (None, Some(width)) if zero && !minus => {
                width.saturating_sub(usize::from(negative || plus || space))
            }
            _ => 0,
        };
        self.make_room(wanted)?;
        digits.insert_str(0, &"0".repeat(wanted.saturating_sub(digits.len())));
        match prefix {
            // Octal: a zero that is there already will do.
            "0" if sharp && digits.starts_with('0') => {}
            // The one of %O is always there, and with the sharp sign a zero between.
            "0o" if sharp && !digits.starts_with('0') => digits.insert_str(0, "0o0"),
            "0o" => digits.insert_str(0, "0o"),
            _ if sharp => digits.insert_str(0, prefix),
            _ => {}
        }
        if let Some(sign) = sign(negative, plus, space) {
            digits.insert(0, sign);
        }
        self.pad_with_spaces(&digits)
    }

    fn float(&mut self, kind: Kind<'_>, value: f64, verb: char) -> Result<(), Exceeded> {
        let (format, default) = match verb {
            'v' => ('g', None),
            'b' | 'g' | 'G' | 'x' | 'X' => (verb, None),
            'f' | 'e' | 'E' => (verb, Some(6)),
            'F' => ('f', Some(6)),
            _ => return self.bad_verb(kind, verb),
        };
        let Flags { sharp, plus, space, zero, minus, width, precision, .. } = self.flags;
        let precision = precision.or(default);
        self.make_room(precision.unwrap_or_default())?;
        let text = float::format(value, format, precision);
        let negative = text.starts_with('-');
        let mut digits = text.trim_start_matches(['+', '-']).to_owned();
        let sign = sign(negative, plus, space);
        if !value.is_finite() {
            // No number to fill up with zeros.
            let sign = sign.or_else(|| value.is_infinite().then_some('+'));
            return self.pad_with_spaces(&sign.into_iter().chain(digits.chars()).collect::<String>());
        }
        if sharp && verb != 'b' {
            digits = with_point(&digits, format, precision);
        }
        let Some(sign) = sign else { return self.pad(&digits) };
        if let Some(width) = width.filter(|width| zero && !minus && *width > digits.len() + 1) {
            self.out.push(sign)?;
            self.out.push_times('0', width - digits.len() - 1)?;
            return self.out.push_str(&digits);
        }
        self.pad(&format!("{sign}{digits}"))
    }
}

fn sign(negative: bool, plus: bool, space: bool) -> Option<char> {
    match (negative, plus, space) {
        (true, ..) => Some('-'),
        (_, true, _) => Some('+'),
        (_, _, true) => Some(' '),
        _ => None,
    }
}

/// `%#g`: a point always, and as many digits as the precision says.
fn with_point(text: &str, format: char, precision: Option<usize>) -> String {
    let is_hex = matches!(format, 'x' | 'X');
    let tail =
        text.find(|character| matches!(character, 'p' | 'P') || !is_hex && matches!(character, 'e' | 'E'));
    let (number, tail) = text.split_at(tail.unwrap_or(text.len()));
    let wanted = if matches!(format, 'g' | 'G' | 'x') { precision.unwrap_or(6) } else { 0 };
    let counted = number.chars().filter(|character| *character != '.');
    let mut have = counted.skip_while(|character| *character == '0').count();
    let mut number = number.to_owned();
    if !number.contains('.') {
        have += usize::from(number == "0");
        number.push('.');
    }
    number.extend(std::iter::repeat_n('0', wanted.saturating_sub(have)));
    number + tail
}
