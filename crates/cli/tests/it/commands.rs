//! The commands that answer and end.

use serde_json::Value;

use crate::harness::{example, output, run};

#[test]
fn version_and_completion_say_their_thing() {
    let (out, _, code) = output(&["version", "--format", "json"]);
    let version: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&version["version"], code), (&Value::from(env!("CARGO_PKG_VERSION")), Some(0)));
    for shell in ["bash", "zsh", "fish"] {
        let (out, _, code) = output(&["completion", shell]);
        assert_eq!(code, Some(0));
        assert!(out.contains("skep") && out.contains("proxy"), "{shell}");
    }
    let (_, err, code) = output(&["no-such-command"]);
    assert_eq!(code, Some(2), "{err}");
}

#[tokio::test]
async fn what_run_prints_is_enough_to_connect() {
    let mut program =
        testkit::Program::start(crate::harness::command(&["run", "--foreground", "example"])).unwrap();
    let line = program.line().unwrap();
    let url = line.strip_prefix("example is served at ").unwrap().to_owned();
    let (out, _, code) = output(&["mcp", "call", "add", "--args", r#"{"a":2,"b":2}"#, "--server", &url]);
    assert_eq!((out.trim(), code), ("4", Some(0)));
}

#[tokio::test]
async fn a_server_is_listed_as_tables_and_as_json() {
    let (_skep, url) = run(&["example"]);
    let (out, _, code) = output(&["mcp", "list", "--server", &url]);
    assert_eq!(code, Some(0));
    for part in ["TOOLS:\nNAME ", "\necho ", "\nRESOURCES:\nNAME ", "\nPROMPTS:\nNAME "] {
        assert!(out.contains(part), "{part:?} is not in\n{out}");
    }
    let (out, _, _) = output(&["mcp", "list", "prompts", "--server", &url, "--format", "json"]);
    let listing: Value = serde_json::from_str(&out).unwrap();
    assert!(listing["prompts"].as_array().is_some_and(|prompts| !prompts.is_empty()));
    assert!(listing.get("tools").is_none());
}

#[tokio::test]
async fn a_call_tells_by_its_exit_code_whether_the_tool_failed() {
    let (_backend, url) = example("a");
    let call =
        |more: &[&str]| output(&[&["mcp", "call", "test_error_handling", "--server", &url], more].concat());
    assert_eq!(call(&[]).2, Some(1));
    assert_eq!(call(&["--ignore-tool-error"]).2, Some(0));
    let (out, _, _) = call(&["--format", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["isError"], true);
    let (_, err, code) = output(&["mcp", "call", "echo", "--args", "[1]", "--server", &url]);
    assert_eq!(code, Some(1));
    assert!(err.contains("JSON object"), "{err}");
    let (_, err, code) = output(&["mcp", "list", "--server", "http://127.0.0.1:9/mcp"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("127.0.0.1:9"), "{err}");
}
