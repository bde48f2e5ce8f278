//! `skep proxy stdio`: a client that speaks stdio reaches a server over HTTP.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{command, example, initialize, run};

/// The relay, seen from its client.
struct Relay {
    child: std::process::Child,
    stdin: Option<ChildStdin>,
    messages: Receiver<Value>,
}

impl Relay {
    fn start(url: &str, args: &[&str]) -> Self {
        let mut command: Command = command(&[&["proxy", "stdio", url], args].concat());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, messages) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let message = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no message: {line}"));
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Self { stdin: child.stdin.take(), child, messages }
    }

    fn say(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{text}").unwrap();
        stdin.flush().unwrap();
    }

    fn hear(&self) -> Value {
        self.messages.recv_timeout(Duration::from_secs(30)).unwrap()
    }

    fn tour(mut self) {
        self.say(&initialize(0));
        assert!(self.hear()["result"]["serverInfo"].is_object());
        self.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        let call = json!({"jsonrpc": "2.0", "id": "x", "method": "tools/call", "params": {
            "name": "slow", "arguments": {"steps": 2, "delay_ms": 10}, "_meta": {"progressToken": 5}}});
        self.say(&call.to_string());
        let progress = self.hear();
        assert_eq!(
            (&progress["method"], &progress["params"]["progressToken"]),
            (&json!("notifications/progress"), &json!(5))
        );
        while self.hear()["id"] != "x" {}
        drop(self.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn a_stdio_client_reaches_a_streamable_http_server() {
    let (_backend, url) = example("a");
    Relay::start(&url, &[]).tour();
}

#[test]
fn a_stdio_client_reaches_an_old_sse_server() {
    let (_backend, url) = example("a");
    Relay::start(&url.replace("/mcp", "/sse"), &["--transport", "sse"]).tour();
}

#[test]
fn both_ways_together_are_the_server_itself() {
    let (_skep, url) = run(&["example"]);
    Relay::start(&url, &[]).tour();
}

#[test]
fn a_server_that_is_away_is_an_error_to_the_client() {
    let mut relay = Relay::start("http://127.0.0.1:9/mcp", &[]);
    relay.say(&initialize(0));
    let answer = relay.hear();
    assert_eq!((&answer["id"], &answer["error"]["data"]["executed"]), (&json!(0), &json!("no")), "{answer}");
}
