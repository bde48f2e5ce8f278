//! Servers in a sandbox, as a user runs them: they see and reach what their profile says, and secrets get to them alone.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use testkit::mcp::Session;

use crate::harness::{free_port, is_alive, peer, until};
use crate::home::Home;

/// A profile that shows these folders and opens nothing of the network.
fn profile(home: &Home, read: &[&Path], write: &[&Path]) -> String {
    let file = home.path("profile.json");
    std::fs::write(&file, json!({"read": read, "write": write, "network": {"outbound": {}}}).to_string())
        .unwrap();
    file.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_server_of_npm_runs_with_what_its_profile_shows() {
    let Some(node) = peer("SKEP_TEST_NODE") else { return };
    let home = Home::new();
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/node_modules");
    let modules = std::fs::canonicalize(modules).unwrap();
    let script = modules.join("@modelcontextprotocol/server-everything/dist/index.js");
    let profile = profile(&home, &[&modules], &[]);
    let args = [
        "--name",
        "everything",
        "--permission-profile",
        &profile,
        "--",
        &node,
        script.to_str().unwrap(),
        "stdio",
    ];
    let mut session = Session::open(&home.run(&args)).await.unwrap();
    assert!(session.call("echo", json!({"message": "hello"})).await.unwrap().contains("hello"));
    // A file that its profile does not show is not there.
    let hidden = home.path("server.js");
    std::fs::write(&hidden, "").unwrap();
    let error = home.skep(&["run", "--name", "blind", "--", &node, hidden.to_str().unwrap()]).error();
    assert!(error.contains("Cannot find module"), "{error}");
}

#[tokio::test]
async fn a_server_of_pypi_runs_with_what_its_profile_shows() {
    let Some(python) = peer("SKEP_TEST_PYTHON") else { return };
    let home = Home::new();
    // The folder of the virtual environment is found by itself: the program is in its bin.
    let profile = profile(&home, &[], &[]);
    let args = ["--name", "py", "--permission-profile", &profile, "--", &python, "-m", "mcp_server_time"];
    let mut session = Session::open(&home.run(&args)).await.unwrap();
    let said = session.call("get_current_time", json!({"timezone": "UTC"})).await.unwrap();
    assert!(said.contains("UTC"), "{said}");
}

/// A server that answers each handshake, and then runs a line of shell for each call: what an attacker would have.
const SHELL: &str = r#"
while read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
  case "$line" in
    *'"initialize"'*) result='{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"0"}}' ;;
    *'"tools/call"'*)
      code=$(printf '%s' "$line" | sed -n 's/.*"code":"\([^"]*\)".*/\1/p')
      said=$(sh -c "$code" 2>&1 | tr -d '"\\\n\t' | cut -c1-300)
      result="{\"content\":[{\"type\":\"text\",\"text\":\"$said\"}]}" ;;
    *) result='{}' ;;
  esac
  [ -n "$id" ] && printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$result"
done
"#;

async fn shell(home: &Home, args: &[&str]) -> Session {
    let all = [args, &["--", "sh", "-c", SHELL]].concat();
    Session::open(&home.run(&all)).await.unwrap()
}

async fn says(session: &mut Session, code: &str) -> String {
    session.call("run", json!({"code": code})).await.unwrap()
}

#[tokio::test]
async fn a_server_sees_its_volumes_without_what_is_ignored_and_nothing_else() {
    let home = Home::new();
    let project = home.path("project");
    std::fs::create_dir_all(project.join("inner")).unwrap();
    for (file, text) in
        [("open.txt", "open"), (".env", "KEY=hidden"), (".thvignore", ".env\n"), ("inner/a", "deep")]
    {
        std::fs::write(project.join(file), text).unwrap();
    }
    std::fs::write(home.path("beside.txt"), "beside").unwrap();
    let volume = format!("{}:/work:ro", project.display());
    let mut server = shell(&home, &["--name", "ro", "-v", &volume]).await;
    assert_eq!(says(&mut server, "cat /work/open.txt /work/inner/a").await, "opendeep");
    assert_eq!(says(&mut server, "cat /work/.env").await, "", "it is covered by something empty");
    for code in [
        "echo x > /work/new",
        &format!("cat {}", home.path("beside.txt").display()),
        "cat /root/.bashrc",
        "cat /etc/shadow",
    ] {
        let said = says(&mut server, code).await;
        assert!(
            said.contains("Read-only") || said.contains("No such file") || said.contains("denied"),
            "{code}: {said}"
        );
    }
    let mut writer = shell(&home, &["--name", "rw", "-v", &project.display().to_string()]).await;
    says(&mut writer, &format!("echo written > {}/new", project.display())).await;
    assert_eq!(std::fs::read_to_string(project.join("new")).unwrap(), "written\n");
    // What it writes at home is there the next time.
    says(&mut writer, "echo kept > $HOME/note").await;
    home.skep(&["restart", "rw"]).ok();
    let mut again = Session::open(home.find("rw").unwrap()["url"].as_str().unwrap()).await.unwrap();
    assert_eq!(says(&mut again, "cat $HOME/note").await, "kept");
}

#[tokio::test]
async fn a_secret_gets_to_its_server_and_nowhere_else() {
    let home = Home::new();
    let mut command = home.command(&["secret", "set", "token"]);
    command.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut setting = command.spawn().unwrap();
    std::io::Write::write_all(&mut setting.stdin.take().unwrap(), b"hunter2-and-more\n").unwrap();
    assert!(setting.wait().unwrap().success());
    assert_eq!(home.skep(&["secret", "get", "token"]).ok(), "hunter2-and-more\n");
    assert_eq!(home.skep(&["secret", "list"]).ok(), "Available secrets:\n  - token\n");
    let mut server = shell(&home, &["--name", "s", "--secret", "token,target=API_TOKEN"]).await;
    assert_eq!(says(&mut server, "echo $API_TOKEN").await, "hunter2-and-more");
    assert_eq!(says(&mut server, "echo $HOME $PWD").await, "/home/sandbox /home/sandbox");
    let config: Value =
        serde_json::from_str(&std::fs::read_to_string(home.path("state/skep/runconfigs/s.json")).unwrap())
            .unwrap();
    assert_eq!(config["secrets"], json!(["token,target=API_TOKEN"]));
    assert!(files_with(&home.path(""), b"hunter2-and-more").is_empty());
    let lines: Vec<_> = home.processes().into_iter().map(|(_, line)| line).collect();
    assert!(lines.iter().all(|line| !line.contains("hunter2")), "{lines:?}");
    home.skep(&["secret", "delete", "token"]).ok();
    assert!(home.skep(&["restart", "s"]).error().contains("token"));
    assert_eq!(home.find("s").unwrap()["status"], "error");
}

/// The files below a folder that have these bytes in them.
fn files_with(folder: &Path, bytes: &[u8]) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files_with(&path, bytes));
        } else if kind.is_file()
            && std::fs::read(&path).is_ok_and(|text| text.windows(bytes.len()).any(|window| window == bytes))
        {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn a_server_reaches_what_its_profile_allows() {
    let home = Home::new();
    let own = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = own.local_addr().unwrap().port();
    std::thread::spawn(move || {
        own.incoming()
            .for_each(|stream| std::io::Write::write_all(&mut stream.unwrap(), b"reached").unwrap());
    });
    // A connection that is not allowed is made, and reset before anything passes.
    let reach =
        |host: &str, port: u16| format!("timeout 5 bash -c 'exec 3<>/dev/tcp/{host}/{port}; head -c7 <&3'");
    let mut server = shell(&home, &["--name", "net"]).await;
    for (host, port) in [
        ("127.0.0.1", port),
        ("localhost", port),
        ("10.0.0.1", 80),
        ("169.254.169.254", 80),
        ("192.168.1.1", 22),
    ] {
        let said = says(&mut server, &reach(host, port)).await;
        assert!(!said.ends_with("reached"), "{host}: {said}");
    }
    let mut free = shell(&home, &["--name", "free", "--isolation", "none"]).await;
    assert_eq!(says(&mut free, &reach("127.0.0.1", port)).await, "reached");
}

#[tokio::test]
async fn a_server_that_listens_in_its_sandbox_is_reached_there_and_replaced() {
    let home = Home::new();
    let port = free_port().to_string();
    let args = ["--transport", "streamable-http", "--target-port", &port, "--resend-tool", "add", "example"];
    let url = home.run(&args);
    let mut session = Session::open(&url).await.unwrap();
    assert_eq!(session.call("counter", json!({})).await.unwrap(), "1");
    // It is nowhere on this machine.
    assert!(std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_err());
    let mut servers = home.processes().into_iter().filter(|(_, line)| line.contains("--http="));
    let (pid, _) = servers.next_back().unwrap();
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    until("it is dead", || !is_alive(pid)).await;
    // The session is rebuilt in the next run, which has a network of its own.
    let said = session.call("add", json!({"a": 1, "b": 2})).await.unwrap();
    assert!(said.contains('3'), "{said}");
}
