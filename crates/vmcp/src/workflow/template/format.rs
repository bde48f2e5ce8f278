//! `print`, `println` and `printf`, as Go's `fmt` has them for the values there are.

mod verb;

use super::limits::{Bounded, Exceeded, Numbers};
use super::value::{Kind, Value};

pub(super) use verb::print_value;
use verb::{Flags, Printer};

/// What `%s` of `%!s(...)` says of arguments that are missing, superfluous or misnumbered.
const NO_VERB: &str = "%!(NOVERB)";

/// All values, with spaces between those of which neither is a text.
pub(super) fn print(out: &mut Bounded, values: &[Value<'_>], numbers: Numbers) -> Result<(), Exceeded> {
    let mut after_text = true;
    for value in values {
        let kind = value.kind(numbers);
        let is_text = matches!(kind, Kind::Text(_));
        if !is_text && !after_text {
            out.push(' ')?;
        }
        print_value(out, kind, numbers)?;
        after_text = is_text;
    }
    Ok(())
}

/// All values with spaces between them, and the end of the line.
pub(super) fn println(out: &mut Bounded, values: &[Value<'_>], numbers: Numbers) -> Result<(), Exceeded> {
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(' ')?;
        }
        print_value(out, value.kind(numbers), numbers)?;
    }
    out.push('\n')
}

/// Values as a format wants them.
pub(super) fn printf(
    out: &mut Bounded,
    format: &str,
    values: &[Value<'_>],
    numbers: Numbers,
) -> Result<(), Exceeded> {
    let mut directives =
        Directives { format, at: 0, values, numbers, next: 0, is_numbered: false, good_number: true };
    while directives.at < format.len() {
        let text = &format[directives.at..];
        let text = &text[..text.find('%').unwrap_or(text.len())];
        out.push_str(text)?;
        directives.at += text.len();
        if directives.at < format.len() {
            directives.at += 1;
            directives.directive(out)?;
        }
    }
    if !directives.is_numbered && directives.next < values.len() {
        extra(out, &values[directives.next..], numbers)?;
    }
    Ok(())
}

fn extra(out: &mut Bounded, values: &[Value<'_>], numbers: Numbers) -> Result<(), Exceeded> {
    out.push_str("%!(EXTRA ")?;
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push_str(", ")?;
        }
        let kind = value.kind(numbers);
        out.push_str(kind.type_name())?;
        if !matches!(kind, Kind::Nil) {
            out.push('=')?;
            print_value(out, kind, numbers)?;
        }
    }
    out.push(')')
}

/// A format that is being read.
struct Directives<'a, 'd> {
    format: &'a str,
    at: usize,
    values: &'a [Value<'d>],
    numbers: Numbers,
    /// The value that is next.
    next: usize,
    /// Whether the format has numbered any value.
    is_numbered: bool,
    /// Whether the numbers of this directive made sense.
    good_number: bool,
}

impl Directives<'_, '_> {
    fn byte(&self) -> Option<u8> {
        self.format.as_bytes().get(self.at).copied()
    }

    /// What follows a percent sign.
    fn directive(&mut self, out: &mut Bounded) -> Result<(), Exceeded> {
        self.good_number = true;
        let mut flags = self.flags();
        let mut was_numbered = self.number();
        was_numbered = self.width(out, &mut flags, was_numbered)?;
        if self.byte() == Some(b'.') && self.at + 1 < self.format.len() {
            was_numbered = self.precision(out, &mut flags, was_numbered)?;
        }
        if !was_numbered {
            self.number();
        }
        let Some(verb) = self.format[self.at..].chars().next() else { return out.push_str(NO_VERB) };
        self.at += verb.len_utf8();
        if verb == '%' {
            return out.push('%');
        }
        let value = self.values.get(self.next).filter(|_| self.good_number);
        let Some(value) = value else {
            out.push_str("%!")?;
            out.push(verb)?;
            return out.push_str(if self.good_number { "(MISSING)" } else { "(BADINDEX)" });
        };
        self.next += 1;
        let kind = value.kind(self.numbers);
        Printer { out, flags: flags.for_verb(verb), numbers: self.numbers }.value(kind, verb)
    }

    fn flags(&mut self) -> Flags {
        let mut flags = Flags::default();
        while let Some(byte) = self.byte() {
            match byte {
                b'#' => flags.sharp = true,
                b'0' => flags.zero = true,
                b'+' => flags.plus = true,
                b'-' => flags.minus = true,
                b' ' => flags.space = true,
                _ => break,
            }
            self.at += 1;
        }
        flags
    }

    fn width(&mut self, out: &mut Bounded, flags: &mut Flags, was_numbered: bool) -> Result<bool, Exceeded> {
        if self.byte() != Some(b'*') {
            flags.width = self.digits(self.format.len());
            self.good_number &= !(was_numbered && flags.width.is_some());
            return Ok(was_numbered);
        }
        self.at += 1;
        let Some(width) = self.integer() else {
            out.push_str("%!(BADWIDTH)")?;
            return Ok(false);
        };
        flags.width = usize::try_from(width.unsigned_abs()).ok();
        if width < 0 {
            flags.minus = true;
            flags.zero = false;
        }
        Ok(false)
    }

    fn precision(
        &mut self,
        out: &mut Bounded,
        flags: &mut Flags,
        was_numbered: bool,
    ) -> Result<bool, Exceeded> {
        self.at += 1;
        self.good_number &= !was_numbered;
        let numbered = self.number();
        if self.byte() != Some(b'*') {
            flags.precision = Some(self.digits(self.format.len()).unwrap_or_default());
            return Ok(numbered);
        }
        self.at += 1;
        flags.precision = self.integer().and_then(|precision| usize::try_from(precision).ok());
        if flags.precision.is_none() {
            out.push_str("%!(BADPREC)")?;
        }
        Ok(false)
    }

    /// An integer among the values, for a star. It counts as used either way.
    fn integer(&mut self) -> Option<i64> {
        let value = self.values.get(self.next)?;
        self.next += 1;
        let integer = match value.kind(self.numbers) {
            Kind::Int(value) => value,
            Kind::Byte(value) => i64::from(value),
            _ => return None,
        };
        (integer.unsigned_abs() <= MAX_NUMBER).then_some(integer)
    }

    /// Digits before `end`, as a number. One that is absurd ends the format.
    fn digits(&mut self, end: usize) -> Option<usize> {
        let mut number = None;
        while let Some(digit) = self.byte().filter(|byte| self.at < end && byte.is_ascii_digit()) {
            let so_far: usize = number.unwrap_or_default();
            if so_far as u64 > MAX_NUMBER {
                self.at = end;
                return None;
            }
            number = Some(so_far * 10 + usize::from(digit - b'0'));
            self.at += 1;
        }
        number
    }

    /// `[n]`: which value is next.
    fn number(&mut self) -> bool {
        if self.byte() != Some(b'[') {
            return false;
        }
        self.is_numbered = true;
        let open = self.at;
        let close = self.format[open..].find(']').filter(|_| self.format.len() - open >= 3);
        let Some(close) = close.map(|length| open + length) else {
            self.at = open + 1;
            self.good_number = false;
            return false;
        };
        self.at = open + 1;
        let number = self.digits(close).filter(|_| self.at == close);
        self.at = close + 1;
        match number.and_then(|number| number.checked_sub(1)).filter(|number| *number < self.values.len()) {
            Some(next) => self.next = next,
            None => self.good_number = false,
        }
        number.is_some()
    }
}

/// Widths and precisions beyond are taken for mistakes.
const MAX_NUMBER: u64 = 1_000_000;
