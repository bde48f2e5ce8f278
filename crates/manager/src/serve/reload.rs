//! A virtual MCP's file that changes while it is served: what it says now holds from then on, and sessions go on. A file that
//! is wrong changes nothing, and what is wrong with it is logged.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use telemetry::Tasks;
use tokio::sync::watch;
use tokio::time::interval;
use tokio_util::sync::DropGuard;
use vmcp::config::{Config, Operational};
use vmcp::hub::{Hub, Meaning, MetaTools};

use super::members::Members;
use crate::vmcp::Followed;

/// Looked at so often; taken when it is the same twice, so that one that is being written is not.
const EVERY: Duration = Duration::from_millis(500);

/// What becomes another one when the file does.
pub(super) struct Reload {
    pub(super) members: Arc<Members>,
    pub(super) hub: Arc<Hub>,
    pub(super) tasks: Tasks,
    pub(super) report_every: watch::Sender<Duration>,
}

impl Reload {
    /// Follows a file from what it said at first, with the tools over tools that came of that, until it is dropped.
    pub(super) async fn follow(self, mut file: Followed, mut meta: MetaTools) {
        let mut rounds = interval(EVERY);
        let mut look = Look { taken: file.file.text.clone(), seen: Ok(file.file.text.clone()) };
        let begun = file.config.clone();
        let mut learning = self.learn(&meta);
        loop {
            rounds.tick().await;
            let path = file.file.path.display();
            let text = match look.next(file.now().await) {
                Next::Same => continue,
                Next::Gone(problem) => {
                    tracing::warn!(file = %path, %problem, "cannot be read: what it said before holds");
                    continue;
                }
                Next::Taken(text) => text,
            };
            let mut target = match file.saying(&text) {
                Ok(target) => target,
                Err(error) => {
                    tracing::warn!(file = %path, %error, "is wrong now: what it said before holds");
                    continue;
                }
            };
            let Some(next) = target.file.take() else { continue };
            for what in starts_only(&begun, &next.config) {
                tracing::warn!(file = %path, "{what} is another one: it holds from the next start on");
            }
            target.shape.meta.takes_over(&meta, meaning(&file.config, &next.config));
            if !target.shape.meta.finds_as(&meta) {
                // The one before stops.
                drop(std::mem::replace(&mut learning, self.learn(&target.shape.meta)));
            }
            meta = target.shape.meta.clone();
            self.members.become_those_of(&target);
            self.report_every.send_replace(target.report_every);
            self.hub.reshape(target.shape);
            tracing::info!(file = %path, "has changed, and holds");
            file = next;
        }
    }

    /// Has the optimizer learn what tools mean, until what this gives is dropped.
    fn learn(&self, meta: &MetaTools) -> Option<DropGuard> {
        let optimizer = meta.optimizer.clone()?;
        let stop = self.tasks.stop_token().child_token();
        self.tasks.spawn("meanings", optimizer.follow(stop.clone()));
        Some(stop.drop_guard())
    }
}

/// Whether the same service says what texts mean.
fn meaning(current: &Config, next: &Config) -> Meaning {
    let service = |config: &Config| config.optimizer.as_ref().and_then(|said| said.embedding.clone());
    if service(current) == service(next) { Meaning::AsBefore } else { Meaning::Elsewhere }
}

/// What only a start can change, by its name in the file.
fn starts_only(begun: &Config, next: &Config) -> Vec<&'static str> {
    // What is named here and not compared is taken over, refused when it is read, or says nothing about what is served.
    let Config {
        name,
        operational: Operational { is_debug, timeouts: _, failures: _ },
        session_storage,
        group: _,
        backends: _,
        incoming: _,
        outgoing: _,
        aggregation: _,
        composites: _,
        composite_references: _,
        metadata: _,
        telemetry: _,
        audit: _,
        optimizer: _,
        code_mode: _,
        rate_limits: _,
        passthrough_headers: _,
    } = begun;
    let differs = [
        ("name", *name != next.name),
        ("operational.logLevel", *is_debug != next.operational.is_debug),
        ("sessionStorage", *session_storage != next.session_storage),
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

    const FILE: &str = "
groupRef: g
incomingAuth: {type: anonymous}
outgoingAuth: {source: inline}
aggregation: {conflictResolution: prefix, conflictResolutionConfig: {prefixFormat: '{workload}_'}}
";

    #[test]
    fn what_only_a_start_can_change_is_named() {
        let config = |more: &str| Config::parse(&format!("{FILE}{more}\n"), &|_| None).unwrap();
        let begun = config("name: n");
        for (more, expect) in [
            ("name: n", &[][..]),
            ("name: n\noptimizer: {}\ncodeMode: {enabled: true}\npassthroughHeaders: [X-A]", &[]),
            ("name: n\noperational: {timeouts: {default: 1s}}", &[]),
            ("name: n\noperational: {failureHandling: {partialFailureMode: fail}}", &[]),
            (
                "name: other\noperational: {logLevel: debug, failureHandling: {unhealthyThreshold: 9}}",
                &["name", "operational.logLevel"],
            ),
            ("name: n\nsessionStorage: {provider: memory}", &["sessionStorage"]),
        ] {
            assert_eq!(starts_only(&begun, &config(more)), expect, "{more}");
        }
    }

    #[test]
    fn meanings_stay_where_their_service_does() {
        let config = |more: &str| Config::parse(&format!("name: n\n{FILE}{more}\n"), &|_| None).unwrap();
        let service = "embeddingService: 'http://127.0.0.1:1'";
        for (current, next, expect) in [
            ("", "optimizer: {}", Meaning::AsBefore),
            ("optimizer: {}", "optimizer: {maxToolsToReturn: 3}", Meaning::AsBefore),
            ("optimizer: {}", &*format!("optimizer: {{{service}}}"), Meaning::Elsewhere),
            (
                &*format!("optimizer: {{{service}}}"),
                &*format!("optimizer: {{{service}, maxToolsToReturn: 3}}"),
                Meaning::AsBefore,
            ),
            (&*format!("optimizer: {{{service}}}"), "", Meaning::Elsewhere),
        ] {
            assert_eq!(meaning(&config(current), &config(next)), expect, "{current:?} {next:?}");
        }
    }

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
