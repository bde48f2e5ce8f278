//! The driver of one Streamable HTTP channel: takes what the owner sends, one message after the other, and starts a
//! call for each request.
//!
//! Order: notifications and responses are delivered before anything behind them is sent; a handshake is over before
//! anything else goes, since what follows needs its session. Requests run side by side.

use std::sync::Arc;

use bytes::Bytes;
use mcp::message::Kind;
use mcp::{Era, ErrorCode, ErrorReply, Message, Method};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::Instrument;

use super::call::{call, tell};
use super::link::Link;
use super::listen::listen;
use super::pending::{IdKey, era_of};
use crate::failure::Failure;

/// Requests under way at once; more are refused, since waiting could keep back the response that one of them needs.
pub(super) const MAX_CALLS: usize = 1024;

/// The tasks of a channel; dropped, they end.
#[derive(Default)]
struct Running {
    calls: JoinSet<()>,
    listener: JoinSet<()>,
}

/// Runs a channel until its owner closes it or the server forgets the session.
pub(super) async fn drive(link: Arc<Link>, mut outgoing: mpsc::Receiver<Bytes>) {
    let mut running = Running::default();
    tokio::select! {
        () = link.inbox.over.token.cancelled() => {}
        () = link.inbox.unread() => {}
        () = pump(&link, &mut outgoing, &mut running) => {}
    }
    running.calls.shutdown().await;
    running.listener.shutdown().await;
    if link.inbox.over.is_lost() {
        link.inbox.fail_all(outgoing, &Failure::UnknownSession.reply()).await;
        return;
    }
    // The tasks that shared it have ended.
    if let Some(link) = Arc::into_inner(link) {
        link.close().await;
    }
}

/// Sends what comes; when nothing more can come, waits for the answers that are still due.
async fn pump(link: &Arc<Link>, outgoing: &mut mpsc::Receiver<Bytes>, running: &mut Running) {
    while let Some(text) = outgoing.recv().await {
        while running.calls.try_join_next().is_some() {}
        match Message::parse(text) {
            Ok(message) => send(link, message, running).await,
            // A reader that is gone is noticed by the caller.
            Err(malformed) => drop(link.inbox.send(malformed.reply().to_json(None)).await),
        }
    }
    link.inbox.pending.stop_endless();
    while running.calls.join_next().await.is_some() {}
}

async fn send(link: &Arc<Link>, message: Message, running: &mut Running) {
    match (message.kind(), message.method()) {
        (Kind::Request, method) => {
            let refusal =
                ErrorReply::new(ErrorCode::InvalidRequest, "too many requests at once, or an id in use");
            let entered =
                (running.calls.len() < MAX_CALLS).then(|| link.inbox.pending.enter(&message)).flatten();
            let Some((key, waiting)) = entered else {
                drop(link.inbox.send(refusal.to_json(message.id())).await);
                return;
            };
            let under_way = call(Arc::clone(link), message, key, waiting);
            if method == Method::Initialize {
                link.forget_session();
                under_way.await;
            } else {
                running.calls.spawn(under_way.in_current_span());
            }
        }
        (_, Method::Cancelled) => cancel(link, &message).await,
        (_, Method::Initialized) => {
            if tell(link, &message).await && running.listener.is_empty() {
                running.listener.spawn(listen(Arc::clone(link)).in_current_span());
            }
        }
        _ => drop(tell(link, &message).await),
    }
}

/// A modern request is cancelled by closing its stream, a legacy one by saying so.
async fn cancel(link: &Link, message: &Message) {
    let era = message.cancelled_id().and_then(|id| link.inbox.pending.cancel(&IdKey::of(id)));
    if era.unwrap_or_else(|| era_of(message)) == Era::Legacy && link.is_handshaken() {
        tell(link, message).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Response;
    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use telemetry::Tasks;
    use tokio::time::Instant;

    use super::super::fake::{
        self, Fake, Seen, answer, events, handshake, hear, json_with, open_events, ordinary, request, say,
        soon, status,
    };
    use super::super::{RemoteConfig, RemoteHttp};
    use crate::body::Body;
    use crate::channel::{Channel, Connect};

    async fn open(fake: &Fake) -> Channel {
        fake.http().0.open().await.unwrap()
    }

    /// An ordinary server, but for one method.
    async fn serve(
        method: &'static str,
        special: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static,
    ) -> Fake {
        Fake::start(move |seen| if seen.what() == method { special(seen) } else { ordinary(seen) }).await
    }

    fn message(value: &Value) -> String {
        format!("data: {value}\n\n")
    }

    fn modern(id: u32, method: &str, params: &Value) -> String {
        let mut params = params.clone();
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
    }

    #[tokio::test]
    async fn a_session_is_kept_and_ended() {
        let fake = Fake::start(ordinary).await;
        let (remote, tasks) = fake.http();
        let mut channel = remote.open().await.unwrap();
        handshake(&mut channel).await;
        say(&channel, request(1, "tools/list")).await;
        assert_eq!(
            hear(&mut channel).await,
            json!({"jsonrpc": "2.0", "id": 1, "result": {"did": "tools/list"}})
        );
        drop(channel);
        assert_eq!(tasks.wait(Duration::from_secs(10)).await, 0);
        let seen = fake.seen();
        let what: Vec<_> = seen.iter().map(Seen::what).collect();
        assert_eq!(what.first(), Some(&"initialize"));
        assert_eq!(what.last(), Some(&"DELETE"));
        assert_eq!(
            what.iter().filter(|what| **what == "GET").count(),
            1,
            "405 is not asked for again: {what:?}"
        );
        assert_eq!(seen[0].header("mcp-session-id"), None);
        assert_eq!(seen[0].header("accept"), Some("application/json, text/event-stream"));
        for later in &seen[1..] {
            assert_eq!(later.header("mcp-session-id"), Some("s-1"), "{later:?}");
            assert_eq!(later.header("mcp-protocol-version"), Some("2025-06-18"), "{later:?}");
        }
    }

    #[tokio::test]
    async fn messages_sent_at_once_wait_for_the_handshake() {
        let fake = Fake::start(ordinary).await;
        let mut channel = open(&fake).await;
        say(&channel, fake::INITIALIZE).await;
        say(&channel, fake::INITIALIZED).await;
        say(&channel, request(1, "ping")).await;
        assert_eq!(hear(&mut channel).await["id"], 0);
        assert_eq!(hear(&mut channel).await["id"], 1);
        assert_eq!(fake.request("ping", 0).await.header("mcp-session-id"), Some("s-1"));
    }

    #[tokio::test]
    async fn a_stream_gives_its_messages_one_by_one_and_takes_both_sides_requests() {
        let (stream, response) = open_events();
        let response = Mutex::new(Some(response));
        let fake = serve("tools/call", move |_| response.lock().take().unwrap()).await;
        let mut channel = open(&fake).await;
        handshake(&mut channel).await;
        say(&channel, request(7, "tools/call")).await;
        let elicit = json!({"jsonrpc": "2.0", "id": 7, "method": "elicitation/create", "params": {}});
        stream.send((": comment\n\nevent: message\n".to_owned() + &message(&elicit)).into()).await.unwrap();
        assert_eq!(hear(&mut channel).await, elicit);
        say(&channel, r#"{"jsonrpc":"2.0","id":7,"result":{"action":"decline"}}"#).await;
        fake.until(|seen| seen.iter().any(|seen| seen.body["result"]["action"] == "decline")).await;
        stream.send(message(&json!({"jsonrpc": "2.0", "id": 7, "result": 1})).into()).await.unwrap();
        assert_eq!(hear(&mut channel).await, json!({"jsonrpc": "2.0", "id": 7, "result": 1}));
    }

    #[tokio::test]
    async fn a_stream_cut_behind_an_id_is_taken_up_where_it_was_cut_and_when_the_server_says() {
        let cut = Mutex::new(None);
        let answered = json!({"jsonrpc": "2.0", "id": 1, "result": "late"});
        let fake = Fake::start(move |seen| match seen.what() {
            "tools/call" => {
                *cut.lock() = Some(Instant::now());
                events("id: e-1\nretry: 40\ndata:\n\n")
            }
            "GET" if seen.header("last-event-id") == Some("e-1") => {
                assert!(cut.lock().unwrap().elapsed() >= Duration::from_millis(40));
                // A poll that brings nothing, once.
                events("id: e-2\ndata:\n\n")
            }
            "GET" if seen.header("last-event-id") == Some("e-2") => events(&message(&answered)),
            _ => ordinary(seen),
        })
        .await;
        let mut channel = open(&fake).await;
        handshake(&mut channel).await;
        say(&channel, request(1, "tools/call")).await;
        assert_eq!(hear(&mut channel).await["result"], "late");
    }

    #[tokio::test]
    async fn a_stream_that_ends_without_id_or_answer_is_an_error_of_unknown_outcome() {
        let progress =
            json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1}});
        let fake = serve("tools/call", move |_| events(&message(&progress))).await;
        let mut channel = open(&fake).await;
        handshake(&mut channel).await;
        say(&channel, request(1, "tools/call")).await;
        assert_eq!(hear(&mut channel).await["method"], "notifications/progress");
        let error = hear(&mut channel).await;
        assert_eq!((&error["id"], &error["error"]["data"]["executed"]), (&json!(1), &json!("unknown")));
    }

    #[tokio::test]
    async fn what_the_server_says_unasked_comes_by_the_get_stream_which_is_opened_again() {
        let first = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
        let again = json!({"jsonrpc": "2.0", "id": 1, "method": "roots/list"});
        let (_open, second) = open_events();
        let second = Mutex::new(Some(second));
        let fake = serve("GET", move |seen| match seen.header("last-event-id") {
            None => events(&format!("id: 5\nretry: 1\n{}", message(&first))),
            Some(_) => {
                _open.try_send(message(&again).into()).unwrap();
                second.lock().take().unwrap()
            }
        })
        .await;
        let mut channel = open(&fake).await;
        handshake(&mut channel).await;
        assert_eq!(hear(&mut channel).await["method"], "notifications/tools/list_changed");
        assert_eq!(hear(&mut channel).await["method"], "roots/list");
        let get = fake.request("GET", 1).await;
        assert_eq!(
            (get.header("last-event-id"), get.header("accept")),
            (Some("5"), Some("text/event-stream"))
        );
    }

    #[tokio::test]
    async fn a_lost_session_answers_everything_and_ends_the_channel() {
        let (_hold, slow) = open_events();
        let slow = Mutex::new(Some(slow));
        let fake = Fake::start(move |seen| match seen.what() {
            "tools/call" => slow.lock().take().unwrap(),
            "tools/list" => {
                json_with(404, &json!({"jsonrpc": "2.0", "error": {"code": -32001, "message": "x"}}))
            }
            _ => ordinary(seen),
        })
        .await;
        let mut channel = open(&fake).await;
        handshake(&mut channel).await;
        say(&channel, request(1, "tools/call")).await;
        fake.request("tools/call", 0).await;
        say(&channel, request(2, "tools/list")).await;
        let mut answers = [hear(&mut channel).await, hear(&mut channel).await];
        answers.sort_by_key(|answer| answer["id"].as_u64());
        for (answer, id) in answers.iter().zip([1, 2]) {
            assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(id), &json!(-32001)));
        }
        assert_eq!(soon(channel.incoming.recv()).await, None);
        assert!(channel.guard.why_closed().await.contains("does not know the session"));
        assert!(fake.seen().iter().all(|seen| seen.what() != "DELETE"));
    }

    #[tokio::test]
    async fn http_errors_become_errors_of_their_request_alone() {
        let fake = Fake::start(|seen| match seen.what() {
            "a" => status(500),
            "b" => json_with(
                400,
                &json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32000, "message": "No"}}),
            ),
            "c" => json_with(200, &json!({"jsonrpc": "2.0", "error": {"code": -32600, "message": "odd"}})),
            "d" => status(202),
            "e" => json_with(200, &json!([{"jsonrpc": "2.0", "id": 1, "result": "in a batch"}])),
            _ => ordinary(seen),
        })
        .await;
        let mut channel = open(&fake).await;
        handshake(&mut channel).await;
        let mut outcomes = Vec::new();
        for method in ["a", "b", "c", "d", "e"] {
            say(&channel, request(1, method)).await;
            let answer = hear(&mut channel).await;
            assert_eq!(answer["id"], 1);
            outcomes.push((answer["error"]["code"].as_i64(), answer["error"]["data"]["status"].as_i64()));
        }
        let expect =
            [(Some(-32603), Some(500)), (Some(-32000), None), (Some(-32600), None), (Some(-32603), None)];
        assert_eq!(outcomes, [&expect[..], &[(None, None)]].concat());
    }

    #[tokio::test]
    async fn modern_requests_carry_their_headers_and_no_session() {
        let schema = json!({"properties": {"region": {"type": "string", "x-mcp-header": "Region"}}});
        let bad = json!({"properties": {"region": {"type": "number", "x-mcp-header": "Region"}}});
        let tools = json!([{"name": "sql é", "inputSchema": schema}, {"name": "bad", "inputSchema": bad}]);
        let fake = serve("tools/list", move |seen| answer(seen, &json!({"tools": tools}))).await;
        let mut channel = open(&fake).await;
        say(&channel, modern(1, "tools/list", &json!({}))).await;
        let listed = hear(&mut channel).await;
        assert_eq!(listed["result"]["tools"].as_array().unwrap().len(), 1, "the bad one is left out");
        say(&channel, modern(2, "tools/call", &json!({"name": "sql é", "arguments": {"region": "us"}})))
            .await;
        assert_eq!(hear(&mut channel).await["result"]["did"], "tools/call");
        let call = fake.request("tools/call", 0).await;
        for (name, value) in [
            ("mcp-protocol-version", Some("2026-07-28")),
            ("mcp-method", Some("tools/call")),
            ("mcp-name", Some("=?base64?c3FsIMOp?=")),
            ("mcp-param-region", Some("us")),
            ("mcp-session-id", None),
        ] {
            assert_eq!(call.header(name), value, "{name}");
        }
        drop(channel);
        assert!(fake.seen().iter().all(|seen| seen.method == http::Method::POST));
    }

    #[tokio::test]
    async fn a_call_refused_for_its_headers_is_repeated_with_those_it_needs() {
        let tool = |name: &str| json!({"name": name, "inputSchema": {"properties": {"a": {"type": "integer", "x-mcp-header": "A"}}}});
        let fake = Fake::start(move |seen| match seen.what() {
            "tools/list" if seen.body["params"]["cursor"].is_null() => {
                answer(seen, &json!({"tools": [tool("other")], "nextCursor": "p2"}))
            }
            "tools/list" => {
                let page = json!({"jsonrpc": "2.0", "id": seen.body["id"], "result": {"tools": [tool("t")]}});
                events(&message(&page))
            }
            "tools/call" if seen.header("mcp-param-a") != Some("7") => json_with(
                400,
                &json!({"jsonrpc": "2.0", "id": seen.body["id"], "error": {"code": -32020, "message": "header"}}),
            ),
            _ => ordinary(seen),
        })
        .await;
        let mut channel = open(&fake).await;
        say(&channel, modern(2, "tools/call", &json!({"name": "t", "arguments": {"a": 7}}))).await;
        assert_eq!(
            hear(&mut channel).await,
            json!({"jsonrpc": "2.0", "id": 2, "result": {"did": "tools/call"}})
        );
        say(&channel, modern(3, "tools/call", &json!({"name": "unheard of"}))).await;
        assert_eq!(hear(&mut channel).await["error"]["code"], -32020, "repeated once, then told");
    }

    #[tokio::test]
    async fn a_modern_request_is_cancelled_by_closing_its_stream() {
        let (stream, response) = open_events();
        let response = Mutex::new(Some(response));
        let fake = serve("tools/call", move |_| response.lock().take().unwrap()).await;
        let mut channel = open(&fake).await;
        say(&channel, modern(1, "tools/call", &json!({"name": "slow"}))).await;
        fake.request("tools/call", 0).await;
        say(&channel, r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#)
            .await;
        soon(stream.closed()).await;
        say(&channel, modern(2, "tools/list", &json!({}))).await;
        assert_eq!(hear(&mut channel).await["id"], 2, "nothing is said about the cancelled one");
        assert!(fake.seen().iter().all(|seen| seen.what() != "notifications/cancelled"));
    }

    #[tokio::test]
    async fn a_legacy_request_is_cancelled_by_saying_so() {
        let (stream, response) = open_events();
        let response = Mutex::new(Some(response));
        let fake = serve("tools/call", move |_| response.lock().take().unwrap()).await;
        let mut channel = open(&fake).await;
        handshake(&mut channel).await;
        say(&channel, request(1, "tools/call")).await;
        fake.request("tools/call", 0).await;
        say(&channel, r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#)
            .await;
        fake.request("notifications/cancelled", 0).await;
        drop(stream);
        say(&channel, request(2, "ping")).await;
        assert_eq!(hear(&mut channel).await["id"], 2, "the cancelled one needs no answer");
    }

    #[tokio::test]
    async fn when_no_more_can_be_asked_what_was_asked_is_answered_first() {
        let (stream, response) = open_events();
        let (listening, listen) = open_events();
        let responses = Mutex::new(vec![response, listen]);
        let fake = Fake::start(move |seen| match seen.what() {
            "subscriptions/listen" | "tools/call" => responses.lock().pop().unwrap(),
            _ => ordinary(seen),
        })
        .await;
        let Channel { outgoing, mut incoming, guard, .. } = open(&fake).await;
        outgoing.send(modern(1, "subscriptions/listen", &json!({})).into()).await.unwrap();
        fake.request("subscriptions/listen", 0).await;
        outgoing.send(modern(2, "tools/call", &json!({"name": "slow"})).into()).await.unwrap();
        fake.request("tools/call", 0).await;
        drop(outgoing);
        soon(listening.closed()).await;
        stream.send(message(&json!({"jsonrpc": "2.0", "id": 2, "result": 1})).into()).await.unwrap();
        drop(stream);
        assert!(soon(incoming.recv()).await.is_some());
        assert_eq!(soon(incoming.recv()).await, None);
        drop(guard);
    }

    #[tokio::test]
    async fn a_listen_stream_may_be_lines_of_json() {
        let fake = serve("subscriptions/listen", |_| {
            let (stream, mut response) = open_events();
            response.headers_mut().insert("content-type", "application/json".parse().unwrap());
            stream
                .try_send("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/a\"}\n{\"jsonrpc\":".into())
                .unwrap();
            stream.try_send("\"2.0\",\"id\":1,\"result\":{}}".into()).unwrap();
            response
        })
        .await;
        let mut channel = open(&fake).await;
        say(&channel, modern(1, "subscriptions/listen", &json!({}))).await;
        assert_eq!(hear(&mut channel).await["method"], "notifications/a");
        assert_eq!(hear(&mut channel).await["id"], 1);
    }

    #[tokio::test]
    async fn redirects_on_the_same_host_are_followed() {
        let fake = Fake::start(|seen| {
            if seen.path == "/mcp/" {
                return ordinary(seen);
            }
            let mut moved = status(307);
            moved.headers_mut().insert("location", "/mcp/".parse().unwrap());
            moved
        })
        .await;
        let mut channel = open(&fake).await;
        handshake(&mut channel).await;
    }

    #[tokio::test]
    async fn an_instance_that_is_away_is_left_for_the_next_and_none_is_an_error() {
        let fake = Fake::start(ordinary).await;
        let dead = "http://127.0.0.1:1/mcp";
        let remote = |urls: &[&str]| {
            RemoteHttp::new(RemoteConfig::new("pair"), fake::instances(urls), fake::pool(), Tasks::new())
        };
        for _ in 0..4 {
            let mut channel = remote(&[dead, &fake.url]).open().await.unwrap();
            handshake(&mut channel).await;
        }
        let mut channel = remote(&[dead]).open().await.unwrap();
        say(&channel, fake::INITIALIZE).await;
        let error = hear(&mut channel).await["error"].clone();
        assert_eq!(error["data"]["executed"], "no");
        assert!(error["message"].as_str().unwrap().contains("pair"), "{error}");
        assert!(remote(&[]).open().await.unwrap_err().to_string().contains("pair has no address"));
    }

    #[tokio::test]
    async fn what_cannot_be_sent_is_answered_here() {
        let fake = Fake::start(ordinary).await;
        let mut channel = open(&fake).await;
        say(&channel, "{\"jsonrpc\":\"2.0\"}").await;
        assert_eq!(hear(&mut channel).await["error"]["code"], -32600);
        assert!(fake.seen().is_empty());
    }
}
