//! The sessions this process serves: found without a lock, expired when idle, bounded in number.
//!
//! `B` is what a session is backed by: a pinned instance, or a task that speaks with a child process. The table knows
//! who owns a session and when it was last used, nothing of how it is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use model::PrincipalDigest;
use papaya::HashMap;
use tokio::time::Instant;
use uuid::Uuid;

use super::keys::KeyRing;
use super::token::{Claims, Pin, RouteId};
use super::view::{self, SessionView};

/// How many sessions, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A session unused for this long ends.
    pub idle: Duration,
    /// A session this old ends however busy it is.
    pub age: Duration,
    /// Sessions at once; beyond, the ones idle for longest end first, and if none is idle a new one is refused.
    pub sessions: usize,
    /// Sessions of one authenticated principal at once.
    pub sessions_per_principal: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(2 * 60 * 60),
            age: Duration::from_secs(7 * 24 * 60 * 60),
            sessions: 100_000,
            sessions_per_principal: 10_000,
        }
    }
}

/// A session unused for at least this long may be ended to make room.
const EVICTABLE_AFTER: Duration = Duration::from_secs(60);

/// Tombstones kept: some 4 MB.
const MAX_TOMBSTONES: usize = 65_536;

/// No room for another session, and none is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit of {limit} open sessions is reached and none of them is idle")]
pub struct TableFull {
    pub limit: usize,
}

/// One session that this process serves.
#[derive(Debug)]
pub struct Session<B> {
    pub id: Uuid,
    pub principal: PrincipalDigest,
    /// Wall-clock second in which it began, on whichever replica.
    pub issued: u64,
    /// Milliseconds since the table was made.
    last_used: AtomicU64,
    in_flight: AtomicU32,
    pub backend: B,
}

/// Keeps a session from counting as idle while a request or stream of it is under way.
#[derive(Debug)]
pub struct InUse<B> {
    session: Arc<Session<B>>,
    clock: Clock,
}

impl<B> Drop for InUse<B> {
    fn drop(&mut self) {
        self.session.last_used.store(self.clock.now(), Ordering::Relaxed);
        self.session.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a valid token leads to.
#[derive(Debug)]
pub enum Opened<B> {
    /// Served here.
    Here(Arc<Session<B>>),
    /// Sealed by us and still valid, but not served by this process (yet).
    Elsewhere(Claims),
}

#[derive(Clone, Copy, Debug)]
struct Clock {
    start: Instant,
}

impl Clock {
    fn now(self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// All sessions of one route.
#[derive(Debug)]
pub struct Table<B> {
    route: RouteId,
    keys: Arc<KeyRing>,
    limits: Limits,
    clock: Clock,
    sessions: HashMap<Uuid, Arc<Session<B>>>,
    count: AtomicUsize,
    per_principal: HashMap<PrincipalDigest, usize>,
    /// Sessions that ended while their token is still within its age, so that it opens nothing again.
    ended: HashMap<Uuid, u64>,
}

impl<B: Send + Sync + 'static> Table<B> {
    /// An empty table.
    #[must_use]
    pub fn new(route: RouteId, keys: Arc<KeyRing>, limits: Limits) -> Self {
        Self {
            route,
            keys,
            limits,
            clock: Clock { start: Instant::now() },
            sessions: HashMap::new(),
            count: AtomicUsize::new(0),
            per_principal: HashMap::new(),
            ended: HashMap::new(),
        }
    }

    /// The route they belong to.
    #[must_use]
    pub fn route(&self) -> RouteId {
        self.route
    }

    /// How many sessions are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether no session is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Begins a session and seals its token. Sessions that had to end to make room come back, for their backends to
    /// be told.
    ///
    /// # Errors
    /// [`TableFull`], with `backend` dropped.
    pub fn begin(
        &self,
        principal: PrincipalDigest,
        pin: Pin,
        backend_session: &[u8],
        backend: B,
    ) -> Result<Begun<B>, TableFull> {
        let evicted = self.make_room(principal)?;
        let claims = Claims {
            id: new_id(),
            route: self.route,
            principal,
            pin,
            epoch: 0,
            issued: unix_seconds(),
            backend_session: backend_session.to_vec(),
        };
        let token = claims.seal(&self.keys);
        let session = self.insert(&claims, backend);
        Ok(Begun { session, token, claims, evicted })
    }

    /// Takes up a session that another process (or an earlier life of this one) began. Two requests that do so at once
    /// get the same session.
    pub fn adopt(&self, claims: &Claims, backend: B) -> Arc<Session<B>> {
        self.insert(claims, backend)
    }

    fn insert(&self, claims: &Claims, backend: B) -> Arc<Session<B>> {
        let session = Arc::new(Session {
            id: claims.id,
            principal: claims.principal,
            issued: claims.issued,
            last_used: AtomicU64::new(self.clock.now()),
            in_flight: AtomicU32::new(0),
            backend,
        });
        let sessions = self.sessions.pin();
        match sessions.try_insert(claims.id, session) {
            Ok(inserted) => {
                self.count.fetch_add(1, Ordering::Relaxed);
                self.per_principal.pin().update_or_insert(claims.principal, |count| count + 1, 1);
                Arc::clone(inserted)
            }
            Err(occupied) => Arc::clone(occupied.current),
        }
    }

    /// Opens a client's token. `None` (answer: 404, -32001) for what is forged, foreign, expired, ended, of another
    /// route or of another principal: the client is not told which.
    #[must_use]
    pub fn open(&self, token: &[u8], principal: PrincipalDigest) -> Option<Opened<B>> {
        let claims = Claims::open(&self.keys, token)?;
        let valid = claims.route == self.route
            && claims.principal == principal
            && unix_seconds().saturating_sub(claims.issued) <= self.limits.age.as_secs();
        if !valid {
            return None;
        }
        if let Some(session) = self.sessions.pin().get(&claims.id) {
            return Some(Opened::Here(Arc::clone(session)));
        }
        if self.ended.pin().contains_key(&claims.id) {
            return None;
        }
        Some(Opened::Elsewhere(claims))
    }

    /// A session that is served here.
    pub fn get(&self, id: Uuid) -> Option<Arc<Session<B>>> {
        self.sessions.pin().get(&id).cloned()
    }

    /// The sessions in use now, or not long ago.
    pub fn used_within(&self, time: Duration) -> Vec<Uuid> {
        let (now, time) = (self.clock.now(), u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let mut used = self.select(|session| session.idle_for(now).is_none_or(|idle| idle <= time));
        // In an order that does not depend on chance: simulations are had again.
        used.sort_unstable();
        used
    }

    /// All that are served here.
    pub fn all(&self) -> Vec<Arc<Session<B>>> {
        self.sessions.pin().values().cloned().collect()
    }

    /// Those that nothing was done with for at least this long, the longest first.
    pub fn idle(&self, at_least: Duration) -> Vec<Arc<Session<B>>> {
        let (now, at_least) = (self.clock.now(), u64::try_from(at_least.as_millis()).unwrap_or(u64::MAX));
        let sessions = self.sessions.pin();
        let idle =
            sessions.values().filter_map(|session| Some((session.idle_for(now)?, Arc::clone(session))));
        let mut idle: Vec<_> = idle.filter(|(for_ms, _)| *for_ms >= at_least).collect();
        idle.sort_unstable_by_key(|(for_ms, _)| std::cmp::Reverse(*for_ms));
        idle.into_iter().map(|(_, session)| session).collect()
    }

    /// Whether a session is served here.
    pub fn is_open(&self, id: Uuid) -> bool {
        self.sessions.pin().contains_key(&id)
    }

    /// Marks a session as used until the guard is dropped.
    #[must_use]
    pub fn enter(&self, session: &Arc<Session<B>>) -> InUse<B> {
        session.in_flight.fetch_add(1, Ordering::Relaxed);
        InUse { session: Arc::clone(session), clock: self.clock }
    }

    /// Ends a session; its token opens nothing from now on. `None` if it had ended before.
    pub fn end(&self, id: Uuid) -> Option<Arc<Session<B>>> {
        self.ended.pin().insert(id, unix_seconds());
        self.remove(id)
    }

    fn remove(&self, id: Uuid) -> Option<Arc<Session<B>>> {
        let removed = self.sessions.pin().remove(&id).cloned()?;
        self.count.fetch_sub(1, Ordering::Relaxed);
        let per_principal = self.per_principal.pin();
        per_principal.update(removed.principal, |count| count.saturating_sub(1));
        per_principal.remove_if(&removed.principal, |_, count| *count == 0).ok();
        Some(removed)
    }

    /// Serves a session no longer, without ending it: its token may open it again.
    pub fn release(&self, id: Uuid) {
        self.remove(id);
    }

    /// Ends what has been idle or has lived too long, and forgets tombstones that no valid token can reach. To be
    /// called by one timer.
    pub fn sweep(&self) -> Vec<Arc<Session<B>>> {
        let (now, wall) = (self.clock.now(), unix_seconds());
        let idle = u64::try_from(self.limits.idle.as_millis()).unwrap_or(u64::MAX);
        let expired = self.select(|session| {
            wall.saturating_sub(session.issued) > self.limits.age.as_secs()
                || session.idle_for(now).is_some_and(|for_ms| for_ms >= idle)
        });
        self.forget_ended(wall);
        expired.into_iter().filter_map(|id| self.end(id)).collect()
    }

    /// Tombstones go when no token can reach them any more, and the oldest where there are too many: what such a token
    /// opens again is a session that its backend has ended.
    fn forget_ended(&self, wall: u64) {
        let ended = self.ended.pin();
        ended.retain(|_, at| wall.saturating_sub(*at) <= self.limits.age.as_secs());
        if ended.len() > MAX_TOMBSTONES {
            let mut times: Vec<u64> = ended.values().copied().collect();
            let surplus = times.len() - MAX_TOMBSTONES;
            let (_, newest_to_go, _) = times.select_nth_unstable(surplus);
            let limit = *newest_to_go;
            ended.retain(|_, at| *at > limit);
        }
    }

    /// Ends these sessions.
    pub fn end_where(&self, which: impl Fn(&Session<B>) -> bool) -> Vec<Arc<Session<B>>> {
        let these = self.select(which);
        these.into_iter().filter_map(|id| self.end(id)).collect()
    }

    fn select(&self, pick: impl Fn(&Session<B>) -> bool) -> Vec<Uuid> {
        self.sessions.pin().values().filter(|session| pick(session)).map(|session| session.id).collect()
    }

    /// Ends idle sessions if there is no room for another one of this principal. They come back, for their backends to
    /// be told.
    ///
    /// # Errors
    /// [`TableFull`] where none is idle.
    pub fn make_room(&self, principal: PrincipalDigest) -> Result<Vec<Arc<Session<B>>>, TableFull> {
        if self.len() >= self.limits.sessions {
            return self.evict(self.limits.sessions, |_| true);
        }
        let own = self.per_principal.pin().get(&principal).copied().unwrap_or(0);
        if principal != PrincipalDigest::ANONYMOUS && own >= self.limits.sessions_per_principal {
            return self.evict(self.limits.sessions_per_principal, |session| session.principal == principal);
        }
        Ok(Vec::new())
    }

    /// Ends the hundredth part of the limit that has been idle for longest: the scan is paid once per many sessions.
    fn evict(
        &self,
        limit: usize,
        among: impl Fn(&Session<B>) -> bool,
    ) -> Result<Vec<Arc<Session<B>>>, TableFull> {
        let now = self.clock.now();
        let evictable = u64::try_from(EVICTABLE_AFTER.as_millis()).unwrap_or(u64::MAX);
        let mut idle: Vec<(u64, Uuid)> = self
            .sessions
            .pin()
            .values()
            .filter(|session| among(session))
            .filter_map(|session| Some((session.idle_for(now)?, session.id)))
            .filter(|(for_ms, _)| *for_ms >= evictable)
            .collect();
        if idle.is_empty() {
            return Err(TableFull { limit });
        }
        idle.sort_unstable_by_key(|(for_ms, _)| std::cmp::Reverse(*for_ms));
        idle.truncate((limit / 100).max(1));
        Ok(idle.into_iter().filter_map(|(_, id)| self.end(id)).collect())
    }
}

impl<B: Send + Sync + 'static> Table<B> {
    /// What is shown of a session that lives at `place`.
    #[must_use]
    pub fn view(&self, session: &Session<B>, place: String, epoch: u32) -> SessionView {
        SessionView {
            id: session.id,
            principal: view::principal(session.principal),
            place,
            epoch,
            began: session.issued,
            idle: session.idle_for(self.clock.now()).map(Duration::from_millis),
        }
    }
}

impl<B> Session<B> {
    /// Milliseconds since the last use, `None` while something is under way.
    fn idle_for(&self, now: u64) -> Option<u64> {
        let idle = self.in_flight.load(Ordering::Relaxed) == 0;
        idle.then(|| now.saturating_sub(self.last_used.load(Ordering::Relaxed)))
    }
}

/// A session that has just begun.
#[derive(Debug)]
pub struct Begun<B> {
    pub session: Arc<Session<B>>,
    /// What the client gets as `Mcp-Session-Id`.
    pub token: HeaderValue,
    pub claims: Claims,
    /// Idle sessions that were ended to make room.
    pub evicted: Vec<Arc<Session<B>>>,
}

/// Session ids name sessions and open none, so in simulations they may be what a seed makes them.
fn new_id() -> Uuid {
    if cfg!(test) { Uuid::from_u128(fastrand::u128(..)) } else { Uuid::new_v4() }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(limits: Limits) -> Table<&'static str> {
        let keys = Arc::new(KeyRing::parse(&KeyRing::generate_line()).unwrap());
        Table::new(RouteId::of("r"), keys, limits)
    }

    fn pin() -> Pin {
        Pin { address: "127.0.0.1:1".parse().unwrap(), identity: 1 }
    }

    const ME: PrincipalDigest = PrincipalDigest::ANONYMOUS;

    fn opens(table: &Table<&'static str>, token: &HeaderValue, principal: PrincipalDigest) -> bool {
        matches!(table.open(token.as_bytes(), principal), Some(Opened::Here(_)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_opens_its_session_for_its_owner_on_its_route_only() {
        let table = table(Limits::default());
        let begun = table.begin(ME, pin(), b"b", "backend").unwrap();
        assert!(opens(&table, &begun.token, ME));
        assert!(table.open(begun.token.as_bytes(), PrincipalDigest::new([1; 16])).is_none());
        let other = Table::<()>::new(RouteId::of("other"), Arc::clone(&table.keys), Limits::default());
        assert!(other.open(begun.token.as_bytes(), ME).is_none());
        let replica = Table::<()>::new(RouteId::of("r"), Arc::clone(&table.keys), Limits::default());
        assert!(
            matches!(replica.open(begun.token.as_bytes(), ME), Some(Opened::Elsewhere(c)) if c == begun.claims)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_thousand_sessions_are_bounded_and_a_flood_costs_nobody_else_a_session() {
        let table = table(Limits::default());
        let owner = |number: u8| PrincipalDigest::new([number; 16]);
        for number in 1..=10 {
            for _ in 0..9_000 {
                table.begin(owner(number), pin(), b"", "x").unwrap();
            }
        }
        let flood = owner(99);
        for _ in 0..10_000 {
            table.begin(flood, pin(), b"", "x").unwrap();
        }
        assert_eq!(table.len(), 100_000);
        assert_eq!(table.make_room(flood).unwrap_err().limit, 100_000);
        tokio::time::advance(EVICTABLE_AFTER).await;
        // The oldest of all made room once; one that is its own limit's victim makes room for itself only.
        let mut lost = std::collections::HashMap::<PrincipalDigest, usize>::new();
        table.end_where(|session| session.principal == owner(10));
        for _ in 0..5_000 {
            for evicted in table.begin(flood, pin(), b"", "x").unwrap().evicted {
                *lost.entry(evicted.principal).or_default() += 1;
            }
        }
        assert_eq!(lost.keys().copied().collect::<Vec<_>>(), [flood], "{lost:?}");
        assert!(table.len() <= 91_000);
        tokio::time::advance(table.limits().idle).await;
        assert!(table.sweep().len() >= 90_000);
        assert_eq!((table.len(), table.per_principal.pin().len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_ended_session_stays_ended() {
        let table = table(Limits::default());
        let begun = table.begin(ME, pin(), b"", "x").unwrap();
        assert!(table.end(begun.session.id).is_some());
        assert!(table.end(begun.session.id).is_none());
        assert!(table.open(begun.token.as_bytes(), ME).is_none(), "not even adopted from its token");
        assert_eq!(table.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_time_slides_and_a_session_in_use_is_not_idle() {
        let table = table(Limits { idle: Duration::from_secs(100), ..Limits::default() });
        let begun = table.begin(ME, pin(), b"", "x").unwrap();
        tokio::time::advance(Duration::from_secs(99)).await;
        assert!(table.sweep().is_empty());
        let in_use = table.enter(&begun.session);
        tokio::time::advance(Duration::from_secs(1000)).await;
        assert!(table.sweep().is_empty());
        drop(in_use);
        tokio::time::advance(Duration::from_secs(99)).await;
        assert!(table.sweep().is_empty());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(table.sweep().len(), 1);
        assert!(!opens(&table, &begun.token, ME));
    }

    #[tokio::test(start_paused = true)]
    async fn tombstones_are_bounded_and_the_oldest_go() {
        let table = table(Limits::default());
        let now = unix_seconds();
        for at in 0..=MAX_TOMBSTONES as u64 {
            table.ended.pin().insert(Uuid::new_v4(), now - at % 100);
        }
        let latest = Uuid::new_v4();
        table.ended.pin().insert(latest, now);
        table.sweep();
        let ended = table.ended.pin();
        assert!(ended.len() <= MAX_TOMBSTONES && ended.len() > MAX_TOMBSTONES * 9 / 10, "{}", ended.len());
        assert!(ended.contains_key(&latest) && ended.values().all(|at| *at > now - 99));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_table_ends_the_idlest_and_never_a_busy_one() {
        let table = table(Limits { sessions: 2, ..Limits::default() });
        let first = table.begin(ME, pin(), b"", "1").unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        let second = table.begin(ME, pin(), b"", "2").unwrap();
        assert_eq!(table.begin(ME, pin(), b"", "3").err(), Some(TableFull { limit: 2 }), "none is idle yet");
        tokio::time::advance(EVICTABLE_AFTER).await;
        let busy = table.enter(&first.session);
        let third = table.begin(ME, pin(), b"", "3").unwrap();
        assert_eq!(third.evicted.iter().map(|s| s.backend).collect::<Vec<_>>(), ["2"]);
        assert!(opens(&table, &first.token, ME) && !opens(&table, &second.token, ME));
        drop(busy);
        assert_eq!(table.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn one_principal_cannot_take_all_the_room() {
        let greedy = PrincipalDigest::new([1; 16]);
        let table = table(Limits { sessions_per_principal: 1, ..Limits::default() });
        let only = table.begin(greedy, pin(), b"", "1").unwrap();
        assert!(table.begin(greedy, pin(), b"", "2").is_err());
        assert!(table.begin(PrincipalDigest::new([2; 16]), pin(), b"", "3").is_ok());
        table.end(only.session.id);
        assert!(table.begin(greedy, pin(), b"", "4").is_ok());
    }
}
