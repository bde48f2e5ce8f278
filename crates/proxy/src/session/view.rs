//! Sessions as whoever runs skep sees them: nothing in here opens a session or tells what a client said.

use std::time::Duration;

use model::PrincipalDigest;
use uuid::Uuid;

use crate::recovery::history::Entry;
use crate::recovery::remembered::Remembered;

/// One line about a session.
#[derive(Clone, Debug)]
pub struct SessionView {
    pub id: Uuid,
    /// Whose it is: `anonymous`, or the first digits of the digest.
    pub principal: String,
    /// Where it lives: an address, a process, or that it has no server now.
    pub place: String,
    /// How often it has moved.
    pub epoch: u32,
    /// The second of the Unix era in which it began.
    pub began: u64,
    /// `None`: something is under way.
    pub idle: Option<Duration>,
}

/// All that is to be told of a session.
#[derive(Clone, Debug)]
pub struct SessionDetail {
    pub view: SessionView,
    /// What was agreed on: the protocol revision and the server's name.
    pub agreed: Option<(String, String)>,
    pub log_level: Option<String>,
    pub subscriptions: Vec<String>,
    /// What happened to it here, oldest first.
    pub timeline: Vec<Entry>,
}

impl SessionDetail {
    /// From what is known of it.
    #[must_use]
    pub fn new(view: SessionView, remembered: Option<&Remembered>, timeline: Vec<Entry>) -> Self {
        Self {
            view,
            agreed: remembered.and_then(Remembered::agreed_on),
            log_level: remembered.and_then(|kept| kept.level().map(str::to_owned)),
            subscriptions: remembered
                .map(|kept| kept.subscriptions().map(str::to_owned).collect())
                .unwrap_or_default(),
            timeline,
        }
    }
}

/// A principal as it is shown.
pub(crate) fn principal(digest: PrincipalDigest) -> String {
    if digest == PrincipalDigest::ANONYMOUS {
        return "anonymous".to_owned();
    }
    digest.as_bytes()[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}
