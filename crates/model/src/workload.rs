//! A workload's status: what it may be, and what may become of it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::json::{Document, NotADocument, Unfit, members, read_document, write_document};

/// What a workload is doing, in ToolHive's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Running,
    Stopped,
    /// It could not be started, or has ended and is not started again.
    Error,
    Starting,
    Stopping,
    /// It should run, and something says that it does not.
    Unhealthy,
    Removing,
    /// Nobody has looked, or could.
    #[default]
    Unknown,
    /// A remote server does not take its tokens.
    Unauthenticated,
    /// Its tokens could not be renewed, which is tried again.
    AuthRetrying,
    /// A policy does not let it run.
    PolicyStopped,
}

/// Every status with its word.
const WORDS: [(Status, &str); 11] = [
    (Status::Running, "running"),
    (Status::Stopped, "stopped"),
    (Status::Error, "error"),
    (Status::Starting, "starting"),
    (Status::Stopping, "stopping"),
    (Status::Unhealthy, "unhealthy"),
    (Status::Removing, "removing"),
    (Status::Unknown, "unknown"),
    (Status::Unauthenticated, "unauthenticated"),
    (Status::AuthRetrying, "auth_retrying"),
    (Status::PolicyStopped, "policy_stopped"),
];

/// A word that is no status.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a status of a workload")]
pub struct NotAStatus(pub String);

impl Status {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        WORDS.into_iter().map(|(status, _)| status)
    }

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        WORDS.into_iter().find(|(status, _)| *status == self).map_or("unknown", |(_, word)| word)
    }

    /// Whether a workload of this status may get the next one. The same again is no change, and always may be written
    /// (why it is so may have changed).
    ///
    /// What is being stopped or removed does not come back by what somebody saw of it: a health check that read an older
    /// status changes nothing.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use Status::{
            AuthRetrying, Error, PolicyStopped, Removing, Running, Starting, Stopped, Stopping,
            Unauthenticated, Unhealthy, Unknown,
        };
        if self == next {
            return true;
        }
        match self {
            Stopped | PolicyStopped => matches!(next, Starting | Removing),
            // Something may be left of it that is to be stopped.
            Error => matches!(next, Starting | Stopping | Removing),
            Starting => matches!(
                next,
                Running | Unhealthy | Unauthenticated | PolicyStopped | Error | Stopping | Removing | Unknown
            ),
            Running | Unhealthy | AuthRetrying => !matches!(next, Stopped),
            // Its tokens are renewed by a login, not by another try.
            Unauthenticated => !matches!(next, Stopped | AuthRetrying),
            Stopping => matches!(next, Stopped | Error | Removing | Unknown),
            // What comes after it is nothing, unless it fails.
            Removing => matches!(next, Error),
            Unknown => true,
        }
    }

    /// Whether it should be running: what is started again when skep finds it so after a crash.
    #[must_use]
    pub fn is_wanted(self) -> bool {
        match self {
            Self::Running | Self::Starting | Self::Unhealthy | Self::Unauthenticated | Self::AuthRetrying => {
                true
            }
            Self::Stopped
            | Self::Error
            | Self::Stopping
            | Self::Removing
            | Self::Unknown
            | Self::PolicyStopped => false,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = NotAStatus;

    fn from_str(word: &str) -> Result<Self, NotAStatus> {
        let found = WORDS.into_iter().find(|(_, known)| *known == word);
        found.map(|(status, _)| status).ok_or_else(|| NotAStatus(word.to_owned()))
    }
}

members! {
    /// What is kept of a workload's status.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct StatusRecord {
        status: Status = always,
        /// Why it is so, for people.
        status_context: String,
        created_at: Timestamp = always,
        updated_at: Timestamp = always,
        /// The process that serves it; 0 where there is none.
        process_id: i64 = always,
        ; original
    }
}

impl StatusRecord {
    /// The first status of a workload.
    #[must_use]
    pub fn new(status: Status, now: Timestamp) -> Self {
        Self { status, created_at: now.clone(), updated_at: now, ..Self::default() }
    }
}

impl Document for StatusRecord {
    fn parse(text: &str) -> Result<Self, NotADocument> {
        let (mut record, original): (Self, _) = read_document(text, |_| {})?;
        for member in ["status", "created_at"] {
            if original.get(member).is_none() {
                return Err(Unfit { member: member.to_owned(), reason: "is not there".to_owned() }.into());
            }
        }
        record.original = original;
        Ok(record)
    }

    fn to_text(&self) -> String {
        write_document(self, &self.original)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_one_word_everywhere() {
        for status in Status::all() {
            assert_eq!(status.as_str().parse(), Ok(status));
            assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{status}\""));
        }
        assert_eq!("Running".parse::<Status>(), Err(NotAStatus("Running".to_owned())));
    }

    /// What may follow each status, in the order of [`Status::all`]: running, stopped, error, starting, stopping,
    /// unhealthy, removing, unknown, unauthenticated, auth_retrying, policy_stopped.
    #[test]
    fn what_may_become_of_a_workload() {
        for (status, row) in [
            (Status::Running, "x.xxxxxxxxx"),
            (Status::Stopped, ".x.x..x...."),
            (Status::Error, "..xxx.x...."),
            (Status::Starting, "x.xxxxxxx.x"),
            (Status::Stopping, ".xx.x.xx..."),
            (Status::Unhealthy, "x.xxxxxxxxx"),
            (Status::Removing, "..x...x...."),
            (Status::Unknown, "xxxxxxxxxxx"),
            (Status::Unauthenticated, "x.xxxxxxx.x"),
            (Status::AuthRetrying, "x.xxxxxxxxx"),
            (Status::PolicyStopped, "...x..x...x"),
        ] {
            let is: String =
                Status::all().map(|next| if status.may_become(next) { 'x' } else { '.' }).collect();
            assert_eq!(is, row, "{status}");
        }
    }

    #[test]
    fn a_record_is_kept_as_toolhive_writes_it() {
        let text = r#"{"status":"auth_retrying","status_context":"later","created_at":"2026-01-02T03:04:05.123456789+02:00","updated_at":"2026-01-02T03:04:05Z","process_id":7,"new":1}"#;
        let mut record = StatusRecord::parse(text).unwrap();
        assert_eq!((record.status, record.process_id), (Status::AuthRetrying, 7));
        record.status_context = String::new();
        let written = record.to_text();
        assert!(written.contains(".123456789+02:00") && written.contains("\"new\": 1"), "{written}");
        assert!(!written.contains("status_context"), "{written}");
        for broken in
            [r#"{"status":"running"}"#, r#"{"created_at":"x"}"#, r#"{"status":"dancing","created_at":"x"}"#]
        {
            assert!(matches!(StatusRecord::parse(broken), Err(NotADocument::Unfit(_))), "{broken}");
        }
    }
}
