//! What a command gets when it starts, and what is said when it cannot.

use std::fs;
use std::os::fd::AsRawFd;

use rustix::io::FdFlags;
use tokio::io::AsyncWriteExt;
use workload::process::Cause;
use workload::{CommandSpec, LogTail, Process};

use crate::sh::{self, LONG_GRACE};

const NO_ARGS: [&str; 0] = [];

async fn echoes() {
    let (process, mut pipes) = sh::spawn("exec cat").await;
    pipes.stdin.write_all(b"hello\n").await.unwrap();
    assert_eq!(sh::line(&mut pipes.stdout).await, "hello");
    drop(pipes);
    assert!(process.stop(LONG_GRACE).await.is_success());
}

#[tokio::test]
async fn bytes_go_both_ways_on_one_thread() {
    echoes().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_go_both_ways_on_many_threads() {
    echoes().await;
}

#[test]
fn a_process_outlives_the_thread_that_asked_for_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    let asking = std::thread::spawn(move || handle.block_on(sh::spawn("exec cat")));
    let (process, mut pipes) = asking.join().unwrap();
    runtime.block_on(async {
        pipes.stdin.write_all(b"still here\n").await.unwrap();
        assert_eq!(sh::line(&mut pipes.stdout).await, "still here");
        drop(pipes);
        assert!(process.stop(LONG_GRACE).await.is_success());
    });
}

#[tokio::test]
async fn environment_and_directory_are_what_was_asked_for() {
    let env = [("SKEP_TEST".to_owned(), "a b".to_owned())];
    let script = "echo \"$SKEP_TEST|$PWD|${HOME-unset}\"";
    let inherits = sh::spec(script).with_env(env.clone()).unwrap().with_cwd("/").unwrap();
    let home = std::env::var("HOME").unwrap_or_else(|_| "unset".to_owned());
    for (spec, expect) in
        [(inherits.clone(), format!("a b|/|{home}")), (inherits.with_clear_env(), "a b|/|unset".to_owned())]
    {
        let (_process, pipes) = Process::spawn_piped(&spec, &LogTail::new("test")).await.unwrap();
        assert_eq!(sh::line(pipes.stdout).await, expect);
    }
}

#[tokio::test]
async fn nothing_of_ours_is_inherited() {
    let (reader, _writer) = rustix::pipe::pipe().unwrap();
    let leaky = rustix::io::fcntl_dupfd_cloexec(&reader, 300).unwrap();
    rustix::io::fcntl_setfd(&leaky, FdFlags::empty()).unwrap();
    let (_process, pipes) = sh::spawn(&format!(
        "[ -e /proc/$$/fd/{} ] && echo leaked || exec grep -c '^SigBlk:.*[^0]$\\|^SigIgn:.*[1357]...$' /proc/self/status",
        leaky.as_raw_fd()
    ))
    .await;
    // No signal is blocked, and SIGPIPE (ignored in this process) is not ignored.
    assert_eq!(sh::line(pipes.stdout).await, "0");
}

#[tokio::test]
async fn a_command_that_dies_at_once_tells_why() {
    let (process, _pipes) = sh::spawn("echo no such option >&2; echo usage: x >&2; exit 3").await;
    let exit = process.wait().await;
    assert_eq!((exit.cause, exit.is_unasked()), (Cause::Exited(3), true));
    assert_eq!(exit.to_string(), "exited with status 3");
    assert_eq!(process.stderr_tail(1), ["usage: x"]);
    assert_eq!(process.stderr_tail(10), ["no such option", "usage: x"]);
    assert_eq!(process.exit(), Some(exit));
}

#[tokio::test]
async fn a_chatty_stderr_does_not_hold_up_the_protocol() {
    let (process, mut pipes) = sh::spawn("yes noise | head -c 3000000 >&2; exec cat").await;
    pipes.stdin.write_all(b"ping\n").await.unwrap();
    assert_eq!(sh::line(&mut pipes.stdout).await, "ping");
    assert_eq!(process.stderr_tail(1), ["noise"]);
}

#[tokio::test]
async fn what_cannot_start_is_explained() {
    let dir = std::env::temp_dir().join(format!("skep-workload-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    // Written by another process: a fork of this one might hold the file open for writing, and it could not be run.
    let file = |name: &str, first_line: &str, mode: &str| {
        let path = dir.join(name).into_os_string().into_string().unwrap();
        let script = "printf '%s\\n' \"$1\" > \"$0\" && chmod \"$2\" \"$0\"";
        let written =
            std::process::Command::new("/bin/sh").args(["-c", script, &path, first_line, mode]).status();
        assert!(written.unwrap().success());
        path
    };
    let plain = file("plain", "#!/bin/sh", "644");
    let orphan = file("orphan", "#!/no/such/interpreter", "755");
    let at = |path: &str| dir.join(path).display().to_string();
    let cases = [
        (
            "no-such-program-here",
            None,
            "there is no program named \"no-such-program-here\" on PATH".to_owned(),
        ),
        ("./absent", Some(dir.clone()), format!("there is no program at {}", at("./absent"))),
        (&plain, None, format!("{plain:?} is not executable by this user")),
        (&orphan, None, format!("{orphan} names an interpreter that does not exist")),
        (
            "/bin/sh",
            Some(at("gone").into()),
            format!("the working directory {} cannot be entered", at("gone")),
        ),
    ];
    for (program, cwd, expect) in cases {
        let mut spec = CommandSpec::new(program, NO_ARGS).unwrap();
        if let Some(cwd) = cwd {
            spec = spec.with_cwd(cwd).unwrap();
        }
        let error = Process::spawn_piped(&spec, &LogTail::new("test")).await.unwrap_err();
        assert_eq!(error.to_string(), expect);
        assert!(error.hint().is_some() && !error.is_transient(), "{error}");
    }
    fs::remove_dir_all(&dir).unwrap();
}
