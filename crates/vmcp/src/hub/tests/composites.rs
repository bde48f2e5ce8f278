//! Composite tools: a call begins a run, and what becomes of it when the client asks, answers, goes and comes back.

use super::*;
use crate::config::Config;

/// Composite tools of these, each a name and its steps.
pub(super) fn workflows(composites: &[(&str, &str)]) -> Workflows {
    let composites: String = composites
        .iter()
        .map(|(name, steps)| format!("- name: {name}\n  description: d\n  steps:\n{steps}\n"))
        .collect();
    let file = format!(
        "name: n\ngroupRef: g\nincomingAuth: {{type: anonymous}}\noutgoingAuth: {{source: inline}}\n\
         aggregation: {{conflictResolution: prefix, conflictResolutionConfig: {{prefixFormat: p}}}}\n\
         compositeTools:\n{composites}"
    );
    let config = Config::parse(&file, &|_| None).unwrap_or_else(|problems| panic!("{problems}\n{file}"));
    Workflows::new(config.composites).unwrap()
}

async fn hub_with(composites: &[(&str, &str)], backends: &[&Arc<Scripted>]) -> Arc<Hub> {
    let hub = hub_of(HubConfig { workflows: workflows(composites), ..config() }, backends);
    sleep(Duration::from_secs(15)).await;
    hub
}

/// A call of a composite tool, as its stream.
pub(super) async fn call(client: &Client, name: &str, params: Value) -> Body {
    let mut all = json!({"name": name, "arguments": {}});
    all.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
    let message = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": all});
    client.send(&message).await.into_body()
}

/// The result of a call whose stream says nothing else.
pub(super) async fn result_of(mut stream: Body) -> Value {
    let (_, answer) = event(&mut stream).await;
    assert_eq!(answer["id"], 5, "{answer}");
    assert!(stream.frame().await.is_none(), "and nothing comes behind it");
    answer["result"].clone()
}

const CHAIN: &str =
    "  - {id: one, tool: a.echo}\n  - {id: two, tool: b.shows, arguments: {v: '{{.steps.one.output.text}}'}}";

#[tokio::test(start_paused = true)]
async fn a_call_is_answered_by_what_its_steps_come_to() {
    let (a, b) = (Scripted::new("a", &["echo", "fails"]), Scripted::new("b", &["shows"]));
    let composites = [("chain", CHAIN), ("broken", "  - {id: one, tool: a.fails}")];
    let hub = hub_with(&composites, &[&a, &b]).await;
    let client = Client::begin(&hub).await;
    assert_eq!(client.tools().await, ["a_echo", "a_fails", "b_shows", "broken", "chain"]);
    let result = result_of(call(&client, "chain", json!({})).await).await;
    assert_eq!(result["structuredContent"], json!({"v": "a:echo:a-2"}));
    assert_eq!(result["content"], json!([{"type": "text", "text": r#"{"v":"a:echo:a-2"}"#}]));
    assert_eq!(client.says("a_echo").await, "a:echo:a-2", "in the session that the client has anyway");
    let result = result_of(call(&client, "broken", json!({})).await).await;
    assert_eq!(result["isError"], true);
    let text = result["content"][0]["text"].as_str().unwrap();
    assert!(
        text.starts_with("Workflow execution failed: step one failed") && text.contains("it does not work"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn arguments_are_checked_and_progress_is_told() {
    let a = Scripted::new("a", &["echo"]);
    let steps = "  - {id: one, tool: a.echo}\n  - {id: two, tool: a.echo, condition: 'false'}\n  \
                 parameters: {type: object, properties: {n: {type: integer}}, required: [n]}";
    let hub = hub_with(&[("counted", steps)], &[&a]).await;
    let client = Client::begin(&hub).await;
    let refused = client.tool("counted").await;
    assert_eq!(refused["result"]["isError"], true, "{refused}");
    assert!(refused.to_string().contains("arguments.n is required"), "{refused}");
    let mut stream =
        call(&client, "counted", json!({"arguments": {"n": 1}, "_meta": {"progressToken": 7}})).await;
    let mut told = Vec::new();
    let (_, answer) = loop {
        let (id, said) = event(&mut stream).await;
        if said["method"] != "notifications/progress" {
            break (id, said);
        }
        assert_eq!(said["params"]["progressToken"], 7);
        told.push((said["params"]["progress"].as_u64().unwrap(), said["params"]["total"].as_u64().unwrap()));
    };
    assert_eq!((told, &answer["id"]), (vec![(1, 2), (2, 2)], &json!(5)));
}

#[tokio::test(start_paused = true)]
async fn who_goes_has_not_cancelled_and_who_cancels_has() {
    let a = Scripted::new("a", &["slow", "echo"]);
    let steps = "  - {id: one, tool: a.slow, timeout: 30m}\n  - {id: two, tool: a.echo, dependsOn: [one]}";
    let hub = hub_with(&[("long", steps)], &[&a]).await;
    let client = Client::begin(&hub).await;
    drop(call(&client, "long", json!({})).await);
    sleep(Duration::from_secs(601)).await;
    assert_eq!(a.asked("tools/call").len(), 2, "it went on");
    assert!(a.asked("notifications/cancelled").is_empty());
    let mut stream = call(&client, "long", json!({})).await;
    sleep(Duration::from_secs(1)).await;
    let cancelled =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}});
    client.send(&cancelled).await;
    sleep(Duration::from_secs(1)).await;
    let (_, told) = &a.asked("notifications/cancelled")[0];
    let (_, asked) = a.asked("tools/call").pop().unwrap();
    assert_eq!(told["params"]["requestId"], asked["id"], "the backend hears of it, by the id that it knows");
    let rest = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(rest.starts_with(b"id: 0.."), "the stream was primed: {rest:?}");
    assert!(stream.frame().await.is_none(), "and what was cancelled is not answered");
}

pub(super) const ASKS: &str = "  - {id: sure, type: elicitation, message: 'Sure?', schema: {type: object, properties: {ok: {type: boolean}}}}\n  \
                    - {id: two, tool: a.shows, arguments: {v: '{{json .steps.sure.output}}'}}";

#[tokio::test(start_paused = true)]
async fn a_client_is_asked_on_the_stream_of_its_call() {
    let a = Scripted::new("a", &["shows", "asks"]);
    let hub = hub_with(&[("asking", ASKS), ("passing", "  - {id: one, tool: a.asks}")], &[&a]).await;
    let client = Client::begin_with(&hub, json!({"elicitation": {}})).await;
    let mut stream = call(&client, "asking", json!({})).await;
    let (_, asked) = event(&mut stream).await;
    assert_eq!(
        (&asked["method"], &asked["params"]["message"]),
        (&json!("elicitation/create"), &json!("Sure?"))
    );
    assert_eq!(asked["params"]["requestedSchema"]["type"], "object");
    let said =
        json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept", "content": {"ok": true}}});
    let stranger = Client::begin(&hub).await;
    assert_eq!(stranger.send(&said).await.status(), 400, "not of another session");
    assert_eq!(client.send(&said).await.status(), 202);
    assert_eq!(client.send(&said).await.status(), 400, "nor twice");
    let (_, answer) = event(&mut stream).await;
    let output = json!({"action": "accept", "content": {"ok": true}});
    assert_eq!(answer["result"]["structuredContent"]["v"].as_str().unwrap(), output.to_string());
    let result = result_of(call(&stranger, "asking", json!({})).await).await;
    assert!(result.to_string().contains("capability elicitation"), "{result}");
    // What a backend asks meanwhile is asked there too.
    let mut stream = call(&client, "passing", json!({})).await;
    let (_, asked) = event(&mut stream).await;
    assert_eq!((&asked["method"], &asked["id"]), (&json!("roots/list"), &json!("1.a.1")));
    client.send(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": []}})).await;
    assert_eq!(event(&mut stream).await.1["result"]["structuredContent"], json!({"roots": []}));
}
