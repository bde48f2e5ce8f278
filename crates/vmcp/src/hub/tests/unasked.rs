//! What backends ask on the streams of their own, while no call is under way.

use super::modern::{Modern, given};
use super::*;

fn question(number: u64) -> Value {
    json!({"jsonrpc": "2.0", "id": format!("own-{number}"), "method": "roots/list"})
}

/// The next message that is no notice.
async fn next_question(stream: &mut Body) -> Value {
    loop {
        let (_, message) = timeout(Duration::from_secs(5), event(stream)).await.expect("a question");
        if message.get("id").is_some() {
            return message;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_reaches_the_clients_of_its_session_and_the_answer_its_backend() {
    let (a, b) = (Scripted::new("a", &["echo"]), Scripted::new("b", &["echo"]));
    let hub = ready(&[&a, &b]).await;
    let (one, other) = (Client::begin(&hub).await, Client::begin(&hub).await);
    let (mut of_one, mut of_other) = (one.listen(None).await, other.listen(None).await);
    one.says("a_echo").await;
    other.says("b_echo").await;
    sleep(Duration::from_secs(1)).await;
    a.says(&question(1));
    let asked = next_question(&mut of_one).await;
    assert_eq!((&asked["method"], &asked["id"]), (&json!("roots/list"), &json!("1.a.\"own-1\"")));
    let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": [1]}});
    assert_eq!(other.send(&answer).await.status(), 400, "not of another session");
    assert_eq!(one.send(&answer).await.status(), 202);
    let got = a.state.lock().got.clone();
    let heard: Vec<_> = got.iter().filter(|(_, message)| message["result"]["roots"] == json!([1])).collect();
    assert_eq!(heard.len(), 1, "once, and by nobody else");
    assert_eq!((&*heard[0].0, &heard[0].1["id"]), ("a-2", &json!("own-1")), "in the session it was asked in");
    assert!(b.state.lock().got.iter().all(|(_, message)| message.get("result").is_none()));
    b.says(&question(2));
    assert_eq!(
        next_question(&mut of_other).await["id"],
        "1.b.\"own-2\"",
        "the first one was not for this one"
    );
}

#[tokio::test(start_paused = true)]
async fn who_has_begun_a_new_session_is_heard_in_that_one_at_once() {
    let a = Scripted::new("a", &["echo"]);
    let hub = ready(&[&a]).await;
    let client = Client::begin(&hub).await;
    let mut stream = client.listen(None).await;
    client.says("a_echo").await;
    sleep(Duration::from_secs(1)).await;
    a.forgets_sessions();
    // By now it is tried every half a minute.
    sleep(Duration::from_secs(120)).await;
    client.says("a_echo").await;
    sleep(Duration::from_secs(1)).await;
    a.says(&question(1));
    let asked = next_question(&mut stream).await;
    let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": []}});
    assert_eq!(client.send(&answer).await.status(), 202);
}

/// A call of a client without a session that does not end before it may.
async fn held_up(a: &Scripted, client: &Modern) -> tokio::task::JoinHandle<Value> {
    a.state.lock().holds_up = true;
    let client = client.clone();
    let call = tokio::spawn(async move { client.tool("a_again", json!({})).await });
    // Less than after which a client is shown that somebody is there.
    sleep(Duration::from_secs(1)).await;
    call
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_beside_a_call_is_asked_of_the_client_of_the_call() {
    let a = Scripted::new("a", &["again"]);
    let hub = ready(&[&a]).await;
    let client = Modern::new(&hub, json!({"roots": {}}));
    for (number, session) in [(1, "a-2"), (2, "a-2")] {
        let call = held_up(&a, &client).await;
        a.says(&question(number));
        let asks = call.await.unwrap();
        let questions = asks["result"]["inputRequests"].as_object().unwrap_or_else(|| panic!("{asks}"));
        let (key, asked) = questions.iter().next().unwrap();
        assert_eq!((&asked["method"], questions.len()), (&json!("roots/list"), 1));
        a.state.lock().holds_up = false;
        let done = client.tool("a_again", given(&asks, &[(key, json!({"roots": [number]}))])).await;
        assert_eq!(done["result"]["resultType"], "complete", "{done}");
        let got = a.state.lock().got.clone();
        let mut heard = got.iter().filter(|(_, message)| message["result"]["roots"] == json!([number]));
        let (to, message) = heard.next().expect("an answer");
        assert_eq!((&**to, &message["id"]), (session, &json!(format!("own-{number}"))));
        assert!(heard.next().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_client_cannot_be_asked_is_refused_and_its_call_goes_on() {
    let a = Scripted::new("a", &["again"]);
    let hub = ready(&[&a]).await;
    let client = Modern::new(&hub, json!({"elicitation": {}}));
    let call = held_up(&a, &client).await;
    a.says(&question(1));
    sleep(Duration::from_millis(500)).await;
    a.state.lock().holds_up = false;
    let done = call.await.unwrap();
    assert_eq!(done["result"]["resultType"], "complete", "{done}");
    let got = a.state.lock().got.clone();
    let refused =
        |to: &str| got.iter().any(|(from, message)| from == to && message["error"]["code"] == -32601);
    assert!(refused("a-2"), "{got:?}");
    assert!(a.asked("notifications/cancelled").is_empty());
}
