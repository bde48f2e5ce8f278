//! What is told while an image is fetched, by a runtime that is none.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use crate::harness::until;
use crate::home::{Home, said};

const IMAGE: &str = "fake.example/server:1";

/// A socket that answers as Docker does, whose registry sends one layer of two and then waits to be let go.
fn runtime(home: &Home) -> (PathBuf, Sender<()>) {
    let path = home.path("docker.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (go_on, wait) = mpsc::channel();
    // It ends with the test's process.
    thread::spawn(move || {
        for connection in listener.incoming() {
            let _ = answer(connection.unwrap(), &wait);
        }
    });
    (path, go_on)
}

fn answer(mut stream: UnixStream, wait: &Receiver<()>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let (status, body) = match request {
        request if request.contains("/version") => ("200 OK", r#"{"Version":"1","ApiVersion":"1.41"}"#),
        request if request.contains("/info") => ("200 OK", "{}"),
        request if request.contains("/containers/json") => ("200 OK", "[]"),
        request if request.contains("/images/create") => {
            let layers =
                "{\"id\":\"a\",\"status\":\"Pull complete\"}\n{\"id\":\"b\",\"status\":\"Downloading\"}\n";
            write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{layers}")?;
            let _ = wait.recv();
            return writeln!(stream, "{{\"errorDetail\":{{\"message\":\"the line is cut\"}}}}");
        }
        _ => ("404 Not Found", r#"{"message":"it is not here"}"#),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn how_far_an_image_is_is_told_by_run_and_by_status() {
    let home = Home::new();
    let (socket, go_on) = runtime(&home);
    let command = |args: &[&str]| {
        let mut command = home.command(args);
        command.env("SKEP_DOCKER_SOCKET", &socket);
        command
    };
    // The daemon is started by whoever comes first, and has their variables.
    said(command(&["list"])).ok();
    let mut run = command(&["run", "--name", "f", IMAGE]);
    let run = run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let words = format!("fetching {IMAGE}: 1 of 2 layers");
    until("its status tells", || home.skep(&["status", "f"]).out.contains(&words)).await;
    go_on.send(()).unwrap();
    let ended = run.wait_with_output().unwrap();
    let told = String::from_utf8(ended.stderr).unwrap();
    assert!(!ended.status.success() && told.contains(&words) && told.contains("the line is cut"), "{told}");
}
