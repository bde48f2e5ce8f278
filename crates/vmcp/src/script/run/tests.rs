//! Scripts that call, hang, die and are given up.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::super::fake::Fake;
use super::*;

const SETTINGS: Settings = Settings { steps: 100, parallel: 4, call_within: Duration::from_secs(30) };

/// `slow` answers after a second, `never` never, all others at once and with their arguments.
#[derive(Default)]
struct Here {
    under_way: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Tools for Here {
    fn names(&self) -> Vec<String> {
        vec!["slow".to_owned(), "never".to_owned()]
    }

    fn call<'a>(&'a self, tool: &'a str, arguments: &'a RawValue) -> Calling<'a> {
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let under_way = UnderWay(Arc::clone(&self.under_way));
        Box::pin(async move {
            let _under_way = under_way;
            match tool {
                "slow" => sleep(Duration::from_secs(1)).await,
                "never" => std::future::pending().await,
                "gone" => return Err("there is no such tool".to_owned()),
                _ => {}
            }
            Ok(Bytes::from(format!(r#"{{"content":[],"structuredContent":{arguments}}}"#)))
        })
    }
}

fn scripts() -> (Scripts, Arc<Fake>) {
    let fake = Arc::new(Fake::default());
    (Scripts::new(SETTINGS, Arc::clone(&fake) as Arc<dyn Evaluators>), fake)
}

async fn ran(scripts: &Scripts, script: &str, tools: &Here) -> Value {
    let arguments = json!({ "script": script }).to_string();
    serde_json::from_slice(&scripts.run(arguments.as_bytes(), tools).await).unwrap()
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap()
}

#[tokio::test(start_paused = true)]
async fn calls_are_made_at_once_and_their_answers_go_back() {
    let ((scripts, fake), here) = (scripts(), Here::default());
    let begun = Instant::now();
    let script = r#"[["slow", {"a": 1}], ["slow", {"result": 2}], ["gone", {}]]"#;
    let result = ran(&scripts, script, &here).await;
    let expect = json!([{"a": 1}, 2, {"error": "gone: there is no such tool"}]);
    assert_eq!(result["structuredContent"], json!({ "result": expect }));
    assert_eq!(text(&result), expect.to_string());
    assert_eq!((begun.elapsed(), here.most.load(Ordering::SeqCst)), (Duration::from_secs(1), 3));
    assert_eq!(fake.held.load(Ordering::SeqCst), 0);
    let result = ran(&scripts, "tools", &here).await;
    assert_eq!(result["structuredContent"]["result"], json!(["slow", "never"]));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_is_ended() {
    let ((scripts, fake), here) = (scripts(), Here::default());
    for (script, seconds, part) in [
        ("hangs", 60, "script failed: the script has not ended within 60 s"),
        (r#"[["never", {}]]"#, 30, "never: no answer within 30s"),
        ("dies", 0, "its evaluator has ended"),
        ("garbage", 0, "says what nobody understands"),
    ] {
        let begun = Instant::now();
        let result = ran(&scripts, script, &here).await;
        assert!(text(&result).contains(part), "{script}: {result}");
        assert_eq!(begun.elapsed().as_secs(), seconds, "{script}");
        assert_eq!(fake.held.load(Ordering::SeqCst), 0, "{script}");
        assert_eq!(here.under_way.load(Ordering::SeqCst), 0, "{script}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_gives_a_script_up_has_ended_it_and_its_calls() {
    let ((scripts, fake), here) = (scripts(), Here::default());
    let arguments = json!({"script": r#"[["never", {}], ["slow", {}]]"#}).to_string();
    let run = scripts.run(arguments.as_bytes(), &here);
    assert!(timeout(Duration::from_millis(500), run).await.is_err());
    assert_eq!(here.most.load(Ordering::SeqCst), 2);
    assert_eq!((fake.held.load(Ordering::SeqCst), here.under_way.load(Ordering::SeqCst)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn so_many_scripts_run_at_once() {
    let ((scripts, fake), here) = (scripts(), Here::default());
    let script = r#"[["slow", {}]]"#;
    let all = (0..=AT_ONCE).map(|_| ran(&scripts, script, &here));
    let begun = Instant::now();
    futures_util::future::join_all(all).await;
    assert_eq!((begun.elapsed(), here.most.load(Ordering::SeqCst)), (Duration::from_secs(2), AT_ONCE));
    assert_eq!(fake.held.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn logs_are_bounded_and_bad_requests_start_nothing() {
    let ((scripts, fake), here) = (scripts(), Here::default());
    let result = ran(&scripts, "prints", &here).await;
    assert_eq!((text(&result), &result["isError"]), ("script failed: line 1: no", &json!(true)));
    let logs = result["content"][1]["text"].as_str().unwrap();
    assert!(logs.starts_with("Script logs:\nxxx") && logs.len() <= MAX_LOGS + 20, "{}", logs.len());
    let result = ran(&scripts, "", &here).await;
    assert!(text(&result).starts_with("execute_tool_script requires"), "{result}");
    assert_eq!(fake.held.load(Ordering::SeqCst), 0);
}
