//! A virtual MCP's file that changes while it is served: what it says now holds from then on, and sessions go on. A file that
//! is wrong changes nothing, and what is wrong with it is logged.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::interval;
use vmcp::hub::Hub;

use super::members::Members;
use crate::target::Virtual;
use crate::vmcp::VmcpFile;

/// Looked at so often; taken when it is the same twice, so that one that is being written is not.
const EVERY: Duration = Duration::from_millis(500);

/// Follows a file from what it said at first, until it is dropped.
pub(super) async fn follow(file: VmcpFile, mut current: Virtual, members: Arc<Members>, hub: Arc<Hub>) {
    let mut rounds = interval(EVERY);
    let mut look = Look { taken: file.text.clone(), seen: Ok(file.text.clone()) };
    loop {
        rounds.tick().await;
        let text = match look.next(file.now().await) {
            Next::Same => continue,
            Next::Gone(problem) => {
                tracing::warn!(file = %file.path.display(), %problem, "cannot be read: what it said before holds");
                continue;
            }
            Next::Taken(text) => text,
        };
        match file.target(&text) {
            Ok(next) => {
                for what in kept(&current, &next) {
                    tracing::warn!(file = %file.path.display(), "{what} is another one: it holds from the next start on");
                }
                if next.group.is_none() && current.group.is_none() {
                    members.become_these(next.members.clone(), &hub).await;
                }
                hub.reshape(next.shape.clone());
                tracing::info!(file = %file.path.display(), "has changed, and holds");
                current = next;
            }
            Err(error) => {
                tracing::warn!(file = %file.path.display(), %error, "is wrong now: what it said before holds");
            }
        }
    }
}

/// What only a start can change.
fn kept(current: &Virtual, next: &Virtual) -> Vec<&'static str> {
    let group = |target: &Virtual| target.group.as_ref().map(|group| group.name().to_owned());
    let differs = [
        ("where its servers come from", group(current) != group(next)),
        (
            "operational.failureHandling",
            (current.health, current.probe_every, current.probe_within, current.report_every)
                != (next.health, next.probe_every, next.probe_within, next.report_every),
        ),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(what, _)| what).collect()
}

/// What a file was seen to say.
struct Look {
    /// What was taken last, right or wrong.
    taken: String,
    /// What it said last, or why it could not be read.
    seen: Result<String, String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Same,
    /// It could be read before.
    Gone(String),
    Taken(String),
}

impl Look {
    fn next(&mut self, now: io::Result<String>) -> Next {
        let now = now.map_err(|problem| problem.to_string());
        let before = std::mem::replace(&mut self.seen, now.clone());
        match now {
            Ok(text) if text != self.taken && before.as_ref() == Ok(&text) => {
                self.taken.clone_from(&text);
                Next::Taken(text)
            }
            Err(problem) if before.is_ok() => Next::Gone(problem),
            Ok(_) | Err(_) => Next::Same,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_taken_once_and_only_when_it_is_whole() {
        let mut look = Look { taken: "a".into(), seen: Ok("a".into()) };
        let mut next = |text: &str| look.next(Ok(text.to_owned()));
        let taken = |text: &str| Next::Taken(text.to_owned());
        for (text, expect) in [
            ("a", Next::Same),
            ("b, half", Next::Same),
            ("b", Next::Same),
            ("b", taken("b")),
            ("b", Next::Same),
            ("a", Next::Same),
            ("a", taken("a")),
        ] {
            assert_eq!(next(text), expect, "{text}");
        }
        let gone = || io::Error::other("gone");
        assert_eq!(look.next(Err(gone())), Next::Gone("gone".into()));
        assert_eq!((look.next(Err(gone())), look.next(Ok("c".into()))), (Next::Same, Next::Same));
        assert_eq!(look.next(Ok("c".into())), taken("c"));
    }
}
