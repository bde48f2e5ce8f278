//! Comparisons, between values of the same kind.

use std::cmp::Ordering;

use super::call::CallError;
use super::limits::Numbers;
use super::value::{Kind, Value};

/// Whether the first value equals any of the others.
pub(super) fn equals_any(values: &[Value<'_>], numbers: Numbers) -> Result<bool, CallError> {
    let Some((first, others)) = values.split_first() else { return Ok(false) };
    for other in others {
        if equal(first.kind(numbers), other.kind(numbers), numbers)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn equal(left: Kind<'_>, right: Kind<'_>, numbers: Numbers) -> Result<bool, CallError> {
    match (left, right) {
        (Kind::Nil, Kind::Nil) => Ok(true),
        // Nothing equals what is not there; it may be asked of anything.
        (Kind::Nil, _) | (_, Kind::Nil) => Ok(false),
        (Kind::Bool(left), Kind::Bool(right)) => Ok(left == right),
        (Kind::Text(left), Kind::Text(right)) => Ok(left == right),
        (Kind::List(_), Kind::List(_)) | (Kind::Map(_), Kind::Map(_)) => {
            Err(CallError::NotComparable { noun: left.noun() })
        }
        _ => match order_of_numbers(left, right, numbers) {
            Some(order) => Ok(order == Some(Ordering::Equal)),
            None => Err(CallError::Incompatible { left: left.noun(), right: right.noun() }),
        },
    }
}

/// How two values are ordered; none where floats are not.
pub(super) fn order(values: &[Value<'_>], numbers: Numbers) -> Result<Option<Ordering>, CallError> {
    let (Some(left), Some(right)) = (values.first(), values.get(1)) else { return Ok(None) };
    let (left, right) = (left.kind(numbers), right.kind(numbers));
    for kind in [left, right] {
        if matches!(kind, Kind::Nil | Kind::List(_) | Kind::Map(_) | Kind::Bool(_)) {
            return Err(CallError::NotOrdered { noun: kind.noun() });
        }
    }
    match (left, right) {
        (Kind::Text(left), Kind::Text(right)) => Ok(Some(left.cmp(right))),
        _ => order_of_numbers(left, right, numbers)
            .ok_or_else(|| CallError::Incompatible { left: left.noun(), right: right.noun() }),
    }
}

/// How two numbers are ordered, unless one is none, or both are of kinds that do not compare.
fn order_of_numbers(left: Kind<'_>, right: Kind<'_>, numbers: Numbers) -> Option<Option<Ordering>> {
    match (left, right) {
        (Kind::Float(left), Kind::Float(right)) => Some(left.partial_cmp(&right)),
        (Kind::Float(left), _) if numbers == Numbers::Exact => {
            Some(order_with_float(integer(right)?, left).map(Ordering::reverse))
        }
        (_, Kind::Float(right)) if numbers == Numbers::Exact => Some(order_with_float(integer(left)?, right)),
        _ => Some(Some(integer(left)?.cmp(&integer(right)?))),
    }
}

fn integer(kind: Kind<'_>) -> Option<i128> {
    match kind {
        Kind::Int(value) => Some(i128::from(value)),
        Kind::Byte(value) => Some(i128::from(value)),
        Kind::Uint(value) => Some(i128::from(value)),
        _ => None,
    }
}

/// An integer against a float, neither rounded.
fn order_with_float(integer: i128, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    // Every 64 bit integer is within; what is beyond is capped, which keeps the order.
    let whole = float.floor() as i128;
    let is_above = float > float.floor();
    Some(integer.cmp(&whole).then(if is_above { Ordering::Less } else { Ordering::Equal }))
}
