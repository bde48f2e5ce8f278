//! Clients that work without pause and write down what they were told.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use fastrand::Rng;
use serde_json::{Value, json};
use testkit::Connection;
use testkit::mcp::{Seat, Session, split_url};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::check::{Call, History, Told};

/// How long replicas may differ about where a session lives: the round in which they hear of each other, twice, and
/// what a stopped one sleeps.
const AT_ONE_WITHIN: Duration = Duration::from_secs(12);

/// Answers that took longer than this together are not of one time.
const AT_ONCE: Duration = Duration::from_secs(2);

/// All clients of a run.
pub(super) struct Clients(JoinSet<anyhow::Result<History>>);

/// Begins the sessions, two clients each, at any proxy.
pub(super) async fn start(
    urls: &[String],
    sessions: usize,
    seed: u64,
    end: Instant,
) -> anyhow::Result<Clients> {
    let mut running = JoinSet::new();
    for number in 0..sessions {
        let session = Session::open(&urls[number % urls.len()]).await?;
        let auditor = Auditor { name: number, session: session.seat(), urls: urls.to_vec(), end };
        running.spawn(auditor.work());
        for side in 0..2 {
            let name = format!("{number}.{side}");
            let dice = Rng::with_seed(seed.wrapping_add(number as u64 * 2 + side));
            let client = Client { name, session: session.seat(), urls: urls.to_vec(), dice, end };
            running.spawn(client.work());
        }
    }
    Ok(Clients(running))
}

impl Clients {
    /// What all of them were told.
    pub(super) async fn finish(mut self) -> anyhow::Result<History> {
        let mut all = History::default();
        while let Some(ended) = self.0.join_next().await {
            let history = ended??;
            all.calls.extend(history.calls);
            all.broken.extend(history.broken);
        }
        Ok(all)
    }
}

/// Asks all proxies where a session lives.
struct Auditor {
    name: usize,
    session: Seat,
    urls: Vec<String>,
    end: Instant,
}

impl Auditor {
    async fn work(self) -> anyhow::Result<History> {
        let (mut history, mut differ_since) = (History::default(), None);
        while Instant::now() < self.end {
            sleep(Duration::from_millis(300)).await;
            let begun = Instant::now();
            let homes = self.homes().await;
            // Answers of different times say nothing of one.
            if homes.len() < 2 || begun.elapsed() > AT_ONCE {
                differ_since = None;
                continue;
            }
            let since = *differ_since.get_or_insert_with(Instant::now);
            if since.elapsed() > AT_ONE_WITHIN {
                history.broken.push(format!(
                    "session {} lives in {} places: {homes:?}",
                    self.name,
                    homes.len()
                ));
                return Ok(history);
            }
        }
        Ok(history)
    }

    /// What all proxies say, asked at the same time.
    async fn homes(&self) -> BTreeSet<String> {
        let mut asked = JoinSet::new();
        for url in &self.urls {
            asked.spawn(home(self.session.clone(), url.clone()));
        }
        asked.join_all().await.into_iter().flatten().collect()
    }
}

/// What a proxy says; `None` where it is not there, or its instance was lost.
async fn home(session: Seat, url: String) -> Option<String> {
    let (address, path) = split_url(&url).ok()?;
    let mut session = session.take(Connection::open(&address).await.ok()?, address, path);
    session.call("whoami", json!({})).await.ok()
}

struct Client {
    name: String,
    session: Seat,
    urls: Vec<String>,
    dice: Rng,
    end: Instant,
}

impl Client {
    async fn work(mut self) -> anyhow::Result<History> {
        let (mut history, mut number) = (History::default(), 0_u64);
        let mut seat: Option<Session> = None;
        while Instant::now() < self.end {
            let mut session = match seat.take() {
                Some(session) => session,
                None => self.connect().await?,
            };
            number += 1;
            let id = format!("{}-{number}", self.name);
            let acts = self.dice.u64(..10) < 7;
            // Some are answered a while after they were carried out: time enough to die in between.
            let after = if self.dice.u64(..2) == 0 { 0 } else { self.dice.u64(..60) };
            let arguments = json!({"text": id, "answer_after_ms": after});
            let (method, params) = match acts {
                true => ("tools/call", json!({"name": "record", "arguments": arguments})),
                false => ("tools/list", json!({})),
            };
            let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
            let begun = Instant::now();
            let told = match session.send(&body).await {
                Ok(answer) => {
                    let text = || Value::String(format!("{:?} {}", answer.headers, answer.text()));
                    Told::read(answer.status, &answer.json().unwrap_or_else(|_| text()), &id)
                }
                // The proxy was killed: whether it had passed the call on is not known.
                Err(_) => Told::Nothing,
            };
            if let Told::Untrue(what) = &told {
                history.broken.push(format!("{id} ({method}) was told {what}"));
            }
            if told != Told::Nothing {
                seat = Some(session);
            }
            history.calls.push(Call { id, acts, told, took: begun.elapsed() });
            sleep(Duration::from_millis(self.dice.u64(..20))).await;
        }
        Ok(history)
    }

    /// The session at any proxy that is there.
    async fn connect(&mut self) -> anyhow::Result<Session> {
        for _ in 0..2000 {
            let url = &self.urls[self.dice.usize(..self.urls.len())];
            let (address, path) = split_url(url)?;
            if let Ok(connection) = Connection::open(&address).await {
                return Ok(self.session.take(connection, address, path));
            }
            sleep(Duration::from_millis(5)).await;
        }
        None.context("no proxy is there")
    }
}
