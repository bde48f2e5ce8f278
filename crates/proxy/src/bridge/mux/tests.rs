//! The machine alone: one table for where things go, and properties over any sequence of events.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn message(value: &Value) -> Message {
    Message::parse(Bytes::from(value.to_string())).unwrap()
}

fn value(text: &Bytes) -> Value {
    serde_json::from_slice(text).unwrap()
}

#[expect(clippy::needless_pass_by_value, reason = "so it is written where it is used")]
fn note(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}

/// A machine with what its driver would remember.
struct Bench {
    mux: Mux,
    now: Instant,
}

impl Bench {
    fn new(sharing: Sharing, clients: &[ClientKey]) -> Self {
        let mut mux = Mux::new(sharing, Arc::default());
        clients.iter().for_each(|client| mux.add_client(*client));
        Self { mux, now: Instant::now() }
    }

    fn send(&mut self, client: Option<ClientKey>, text: &Value) -> (Taken, Vec<Effect>) {
        let mut effects = Vec::new();
        let sender = Sender { client, streams: true };
        (self.mux.on_client(sender, &message(text), &mut effects), effects)
    }

    fn request(&mut self, client: ClientKey, text: &Value) -> (Ours, Value) {
        match self.send(Some(client), text) {
            (Taken::Request { ours, text }, _) => (ours, value(&text)),
            other => panic!("{other:?}"),
        }
    }

    fn hear(&mut self, text: &Value) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.mux.on_server(self.now, &message(text), &mut effects);
        effects
    }

    fn push(&mut self, client: ClientKey, open: bool) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.mux.set_push(client, open, &mut effects);
        effects
    }
}

/// Where a message ended up, in a word.
fn place(effects: &[Effect]) -> &'static str {
    match effects {
        [] => "kept",
        [Effect::Event { .. }] => "request",
        [Effect::Push { .. }] => "push",
        [Effect::Dropped(_)] => "dropped",
        [Effect::ToServer(_)] => "server",
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_kind_of_message_has_its_place() {
    let log = note("notifications/message", json!({"level": "info"}));
    let list = note("notifications/tools/list_changed", json!({}));
    let updated = note("notifications/resources/updated", json!({"uri": "a"}));
    let other = note("notifications/other", json!({}));
    let question = json!({"jsonrpc": "2.0", "id": "q", "method": "roots/list"});
    let ping = json!({"jsonrpc": "2.0", "id": "p", "method": "ping"});
    let stray = note("notifications/progress", json!({"progressToken": 99, "progress": 1}));
    // message, with (push and request), (push), (request), (neither)
    let table = [
        (&log, ["request", "push", "request", "kept"]),
        (&other, ["request", "push", "request", "kept"]),
        (&list, ["push", "push", "request", "kept"]),
        (&updated, ["push", "push", "request", "kept"]),
        (&question, ["request", "push", "request", "kept"]),
        (&ping, ["server"; 4]),
        (&stray, ["dropped"; 4]),
    ];
    for (text, expect) in table {
        for ((push, request), expect) in
            [(true, true), (true, false), (false, true), (false, false)].iter().zip(expect)
        {
            let mut bench = Bench::new(Sharing::Own, &[1]);
            bench.push(1, *push);
            if *request {
                bench.request(
                    1,
                    &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "t"}}),
                );
            }
            assert_eq!(place(&bench.hear(text)), expect, "{text} push={push} request={request}");
        }
    }
}

#[test]
fn two_spellings_of_one_id_are_one_id() {
    let mut bench = Bench::new(Sharing::Own, &[1]);
    let call = |id: &str| {
        Message::parse(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list"}}"#).into()).unwrap()
    };
    let mut send =
        |id: &str| bench.mux.on_client(Sender { client: Some(1), streams: true }, &call(id), &mut Vec::new());
    assert!(matches!(send(r#""a""#), Taken::Request { .. }));
    assert!(matches!(send(r#""\u0061""#), Taken::Refused(_)));
    assert!(matches!(send("1"), Taken::Request { .. }));
    assert!(matches!(send(r#""1""#), Taken::Request { .. }), "a string is no number");
}

#[test]
fn a_question_taken_back_before_it_was_asked_is_never_asked() {
    let mut bench = Bench::new(Sharing::Own, &[1]);
    assert_eq!(bench.hear(&json!({"jsonrpc": "2.0", "id": 4, "method": "roots/list"})), []);
    assert_eq!(bench.hear(&note("notifications/cancelled", json!({"requestId": 4}))), []);
    assert_eq!(bench.push(1, true), []);
    bench.hear(&json!({"jsonrpc": "2.0", "id": 5, "method": "roots/list"}));
    let told = bench.hear(&note("notifications/cancelled", json!({"requestId": 5})));
    assert_eq!(place(&told), "push", "it was asked, so it is told");
    let (taken, _) = bench.send(Some(1), &json!({"jsonrpc": "2.0", "id": 5, "result": {}}));
    assert_eq!(taken, Taken::Done, "too late");
}

#[test]
fn the_progress_of_a_task_goes_on_after_its_creation() {
    let mut bench = Bench::new(Sharing::Own, &[1]);
    bench.push(1, true);
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "t", "task": {}, "_meta": {"progressToken": "tok"}}});
    let (ours, _) = bench.request(1, &call);
    bench.hear(&json!({"jsonrpc": "2.0", "id": ours, "result": {"task": {"taskId": "x"}}}));
    let effects = bench.hear(&note("notifications/progress", json!({"progressToken": ours, "progress": 1})));
    let [Effect::Push { client: 1, text }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(value(text)["params"]["progressToken"], "tok");
}

#[test]
fn questions_without_number_are_not_kept() {
    let mut bench = Bench::new(Sharing::Own, &[1]);
    for id in 0..MAX_UNSENT + 1 {
        let effects = bench.hear(&json!({"jsonrpc": "2.0", "id": id, "method": "roots/list"}));
        assert_eq!(place(&effects), if id < MAX_UNSENT { "kept" } else { "server" });
    }
    bench.now += QUESTION_WAITS;
    let mut effects = Vec::new();
    bench.mux.on_time(bench.now, &mut effects);
    assert_eq!(effects.len(), MAX_UNSENT, "each is told to the server");
    assert_eq!(bench.mux.next_due(), None);
}

/// What may happen, with small numbers so that things meet.
#[derive(Clone, Debug)]
enum Event {
    Call { client: ClientKey, id: u8, token: u8 },
    Subscribe { client: ClientKey, id: u8, uri: u8 },
    Unsubscribe { client: ClientKey, id: u8, uri: u8 },
    Cancel { client: ClientKey, id: u8 },
    Push { client: ClientKey, open: bool },
    Leave { client: ClientKey },
    Answer { pick: usize },
    Progress { pick: usize },
    Updated { uri: u8 },
    Log,
    Time,
}

fn event() -> impl Strategy<Value = Event> {
    let client = 1u64..4;
    prop_oneof![
        4 => (client.clone(), 0u8..4, 0u8..3).prop_map(|(client, id, token)| Event::Call { client, id, token }),
        2 => (client.clone(), 0u8..4, 0u8..2).prop_map(|(client, id, uri)| Event::Subscribe { client, id, uri }),
        1 => (client.clone(), 0u8..4, 0u8..2).prop_map(|(client, id, uri)| Event::Unsubscribe { client, id, uri }),
        1 => (client.clone(), 0u8..4).prop_map(|(client, id)| Event::Cancel { client, id }),
        1 => (client.clone(), any::<bool>()).prop_map(|(client, open)| Event::Push { client, open }),
        1 => client.prop_map(|client| Event::Leave { client }),
        4 => any::<usize>().prop_map(|pick| Event::Answer { pick }),
        3 => any::<usize>().prop_map(|pick| Event::Progress { pick }),
        2 => (0u8..2).prop_map(|uri| Event::Updated { uri }),
        1 => Just(Event::Log),
        1 => Just(Event::Time),
    ]
}

/// What each request was, as its client knows it.
#[derive(Default)]
struct Model {
    owners: HashMap<Ours, (ClientKey, Value, Option<Value>)>,
    open: Vec<Ours>,
    subscribed: HashMap<u8, HashSet<ClientKey>>,
    pushes: HashSet<ClientKey>,
    gone: HashSet<ClientKey>,
    seen: HashSet<Ours>,
}

impl Model {
    fn took(&mut self, client: ClientKey, sent: &Value, taken: Taken) -> Result<bool, TestCaseError> {
        let Taken::Request { ours, text } = taken else { return Ok(matches!(taken, Taken::Answered(_))) };
        prop_assert!(self.seen.insert(ours), "an id is used once");
        let text = value(&text);
        prop_assert_eq!(&text["id"], &json!(ours));
        let token = sent["params"]["_meta"].get("progressToken").cloned();
        if token.is_some() {
            prop_assert_eq!(&text["params"]["_meta"]["progressToken"], &json!(ours));
        }
        self.owners.insert(ours, (client, sent["id"].clone(), token));
        self.open.push(ours);
        Ok(true)
    }

    /// Whatever is shown is for the one it is shown to.
    fn check(&mut self, effects: &[Effect]) -> Result<(), TestCaseError> {
        for effect in effects {
            match effect {
                Effect::Answer { ours, text, .. } => {
                    let (_, id, _) = &self.owners[ours];
                    prop_assert_eq!(&value(text)["id"], id);
                    self.open.retain(|open| open != ours);
                }
                Effect::Event { ours, text } => {
                    prop_assert!(self.open.contains(ours), "never after the answer");
                    let (client, _, token) = &self.owners[ours];
                    let text = value(text);
                    match text["method"].as_str() {
                        Some("notifications/progress") => {
                            prop_assert_eq!(Some(&text["params"]["progressToken"]), token.as_ref());
                        }
                        Some("notifications/resources/updated") => self.is_subscribed(*client, &text)?,
                        _ => {}
                    }
                }
                Effect::Push { client, text } => {
                    prop_assert!(self.pushes.contains(client));
                    let text = value(text);
                    if text["method"] == "notifications/resources/updated" {
                        self.is_subscribed(*client, &text)?;
                    }
                }
                Effect::End { ours } => self.open.retain(|open| open != ours),
                Effect::ToServer(text) => {
                    if let Some(ours) = value(text)["id"].as_u64() {
                        prop_assert!(self.seen.insert(ours), "an id is used once");
                        self.owners.insert(ours, (0, json!(0), None));
                    }
                }
                Effect::Release { .. } | Effect::Dropped(_) => {}
            }
        }
        Ok(())
    }

    fn is_subscribed(&self, client: ClientKey, text: &Value) -> Result<(), TestCaseError> {
        let uri: u8 = text["params"]["uri"].as_str().unwrap().parse().unwrap();
        // It may have been kept for a client that has unsubscribed since; never for one that did not ask.
        prop_assert!(self.subscribed.get(&uri).is_some_and(|clients| clients.contains(&client)));
        Ok(())
    }
}

proptest! {
    #[test]
    fn on_a_shared_server_nothing_of_one_client_reaches_another(events in proptest::collection::vec(event(), 1..80)) {
        let mut bench = Bench::new(Sharing::Shared, &[1, 2, 3]);
        let mut model = Model::default();
        for event in events {
            let mut effects = Vec::new();
            match event {
                Event::Call { client, id, token } => {
                    let text = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "t", "_meta": {"progressToken": format!("{client}/{token}")}}});
                    let (taken, more) = bench.send(Some(client), &text);
                    model.took(client, &text, taken)?;
                    effects = more;
                }
                Event::Subscribe { client, id, uri } => {
                    let text = json!({"jsonrpc": "2.0", "id": id, "method": "resources/subscribe", "params": {"uri": uri.to_string()}});
                    let (taken, more) = bench.send(Some(client), &text);
                    if model.took(client, &text, taken)? {
                        model.subscribed.entry(uri).or_default().insert(client);
                    }
                    effects = more;
                }
                Event::Unsubscribe { client, id, uri } => {
                    let text = json!({"jsonrpc": "2.0", "id": id, "method": "resources/unsubscribe", "params": {"uri": uri.to_string()}});
                    let (taken, more) = bench.send(Some(client), &text);
                    model.took(client, &text, taken)?;
                    effects = more;
                }
                Event::Cancel { client, id } => {
                    let (taken, _) = bench.send(Some(client), &note("notifications/cancelled", json!({"requestId": id})));
                    if let Taken::Pass(text) = taken {
                        let ours = value(&text)["params"]["requestId"].as_u64().unwrap();
                        prop_assert_eq!(model.owners[&ours].0, client, "only one's own can be cancelled");
                    }
                }
                Event::Push { client, open } if !model.gone.contains(&client) => {
                    if open { model.pushes.insert(client); } else { model.pushes.remove(&client); }
                    effects = bench.push(client, open);
                }
                Event::Push { .. } => {}
                Event::Leave { client } => {
                    bench.mux.remove_client(client, &mut effects);
                    model.gone.insert(client);
                    model.pushes.remove(&client);
                }
                Event::Answer { pick } => if !model.open.is_empty() {
                    let ours = model.open[pick % model.open.len()];
                    effects = bench.hear(&json!({"jsonrpc": "2.0", "id": ours, "result": {}}));
                },
                Event::Progress { pick } => if !model.seen.is_empty() {
                    let ours = pick as u64 % (model.seen.len() as u64 + 2);
                    effects = bench.hear(&note("notifications/progress", json!({"progressToken": ours, "progress": 1})));
                },
                Event::Updated { uri } => {
                    effects = bench.hear(&note("notifications/resources/updated", json!({"uri": uri.to_string()})));
                }
                Event::Log => effects = bench.hear(&note("notifications/message", json!({"level": "info"}))),
                Event::Time => {
                    bench.now += Duration::from_secs(60);
                    bench.mux.on_time(bench.now, &mut effects);
                }
            }
            model.check(&effects)?;
        }
        // Whatever is left under way fails, each under its client's own id, and nothing is left behind.
        for (ours, id) in bench.mux.fail_all() {
            prop_assert_eq!(serde_json::from_slice::<Value>(&id).unwrap(), model.owners[&ours].1.clone());
        }
        prop_assert_eq!(bench.mux.in_flight(), 0);
    }

    #[test]
    fn any_client_id_comes_back_as_it_was_spelt(id in prop_oneof![any::<i64>().prop_map(|n| n.to_string()), "\\PC{0,20}".prop_map(|s| json!(s).to_string())]) {
        let mut bench = Bench::new(Sharing::Own, &[1]);
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list"}}"#);
        let sent = Message::parse(text.into()).unwrap();
        let taken = bench.mux.on_client(Sender { client: Some(1), streams: true }, &sent, &mut Vec::new());
        let Taken::Request { ours, .. } = taken else { panic!("{taken:?}") };
        let effects = bench.hear(&json!({"jsonrpc": "2.0", "id": ours, "result": {}}));
        let [Effect::Answer { text, .. }] = &effects[..] else { panic!("{effects:?}") };
        let back = Message::parse(text.clone()).unwrap();
        prop_assert_eq!(back.id(), Some(id.as_bytes()));
    }
}
