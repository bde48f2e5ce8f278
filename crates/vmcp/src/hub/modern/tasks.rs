//! Tasks of 2026-07-28 (extension `io.modelcontextprotocol/tasks`): a task's id, as a client knows it, is sealed with the
//! backend that has the task and with whose it is. So any process finds the backend, and nobody else asks for the task.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use mcp::revision::has_capability;
use mcp::{ErrorCode, ErrorReply, Message};
use model::PrincipalDigest;
use proxy::session::KeyRing;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::Hub;
use super::super::object::{Object, quoted};
use super::super::passing::Passing;

/// What clients declare who know tasks.
pub(super) const EXTENSION: &str = "io.modelcontextprotocol/tasks";
const PREFIX: &str = "k1.";
const CONTEXT: &[u8] = b"task-v1";

/// A task of a backend.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct TaskId {
    pub(super) backend: String,
    /// As the backend calls it.
    pub(super) own: String,
    principal: [u8; 16],
}

impl TaskId {
    pub(super) fn new(backend: &str, own: &str, principal: PrincipalDigest) -> Self {
        Self { backend: backend.to_owned(), own: own.to_owned(), principal: *principal.as_bytes() }
    }

    /// As its client knows it.
    pub(super) fn seal(&self, keys: &KeyRing) -> String {
        let plain = serde_json::to_vec(self).unwrap_or_default();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(keys.seal(CONTEXT, &plain)))
    }

    /// `None` for what was not sealed here, or for somebody else.
    pub(super) fn open(keys: &KeyRing, text: &str, principal: PrincipalDigest) -> Option<Self> {
        let mut sealed = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        let task: Self = serde_json::from_slice(keys.open(CONTEXT, &mut sealed)?).ok()?;
        (task.principal == *principal.as_bytes()).then_some(task)
    }
}

/// Whether a client knows tasks.
pub(super) fn knows_tasks(asked: &Message) -> bool {
    let declared = asked.meta_capabilities().and_then(Object::read).unwrap_or_default();
    declared.get("extensions").is_some_and(|extensions| has_capability(extensions, EXTENSION))
}

/// An object that names a task of a backend, as a client sees it. A task that the client has named goes by that very name.
pub(super) fn show(object: &mut Object<'_>, seen: impl Fn(&str) -> String) {
    if let Some(own) = object.text("taskId") {
        object.set("taskId", quoted(&seen(&own)));
    }
}

impl Hub {
    /// Which backend has the task that a request is about.
    ///
    /// # Errors
    /// The answer where nobody has it, or its client does not know tasks.
    pub(super) fn whose_task(
        &self,
        asked: &Message,
        principal: PrincipalDigest,
    ) -> Result<Passing, ErrorReply> {
        if !knows_tasks(asked) {
            let text = format!("this request needs a client that knows the extension {EXTENSION}");
            let required = json!({"requiredCapabilities": {"extensions": {EXTENSION: {}}}});
            return Err(ErrorReply::new(ErrorCode::MissingClientCapability, text).with_data(required));
        }
        let invalid = |text: String| ErrorReply::new(ErrorCode::InvalidParams, text);
        let (Some(name), Some(span)) = (asked.target(), asked.target_span()) else {
            return Err(invalid("params.taskId is required".to_owned()));
        };
        let task = TaskId::open(&self.config.keys, &name, principal);
        let found = task.and_then(|task| Some((self.member(&task.backend)?, task.own)));
        let (member, own) = found.ok_or_else(|| invalid(format!("Unknown task: {name}")))?;
        Ok(Passing { member, edit: Some((span, Bytes::from(quoted(&own)))) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_for_its_client_only() {
        let keys = KeyRing::parse(&KeyRing::generate_line()).unwrap();
        let me = PrincipalDigest::ANONYMOUS;
        let task = TaskId::new("a", "t \"1\"", me);
        let sealed = task.seal(&keys);
        assert_eq!(TaskId::open(&keys, &sealed, me), Some(task));
        assert_eq!(TaskId::open(&keys, &sealed, PrincipalDigest::new([1; 16])), None);
        let other = KeyRing::parse(&KeyRing::generate_line()).unwrap();
        assert_eq!(TaskId::open(&other, &sealed, me), None);
        for foreign in ["", "k1.", "t1", &sealed[1..]] {
            assert_eq!(TaskId::open(&keys, foreign, me), None, "{foreign}");
        }
    }
}
