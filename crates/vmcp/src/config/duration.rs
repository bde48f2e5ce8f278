//! Durations as Go writes them: `30s`, `1m30s`, `1.5h`.

use std::time::Duration;

use thiserror::Error;

/// Why a text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum NotADuration {
    /// It has no number and unit, one after the other.
    #[error("expected a number and one of ns, us, ms, s, m, h, as often as wanted, such as 1m30s")]
    Syntax,
    /// It is less than nothing.
    #[error("cannot be negative")]
    Negative,
    /// It is too long to be meant.
    #[error("longer than 290 years")]
    TooLong,
}

/// Nanoseconds that fit Go's durations.
const MAX_SECONDS: f64 = 9_223_372_036.0;

/// Reads a duration.
///
/// # Errors
/// Why it is none.
pub(super) fn parse(text: &str) -> Result<Duration, NotADuration> {
    if text.starts_with('-') {
        return Err(NotADuration::Negative);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(NotADuration::Syntax);
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit() && character != '.');
        let (number, after) = rest.split_at(digits.ok_or(NotADuration::Syntax)?);
        let end = after.find(|character: char| character.is_ascii_digit() || character == '.');
        let (unit, next) = after.split_at(end.unwrap_or(after.len()));
        let part = part(number, unit)?;
        total = total.checked_add(part).ok_or(NotADuration::TooLong)?;
        rest = next;
    }
    if total.as_secs_f64() > MAX_SECONDS { Err(NotADuration::TooLong) } else { Ok(total) }
}

fn part(number: &str, unit: &str) -> Result<Duration, NotADuration> {
    let nanoseconds: u64 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return Err(NotADuration::Syntax),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return Err(NotADuration::Syntax);
    }
    let whole: u64 = match whole {
        "" => 0,
        whole => whole.parse().map_err(|_| NotADuration::TooLong)?,
    };
    let whole = whole.checked_mul(nanoseconds).ok_or(NotADuration::TooLong)?;
    let fraction: f64 = format!("0.{fraction}0").parse().map_err(|_| NotADuration::Syntax)?;
    // Less than an hour in nanoseconds, which a float holds.
    Ok(Duration::from_nanos(whole) + Duration::from_nanos((fraction * nanoseconds as f64) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, expect) in [
            ("30s", Ok(Duration::from_secs(30))),
            ("1m30s", Ok(Duration::from_secs(90))),
            ("500ms", Ok(Duration::from_millis(500))),
            ("1.5h", Ok(Duration::from_secs(5400))),
            (".5s", Ok(Duration::from_millis(500))),
            ("2us3ns", Ok(Duration::from_nanos(2003))),
            ("1µs", Ok(Duration::from_micros(1))),
            ("0", Ok(Duration::ZERO)),
            ("", Err(NotADuration::Syntax)),
            ("30", Err(NotADuration::Syntax)),
            ("s", Err(NotADuration::Syntax)),
            (".s", Err(NotADuration::Syntax)),
            ("1.2.3s", Err(NotADuration::Syntax)),
            ("1d", Err(NotADuration::Syntax)),
            ("1 s", Err(NotADuration::Syntax)),
            ("-1s", Err(NotADuration::Negative)),
            ("99999999h", Err(NotADuration::TooLong)),
            ("99999999999999999999s", Err(NotADuration::TooLong)),
        ] {
            assert_eq!(parse(text), expect, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,12}", likely in "[0-9.]{0,6}(ns|us|ms|s|m|h)[0-9.]{0,3}[a-z]{0,2}") {
            let _ = (parse(&text), parse(&likely));
        }
    }
}
