//! Records in a Redis or Valkey that replicas share ([`link`]: where it is). While it is away nobody waits for it twice in
//! a second.

mod link;
mod logs;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use redis::{Cmd, FromRedisValue, Pipeline, RedisError, Script};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::{Answer, Change, ENDED, Found, OpenError, Records, Stored, Unavailable, Write};
use link::{CONNECTING, Link, PATIENCE, Server};

/// After a failure the server is left alone for so long.
const RESPITE: Duration = Duration::from_secs(1);

/// Changes that may wait to be looked at; beyond, whoever has missed one finds out by itself.
const CHANGES: usize = 1024;
/// Between two attempts to hear of changes.
const AGAIN: Duration = Duration::from_secs(2);

/// Writes a record where that is allowed. KEYS: record. ARGV: epoch, kind of write, text, milliseconds to keep it, channel
/// and message for those who want to know.
const PUT: &str = r"
local there = tonumber(redis.call('HGET', KEYS[1], 'epoch'))
local epoch = tonumber(ARGV[1])
if there and (there > epoch or (ARGV[2] == 'advance' and there == epoch)) then return 0 end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'text', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
if ARGV[6] ~= '' then redis.call('PUBLISH', ARGV[5], ARGV[6]) end
return 1
";

/// Takes a claim, or renews one's own. KEYS: claim. ARGV: holder, milliseconds to hold it.
const CLAIM: &str = r"
local there = redis.call('GET', KEYS[1])
if there and there ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
";

/// Records in Redis.
#[derive(Debug)]
pub struct RedisRecords {
    server: Arc<Server>,
    /// Before the keys' own names: whose they are.
    prefix: String,
    put: Script,
    claim: Script,
    scripts: logs::Scripts,
    /// Milliseconds since `start` before which nothing is asked.
    away_until: AtomicU64,
    start: Instant,
}

impl RedisRecords {
    /// At a URL (see [`link`]). Nothing is connected yet: the server may be away.
    ///
    /// # Errors
    /// [`OpenError::NotAStore`], without the URL's password.
    pub fn open(url: &str, prefix: &str) -> Result<Self, OpenError> {
        Ok(Self {
            server: Arc::new(Server::open(url)?),
            prefix: prefix.to_owned(),
            put: Script::new(PUT),
            claim: Script::new(CLAIM),
            scripts: logs::Scripts::new(),
            away_until: AtomicU64::new(0),
            start: Instant::now(),
        })
    }

    fn record(&self, id: Uuid) -> String {
        format!("{}:session:{{{id}}}", self.prefix)
    }

    fn claim_of(&self, id: Uuid) -> String {
        format!("{}:claim:{{{id}}}", self.prefix)
    }

    fn channel(&self) -> String {
        format!("{}:changes", self.prefix)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Carries an operation out on the connection, within its time.
    async fn ask<T, F>(&self, operation: impl FnOnce(Link) -> F) -> Result<T, Unavailable>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        if self.now() < self.away_until.load(Ordering::Relaxed) {
            return Err(Unavailable("it was away a moment ago".to_owned()));
        }
        let asked = async { operation(self.server.link().await?).await };
        let failed = match timeout(CONNECTING + PATIENCE, asked).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        self.server.failed().await;
        let respite = u64::try_from(RESPITE.as_millis()).unwrap_or(u64::MAX);
        self.away_until.store(self.now() + respite, Ordering::Relaxed);
        Err(Unavailable(failed))
    }

    async fn run<T: FromRedisValue>(&self, pipeline: Pipeline) -> Result<T, Unavailable> {
        self.ask(|mut link| async move { pipeline.query_async(&mut link).await }).await
    }

    /// Commands about keys of their own, and each one's answer.
    async fn run_each<T: FromRedisValue>(&self, commands: Vec<Cmd>) -> Result<Vec<T>, Unavailable> {
        if !self.server.is_cluster() {
            let mut pipeline = redis::pipe();
            for command in commands {
                pipeline.add_command(command);
            }
            return self.run(pipeline).await;
        }
        let all = |link: Link| async move {
            let one_by_one = commands.into_iter().map(|command| {
                let mut link = link.clone();
                async move { command.query_async(&mut link).await }
            });
            futures_util::future::try_join_all(one_by_one).await
        };
        self.ask(all).await
    }
}

/// Hears what other processes publish until nobody wants to know. While the server is away nothing is heard, and nothing
/// is told later: whoever missed a change finds out when it matters.
async fn listen(server: &Server, channel: &str, to: &mpsc::Sender<Change>) {
    while !to.is_closed() {
        if let Ok(Ok(mut pubsub)) = timeout(CONNECTING, server.pubsub()).await
            && pubsub.subscribe(channel).await.is_ok()
        {
            let mut published = pubsub.on_message();
            loop {
                let message = tokio::select! {
                    () = to.closed() => return,
                    message = published.next() => message,
                };
                let Some(message) = message else { break };
                let change = message.get_payload::<String>().ok().and_then(|text| Change::read(&text));
                // Full: see above.
                let _ = change.map(|change| to.try_send(change));
            }
        }
        tokio::select! {
            () = to.closed() => return,
            () = sleep(AGAIN) => {}
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

impl Records for RedisRecords {
    fn get(&self, id: Uuid) -> Answer<'_, Option<Found>> {
        Box::pin(async move {
            let mut pipeline = redis::pipe();
            pipeline.cmd("HMGET").arg(self.record(id)).arg("epoch").arg("text");
            let ((epoch, text),): ((Option<u32>, Option<Vec<u8>>),) = self.run(pipeline).await?;
            Ok(epoch.zip(text).map(|(epoch, text)| Found::new(epoch, Bytes::from(text))))
        })
    }

    fn put(&self, id: Uuid, record: Stored, write: Write, keep: Duration) -> Answer<'_, bool> {
        Box::pin(async move {
            let kind = match write {
                Write::Keep => "keep",
                Write::Advance => "advance",
            };
            let change = match (record.epoch, write) {
                (ENDED, _) => Change::Ended(id).to_string(),
                (epoch, Write::Advance) => Change::Moved(id, epoch).to_string(),
                (_, Write::Keep) => String::new(),
            };
            let mut script = self.put.prepare_invoke();
            script
                .key(self.record(id))
                .arg(record.epoch)
                .arg(kind)
                .arg(&record.text[..])
                .arg(milliseconds(keep))
                .arg(self.channel())
                .arg(change);
            self.ask(|mut link| async move { script.invoke_async(&mut link).await }).await
        })
    }

    fn end(&self, id: Uuid, keep: Duration) -> Answer<'_, ()> {
        let ended = Stored { epoch: ENDED, text: Bytes::new() };
        Box::pin(async move { self.put(id, ended, Write::Keep, keep).await.map(drop) })
    }

    fn claim(&self, id: Uuid, holder: Uuid, hold: Duration) -> Answer<'_, bool> {
        Box::pin(async move {
            let mut script = self.claim.prepare_invoke();
            script.key(self.claim_of(id)).arg(holder.to_string()).arg(milliseconds(hold));
            self.ask(|mut link| async move { script.invoke_async(&mut link).await }).await
        })
    }

    fn touch(&self, ids: Vec<Uuid>, keep: Duration) -> Answer<'_, Vec<Uuid>> {
        Box::pin(async move {
            let commands = ids.iter().map(|id| {
                let mut command = redis::cmd("PEXPIRE");
                command.arg(self.record(*id)).arg(milliseconds(keep));
                command
            });
            let known: Vec<bool> = self.run_each(commands.collect()).await?;
            Ok(ids.into_iter().zip(known).filter(|(_, known)| !known).map(|(id, _)| id).collect())
        })
    }

    fn changed(&self, known: Vec<(Uuid, u32)>) -> Answer<'_, Vec<Change>> {
        Box::pin(async move {
            let commands = known.iter().map(|(id, _)| {
                let mut command = redis::cmd("HGET");
                command.arg(self.record(*id)).arg("epoch");
                command
            });
            let epochs: Vec<Option<u32>> = self.run_each(commands.collect()).await?;
            let changes = known.into_iter().zip(epochs);
            Ok(changes.filter_map(|((id, known), epoch)| Change::between(id, known, epoch?)).collect())
        })
    }

    fn changes(&self) -> Option<mpsc::Receiver<Change>> {
        let (to, changes) = mpsc::channel(CHANGES);
        let (server, channel) = (Arc::clone(&self.server), self.channel());
        tokio::spawn(async move { listen(&server, &channel, &to).await });
        Some(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_is_away_is_asked_once_a_second() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let records = RedisRecords::open(&format!("redis://{free}"), "skep").unwrap();
        // Nobody listens there any more.
        let first = records.get(Uuid::nil()).await.unwrap_err().to_string();
        let second = records.get(Uuid::nil()).await.unwrap_err().to_string();
        assert!(!first.contains("a moment ago") && second.contains("a moment ago"), "{first}; {second}");
    }
}
