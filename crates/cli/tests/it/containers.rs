//! Images as a user runs them, with each runtime that the tests were given.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;
use testkit::containers::{self, TestRuntime};
use testkit::mcp::Session;

use crate::harness::until;
use crate::home::Home;

/// The example as an image.
pub(crate) const IMAGE: &str = "localhost/skep-test-example:1";
const DOCKERFILE: &str = "FROM scratch\nCOPY root /\nUSER app\nENTRYPOINT [\"/bin/skep\", \"example\"]\nCMD [\"--instance\", \"of-image\"]\n";

/// A user with a runtime.
pub(crate) struct User {
    pub(crate) home: Home,
    pub(crate) runtime: TestRuntime,
    /// Names are shared by all users of a runtime.
    pub(crate) name: String,
}

impl User {
    pub(crate) fn each() -> Vec<Self> {
        containers::runtimes()
            .into_iter()
            .enumerate()
            .map(|(count, runtime)| Self::new(runtime, count))
            .collect()
    }

    fn new(runtime: TestRuntime, count: usize) -> Self {
        let home = Home::with(runtime.variable, &runtime.socket);
        let skep = Path::new(env!("CARGO_BIN_EXE_skep"));
        let files = containers::with_libraries(skep, "/bin/skep").unwrap();
        let context = containers::context(&home.path("context"), DOCKERFILE, &files).unwrap();
        runtime.build(IMAGE, &context).unwrap();
        let mark =
            home.path("").file_name().unwrap().to_str().unwrap().trim_start_matches("skep-").to_lowercase();
        Self { home, runtime, name: format!("e{count}{mark}") }
    }

    /// Runs the image and gives its endpoint.
    fn run(&self, args: &[&str]) -> String {
        let all = [&["run", "--format", "json", "--name", &self.name], args].concat();
        let told: serde_json::Value = serde_json::from_str(&self.home.skep(&all).ok()).unwrap();
        told["url"].as_str().unwrap().to_owned()
    }

    pub(crate) fn has_container(&self) -> bool {
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
        user.home.skep(&["stop", name]).ok();
        until("its container is gone", || !user.has_container()).await;
        user.home.skep(&["start", name]).ok();
        // The session outlives all of it.
        let mut session = crate::harness::at(&session, &url).await;
        assert!(session.call("echo", json!({"message": "again"})).await.is_ok());
        assert!(user.has_container());
        user.home.skep(&["rm", name]).ok();
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
        let logs = user.home.skep(&["logs", &user.name]).ok();
        assert!(logs.contains("8080"), "{logs}");
        // Its port is its own, not this machine's.
        user.home.skep(&["rm", &user.name]).ok();
        until("its container is gone", || !user.has_container()).await;
    }
}

#[tokio::test]
async fn a_server_listens_where_its_image_says_if_nobody_else_does() {
    for user in User::each() {
        let image = "localhost/skep-test-exposed:1";
        let folder = user.home.path("exposed");
        std::fs::create_dir_all(&folder).unwrap();
        let dockerfile = format!("FROM {IMAGE}\nEXPOSE 3456\n");
        user.runtime.build(image, &containers::context(&folder, &dockerfile, &[]).unwrap()).unwrap();
        let args = ["--transport", "streamable-http", image, "--", "--http", "127.0.0.1:3456"];
        let mut session = Session::open(&user.run(&args)).await.unwrap();
        assert!(session.call("echo", json!({"message": "hello"})).await.unwrap().contains("hello"));
        user.home.skep(&["rm", &user.name]).ok();
    }
}

/// A base for images of npm packages, with what a build asks of one; its npm "installs" the example, and knows one version.
/// Each test has one of its own: two builds of one name get into each other's way.
fn node<'a>(user: &User, base: &'a str) -> &'a str {
    let scratch = user.home.path("node");
    let busybox = ["/usr/bin/busybox", "/bin/busybox"].map(PathBuf::from);
    let busybox = busybox.into_iter().find(|path| path.exists()).expect("busybox-static is installed");
    std::fs::create_dir_all(&scratch).unwrap();
    let scripts = [
        ("apk", "exit 0"),
        ("npm", "echo \"$@\" >> installed"),
        ("node", "echo 1.2.3"),
        ("npx", "cat installed >&2; exec /bin/skep example"),
    ];
    let mut files = vec![(busybox, "/bin/busybox".into())];
    for (name, script) in scripts {
        let path = scratch.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        files.push((path, format!("/usr/bin/{name}").into()));
    }
    let links = "RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]";
    let dockerfile = format!(
        "FROM {IMAGE}\nUSER 0:0\nCOPY root /\n{links}\nENTRYPOINT []\nCMD []\nENV PATH=/usr/bin:/bin\n"
    );
    user.runtime.build(base, &containers::context(&scratch, &dockerfile, &files).unwrap()).unwrap();
    base
}

#[tokio::test]
async fn a_package_is_made_an_image_of_once_and_stays_at_its_version() {
    for user in User::each() {
        let (base, name) = (node(&user, "localhost/skep-test-node-run:1"), &*user.name);
        // Of this test alone.
        let package = format!("npx://skep-{name}@^1");
        let args = ["run", "--format", "json", "--name", name, "--runtime-image", base, &package];
        let said = user.home.skep(&args);
        for part in ["looking up npx://", "building an image of npx://"] {
            assert!(said.err.contains(part), "{}", said.err);
        }
        let told: serde_json::Value = serde_json::from_str(&said.ok()).unwrap();
        let mut session = Session::open(told["url"].as_str().unwrap()).await.unwrap();
        assert!(session.call("echo", json!({"message": "hello"})).await.unwrap().contains("hello"));
        assert!(user.has_container());
        let view = user.home.find(name).unwrap();
        assert_eq!(view["package"], format!("npx://skep-{name}@1.2.3"));
        // What npm was told is in the image.
        let logs = user.home.skep(&["logs", name]).ok();
        assert!(logs.contains(&format!("skep-{name}@1.2.3")), "{logs}");
        let exported = user.home.path("exported.json");
        user.home.skep(&["export", name, exported.to_str().unwrap()]).ok();
        let config: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&exported).unwrap()).unwrap();
        let image = config["image"].as_str().unwrap();
        assert!(image.starts_with(&format!("toolhivelocal/npx-skep-{name}:1.2.3-")), "{image}");
        assert_eq!(config["skep"]["package_asked"], package);
        user.home.skep(&["restart", "--refresh", name]).ok();
        user.home.skep(&["rm", name]).ok();
        // It uses its image until it is gone.
        until("its container is gone", || !user.has_container()).await;
        // Where the image is gone it is built again; where it is there it is not.
        for is_gone in [true, false] {
            if is_gone {
                user.runtime
                    .ask("DELETE", &format!("/v1.41/images/{image}?force=true"), "text/plain", &[])
                    .unwrap();
            }
            let said = user.home.skep(&["run", "--from-config", exported.to_str().unwrap()]);
            assert_eq!(said.err.contains("building an image"), is_gone, "{}", said.err);
            said.ok();
            user.home.skep(&["rm", name]).ok();
            // It uses its image until it is gone.
            until("its container is gone", || !user.has_container()).await;
        }
        user.runtime.ask("DELETE", &format!("/v1.41/images/{image}?force=true"), "text/plain", &[]).unwrap();
    }
}

#[tokio::test]
async fn an_image_is_built_under_a_name_and_what_cannot_be_built_is_said() {
    for user in User::each() {
        let base = node(&user, "localhost/skep-test-node-build:1");
        let tag = format!("localhost/skep-{}:built", user.name);
        let package = "npx://a@1.0.0";
        let said = user.home.skep(&["build", "-t", &tag, "--runtime-image", base, package]);
        assert_eq!(said.ok().trim(), tag);
        let found = user.runtime.ask("GET", &format!("/v1.41/images/{tag}/json"), "text/plain", &[]).unwrap();
        assert!(found.contains("\"npx\""), "{found}");
        user.runtime.ask("DELETE", &format!("/v1.41/images/{tag}?force=true"), "text/plain", &[]).unwrap();
        let run =
            |args: &[&str]| user.home.skep(&[&["run", "--isolation", "container"], args].concat()).error();
        for (args, expect) in [
            (&["--runtime-image", "localhost:1/no/base:1", package][..], "--isolation process"),
            (&["--runtime-image", IMAGE, package], "building an image failed"),
            (&["--runtime-image", base, "--runtime-add-package", "a;b", package], "no name of a package"),
            (&["go://./"], "is a folder"),
        ] {
            let error = run(args);
            assert!(error.contains(expect), "{args:?}: {error}");
        }
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
        user.home.skep(&["list"]).ok();
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
            let error =
                user.home.skep(&[&["run", "--foreground", "--name", &user.name], args].concat()).error();
            assert!(error.contains(expect), "{args:?}: {error}");
        }
        let said = user.home.skep(&["runtime", "check"]);
        assert!(said.out.contains(&user.runtime.socket), "{said:?}");
    }
}
