//! Runs whose process dies, stops in order, or is not where their client comes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderName;
use parking_lot::Mutex;
use proxy::ResendPolicy;
use uuid::Uuid;

use super::composites::{ASKS, call, result_of, workflows};
use super::*;
use crate::workflow::log::{Event, LogError, Logging, RunLog};
use crate::workflow::runs::{Dated, Letter, RunStore};

/// A place for runs that replicas share.
#[derive(Debug)]
struct Shared {
    log: MemoryLog,
    leases: Mutex<HashMap<Uuid, (usize, Instant)>>,
    letters: Mutex<HashMap<Uuid, Vec<Letter>>>,
    mail: Mutex<HashMap<Uuid, Vec<Bytes>>>,
}

/// One replica's way to it.
#[derive(Debug)]
struct Way {
    shared: Arc<Shared>,
    number: usize,
    /// Nothing comes back: to all others it is as if the replica was dead.
    is_dead: AtomicBool,
}

impl Way {
    async fn alive(&self) {
        if self.is_dead.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    fn lease(&self, id: Uuid, hold: Duration) -> bool {
        let mut leases = self.shared.leases.lock();
        let is_another =
            |(holder, until): &(usize, Instant)| *holder != self.number && *until > Instant::now();
        let is_free = !leases.get(&id).is_some_and(is_another);
        if is_free {
            leases.insert(id, (self.number, Instant::now() + hold));
        }
        is_free
    }

    fn give_back(&self, id: Uuid) {
        let mut leases = self.shared.leases.lock();
        if leases.get(&id).is_some_and(|(holder, _)| *holder == self.number) {
            leases.remove(&id);
        }
    }
}

impl Mailboxes for Way {
    fn hold(&self, mailbox: Uuid, hold: Duration) -> Mailing<'_, Option<Vec<Bytes>>> {
        Box::pin(async move {
            self.alive().await;
            let letters = || self.shared.mail.lock().remove(&mailbox).unwrap_or_default();
            Ok(self.lease(mailbox, hold).then(letters))
        })
    }

    fn release(&self, mailbox: Uuid) -> Mailing<'_, ()> {
        Box::pin(async move {
            self.alive().await;
            self.give_back(mailbox);
            Ok(())
        })
    }

    fn post(&self, mailbox: Uuid, letter: Bytes) -> Mailing<'_, bool> {
        Box::pin(async move {
            self.alive().await;
            self.shared.mail.lock().entry(mailbox).or_default().push(letter);
            Ok(true)
        })
    }
}

impl RunLog for Way {
    fn append<'a>(&'a self, run: &'a str, position: u64, event: &'a Event) -> Logging<'a, ()> {
        Box::pin(async move {
            self.alive().await;
            self.shared.log.append(run, position, event).await
        })
    }

    fn read<'a>(&'a self, run: &'a str) -> Logging<'a, Vec<Event>> {
        self.shared.log.read(run)
    }
}

impl RunStore for Way {
    fn is_lasting(&self) -> bool {
        true
    }

    fn open(&self) -> Logging<'_, Vec<Uuid>> {
        self.shared.log.open()
    }

    fn all(&self) -> Logging<'_, Vec<Uuid>> {
        self.shared.log.all()
    }

    fn timeline(&self, run: Uuid) -> Logging<'_, Vec<Dated>> {
        self.shared.log.timeline(run)
    }

    fn hold(&self, run: Uuid, hold: Duration) -> Logging<'_, Option<Vec<Letter>>> {
        Box::pin(async move {
            self.alive().await;
            let letters = || self.shared.letters.lock().remove(&run).unwrap_or_default();
            Ok(self.lease(run, hold).then(letters))
        })
    }

    fn release(&self, run: Uuid) -> Logging<'_, ()> {
        Box::pin(async move {
            self.alive().await;
            self.give_back(run);
            Ok(())
        })
    }

    fn post(&self, run: Uuid, letter: Letter) -> Logging<'_, bool> {
        self.shared.letters.lock().entry(run).or_default().push(letter);
        Box::pin(std::future::ready(Ok::<bool, LogError>(true)))
    }
}

/// Two hubs over the same backends, which share all that replicas share.
pub(super) struct Replicas {
    pub(super) hubs: [Arc<Hub>; 2],
    ways: [Arc<Way>; 2],
}

impl Replicas {
    pub(super) async fn start(composites: &[(&str, &str)], backends: &[&Arc<Scripted>]) -> Self {
        let shared = Arc::new(Shared {
            log: MemoryLog::new(10),
            leases: Mutex::default(),
            letters: Mutex::default(),
            mail: Mutex::default(),
        });
        let ways = [0, 1].map(|number| {
            Arc::new(Way { shared: Arc::clone(&shared), number, is_dead: AtomicBool::new(false) })
        });
        let config = HubConfig {
            shape: Shape {
                workflows: workflows(composites),
                passed_headers: vec![HeaderName::from_static("x-tenant")],
                ..Shape::default()
            },
            resend: Arc::new(ResendPolicy::new(["again", "b_asks"].map(str::to_owned), false)),
            store: Arc::new(SharedSessions(MemoryStore::default())),
            ..config()
        };
        let hubs = ways.each_ref().map(|way| {
            let (runs, mail) = (Arc::clone(way) as Arc<dyn RunStore>, Arc::clone(way) as Arc<dyn Mailboxes>);
            let hub = hub_of(HubConfig { runs, mail, ..config.clone() }, backends);
            tokio::spawn(Arc::clone(&hub).maintenance());
            hub
        });
        sleep(Duration::from_secs(15)).await;
        Self { hubs, ways }
    }

    /// The same client at the other one.
    pub(super) fn other(&self, client: &Client) -> Client {
        Client { hub: Arc::clone(&self.hubs[1]), ..client.clone() }
    }

    pub(super) fn dies(&self) {
        self.ways[0].is_dead.store(true, Ordering::Relaxed);
    }
}

/// Sessions that two hubs share.
#[derive(Debug)]
struct SharedSessions(MemoryStore);

impl SessionStore for SharedSessions {
    fn put(
        &self,
        record: proxy::session::SessionRecord,
        write: proxy::session::Write,
    ) -> proxy::session::store::StoreFuture<'_, bool> {
        self.0.put(record, write)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn get(&self, id: Uuid) -> proxy::session::store::StoreFuture<'_, Option<proxy::session::Kept>> {
        self.0.get(id)
    }

    fn end(&self, id: Uuid) -> proxy::session::store::StoreFuture<'_, ()> {
        self.0.end(id)
    }

    fn claim(&self, id: Uuid, hold: Duration) -> proxy::session::store::StoreFuture<'_, bool> {
        self.0.claim(id, hold)
    }

    fn touch(&self, ids: Vec<Uuid>) -> proxy::session::store::StoreFuture<'_, Vec<Uuid>> {
        self.0.touch(ids)
    }
}

/// The id of the event that a stream begins with.
pub(super) async fn primed(stream: &mut Body) -> String {
    let event = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    let text = String::from_utf8(event.to_vec()).unwrap();
    text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned()
}

/// A stream ends, and says nothing before.
async fn ends(mut stream: Body) {
    while let Some(frame) = stream.frame().await {
        let text = frame.unwrap().into_data().unwrap();
        assert!(text.starts_with(b":"), "{text:?}");
    }
}

pub(super) fn calls(backend: &Scripted, tool: &str) -> usize {
    backend.asked("tools/call").iter().filter(|(_, message)| message["params"]["name"] == tool).count()
}

pub(super) const LONG: &str = "  - {id: one, tool: a.echo}\n  - {id: two, tool: a.SLOW, timeout: 20m, dependsOn: [one]}\n  \
                    - {id: three, tool: a.shows, arguments: {v: '{{.steps.one.output.text}}'}, dependsOn: [two]}";

#[tokio::test(start_paused = true)]
async fn the_run_of_a_killed_replica_goes_on_and_its_client_gets_the_answer_elsewhere() {
    let a = Scripted::new("a", &["echo", "again", "shows"]);
    let replicas = Replicas::start(&[("long", &LONG.replace("SLOW", "again"))], &[&a]).await;
    let client = Client::begin(&replicas.hubs[0]).await;
    a.state.lock().holds_up = true;
    let mut stream = call(&client, "long", json!({})).await;
    let cursor = primed(&mut stream).await;
    sleep(Duration::from_secs(2)).await;
    replicas.dies();
    drop(stream);
    // Nobody asks for it.
    sleep(Duration::from_secs(10)).await;
    assert_eq!((calls(&a, "echo"), calls(&a, "again")), (1, 2), "what was over is not done again");
    let there = replicas.other(&client);
    let stream = there.listen(Some(&cursor)).await;
    a.state.lock().holds_up = false;
    let result = result_of(stream).await;
    assert_eq!(result["structuredContent"]["v"], "a:echo:a-3", "in the same session with the backend");
    assert_eq!((calls(&a, "echo"), calls(&a, "again"), calls(&a, "shows")), (1, 2, 1));
    let result = result_of(there.listen(Some(&cursor)).await).await;
    assert_eq!(result["structuredContent"]["v"], "a:echo:a-3", "and whoever comes late gets it too");
    let stranger = Client::begin(&replicas.hubs[1]).await;
    let mut none = stranger.listen(Some(&cursor)).await;
    let said = timeout(Duration::from_secs(60), event(&mut none)).await;
    assert!(said.is_err(), "no answer of another session: {said:?}");
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_done_twice_has_an_unknown_outcome() {
    let a = Scripted::new("a", &["echo", "once", "shows"]);
    let replicas = Replicas::start(&[("long", &LONG.replace("SLOW", "once"))], &[&a]).await;
    let client = Client::begin(&replicas.hubs[0]).await;
    a.state.lock().holds_up = true;
    let mut stream = call(&client, "long", json!({})).await;
    let cursor = primed(&mut stream).await;
    sleep(Duration::from_secs(2)).await;
    replicas.dies();
    let result = result_of(replicas.other(&client).listen(Some(&cursor)).await).await;
    assert!(result["isError"] == true && result.to_string().contains("is not known"), "{result}");
    assert_eq!(calls(&a, "once"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_stops_in_order_leaves_nothing_unknown() {
    let a = Scripted::new("a", &["echo", "once", "shows"]);
    let replicas = Replicas::start(&[("long", &LONG.replace("SLOW", "once"))], &[&a]).await;
    let client = Client::begin(&replicas.hubs[0]).await;
    a.state.lock().holds_up = true;
    let mut stream = call(&client, "long", json!({})).await;
    let cursor = primed(&mut stream).await;
    sleep(Duration::from_secs(2)).await;
    replicas.hubs[0].drain();
    sleep(Duration::from_secs(20)).await;
    a.state.lock().holds_up = false;
    ends(stream).await;
    let result = result_of(replicas.other(&client).listen(Some(&cursor)).await).await;
    assert_eq!(result["structuredContent"]["v"], "a:echo:a-3");
    assert_eq!((calls(&a, "echo"), calls(&a, "once"), calls(&a, "shows")), (1, 1, 1));
    assert!(a.asked("notifications/cancelled").is_empty());
    let counted = replicas.hubs.each_ref().map(|hub| hub.run_counts()[0].1.all().map(|(_, count)| count));
    // Begun, taken over, completed, failed, cancelled.
    assert_eq!(counted, [[1, 0, 0, 0, 0], [0, 1, 1, 0, 0]], "each here, and once");
}

#[tokio::test(start_paused = true)]
async fn a_question_goes_to_where_its_client_listens() {
    let a = Scripted::new("a", &["shows"]);
    let replicas = Replicas::start(&[("asking", ASKS)], &[&a]).await;
    let client = Client::begin_with(&replicas.hubs[0], json!({"elicitation": {}})).await;
    let mut stream = call(&client, "asking", json!({})).await;
    let cursor = primed(&mut stream).await;
    drop(stream);
    let there = replicas.other(&client);
    let mut stream = there.listen(Some(&cursor)).await;
    let (_, asked) = event(&mut stream).await;
    assert_eq!(asked["params"]["message"], "Sure?");
    let said = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "decline"}});
    assert_eq!(there.send(&said).await.status(), 202);
    let result = result_of(stream).await;
    assert!(result.to_string().contains("was declined by user: step sure"), "{result}");
}

#[tokio::test(start_paused = true)]
async fn what_a_client_says_at_another_replica_is_heard() {
    let a = Scripted::new("a", &["shows", "once", "echo"]);
    let long = LONG.replace("SLOW", "once");
    let replicas = Replicas::start(&[("asking", ASKS), ("long", &long)], &[&a]).await;
    let client = Client::begin_with(&replicas.hubs[0], json!({"elicitation": {}})).await;
    let there = replicas.other(&client);
    let mut stream = call(&client, "asking", json!({})).await;
    let (_, asked) = event(&mut stream).await;
    let said = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept", "content": {}}});
    let stranger = Client::begin(&replicas.hubs[1]).await;
    assert_eq!(stranger.send(&said).await.status(), 400, "not of another session");
    assert_eq!(there.send(&said).await.status(), 202);
    assert_eq!(event(&mut stream).await.1["id"], 5, "answered where it was asked");
    a.state.lock().holds_up = true;
    let mut message = json!({"jsonrpc": "2.0", "id": 6, "method": "tools/call", "params": {"name": "long"}});
    let mut stream = client.send(&message).await.into_body();
    primed(&mut stream).await;
    sleep(Duration::from_secs(2)).await;
    message = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 6}});
    there.send(&message).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(a.asked("notifications/cancelled").len(), 1);
    ends(stream).await;
    // The end of a session is the end of its runs.
    a.state.lock().got.clear();
    let _stream = call(&client, "long", json!({})).await;
    sleep(Duration::from_secs(2)).await;
    client.hub.handle(client.call(Method::DELETE, None, None)).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(a.asked("notifications/cancelled").len(), 1);
}
