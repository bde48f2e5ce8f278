//! The optimizer and scripts over two backends.

use super::super::Shape;
use super::*;
use crate::config::Override;
use crate::hub::{Meaning, MetaTools};
use crate::optimizer::{Optimizer, Policy};
use crate::script::{Evaluators, Scripts, Settings};

pub(super) fn optimizer() -> Option<Arc<Optimizer>> {
    Some(Arc::new(Optimizer::new(Policy { most: 8, semantic_ratio: 0.5, distance: 1.0 }, None)))
}

pub(super) fn scripts() -> Option<Arc<Scripts>> {
    let settings = Settings { steps: 100, parallel: 4, call_within: Duration::from_secs(30) };
    let evaluators: Arc<dyn Evaluators> = Arc::new(crate::script::fake::Fake::default());
    Some(Arc::new(Scripts::new(settings, evaluators)))
}

fn tools_of(workload: &str, filter: &[&str], overrides: &[(&str, Override)]) -> WorkloadTools {
    WorkloadTools {
        workload: workload.to_owned(),
        config_reference: None,
        filter: filter.iter().map(|name| (*name).to_owned()).collect(),
        overrides: overrides.iter().map(|(name, change)| ((*name).to_owned(), change.clone())).collect(),
        excludes_all: false,
    }
}

/// Of `a` clients see `shows_forecast` only.
fn filtered() -> Aggregation {
    let tools = tools_of("a", &["shows_forecast"], &[]);
    Aggregation { tools: vec![tools], ..Aggregation::default() }
}

pub(super) async fn hub_with(meta: MetaTools, backends: &[&Arc<Scripted>]) -> Arc<Hub> {
    let hub = hub_of(
        HubConfig { shape: Shape { meta, aggregation: filtered(), ..Shape::default() }, ..config() },
        backends,
    );
    sleep(Duration::from_secs(15)).await;
    hub
}

fn two() -> (Arc<Scripted>, Arc<Scripted>) {
    (
        Scripted::new("a", &["shows_forecast", "secret_forecast"]),
        Scripted::new("b", &["shows_notes", "fails"]),
    )
}

/// The result of a call.
async fn called(client: &Client, name: &str, arguments: Value) -> Value {
    client.ask("tools/call", json!({"name": name, "arguments": arguments})).await["result"].clone()
}

async fn found(client: &Client, description: &str) -> Vec<String> {
    let result = called(client, "find_tool", json!({"tool_description": description})).await;
    let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(text, result["structuredContent"], "said in both ways");
    let tools = text["tools"].as_array().unwrap();
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn two_tools_stand_for_all_and_what_is_hidden_is_not_there() {
    let (a, b) = two();
    let hub = hub_with(MetaTools { optimizer: optimizer(), scripts: None }, &[&a, &b]).await;
    let client = Client::begin(&hub).await;
    assert_eq!(client.tools().await, ["find_tool", "call_tool"]);
    assert_eq!(found(&client, "the forecast").await, ["a_shows_forecast"]);
    assert_eq!(found(&client, "a_secret_forecast").await, ["a_shows_forecast"]);
    let call = json!({"tool_name": "b_shows_notes", "parameters": {"v": 7}});
    let text = "b:shows_notes:b-2";
    assert_eq!(called(&client, "call_tool", call).await["content"][0]["text"], text);
    let nested = json!({"parameters": {"tool_name": "b_shows_notes", "v": 8}});
    assert_eq!(called(&client, "call_tool", nested).await["content"][0]["text"], text);
    let given: Vec<_> = b.asked("tools/call").iter().map(|(_, asked)| asked["params"].clone()).collect();
    let expect = [7, 8].map(|v| json!({"name": "shows_notes", "arguments": {"v": v}}));
    assert_eq!(given, expect);
    for (name, arguments, text) in [
        (
            "call_tool",
            json!({"tool_name": "a_secret_forecast", "parameters": {}}),
            "tool not found: a_secret_forecast",
        ),
        ("call_tool", json!({"tool_name": "call_tool", "parameters": {}}), "tool not found: call_tool"),
        ("call_tool", json!({"parameters": {}}), "call_tool failed: tool_name is required"),
        ("find_tool", json!({}), "find_tool failed: tool_description is required"),
    ] {
        let result = called(&client, name, arguments).await;
        assert_eq!((&result["isError"], result["content"][0]["text"].as_str()), (&json!(true), Some(text)));
    }
    assert!(a.asked("tools/call").is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_found_is_what_is_there_now() {
    let (a, b) = two();
    let hub = hub_with(MetaTools { optimizer: optimizer(), scripts: None }, &[&a, &b]).await;
    let client = Client::begin(&hub).await;
    assert_eq!(found(&client, "notes").await, ["b_shows_notes"]);
    set(&hub, &[&a]);
    assert_eq!(found(&client, "notes").await, Vec::<String>::new());
    let call = json!({"tool_name": "b_shows_notes", "parameters": {}});
    assert_eq!(
        called(&client, "call_tool", call).await["content"][0]["text"],
        "tool not found: b_shows_notes"
    );
}

#[tokio::test(start_paused = true)]
async fn an_index_is_made_when_somebody_looks_and_once_of_what_is_shown() {
    let (a, b) = two();
    let optimizer = optimizer().unwrap();
    let hub = hub_with(MetaTools { optimizer: Some(Arc::clone(&optimizer)), scripts: None }, &[&a, &b]).await;
    let client = Client::begin(&hub).await;
    client.tools().await;
    assert_eq!(optimizer.indexes(), 0, "nobody has looked for anything");
    let (one, other) = tokio::join!(found(&client, "forecast"), found(&client, "notes"));
    assert_eq!((&*one[0], &*other[0]), ("a_shows_forecast", "b_shows_notes"));
    assert_eq!(optimizer.indexes(), 1, "both have waited for the same");
    set(&hub, &[&a]);
    assert_eq!(optimizer.indexes(), 1, "another view, and nobody has looked");
    assert!(found(&client, "notes").await.is_empty());
    assert_eq!(optimizer.indexes(), 2);
}

/// What a client hears of within a minute.
async fn heard(stream: &mut Body) -> Vec<String> {
    let mut heard = Vec::new();
    while let Ok((_, said)) = timeout(Duration::from_secs(60), event(stream)).await {
        heard.push(said["method"].as_str().unwrap().to_owned());
    }
    heard
}

const TOOLS_CHANGED: [&str; 1] = ["notifications/tools/list_changed"];

#[tokio::test(start_paused = true)]
async fn what_the_two_tools_are_called_for_is_counted() {
    let (a, b) = two();
    let hub = hub_with(MetaTools { optimizer: optimizer(), scripts: None }, &[&a, &b]).await;
    let client = Client::begin(&hub).await;
    assert_eq!(found(&client, "notes").await.len(), 1);
    assert!(found(&client, "xyzzy").await.is_empty());
    for (tool, arguments) in [
        ("find_tool", json!({})),
        ("call_tool", json!({"tool_name": "b_shows_notes", "parameters": {}})),
        ("call_tool", json!({"tool_name": "a_secret_forecast", "parameters": {}})),
        ("call_tool", json!({"parameters": {}})),
    ] {
        called(&client, tool, arguments).await;
    }
    let (counts, indexes) = hub.find_counts().unwrap();
    assert_eq!(counts.finds(), [("found", 1), ("nothing", 1), ("misused", 1)]);
    assert_eq!(counts.calls(), [("called", 1), ("not_found", 1), ("misused", 1)]);
    let [(_, all), (_, given)] = counts.tokens();
    assert!((counts.tools(), indexes) == (1, 1) && all > given && given > 0, "{all} {given}");
}

#[tokio::test(start_paused = true)]
async fn an_optimizer_comes_and_goes_while_clients_listen() {
    let (a, b) = two();
    let hub = hub_with(MetaTools::default(), &[&a, &b]).await;
    let become_so = |meta: &MetaTools| {
        hub.reshape(Shape { meta: meta.clone(), aggregation: filtered(), ..Shape::default() });
    };
    let client = Client::begin(&hub).await;
    let all = client.tools().await;
    let mut stream = client.listen(None).await;
    heard(&mut stream).await;
    let first = MetaTools { optimizer: optimizer(), scripts: None };
    become_so(&first);
    assert_eq!(heard(&mut stream).await, TOOLS_CHANGED);
    assert_eq!(client.tools().await, ["find_tool", "call_tool"]);
    assert_eq!(found(&client, "shows the forecast, or notes").await, ["a_shows_forecast", "b_shows_notes"]);

    let one = Policy { most: 1, semantic_ratio: 0.5, distance: 1.0 };
    let mut second = MetaTools { optimizer: Some(Arc::new(Optimizer::new(one, None))), scripts: None };
    second.takes_over(&first, Meaning::AsBefore);
    assert!(second.finds_as(&first));
    become_so(&second);
    assert!(heard(&mut stream).await.is_empty(), "the list is the same");
    assert_eq!(found(&client, "shows the forecast, or notes").await, ["a_shows_forecast"]);
    assert_eq!(first.optimizer.as_ref().unwrap().indexes(), 1, "what is known goes on");

    let mut third = MetaTools { optimizer: optimizer(), scripts: None };
    third.takes_over(&second, Meaning::Elsewhere);
    assert!(!third.finds_as(&second));
    become_so(&third);
    assert!(heard(&mut stream).await.is_empty());
    assert_eq!(found(&client, "notes").await, ["b_shows_notes"], "another one knows the tools at once");

    become_so(&MetaTools::default());
    assert_eq!(heard(&mut stream).await, TOOLS_CHANGED);
    assert_eq!(client.tools().await, all);
    assert_eq!(client.tool("find_tool").await["error"]["code"], -32602);
}

#[tokio::test(start_paused = true)]
async fn code_mode_comes_and_goes_while_clients_listen() {
    let (a, b) = two();
    let hub = hub_with(MetaTools::default(), &[&a, &b]).await;
    let become_so = |meta: &MetaTools| {
        hub.reshape(Shape { meta: meta.clone(), aggregation: filtered(), ..Shape::default() });
    };
    let client = Client::begin(&hub).await;
    let mut stream = client.listen(None).await;
    heard(&mut stream).await;
    let first = MetaTools { optimizer: None, scripts: scripts() };
    become_so(&first);
    assert_eq!(heard(&mut stream).await, TOOLS_CHANGED);
    let script = json!({"script": "tools"});
    assert!(ran(&client, "execute_tool_script", script).await["isError"].is_null());

    let evaluators: Arc<dyn Evaluators> = Arc::new(crate::script::fake::Fake::default());
    let fewer = Settings { steps: 7, parallel: 1, call_within: Duration::from_secs(1) };
    let mut second = MetaTools { optimizer: None, scripts: Some(Arc::new(Scripts::new(fewer, evaluators))) };
    second.takes_over(&first, Meaning::AsBefore);
    become_so(&second);
    assert!(heard(&mut stream).await.is_empty());
    assert_eq!(first.scripts.unwrap().settings(), fewer, "those whose turn it is not yet wait on");

    become_so(&MetaTools::default());
    assert_eq!(heard(&mut stream).await, TOOLS_CHANGED);
    assert_eq!(client.tool("execute_tool_script").await["error"]["code"], -32602);
}

#[tokio::test(start_paused = true)]
async fn a_script_calls_what_its_client_may_call() {
    let (a, b) = two();
    let hub = hub_with(MetaTools { optimizer: None, scripts: scripts() }, &[&a, &b]).await;
    let client = Client::begin(&hub).await;
    assert_eq!(client.tools().await, ["a_shows_forecast", "b_fails", "b_shows_notes", "execute_tool_script"]);
    let script = r#"[["b_shows_notes", {"v": 1}], ["a_secret_forecast", {}], ["b_fails", {}], ["execute_tool_script", {}]]"#;
    let result = ran(&client, "execute_tool_script", json!({ "script": script })).await;
    let results = result["structuredContent"]["result"].as_array().unwrap();
    assert_eq!(results[0], json!("b:shows_notes:b-2"), "{result}");
    let asked = b.asked("tools/call");
    assert!(asked.iter().any(|(_, asked)| asked["params"]["arguments"] == json!({"v": 1})), "{asked:?}");
    assert_eq!(results[1], json!({"error": "a_secret_forecast: there is no such tool"}));
    assert!(results[2]["error"].as_str().unwrap().contains("it does not work"), "{result}");
    assert_eq!(results[3], json!({"error": "execute_tool_script: there is no such tool"}));
    let result = ran(&client, "execute_tool_script", json!({"script": "tools"})).await;
    let names = result["structuredContent"]["result"].clone();
    assert_eq!(names, json!(["a_shows_forecast", "b_fails", "b_shows_notes"]));
}

#[tokio::test(start_paused = true)]
async fn with_both_a_script_is_found_and_called_like_a_tool() {
    let (a, b) = two();
    let hub = hub_with(MetaTools { optimizer: optimizer(), scripts: scripts() }, &[&a, &b]).await;
    let client = Client::begin(&hub).await;
    assert_eq!(client.tools().await, ["find_tool", "call_tool"]);
    assert_eq!(found(&client, "run a script over several tools").await, ["execute_tool_script"]);
    let script = json!({"script": r#"[["b_shows_notes", {"v": 1}]]"#});
    let call = json!({"tool_name": "execute_tool_script", "parameters": script});
    let result = ran(&client, "call_tool", call).await;
    assert_eq!(result["structuredContent"]["result"], json!(["b:shows_notes:b-2"]));
}

#[tokio::test(start_paused = true)]
async fn a_script_that_is_cancelled_ends_with_its_calls() {
    let (a, b) = two();
    let hub = hub_with(MetaTools { optimizer: None, scripts: scripts() }, &[&a, &b]).await;
    let client = Client::begin(&hub).await;
    client.says("b_shows_notes").await;
    b.set(Mood::Hangs);
    let message = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params":
        {"name": "execute_tool_script", "arguments": {"script": r#"[["b_shows_notes", {}]]"#}}});
    let mut stream = client.send(&message).await.into_body();
    sleep(Duration::from_secs(1)).await;
    b.set(Mood::Well);
    let cancelled =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}});
    client.send(&cancelled).await;
    while let Some(frame) = stream.frame().await {
        let text = frame.unwrap().into_data().unwrap_or_default();
        assert!(!String::from_utf8_lossy(&text).contains("result"), "nobody wants it any more");
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(b.asked("notifications/cancelled").len(), 1, "the backend was told");
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_is_called_like_one_of_the_hubs_own_gives_way() {
    let b = Scripted::new("b", &["shows_notes"]);
    let change = Override { name: Some("execute_tool_script".to_owned()), ..Override::default() };
    let tools = tools_of("b", &[], &[("shows_notes", change)]);
    let conflicts = Conflicts::Priority { order: vec!["b".to_owned()] };
    let aggregation = Aggregation { tools: vec![tools], conflicts, ..Aggregation::default() };
    let meta = MetaTools { optimizer: None, scripts: scripts() };
    let hub = hub_of(HubConfig { shape: Shape { meta, aggregation, ..Shape::default() }, ..config() }, &[&b]);
    sleep(Duration::from_secs(15)).await;
    let client = Client::begin(&hub).await;
    assert_eq!(client.tools().await, ["execute_tool_script"]);
    assert!(ran(&client, "execute_tool_script", json!({"script": "tools"})).await["isError"].is_null());
}

/// The result of a call that is answered in a stream.
async fn ran(client: &Client, name: &str, arguments: Value) -> Value {
    let params = json!({"name": name, "arguments": arguments});
    let message = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params});
    let mut stream = client.send(&message).await.into_body();
    event(&mut stream).await.1["result"].clone()
}
