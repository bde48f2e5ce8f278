//! What backends ask on the streams of their own, while no call is under way.

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
