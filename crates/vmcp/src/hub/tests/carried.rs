//! Headers of a client's request go on with the calls that are made for it, and with no others.

use http::HeaderName;

use super::super::{MetaTools, Shape};
use super::composites::{result_of, workflows};
use super::meta::scripts;
use super::modern::Modern;
use super::replicas::{LONG, Replicas, primed};
use super::scripted::Eras;
use super::*;

/// A composite tool over a backend of each era, and scripts.
async fn hub_over(old: &Arc<Scripted>, new: &Arc<Scripted>) -> Arc<Hub> {
    let shape = Shape {
        workflows: workflows(&[("both", "  - {id: one, tool: old.echo}\n  - {id: two, tool: new.echo}")]),
        passed_headers: vec![HeaderName::from_static("x-tenant")],
        meta: MetaTools { optimizer: None, scripts: scripts() },
        ..Shape::default()
    };
    let hub = hub_of(HubConfig { shape, ..config() }, &[old, new]);
    sleep(Duration::from_secs(15)).await;
    hub
}

/// With what a client sends besides.
fn with_headers(mut call: Call, tenant: &'static str) -> Call {
    for (name, value) in [("x-tenant", tenant), ("authorization", "Bearer secret"), ("x-other", "1")] {
        call.request.head.headers.insert(name, HeaderValue::from_static(value));
    }
    call
}

fn calls(name: &str) -> Value {
    let script = r#"[["old_echo", {}], ["new_echo", {}], ["both", {}]]"#;
    json!({"name": name, "arguments": if name == "both" { json!({}) } else { json!({ "script": script }) }})
}

fn heard(backends: [&Scripted; 2], header: &str) -> Vec<Option<String>> {
    backends.iter().flat_map(|backend| backend.heard(header)).collect()
}

#[tokio::test(start_paused = true)]
async fn calls_of_workflows_and_scripts_have_the_headers_of_the_request_that_they_are_for() {
    let (old, new) = (Scripted::new("old", &["echo"]), Scripted::of("new", Eras::Modern, &["echo"]));
    let hub = hub_over(&old, &new).await;
    let client = Client::begin(&hub).await;
    let modern = Modern::new(&hub, json!({}));
    for (name, times) in [("both", 2), ("execute_tool_script", 4)] {
        let message = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": calls(name)});
        let legacy = client.call(Method::POST, Some(&message), None);
        for call in [legacy, modern.call("tools/call", calls(name))] {
            for backend in [&old, &new] {
                backend.state.lock().heads.clear();
            }
            hub.handle(with_headers(call, "red")).await.into_body().collect().await.unwrap();
            assert_eq!(heard([&old, &new], "x-tenant"), vec![Some("red".to_owned()); times], "{name}");
            for header in ["authorization", "x-other"] {
                assert_eq!(heard([&old, &new], header), vec![None; times], "{name} {header}");
            }
        }
    }
    assert!(!client.tools().await.is_empty());
    client.says("old_echo").await;
    assert_eq!(old.heard("x-tenant").pop(), Some(None), "nothing of one request is in another");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_another_replica_goes_on_with_has_no_headers() {
    let a = Scripted::new("a", &["echo", "again", "shows"]);
    let replicas = Replicas::start(&[("long", &LONG.replace("SLOW", "again"))], &[&a]).await;
    let client = Client::begin(&replicas.hubs[0]).await;
    a.state.lock().holds_up = true;
    let message = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "long"}});
    let call = with_headers(client.call(Method::POST, Some(&message), None), "red");
    let mut stream = client.hub.handle(call).await.into_body();
    let cursor = primed(&mut stream).await;
    sleep(Duration::from_secs(2)).await;
    replicas.dies();
    drop(stream);
    sleep(Duration::from_secs(10)).await;
    a.state.lock().holds_up = false;
    result_of(replicas.other(&client).listen(Some(&cursor)).await).await;
    let red = || Some("red".to_owned());
    assert_eq!(a.heard("x-tenant"), [red(), red(), None, None], "they are written down nowhere");
}
