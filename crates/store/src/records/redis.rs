//! Records in a Redis or Valkey that replicas share. One connection, which comes back by itself; while the server is away
//! nobody waits for it twice in a second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, FromRedisValue, Pipeline, RedisError, Script};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::{Answer, ENDED, Found, OpenError, Records, Stored, Unavailable, Write};

/// How long an operation may take, and how long connecting.
const PATIENCE: Duration = Duration::from_millis(500);
const CONNECTING: Duration = Duration::from_secs(1);
/// After a failure the server is left alone for so long.
const RESPITE: Duration = Duration::from_secs(1);

/// Writes a record where that is allowed. KEYS: record. ARGV: epoch, kind of write, text, milliseconds to keep it.
const PUT: &str = r"
local there = tonumber(redis.call('HGET', KEYS[1], 'epoch'))
local epoch = tonumber(ARGV[1])
if there and (there > epoch or (ARGV[2] == 'advance' and there == epoch)) then return 0 end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'text', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
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
pub struct RedisRecords {
    client: Client,
    /// Before the keys' own names: whose they are.
    prefix: String,
    manager: OnceCell<ConnectionManager>,
    put: Script,
    claim: Script,
    /// Milliseconds since `start` before which nothing is asked.
    away_until: AtomicU64,
    start: Instant,
}

impl std::fmt::Debug for RedisRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may have a password in it.
        f.debug_struct("RedisRecords").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl RedisRecords {
    /// At a `redis://` or `rediss://` URL, with user, password and database as its parts. Nothing is connected yet: the
    /// server may be away.
    ///
    /// # Errors
    /// [`OpenError::NotAStore`], without the URL's password.
    pub fn open(url: &str, prefix: &str) -> Result<Self, OpenError> {
        if url.starts_with("rediss:") {
            // The client asks the process which cryptography to use. Whoever was first decides.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let client = Client::open(url).map_err(|_| OpenError::NotAStore { url: without_password(url) })?;
        Ok(Self {
            client,
            prefix: prefix.to_owned(),
            manager: OnceCell::new(),
            put: Script::new(PUT),
            claim: Script::new(CLAIM),
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

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Carries an operation out on the connection, within its time.
    async fn ask<T, F>(&self, operation: impl FnOnce(ConnectionManager) -> F) -> Result<T, Unavailable>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        if self.now() < self.away_until.load(Ordering::Relaxed) {
            return Err(Unavailable("it was away a moment ago".to_owned()));
        }
        let asked = async {
            let manager = self.manager.get_or_try_init(|| {
                let config = ConnectionManagerConfig::new()
                    .set_connection_timeout(Some(CONNECTING))
                    .set_response_timeout(Some(PATIENCE))
                    .set_number_of_retries(1);
                ConnectionManager::new_with_config(self.client.clone(), config)
            });
            operation(manager.await?.clone()).await
        };
        let failed = match timeout(CONNECTING + PATIENCE, asked).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        let respite = u64::try_from(RESPITE.as_millis()).unwrap_or(u64::MAX);
        self.away_until.store(self.now() + respite, Ordering::Relaxed);
        Err(Unavailable(failed))
    }

    async fn run<T: FromRedisValue>(&self, pipeline: Pipeline) -> Result<T, Unavailable> {
        self.ask(|mut manager| async move { pipeline.query_async(&mut manager).await }).await
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        _ => url.to_owned(),
    }
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
            let mut script = self.put.prepare_invoke();
            script
                .key(self.record(id))
                .arg(record.epoch)
                .arg(kind)
                .arg(&record.text[..])
                .arg(milliseconds(keep));
            self.ask(|mut manager| async move { script.invoke_async(&mut manager).await }).await
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
            self.ask(|mut manager| async move { script.invoke_async(&mut manager).await }).await
        })
    }

    fn touch(&self, ids: Vec<Uuid>, keep: Duration) -> Answer<'_, Vec<Uuid>> {
        Box::pin(async move {
            let mut pipeline = redis::pipe();
            for id in &ids {
                pipeline.cmd("PEXPIRE").arg(self.record(*id)).arg(milliseconds(keep));
            }
            let known: Vec<bool> = self.run(pipeline).await?;
            Ok(ids.into_iter().zip(known).filter(|(_, known)| !known).map(|(id, _)| id).collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_is_none_is_told_without_its_password() {
        let error = RedisRecords::open("redis://user:secret@host:port/0", "skep").unwrap_err().to_string();
        assert!(!error.contains("secret") && error.contains("redis://"), "{error}");
        assert!(RedisRecords::open("redis://user:secret@host:6379/0", "skep").is_ok());
    }

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
