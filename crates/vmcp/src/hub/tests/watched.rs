//! Backends that come, change, hang, lie and die: what is seen of it, shown and counted.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_hub_that_has_just_begun_looks_before_it_says_what_it_has() {
    let (a, b) = (Scripted::new("a", &["echo"]), Scripted::new("b", &["echo"]));
    a.state.lock().begins_after = Duration::from_secs(1);
    b.set(Mood::Hangs);
    let hub = hub_of(config(), &[&a, &b]);
    let begun = Instant::now();
    let client = Client::begin(&hub).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(client.tools().await, ["a_echo"]);
    assert_eq!(begun.elapsed(), Duration::from_secs(2), "and does not wait for whoever hangs");
    assert!(client.says("a_echo").await.starts_with("a:echo:"));
    assert_eq!(client.tool("b_echo").await["error"]["code"], -32602);
    assert_eq!(begun.elapsed(), Duration::from_secs(10));
}

/// How often a backend was asked this, by what came of it.
fn counted(hub: &Hub, backend: &str, method: &str) -> Vec<(&'static str, u64)> {
    let all = hub.backend_counts();
    let (_, counts) = all.iter().find(|(name, _)| &**name == backend).expect("it is there");
    counts.requests().filter(|(of, ..)| *of == method).map(|(_, outcome, count)| (outcome, count)).collect()
}

#[tokio::test(start_paused = true)]
async fn how_backends_are_watched_may_become_another() {
    let a = Scripted::new("a", &["echo"]);
    let hub = ready(&[&a]).await;
    let probes = || counted(&hub, "a", "ping").first().map_or(0, |(_, count)| *count);
    sleep(Duration::from_secs(30)).await;
    let before = probes();
    let every_second = Watching { probe_every: Duration::from_secs(1), ..Watching::default() };
    hub.reshape(Shape { watching: every_second, ..Shape::default() });
    sleep(Duration::from_secs(10)).await;
    assert!(before <= 2 && probes() >= before + 9, "{before}, then {}", probes());
    a.set(Mood::Dead);
    let health = HealthPolicy { unhealthy_after: 1, ..HealthPolicy::default() };
    hub.reshape(Shape { watching: Watching { health, ..every_second }, ..Shape::default() });
    sleep(Duration::from_secs(2)).await;
    assert_eq!(hub.backends()[0].status, Status::Unhealthy, "after one failure");
}

#[tokio::test(start_paused = true)]
async fn what_backends_are_asked_is_counted_by_what_comes_of_it() {
    let (here, there) = (Scripted::new("a", &["echo"]), Scripted::new("a", &["echo"]));
    let hub = ready(&[&here]).await;
    let client = Client::begin(&hub).await;
    client.says("a_echo").await;
    client.says("a_echo").await;
    assert_eq!(counted(&hub, "a", "tools/call"), [("answered", 2)]);
    assert_eq!(counted(&hub, "a", "tools/list"), [("answered", 1)], "what the hub asks is, too");
    here.set(Mood::Hangs);
    let _ = timeout(Duration::from_secs(1), client.tool("a_echo")).await;
    assert_eq!(counted(&hub, "a", "tools/call"), [("answered", 2), ("given_up", 1)]);
    here.set(Mood::Dead);
    client.tool("a_echo").await;
    assert_eq!(counted(&hub, "a", "tools/call"), [("answered", 2), ("failed", 1), ("given_up", 1)]);
    set(&hub, &[&there]);
    client.says("a_echo").await;
    assert_eq!(counted(&hub, "a", "tools/call")[0], ("answered", 3), "wherever it is");
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_has_moved_keeps_what_it_has_shown() {
    let (here, there) = (Scripted::new("a", &["echo"]), Scripted::new("a", &["echo", "more"]));
    let hub = ready(&[&here]).await;
    let client = Client::begin(&hub).await;
    assert_eq!(client.says("a_echo").await, "a:echo:a-2");
    set(&hub, &[&there]);
    assert_eq!(client.tools().await, ["a_echo"]);
    assert_eq!(client.says("a_echo").await, "a:echo:a-2", "in a session of the other one");
    assert!(!there.asked("tools/call").is_empty());
    sleep(Duration::from_secs(1)).await;
    assert_eq!(client.tools().await, ["a_echo", "a_more"]);
}

#[tokio::test(start_paused = true)]
async fn whoever_hangs_lies_or_is_dead_delays_nobody_and_joins_late() {
    let well = Scripted::new("well", &["echo"]);
    let ill: Vec<_> = [("dead", Mood::Dead), ("garbage", Mood::Garbage), ("hangs", Mood::Hangs)]
        .into_iter()
        .map(|(name, mood)| {
            let backend = Scripted::new(name, &["echo"]);
            backend.set(mood);
            backend
        })
        .collect();
    let hub = ready(&[&well, &ill[0], &ill[1], &ill[2]]).await;
    let begun = Instant::now();
    let client = Client::begin(&hub).await;
    assert_eq!(client.tools().await, ["well_echo"]);
    assert_eq!(client.says("well_echo").await, "well:echo:well-2");
    assert_eq!(begun.elapsed(), Duration::ZERO, "nothing was waited for");
    let mut stream = client.listen(None).await;
    let expected = ["dead_echo", "garbage_echo", "hangs_echo", "well_echo"];
    for backend in &ill {
        backend.set(Mood::Well);
    }
    let changed = timeout(Duration::from_secs(120), async {
        while client.tools().await != expected {
            let said = event(&mut stream).await.1;
            assert!(said["method"].as_str().unwrap().ends_with("/list_changed"), "{said}");
        }
    });
    changed.await.expect("all have joined");
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_lies_is_bounded_and_the_rest_goes_on() {
    let (endless, huge, well) =
        (Scripted::new("endless", &[]), Scripted::new("huge", &["echo"]), Scripted::new("well", &["echo"]));
    endless.state.lock().endless = true;
    let description = "x".repeat(10 * 1024 * 1024);
    huge.state.lock().tools.extend([
        json!({"name": "long", "description": description}),
        json!({"name": "echo", "description": "twice", "inputSchema": {"type": "object"}}),
        json!({"title": "without a name"}),
        json!("no object"),
        json!({"name": ""}),
    ]);
    let hub = ready(&[&endless, &huge, &well]).await;
    let client = Client::begin(&hub).await;
    let tools = client.tools().await;
    let of = |name: &str| tools.iter().filter(|tool| tool.starts_with(name)).count();
    assert_eq!(
        (of("huge_"), of("well_")),
        (1, 1),
        "what is too long, has no name or is there twice is left out"
    );
    assert!(of("endless_") > 900, "and a list without an end is cut");
}

#[tokio::test(start_paused = true)]
async fn a_change_is_seen_and_told() {
    let a = Scripted::new("a", &["echo"]);
    let hub = ready(&[&a]).await;
    let client = Client::begin(&hub).await;
    let mut stream = client.listen(None).await;
    a.state.lock().tools.push(json!({"name": "new", "inputSchema": {"type": "object"}}));
    a.says(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
    assert_eq!(event(&mut stream).await.1["method"], "notifications/tools/list_changed");
    assert_eq!(client.tools().await, ["a_echo", "a_new"]);
    set(&hub, &[]);
    assert_eq!(event(&mut stream).await.1["method"], "notifications/tools/list_changed");
    assert!(client.tools().await.is_empty(), "no backend is no error");
    assert!(client.tool("a_echo").await["error"]["code"] == -32602);
}

#[tokio::test(start_paused = true)]
async fn a_dead_backend_is_not_shown_any_more_and_comes_back() {
    let (a, b) = (Scripted::new("a", &["echo"]), Scripted::new("b", &["echo"]));
    let hub = ready(&[&a, &b]).await;
    let client = Client::begin(&hub).await;
    a.set(Mood::Dead);
    for _ in 0..3 {
        let answer = client.tool("a_echo").await;
        assert_eq!(answer["error"]["data"]["backend"], "a", "{answer}");
    }
    assert_eq!(hub.backends()[0].status, Status::Unhealthy);
    assert_eq!(client.tools().await, ["b_echo"]);
    a.set(Mood::Well);
    assert!(client.says("a_echo").await.starts_with("a:echo:"), "what was known is still called");
    assert_eq!(client.tools().await, ["a_echo", "b_echo"]);
}

#[tokio::test(start_paused = true)]
async fn a_list_is_an_error_where_all_backends_are_wanted() {
    let (a, b) = (Scripted::new("a", &["echo"]), Scripted::new("b", &["echo"]));
    b.set(Mood::Hangs);
    let hub = hub_of(
        HubConfig { shape: Shape { partial: PartialFailure::Fail, ..Shape::default() }, ..config() },
        &[&a, &b],
    );
    sleep(Duration::from_secs(1)).await;
    let client = Client::begin(&hub).await;
    let answer = client.ask("tools/list", json!({})).await;
    assert!(answer["error"]["message"].as_str().unwrap().contains("b is missing"), "{answer}");
    assert!(client.says("a_echo").await.starts_with("a:echo:"));
}

#[tokio::test(start_paused = true)]
async fn an_error_of_a_backend_is_no_error_of_the_session() {
    let a = Scripted::new("a", &["breaks", "echo"]);
    let hub = ready(&[&a]).await;
    let client = Client::begin(&hub).await;
    let message = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "a_breaks"}});
    let response = client.send(&message).await;
    assert_eq!(response.status(), 200);
    assert_eq!(json_of(response).await["error"]["data"]["executed"], "unknown");
}
