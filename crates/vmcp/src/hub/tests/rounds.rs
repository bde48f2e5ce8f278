//! Clients without sessions that come back to another replica than the one that has asked them.

use super::modern::{Modern, events, given};
use super::replicas::{Replicas, calls};
use super::*;

const CAN: fn() -> Value = || json!({"roots": {}});

/// The answer to the one question.
fn answered(asks: &Value, roots: &Value) -> Value {
    let questions = asks["result"]["inputRequests"].as_object().unwrap_or_else(|| panic!("{asks}"));
    let key = questions.keys().next().unwrap();
    given(asks, &[(key, json!({ "roots": roots }))])
}

async fn two(backends: &[&Arc<Scripted>]) -> (Replicas, Modern, Modern) {
    let replicas = Replicas::start(&[("echo", "  - {id: one, tool: a.echo}")], backends).await;
    let [here, there] = replicas.hubs.each_ref().map(|hub| Modern::new(hub, CAN()));
    (replicas, here, there)
}

/// The second round of a call, at another replica than the first, that its backend has held up for a minute.
async fn held_up_elsewhere(a: &Scripted, here: &Modern, there: &Modern) -> Response<Body> {
    let asks = here.tool("a_asks", json!({})).await;
    a.state.lock().holds_up = true;
    let mut params = json!({"name": "a_asks", "arguments": {}});
    params.as_object_mut().unwrap().extend(answered(&asks, &json!([])).as_object().unwrap().clone());
    let response = there.send("tools/call", params).await;
    sleep(Duration::from_secs(60)).await;
    response
}

fn code(answer: &Value) -> &Value {
    &answer["error"]["code"]
}

#[tokio::test(start_paused = true)]
async fn each_round_may_be_at_another_replica_and_the_call_is_made_once() {
    let a = Scripted::new("a", &["asks", "echo"]);
    let (_replicas, here, there) = two(&[&a]).await;
    let first = here.tool("a_asks", json!({})).await;
    let again = there.tool("a_asks", given(&first, &[])).await;
    assert_eq!(again["result"]["inputRequests"], first["result"]["inputRequests"], "asked again: {again}");
    assert_eq!(code(&there.tool("a_asks", answered(&first, &json!([1]))).await), -31001, "of an old round");
    let done = there.tool("a_asks", answered(&again, &json!([2]))).await;
    assert_eq!(done["result"]["structuredContent"], json!({"roots": [2]}), "{done}");
    assert_eq!(done["result"]["resultType"], "complete");
    for who in [&here, &there] {
        assert_eq!(code(&who.tool("a_asks", answered(&again, &json!([3]))).await), -31001, "once");
    }
    assert_eq!((calls(&a, "asks"), a.asked("notifications/cancelled").len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn where_the_replica_is_gone_only_what_may_be_done_twice_is_asked_anew() {
    let (a, b) = (Scripted::new("a", &["asks", "echo"]), Scripted::new("b", &["asks"]));
    let (replicas, here, there) = two(&[&a, &b]).await;
    let (once, twice) = (here.tool("a_asks", json!({})).await, here.tool("b_asks", json!({})).await);
    replicas.dies();
    sleep(Duration::from_secs(6)).await;
    let lost = there.tool("a_asks", answered(&once, &json!([]))).await;
    assert_eq!((code(&lost), &lost["error"]["data"]["executed"]), (&json!(-31001), &json!("unknown")));
    let anew = there.tool("b_asks", answered(&twice, &json!([1]))).await;
    let done = there.tool("b_asks", answered(&anew, &json!([2]))).await;
    assert_eq!(done["result"]["structuredContent"], json!({"roots": [2]}), "{done}");
    assert_eq!((calls(&a, "asks"), calls(&b, "asks")), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_dies_in_the_middle_of_a_round_leaves_an_unknown_outcome() {
    let a = Scripted::new("a", &["asks", "echo"]);
    let (replicas, here, there) = two(&[&a]).await;
    let response = held_up_elsewhere(&a, &here, &there).await;
    replicas.dies();
    let said = timeout(Duration::from_secs(10), events(response)).await.unwrap();
    assert_eq!(code(said.last().unwrap()), -31001, "{said:?}");
    assert_eq!(calls(&a, "asks"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_has_cancelled_wherever_its_call_is() {
    let a = Scripted::new("a", &["asks", "echo"]);
    let (_replicas, here, there) = two(&[&a]).await;
    let response = held_up_elsewhere(&a, &here, &there).await;
    assert!(a.asked("notifications/cancelled").is_empty());
    drop(response);
    sleep(Duration::from_secs(10)).await;
    assert_eq!((calls(&a, "asks"), a.asked("notifications/cancelled").len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_stops_in_order_says_at_once_that_it_is_gone() {
    let a = Scripted::new("a", &["asks", "echo"]);
    let (replicas, here, there) = two(&[&a]).await;
    let asks = here.tool("a_asks", json!({})).await;
    replicas.hubs[0].drain();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(code(&there.tool("a_asks", answered(&asks, &json!([]))).await), -31001);
    assert_eq!(a.asked("notifications/cancelled").len(), 1, "the backend has heard of it");
}
