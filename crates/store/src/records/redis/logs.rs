//! Logs in Redis: a list each, and two indexes of which there are.
//!
//! Keys of one owner have one hash tag, so that a log and the indexes change together in a cluster too. Times are the
//! server's: replicas whose clocks differ forget at the same moment.

use std::time::Duration;

use bytes::Bytes;
use redis::Script;
use uuid::Uuid;

use super::{RedisRecords, milliseconds};
use crate::records::Answer;
use crate::records::logs::{Behind, Logs};

/// Letters that wait for who holds a log.
const LETTERS: u64 = 256;

/// Adds a text where the log is as long as is said. KEYS: log, index of all, index of open ones. ARGV: position, text,
/// milliseconds to keep it, id, whether it stays open.
const APPEND: &str = r"
if redis.call('LLEN', KEYS[1]) ~= tonumber(ARGV[1]) then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local until_ = now + ARGV[3]
redis.call('RPUSH', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
redis.call('ZADD', KEYS[2], until_, ARGV[4])
if ARGV[5] == '1' then redis.call('ZADD', KEYS[3], until_, ARGV[4]) else redis.call('ZREM', KEYS[3], ARGV[4]) end
return 1
";

/// The ids of an index. KEYS: index.
const LIST: &str = r"
local time = redis.call('TIME')
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. (time[1] * 1000 + math.floor(time[2] / 1000)), '+inf')
";

/// Takes a lease, or renews one's own, and takes the letters. KEYS: lease, letters. ARGV: holder, milliseconds to hold it.
const HOLD: &str = r"
local there = redis.call('GET', KEYS[1])
if there and there ~= ARGV[1] then return false end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local letters = redis.call('LRANGE', KEYS[2], 0, -1)
redis.call('DEL', KEYS[2])
return letters
";

/// Gives a lease back. KEYS: lease. ARGV: holder.
const RELEASE: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
";

/// Leaves a letter. KEYS: letters. ARGV: letter, how many there may be, milliseconds to keep it.
const POST: &str = r"
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], -ARGV[2], -1)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
";

/// The scripts.
#[derive(Debug)]
pub(super) struct Scripts {
    append: Script,
    list: Script,
    hold: Script,
    release: Script,
    post: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            append: Script::new(APPEND),
            list: Script::new(LIST),
            hold: Script::new(HOLD),
            release: Script::new(RELEASE),
            post: Script::new(POST),
        }
    }
}

/// How long a letter waits.
const KEEP_LETTERS: Duration = Duration::from_secs(600);

impl RedisRecords {
    fn key(&self, kind: &str, id: Uuid) -> String {
        format!("{{{}}}:{kind}:{id}", self.prefix)
    }

    fn index(&self, kind: &str) -> String {
        format!("{{{}}}:{kind}", self.prefix)
    }

    async fn listed(&self, index: &str) -> Result<Vec<Uuid>, crate::records::Unavailable> {
        let mut script = self.scripts.list.prepare_invoke();
        script.key(self.index(index));
        let ids: Vec<String> =
            self.ask(|mut link| async move { script.invoke_async(&mut link).await }).await?;
        Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
    }
}

impl Logs for RedisRecords {
    fn append(
        &self,
        id: Uuid,
        position: u64,
        text: Bytes,
        behind: Behind,
        keep: Duration,
    ) -> Answer<'_, bool> {
        Box::pin(async move {
            let mut script = self.scripts.append.prepare_invoke();
            script
                .key(self.key("log", id))
                .key(self.index("logs"))
                .key(self.index("open-logs"))
                .arg(position)
                .arg(&text[..])
                .arg(milliseconds(keep))
                .arg(id.to_string())
                .arg(u8::from(behind == Behind::More));
            self.ask(|mut link| async move { script.invoke_async(&mut link).await }).await
        })
    }

    fn read(&self, id: Uuid) -> Answer<'_, Vec<Bytes>> {
        Box::pin(async move {
            let mut pipeline = redis::pipe();
            pipeline.cmd("LRANGE").arg(self.key("log", id)).arg(0).arg(-1);
            let (texts,): (Vec<Vec<u8>>,) = self.run(pipeline).await?;
            Ok(texts.into_iter().map(Bytes::from).collect())
        })
    }

    fn open(&self) -> Answer<'_, Vec<Uuid>> {
        Box::pin(self.listed("open-logs"))
    }

    fn all(&self) -> Answer<'_, Vec<Uuid>> {
        Box::pin(self.listed("logs"))
    }

    fn hold(&self, id: Uuid, holder: Uuid, hold: Duration) -> Answer<'_, Option<Vec<Bytes>>> {
        Box::pin(async move {
            let mut script = self.scripts.hold.prepare_invoke();
            script
                .key(self.key("lease", id))
                .key(self.key("letters", id))
                .arg(holder.to_string())
                .arg(milliseconds(hold));
            let letters: Option<Vec<Vec<u8>>> =
                self.ask(|mut link| async move { script.invoke_async(&mut link).await }).await?;
            Ok(letters.map(|letters| letters.into_iter().map(Bytes::from).collect()))
        })
    }

    fn release(&self, id: Uuid, holder: Uuid) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut script = self.scripts.release.prepare_invoke();
            script.key(self.key("lease", id)).arg(holder.to_string());
            self.ask(|mut link| async move { script.invoke_async(&mut link).await }).await
        })
    }

    fn post(&self, id: Uuid, letter: Bytes) -> Answer<'_, bool> {
        Box::pin(async move {
            let mut script = self.scripts.post.prepare_invoke();
            script.key(self.key("letters", id)).arg(&letter[..]).arg(LETTERS).arg(milliseconds(KEEP_LETTERS));
            self.ask(|mut link| async move { script.invoke_async(&mut link).await }).await
        })
    }
}
