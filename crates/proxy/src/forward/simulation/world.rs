//! The instances, their network and the store of a simulation.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use crate::session::store::StoreFuture;
use crate::session::{Kept, SessionRecord, SessionStore, StoreUnavailable, Write};
use crate::upstream::simulated;

/// Chance that can be had again (SplitMix64). Our own, so that a seed that found something once means the same with every
/// version of a library.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }

    pub(super) fn pick(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).unwrap()
    }
}

/// A server of MCP over HTTP that has only just enough of either.
struct Instance {
    number: u8,
    up: bool,
    sessions: HashSet<String>,
    begun: usize,
    /// It does nothing until then.
    hangs_until: Instant,
    /// All its connections are cut. (Not a watch: that wakes its watchers in an order of its own.)
    cuts: Arc<Notify>,
}

/// All of them, and what they have carried out.
pub(super) struct World {
    instances: Vec<Mutex<Instance>>,
    journal: Mutex<HashMap<String, usize>>,
    dice: Mutex<Dice>,
}

impl World {
    /// Instances at addresses that connections of this thread lead to.
    pub(super) fn new(instances: u8, seed: u64) -> Arc<Self> {
        let instance = |number| {
            let (cuts, hangs_until) = (Arc::default(), Instant::now());
            Mutex::new(Instance { number, up: true, sessions: HashSet::new(), begun: 0, hangs_until, cuts })
        };
        let world = Arc::new(Self {
            instances: (0..instances).map(instance).collect(),
            journal: Mutex::default(),
            dice: Mutex::new(Dice::new(seed.wrapping_mul(31))),
        });
        let network = Arc::clone(&world);
        simulated::network(move |address| {
            let world = Arc::clone(&network);
            Box::pin(async move { world.dialled(address).await })
        });
        world
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.instances.iter().map(|instance| ([10, 0, 0, instance.lock().number], 80).into()).collect()
    }

    async fn dialled(self: Arc<Self>, address: SocketAddr) -> io::Result<DuplexStream> {
        self.a_moment(2).await;
        let SocketAddr::V4(v4) = address else { return Err(io::ErrorKind::AddrNotAvailable.into()) };
        let which = usize::from(v4.ip().octets()[3]);
        if !self.instances[which].lock().up {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (ours, theirs) = duplex(64 * 1024);
        tokio::spawn(async move { self.serve(which, theirs).await });
        Ok(ours)
    }

    async fn a_moment(&self, most: u64) {
        let time = self.dice.lock().below(most * 1000);
        sleep(Duration::from_micros(time)).await;
    }

    async fn serve(&self, which: usize, mut stream: DuplexStream) {
        let cut = Arc::clone(&self.instances[which].lock().cuts).notified_owned();
        let mut cut = std::pin::pin!(cut);
        cut.as_mut().enable();
        let serving = async {
            let mut read = Vec::new();
            while let Some((head, body)) = request(&mut stream, &mut read).await {
                let hangs_until = self.instances[which].lock().hangs_until;
                sleep_until(hangs_until).await;
                let answer = self.answer(which, &head, &body).await;
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            // Whatever was under way stops where it is.
            () = cut => {}
            () = serving => {}
        }
    }

    async fn answer(&self, which: usize, head: &str, body: &[u8]) -> String {
        self.a_moment(3).await;
        let session = head.lines().find_map(|line| line.strip_prefix("mcp-session-id: ")).map(str::to_owned);
        let message: Value = serde_json::from_slice(body).unwrap_or_default();
        let id = &message["id"];
        let result = |result: Value| json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
        if message["method"] == "initialize" {
            let session = {
                let mut instance = self.instances[which].lock();
                instance.begun += 1;
                let session = format!("{}-{}", instance.number, instance.begun);
                instance.sessions.insert(session.clone());
                session
            };
            let agreed = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "sim", "version": "0"}});
            return reply("200 OK", &format!("mcp-session-id: {session}\r\n"), &result(agreed));
        }
        let Some(session) = session else {
            return reply("400 Bad Request", "", &result(json!({})));
        };
        if !self.instances[which].lock().sessions.contains(&session) {
            return reply("404 Not Found", "", "");
        }
        if head.starts_with("DELETE") {
            self.instances[which].lock().sessions.remove(&session);
            return reply("200 OK", "", "");
        }
        if id.is_null() {
            return reply("202 Accepted", "", "");
        }
        if message["method"] == "tools/call" {
            let text = message["params"]["arguments"]["text"].as_str().unwrap_or_default().to_owned();
            *self.journal.lock().entry(text).or_default() += 1;
            self.a_moment(5).await;
        }
        reply("200 OK", "", &result(json!({"home": session})))
    }

    pub(super) fn kill(&self, which: usize) {
        let mut instance = self.instances[which].lock();
        instance.up = false;
        instance.sessions.clear();
        instance.cuts.notify_waiters();
    }

    pub(super) fn start(&self, which: usize) {
        self.instances[which].lock().up = true;
    }

    /// All connections to it break, and nothing else.
    pub(super) fn cut(&self, which: usize) {
        self.instances[which].lock().cuts.notify_waiters();
    }

    /// Its memory is gone, its connections are not.
    pub(super) fn forgets(&self, which: usize) {
        self.instances[which].lock().sessions.clear();
    }

    pub(super) fn hangs(&self, which: usize, time: Duration) {
        self.instances[which].lock().hangs_until = Instant::now() + time;
    }

    pub(super) fn times_done(&self, text: &str) -> usize {
        self.journal.lock().get(text).copied().unwrap_or(0)
    }

    pub(super) fn done(&self) -> usize {
        self.journal.lock().len()
    }

    pub(super) fn done_twice(&self) -> Vec<String> {
        self.journal.lock().iter().filter(|(_, times)| **times > 1).map(|(text, _)| text.clone()).collect()
    }

    pub(super) fn sessions(&self) -> usize {
        self.instances.iter().map(|instance| instance.lock().sessions.len()).sum()
    }
}

/// The next request of a connection: its head and its body.
async fn request(stream: &mut DuplexStream, read: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let whole = end + 4 + length.map_or(0, |length| length.trim().parse::<usize>().unwrap_or(0));
            if read.len() >= whole {
                let head = String::from_utf8_lossy(&read[..end]).replace("Mcp-Session-Id", "mcp-session-id");
                let body = read[end + 4..whole].to_vec();
                read.drain(..whole);
                return Some((head, body));
            }
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
}

fn reply(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What all replicas keep.
pub(super) struct Stored {
    records: Mutex<HashMap<Uuid, Option<SessionRecord>>>,
    claims: Mutex<HashMap<Uuid, (Uuid, Instant)>>,
    away_until: Mutex<Instant>,
    dice: Mutex<Dice>,
}

impl Stored {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            records: Mutex::default(),
            claims: Mutex::default(),
            away_until: Mutex::new(Instant::now()),
            dice: Mutex::new(Dice::new(seed.wrapping_mul(17))),
        }
    }

    pub(super) fn is_away_for(&self, time: Duration) {
        *self.away_until.lock() = Instant::now() + time;
    }

    pub(super) fn loses_everything(&self) {
        self.records.lock().clear();
        self.claims.lock().clear();
    }

    /// The way there; fails while the store is away.
    async fn reach(&self) -> Result<(), StoreUnavailable> {
        let time = self.dice.lock().below(3000);
        sleep(Duration::from_micros(time)).await;
        if Instant::now() < *self.away_until.lock() {
            return Err(StoreUnavailable { reason: "away".to_owned() });
        }
        Ok(())
    }
}

/// One replica's way to it.
pub(super) struct SimStore {
    stored: Arc<Stored>,
    holder: Uuid,
}

impl std::fmt::Debug for SimStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimStore")
    }
}

impl SimStore {
    pub(super) fn new(stored: &Arc<Stored>) -> Self {
        Self { stored: Arc::clone(stored), holder: Uuid::new_v4() }
    }
}

impl SessionStore for SimStore {
    fn put(&self, record: SessionRecord, write: Write) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            self.stored.reach().await?;
            let mut records = self.stored.records.lock();
            let allowed = match records.get(&record.claims.id) {
                None => true,
                Some(None) => false,
                Some(Some(there)) => match write {
                    Write::Keep => there.claims.epoch <= record.claims.epoch,
                    Write::Move => there.claims.epoch < record.claims.epoch,
                },
            };
            if allowed {
                records.insert(record.claims.id, Some(record));
            }
            Ok(allowed)
        })
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn get(&self, id: Uuid) -> StoreFuture<'_, Option<Kept>> {
        Box::pin(async move {
            self.stored.reach().await?;
            Ok(self.stored.records.lock().get(&id).map(|found| match found {
                Some(record) => Kept::Lives(Arc::new(record.clone())),
                None => Kept::Ended,
            }))
        })
    }

    fn end(&self, id: Uuid) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.stored.reach().await?;
            self.stored.records.lock().insert(id, None);
            Ok(())
        })
    }

    fn claim(&self, id: Uuid, hold: Duration) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            self.stored.reach().await?;
            let (mut claims, now) = (self.stored.claims.lock(), Instant::now());
            let taken = claims.get(&id).is_some_and(|(holder, until)| *holder != self.holder && *until > now);
            if !taken {
                claims.insert(id, (self.holder, now + hold));
            }
            Ok(!taken)
        })
    }

    fn changed(&self, known: Vec<(Uuid, u32)>) -> StoreFuture<'_, Vec<crate::session::Change>> {
        use crate::session::Change;
        Box::pin(async move {
            self.stored.reach().await?;
            let records = self.stored.records.lock();
            let change = |(id, known): (Uuid, u32)| match records.get(&id)? {
                None => Some(Change::Ended(id)),
                Some(record) => match record.claims.epoch.cmp(&known) {
                    std::cmp::Ordering::Greater => Some(Change::Moved(id, record.claims.epoch)),
                    std::cmp::Ordering::Less => Some(Change::Behind(id)),
                    std::cmp::Ordering::Equal => None,
                },
            };
            Ok(known.into_iter().filter_map(change).collect())
        })
    }

    fn touch(&self, ids: Vec<Uuid>) -> StoreFuture<'_, Vec<Uuid>> {
        Box::pin(async move {
            self.stored.reach().await?;
            let records = self.stored.records.lock();
            Ok(ids.into_iter().filter(|id| !records.contains_key(id)).collect())
        })
    }
}
