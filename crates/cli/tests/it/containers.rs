//! Images as a user runs them, with each runtime that the tests were given.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use testkit::containers::{self, TestRuntime};
use testkit::mcp::Session;

use crate::harness::until;
use crate::home::{Home, Said};

const IMAGE: &str = "localhost/skep-test-example:1";
const DOCKERFILE: &str = "FROM scratch\nCOPY root /\nUSER app\nENTRYPOINT [\"/bin/skep\", \"example\"]\nCMD [\"--instance\", \"of-image\"]\n";

/// A user with a runtime.
struct User {
    home: Home,
    runtime: TestRuntime,
    /// Names are shared by all users of a runtime.
    name: String,
}

impl User {
    fn each() -> Vec<Self> {
        containers::runtimes()
            .into_iter()
            .enumerate()
            .map(|(count, runtime)| Self::new(runtime, count))
            .collect()
    }

    fn new(runtime: TestRuntime, count: usize) -> Self {
        let home = Home::new();
        let skep = Path::new(env!("CARGO_BIN_EXE_skep"));
        let files = containers::with_libraries(skep, "/bin/skep").unwrap();
        let context = containers::context(&home.path("context"), DOCKERFILE, &files).unwrap();
        runtime.build(IMAGE, &context).unwrap();
        let mark =
            home.path("").file_name().unwrap().to_str().unwrap().trim_start_matches("skep-").to_lowercase();
        Self { home, runtime, name: format!("e{count}{mark}") }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.home.command(args);
        command.env(self.runtime.variable, &self.runtime.socket);
        command
    }

    fn skep(&self, args: &[&str]) -> Said {
        let limit = std::time::Duration::from_secs(120);
        let (out, err, status) = testkit::program::run(self.command(args), limit).unwrap();
        Said { out, err, code: status.code() }
    }

    /// Runs the image and gives its endpoint.
    fn run(&self, args: &[&str]) -> String {
        let all = [&["run", "--format", "json", "--name", &self.name], args].concat();
        let told: serde_json::Value = serde_json::from_str(&self.skep(&all).ok()).unwrap();
        told["url"].as_str().unwrap().to_owned()
    }

    fn has_container(&self) -> bool {
        self.runtime.has(&self.name)
    }
}

#[tokio::test]
async fn an_image_over_stdio_is_served_listed_stopped_started_and_removed() {
    for user in User::each() {
        let name = &*user.name;
        let profile = user.home.path("profile.json");
        std::fs::write(&profile, json!({"network": {"outbound": {}}}).to_string()).unwrap();
        let url = user.run(&["--permission-profile", profile.to_str().unwrap(), IMAGE]);
        let mut session = Session::open(&url).await.unwrap();
        assert!(session.call("whoami", json!({})).await.unwrap().contains("of-image"));
        assert!(user.has_container());
        let view = user.home.find(name).unwrap();
        assert_eq!((&view["status"], &view["package"]), (&json!("running"), &json!(IMAGE)));
        user.skep(&["stop", name]).ok();
        until("its container is gone", || !user.has_container()).await;
        user.skep(&["start", name]).ok();
        // The session outlives all of it.
        let mut session = crate::harness::at(&session, &url).await;
        assert!(session.call("echo", json!({"message": "again"})).await.is_ok());
        assert!(user.has_container());
        user.skep(&["rm", name]).ok();
        until("its container is gone", || !user.has_container()).await;
    }
}

#[tokio::test]
async fn an_image_over_http_is_reached_though_nothing_is_published() {
    for user in User::each() {
        let args = [
            "--transport",
            "streamable-http",
            IMAGE,
            "--",
            "--http",
            "127.0.0.1:8080",
            "--instance",
            "over-http",
        ];
        let url = user.run(&args);
        let mut session = Session::open(&url).await.unwrap();
        assert!(session.call("whoami", json!({})).await.unwrap().contains("over-http"));
        let logs = user.skep(&["logs", &user.name]).ok();
        assert!(logs.contains("8080"), "{logs}");
        // Its port is its own, not this machine's.
        user.skep(&["rm", &user.name]).ok();
        until("its container is gone", || !user.has_container()).await;
    }
}

#[tokio::test]
async fn a_session_goes_on_when_its_container_is_removed() {
    for user in User::each() {
        let url = user.run(&[IMAGE]);
        let mut session = Session::open(&url).await.unwrap();
        session.call("counter", json!({})).await.unwrap();
        user.runtime.remove(&user.name);
        until("it is served again", || user.has_container()).await;
        let said = session.call("echo", json!({"message": "hello"})).await;
        assert!(said.as_ref().is_ok_and(|said| said.contains("hello")), "{said:?}");
    }
}

#[tokio::test]
async fn a_daemon_that_is_killed_leaves_no_container_and_the_next_brings_it_back() {
    for user in User::each() {
        let url = user.run(&[IMAGE]);
        let session = Session::open(&url).await.unwrap();
        user.home.kill_daemon().await;
        until("its container is gone", || !user.has_container()).await;
        user.skep(&["list"]).ok();
        until("it is back", || user.has_container()).await;
        let said = crate::harness::at(&session, &url).await.call("echo", json!({"message": "hello"})).await;
        assert!(said.as_ref().is_ok_and(|said| said.contains("hello")), "{said:?}");
    }
}

#[tokio::test]
async fn what_is_not_done_for_images_is_refused() {
    for user in User::each() {
        for (args, expect) in [
            (&["--isolation", "none", IMAGE][..], "is not for an image"),
            (&["--inherit-env", IMAGE], "not for an image"),
            (&["--isolation", "container", "--", "true"], "is not for a command"),
            (&["localhost:1/no/such:1"], "could not be fetched"),
        ] {
            let error = user.skep(&[&["run", "--foreground", "--name", &user.name], args].concat()).error();
            assert!(error.contains(expect), "{args:?}: {error}");
        }
        let said = user.skep(&["runtime", "check"]);
        assert!(said.out.contains(&user.runtime.socket), "{said:?}");
    }
}
