//! Tools that answer at once. These are what benchmarks call, so they build no trees.

use std::sync::atomic::Ordering;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::literal;
use crate::call::{Call, Peer};
use crate::reply::{Members, Outcome, Work};

/// The counter of clients that have no session and name none.
const EVERYBODY: &str = "";
const MAX_HANDLE: usize = 128;
const MAX_LARGE: u64 = 1 << 32;

#[derive(Deserialize)]
struct Echo<'a> {
    #[serde(borrow)]
    message: &'a RawValue,
}

pub(super) fn echo(call: &Call) -> Result<Work, Outcome> {
    let Echo { message } = call.arguments()?;
    Ok(Work::Done(Outcome::Complete(Members::raw_text(literal(message)?))))
}

#[derive(Deserialize)]
struct Sum {
    a: f64,
    b: f64,
}

pub(super) fn add(call: &Call) -> Result<Work, Outcome> {
    let Sum { a, b } = call.arguments()?;
    Ok(Work::text(&(a + b).to_string()))
}

#[derive(Deserialize)]
struct Count<'a> {
    #[serde(default = "one")]
    by: i64,
    #[serde(borrow)]
    handle: Option<std::borrow::Cow<'a, str>>,
}

fn one() -> i64 {
    1
}

pub(super) fn counter(call: &Call) -> Result<Work, Outcome> {
    let Count { by, handle } = call.arguments()?;
    let count = match (&handle, &call.peer) {
        (Some(handle), _) if handle.len() > MAX_HANDLE => {
            return Err(Outcome::failure("the handle is too long"));
        }
        (None, Peer::Session(session)) => {
            Some(session.counter.fetch_add(by, Ordering::Relaxed).wrapping_add(by))
        }
        (handle, _) => call.server.count(handle.as_deref().unwrap_or(EVERYBODY), by),
    };
    let count = count.ok_or_else(|| Outcome::failure("there are too many counters"))?;
    Ok(Work::text(&count.to_string()))
}

pub(super) fn whoami(call: &Call) -> Result<Work, Outcome> {
    let session = match &call.peer {
        Peer::Session(session) => Some(session.id.to_string()),
        Peer::Stateless | Peer::Task(_) => None,
    };
    let about = json!({"instance": call.server.instance, "sessionId": session, "pid": std::process::id()});
    let members = Members::text(&about.to_string()).with("structuredContent", &about);
    Ok(Work::Done(Outcome::Complete(members)))
}

#[derive(Deserialize)]
struct Size {
    #[serde(default = "one_mebibyte")]
    bytes: u64,
}

fn one_mebibyte() -> u64 {
    1 << 20
}

pub(super) fn large(call: &Call) -> Result<Work, Outcome> {
    let Size { bytes } = call.arguments()?;
    if bytes > MAX_LARGE {
        return Err(Outcome::failure("invalid arguments: at most 4294967296 bytes"));
    }
    Ok(Work::Large(bytes))
}
