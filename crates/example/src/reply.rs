//! What handlers give back, and how it becomes a JSON-RPC response.
//!
//! Results are kept as JSON text from the start: a tool that answers with one line of text costs two allocations, and
//! no tree is built on the way.

use std::pin::Pin;

use bytes::Bytes;
use mcp::{ErrorCode, ErrorReply};
use serde_json::Value;

use crate::event_log::Outbox;
use crate::large::Large;

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The members of a `result` object as JSON text, without the braces around them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members(pub(crate) String);

impl Members {
    /// The result of a tool that says one thing.
    pub(crate) fn text(text: &str) -> Self {
        Self::raw_text(&quoted(text))
    }

    /// As [`Members::text`], of a JSON string literal.
    pub(crate) fn raw_text(literal: &str) -> Self {
        let mut members = String::with_capacity(literal.len() + 64);
        members.push_str(r#""content":[{"type":"text","text":"#);
        members.push_str(literal);
        members.push_str("}]");
        Self(members)
    }

    /// The result of a tool that could not do what was asked: the model sees it, the protocol is fine.
    pub(crate) fn failure(text: &str) -> Self {
        let Self(mut members) = Self::text(text);
        members.push_str(r#","isError":true"#);
        Self(members)
    }

    /// From an object; anything else has no members.
    pub(crate) fn of(value: &Value) -> Self {
        match value {
            Value::Object(_) => {
                let text = value.to_string();
                Self(text[1..text.len() - 1].to_owned())
            }
            _ => Self::default(),
        }
    }

    /// Adds one more member.
    pub(crate) fn with(mut self, name: &str, value: &Value) -> Self {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(&quoted(name));
        self.0.push(':');
        self.0.push_str(&value.to_string());
        self
    }
}

/// `text` as a JSON string literal.
pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// How a request ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Complete(Members),
    /// 2026-07-28: the client is asked for more and sends the request again.
    InputRequired(Members),
    /// 2026-07-28, tasks extension: it goes on as a task.
    TaskCreated(Members),
    Error(ErrorReply),
}

impl Outcome {
    pub(crate) fn invalid_params(message: impl Into<String>) -> Self {
        Self::Error(ErrorReply::new(ErrorCode::InvalidParams, message))
    }

    /// A tool's own failure, see [`Members::failure`].
    pub(crate) fn failure(text: &str) -> Self {
        Self::Complete(Members::failure(text))
    }
}

/// What is left to do for a request once its handler has looked at it.
pub(crate) enum Work {
    Done(Outcome),
    /// The result of a tool whose text is written on the fly; the text's size in bytes.
    Large(u64),
    /// Takes time, or says something on the way.
    Later(Box<dyn FnOnce(Outbox) -> BoxFuture<Outcome> + Send>),
}

impl Work {
    /// The result of a tool that says one thing.
    pub(crate) fn text(text: &str) -> Self {
        Self::Done(Outcome::Complete(Members::text(text)))
    }

    pub(crate) fn later<F>(run: impl FnOnce(Outbox) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        Self::Later(Box::new(|outbox| Box::pin(run(outbox))))
    }
}

/// How long a modern result may be kept, and by whom.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Freshness {
    /// Not a cacheable method.
    Unsaid,
    /// The same until a notification says otherwise.
    UntilTold,
    /// May differ with the next request.
    AskAgain,
}

/// How the response to one request is written.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    /// The request's id as JSON text.
    pub(crate) id: Bytes,
    pub(crate) modern: bool,
    pub(crate) freshness: Freshness,
}

/// A complete response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) text: Bytes,
    /// Set on error responses: the modern era has a status for some of them.
    pub(crate) error: Option<ErrorCode>,
}

/// The answer to a request, as a transport gets it.
pub(crate) enum Answer {
    Now(Reply),
    Large(Large),
    Later(Pending),
}

/// A request that is still to be run.
pub(crate) struct Pending {
    form: Form,
    run: Box<dyn FnOnce(Outbox) -> BoxFuture<Outcome> + Send>,
}

impl Pending {
    /// Runs it; what it says on the way goes to `outbox`. Dropping the future cancels.
    pub(crate) fn run(self, outbox: Outbox) -> BoxFuture<Reply> {
        let work = (self.run)(outbox);
        Box::pin(async move { self.form.write(work.await) })
    }
}

impl Form {
    pub(crate) fn answer(self, work: Work) -> Answer {
        match work {
            Work::Done(outcome) => Answer::Now(self.write(outcome)),
            Work::Large(size) => Answer::Large(self.large(size)),
            Work::Later(run) => Answer::Later(Pending { form: self, run }),
        }
    }

    fn write(&self, outcome: Outcome) -> Reply {
        let (members, kind) = match outcome {
            Outcome::Complete(members) => (members, "complete"),
            Outcome::InputRequired(members) => (members, "input_required"),
            Outcome::TaskCreated(members) => (members, "task"),
            Outcome::Error(error) => {
                return Reply { text: error.to_json(Some(&self.id)), error: Some(error.code) };
            }
        };
        let mut text = self.open(members.0.len() + 128);
        text.extend_from_slice(members.0.as_bytes());
        let separator = if members.0.is_empty() { "" } else { "," };
        self.close(&mut text, separator, kind);
        Reply { text: Bytes::from(text), error: None }
    }

    fn large(&self, size: u64) -> Large {
        let mut head = self.open(64);
        head.extend_from_slice(br#""content":[{"type":"text","text":""#);
        let mut tail = br#""}]"#.to_vec();
        self.close(&mut tail, ",", "complete");
        Large::new(head, size, tail)
    }

    fn open(&self, more: usize) -> Vec<u8> {
        let mut text = Vec::with_capacity(40 + self.id.len() + more);
        text.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
        text.extend_from_slice(&self.id);
        text.extend_from_slice(br#","result":{"#);
        text
    }

    fn close(&self, text: &mut Vec<u8>, separator: &str, kind: &str) {
        if self.modern {
            text.extend_from_slice(separator.as_bytes());
            text.extend_from_slice(br#""resultType":""#);
            text.extend_from_slice(kind.as_bytes());
            text.push(b'"');
            if kind == "complete" {
                text.extend_from_slice(self.freshness.members());
            }
        }
        text.extend_from_slice(b"}}");
    }
}

impl Freshness {
    fn members(self) -> &'static [u8] {
        match self {
            Self::Unsaid => b"",
            Self::UntilTold => br#","ttlMs":60000,"cacheScope":"public""#,
            Self::AskAgain => br#","ttlMs":0,"cacheScope":"public""#,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(modern: bool, freshness: Freshness, outcome: Outcome) -> String {
        let form = Form { id: Bytes::from_static(b"\"x\""), modern, freshness };
        String::from_utf8(form.write(outcome).text.to_vec()).unwrap()
    }

    #[test]
    fn a_result_is_dressed_for_its_era() {
        let hi = || Outcome::Complete(Members::text("hi \"you\""));
        let content = r#""content":[{"type":"text","text":"hi \"you\""}]"#;
        for (modern, freshness, outcome, expect) in [
            (false, Freshness::UntilTold, hi(), format!("{{{content}}}")),
            (true, Freshness::Unsaid, hi(), format!(r#"{{{content},"resultType":"complete"}}"#)),
            (false, Freshness::Unsaid, Outcome::Complete(Members::default()), "{}".to_owned()),
            (
                true,
                Freshness::AskAgain,
                Outcome::Complete(Members::default()),
                r#"{"resultType":"complete","ttlMs":0,"cacheScope":"public"}"#.to_owned(),
            ),
            (
                true,
                Freshness::AskAgain,
                Outcome::InputRequired(Members::of(&serde_json::json!({"requestState": "s"}))),
                r#"{"requestState":"s","resultType":"input_required"}"#.to_owned(),
            ),
        ] {
            let expect = format!(r#"{{"jsonrpc":"2.0","id":"x","result":{expect}}}"#);
            assert_eq!(written(modern, freshness, outcome), expect);
        }
    }

    #[test]
    fn an_error_keeps_the_id_and_tells_its_code() {
        let form = Form { id: Bytes::from_static(b"7"), modern: true, freshness: Freshness::Unsaid };
        let reply = form.write(Outcome::invalid_params("no"));
        assert_eq!(reply.error, Some(ErrorCode::InvalidParams));
        assert_eq!(reply.text, r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"no"}}"#);
    }
}
