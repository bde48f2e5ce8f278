//! Floating point numbers as Go's `strconv` writes them.

/// A number in one of the formats `b e E f g G x X`; without a precision, with as many digits as tell it from any other.
pub(super) fn format(value: f64, verb: char, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    match verb {
        'b' => binary(value),
        'x' => hexadecimal(value, precision),
        'X' => hexadecimal(value, precision).to_uppercase(),
        'e' => scientific(value, precision),
        'f' => fixed(value, precision),
        'g' => general(value, precision),
        'G' => general(value, precision).to_uppercase(),
        _ => scientific(value, precision).to_uppercase(),
    }
}

/// Digits after the point that a float can have; those after them are zeros.
const MAX_DIGITS: usize = 1100;

fn fixed(value: f64, precision: Option<usize>) -> String {
    let Some(precision) = precision else { return format!("{value}") };
    let mut text = format!("{value:.*}", precision.min(MAX_DIGITS));
    text.extend(std::iter::repeat_n('0', precision.saturating_sub(MAX_DIGITS)));
    text
}

/// Rust's exponent made Go's: with a sign, and two digits at least.
fn scientific(value: f64, precision: Option<usize>) -> String {
    let text = match precision {
        Some(precision) => format!("{value:.*e}", precision.min(MAX_DIGITS)),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let zeros = "0".repeat(precision.unwrap_or_default().saturating_sub(MAX_DIGITS));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}{zeros}e{sign}{digits:0>2}")
}

/// The shorter one of both, as C has it. Without a precision, six digits decide.
fn general(value: f64, precision: Option<usize>) -> String {
    let precision = precision.map(|precision| precision.max(1));
    let text = match precision {
        Some(precision) => format!("{value:.*e}", (precision - 1).min(MAX_DIGITS)),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    let threshold = match precision {
        None => 6,
        Some(precision) => {
            let significant =
                mantissa.trim_end_matches('0').bytes().filter(u8::is_ascii_digit).count().max(1);
            let whole = usize::try_from(exponent + 1).unwrap_or_default();
            if precision > significant && significant >= whole { significant } else { precision }
        }
    };
    let threshold = i32::try_from(threshold).unwrap_or(i32::MAX);
    if exponent < -4 || exponent >= threshold.max(if precision.is_none() { 21.min(threshold) } else { 0 }) {
        return without_zeros(scientific(value, Some(digits - 1)), precision.is_some());
    }
    let places = i32::try_from(digits).unwrap_or(i32::MAX) - 1 - exponent;
    let text = fixed(value, Some(usize::try_from(places).unwrap_or_default()));
    if precision.is_some() && text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Takes the zeros at the end of the mantissa away.
fn without_zeros(text: String, asked: bool) -> String {
    let Some((mantissa, exponent)) =
        text.split_once('e').filter(|(mantissa, _)| asked && mantissa.contains('.'))
    else {
        return text;
    };
    format!("{}e{exponent}", mantissa.trim_end_matches('0').trim_end_matches('.'))
}

/// The sign, the 53 bits and the power of two of a number.
fn parts(value: f64) -> (bool, u64, i32) {
    let bits = value.to_bits();
    let exponent = i32::try_from((bits >> 52) & 0x7ff).unwrap_or_default();
    let fraction = bits & ((1 << 52) - 1);
    let (mantissa, exponent) = if exponent == 0 { (fraction, 1) } else { (fraction | 1 << 52, exponent) };
    (value.is_sign_negative(), mantissa, exponent - 1075)
}

fn binary(value: f64) -> String {
    let (negative, mantissa, exponent) = parts(value);
    format!("{}{mantissa}p{exponent:+}", if negative { "-" } else { "" })
}

fn hexadecimal(value: f64, precision: Option<usize>) -> String {
    let (negative, mut mantissa, mut exponent) = parts(value);
    exponent += 52;
    if mantissa == 0 {
        exponent = 0;
    }
    // One digit before the point, and sixteen times as much room as it needs behind it.
    while mantissa != 0 && mantissa & (1 << 52) == 0 {
        mantissa <<= 1;
        exponent -= 1;
    }
    if let Some(precision) = precision.filter(|precision| *precision < 13) {
        let shift = (13 - precision) * 4;
        let (kept, rest, half) = (mantissa >> shift, mantissa & ((1 << shift) - 1), 1 << (shift - 1));
        mantissa = kept + u64::from(rest > half || rest == half && kept & 1 == 1);
        mantissa <<= shift;
        if mantissa & (1 << 53) != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let digits = format!("{:013x}", mantissa & ((1 << 52) - 1));
    let digits = match precision {
        None => digits.trim_end_matches('0').to_owned(),
        Some(precision) if precision <= 13 => digits[..precision].to_owned(),
        Some(precision) => digits + &"0".repeat(precision - 13),
    };
    let point = if digits.is_empty() { "" } else { "." };
    let (sign, exponent_sign) = (if negative { "-" } else { "" }, if exponent < 0 { '-' } else { '+' });
    format!("{sign}0x{}{point}{digits}p{exponent_sign}{:02}", mantissa >> 52, exponent.abs())
}
