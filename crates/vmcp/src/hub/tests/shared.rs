//! Sessions that several replicas serve, and how they end.

use std::collections::HashMap;

use parking_lot::Mutex;
use proxy::session::store::StoreFuture;
use proxy::session::{Kept, SessionRecord, Write};
use uuid::Uuid;

use super::*;

#[tokio::test(start_paused = true)]
async fn an_ended_session_ends_at_its_backends_and_another_replica_goes_on_with_an_open_one() {
    let (a, b) = (Scripted::new("a", &["echo"]), Scripted::new("b", &["echo"]));
    let hub = ready(&[&a, &b]).await;
    let client = Client::begin(&hub).await;
    assert_eq!(client.says("a_echo").await, "a:echo:a-2");
    let replica = hub_of(hub.config.clone(), &[&a, &b]);
    sleep(Duration::from_secs(1)).await;
    let moved = Client { hub: Arc::clone(&replica), ..client.clone() };
    assert_eq!(moved.says("a_echo").await, "a:echo:a-2", "in the same session with the backend");
    moved.says("b_echo").await;
    assert_eq!(moved.hub.handle(moved.call(Method::DELETE, None, None)).await.status(), 204);
    sleep(Duration::from_secs(1)).await;
    assert_eq!((a.asked_to_end(), b.asked_to_end()), (1, 1));
    assert_eq!(moved.send(&json!({"jsonrpc": "2.0", "id": 5, "method": "ping"})).await.status(), 404);
}

impl Scripted {
    fn asked_to_end(&self) -> usize {
        self.asked("DELETE").len()
    }
}

/// A store that two replicas share.
#[derive(Debug, Default)]
struct Shared {
    records: Mutex<HashMap<Uuid, SessionRecord>>,
}

impl SessionStore for Shared {
    fn put(&self, record: SessionRecord, write: Write) -> StoreFuture<'_, bool> {
        let mut records = self.records.lock();
        let known = records.get(&record.claims.id).map(|known| known.claims.epoch);
        let may = match write {
            Write::Keep => known.is_none_or(|known| known <= record.claims.epoch),
            Write::Move => known.is_none_or(|known| known < record.claims.epoch),
        };
        if may {
            records.insert(record.claims.id, record);
        }
        Box::pin(std::future::ready(Ok(may)))
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn get(&self, id: Uuid) -> StoreFuture<'_, Option<Kept>> {
        let found = self.records.lock().get(&id).cloned();
        let kept = found.map(|record| Kept::Lives(Arc::new(record)));
        Box::pin(std::future::ready(Ok(kept)))
    }

    fn end(&self, id: Uuid) -> StoreFuture<'_, ()> {
        self.records.lock().remove(&id);
        Box::pin(std::future::ready(Ok(())))
    }

    fn claim(&self, _: Uuid, _: Duration) -> StoreFuture<'_, bool> {
        Box::pin(std::future::ready(Ok(true)))
    }

    fn touch(&self, _: Vec<Uuid>) -> StoreFuture<'_, Vec<Uuid>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

#[tokio::test(start_paused = true)]
async fn two_replicas_at_once_agree_on_one_session_with_a_backend() {
    let (a, b) = (Scripted::new("a", &["echo"]), Scripted::new("b", &["echo"]));
    let one = hub_of(HubConfig { store: Arc::new(Shared::default()), ..config() }, &[&a, &b]);
    let two = hub_of(one.config.clone(), &[&a, &b]);
    sleep(Duration::from_secs(1)).await;
    a.state.lock().begins_after = Duration::from_secs(1);
    let here = Client::begin(&one).await;
    let there = Client { hub: Arc::clone(&two), ..here.clone() };
    there.ask("ping", json!({})).await;
    let (first, second) = tokio::join!(here.says("a_echo"), there.says("a_echo"));
    assert_eq!(first, second, "the loser takes the winner's");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(a.asked_to_end(), 1, "and ends its own");
    assert_eq!(here.says("b_echo").await, there.says("b_echo").await, "it is read before it is begun");
    a.forgets_sessions();
    let again = there.says("a_echo").await;
    assert_ne!(again, first);
    assert_eq!(here.says("a_echo").await, again, "what was lost is not found again");
}
