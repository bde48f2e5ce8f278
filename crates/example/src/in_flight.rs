//! The requests that are being run for one client, so that it can cancel them by id.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Requests at once per client; beyond, they are refused.
const LIMIT: usize = 256;

/// Why a request was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The id is in use by a request that is not answered yet.
    SameId,
    TooMany,
}

/// Requests under way, by id (JSON text). Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct InFlight(Arc<Mutex<HashMap<Bytes, CancellationToken>>>);

impl InFlight {
    /// Enters a request; it is under way as long as the guard lives.
    ///
    /// # Errors
    /// [`Refused`].
    pub(crate) fn begin(&self, id: Bytes, token: CancellationToken) -> Result<UnderWay, Refused> {
        let mut requests = self.0.lock();
        if requests.contains_key(&id) {
            return Err(Refused::SameId);
        }
        if requests.len() >= LIMIT {
            return Err(Refused::TooMany);
        }
        requests.insert(id.clone(), token.clone());
        Ok(UnderWay { all: self.clone(), id, cancelled: token })
    }

    /// Cancels one request; unknown ids are nothing, as the answer may have crossed the cancellation.
    pub(crate) fn cancel(&self, id: &[u8]) {
        if let Some(token) = self.0.lock().get(id) {
            token.cancel();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

/// A request under way; dropping it is its end.
#[derive(Debug)]
pub(crate) struct UnderWay {
    all: InFlight,
    id: Bytes,
    /// Fires when the client, or the end of its session, cancels.
    pub(crate) cancelled: CancellationToken,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.all.0.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_while_its_request_runs() {
        let requests = InFlight::default();
        let begin =
            |id: &'static str| requests.begin(Bytes::from_static(id.as_bytes()), CancellationToken::new());
        let first = begin("1").unwrap();
        assert_eq!(begin("1").err(), Some(Refused::SameId));
        let other = begin("\"1\"").unwrap();
        requests.cancel(b"1");
        assert!(first.cancelled.is_cancelled() && !other.cancelled.is_cancelled());
        drop(first);
        drop(begin("1").unwrap());
        drop(other);
        assert!(requests.is_empty());
    }

    #[test]
    fn there_are_only_so_many_at_once() {
        let requests = InFlight::default();
        let begin = |id: usize| requests.begin(Bytes::from(id.to_string()), CancellationToken::new());
        let running: Vec<_> = (0..LIMIT).map(|id| begin(id).unwrap()).collect();
        assert_eq!(begin(LIMIT).err(), Some(Refused::TooMany));
        drop(running);
        assert!(begin(LIMIT).is_ok());
    }
}
