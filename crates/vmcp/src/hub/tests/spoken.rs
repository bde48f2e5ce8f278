//! Answers of backends without sessions, whose clients go away and come back.

use super::replicas::primed;
use super::scripted::Eras;
use super::*;

async fn call(client: &Client, name: &str) -> Body {
    let message = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": name}});
    client.send(&message).await.into_body()
}

/// Nothing of an answer comes.
async fn is_silent(mut stream: Body) {
    let said = timeout(Duration::from_secs(60), event(&mut stream)).await;
    assert!(said.is_err(), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_comes_back_gets_what_it_has_missed_of_an_answer() {
    let new = Scripted::of("new", Eras::Modern, &["asks", "slow"]);
    let hub = ready(&[&new]).await;
    let client = Client::begin(&hub).await;
    let mut stream = call(&client, "new_slow").await;
    let cursor = primed(&mut stream).await;
    drop(stream);
    sleep(Duration::from_secs(601)).await;
    for _ in 0..2 {
        let mut again = client.listen(Some(&cursor)).await;
        let (id, answer) = event(&mut again).await;
        assert_eq!((&answer["id"], answer["result"].is_object()), (&json!(5), true), "{answer}");
        assert!(again.frame().await.is_none(), "nothing comes behind it");
        assert_ne!(id, cursor);
        let mut end = client.listen(Some(&id)).await;
        assert!(end.frame().await.is_none(), "nor for who has read it");
    }
    is_silent(Client::begin(&hub).await.listen(Some(&cursor)).await).await;
    assert_eq!(new.asked("tools/call").len(), 1);
    sleep(Duration::from_secs(300)).await;
    is_silent(client.listen(Some(&cursor)).await).await;
}

#[tokio::test(start_paused = true)]
async fn a_question_is_there_for_who_comes_back_and_its_answer_is_the_calls() {
    let new = Scripted::of("new", Eras::Modern, &["asks"]);
    let hub = ready(&[&new]).await;
    let client = Client::begin(&hub).await;
    let mut stream = call(&client, "new_asks").await;
    let (first, asked) = event(&mut stream).await;
    assert_eq!(asked["method"], "roots/list");
    drop(stream);
    sleep(Duration::from_secs(60)).await;
    let before = first.rsplit_once('-').unwrap().0.to_owned() + "-0";
    let (_, again) = event(&mut client.listen(Some(&before)).await).await;
    assert_eq!(again, asked, "as it was asked");
    let mut rest = client.listen(Some(&first)).await;
    let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": [2]}});
    assert_eq!(client.send(&answer).await.status(), 202);
    let (_, done) = event(&mut rest).await;
    assert_eq!(done["result"]["structuredContent"]["given"], json!({"r": {"roots": [2]}}), "{done}");
}

#[tokio::test(start_paused = true)]
async fn so_many_answers_are_kept_and_a_hub_that_stops_waits_for_nobody() {
    let new = Scripted::of("new", Eras::Modern, &["slow"]);
    let hub = ready(&[&new]).await;
    let client = Client::begin(&hub).await;
    let mut cursors = Vec::new();
    for _ in 0..20 {
        cursors.push(primed(&mut call(&client, "new_slow").await).await);
    }
    sleep(Duration::from_secs(601)).await;
    let mut kept = 0;
    for cursor in &cursors {
        let mut stream = client.listen(Some(cursor)).await;
        kept += usize::from(timeout(Duration::from_secs(1), event(&mut stream)).await.is_ok());
    }
    assert_eq!(kept, 16);
    let _gone = primed(&mut call(&client, "new_slow").await).await;
    hub.drain();
    hub.tasks.stop();
    assert_eq!(hub.tasks.wait(Duration::from_secs(5)).await, 0);
}
