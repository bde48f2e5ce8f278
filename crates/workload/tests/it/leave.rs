//! How a process and everything below it goes.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use workload::process::{Asked, Cause};
use workload::{LogTail, Process};

use crate::sh::{self, LIMIT, LONG_GRACE};

const SHORT_GRACE: Duration = Duration::from_millis(100);
/// A shell that stays, with a child of its own that says nothing and stays too.
const FAMILY: &str = "sleep 1000 & echo $$ $!; wait; wait";

#[tokio::test]
async fn the_end_of_stdin_is_enough_for_an_mcp_server() {
    let (process, pipes) = sh::spawn("trap '' TERM; exec cat").await;
    drop(pipes);
    let exit = process.stop(LONG_GRACE).await;
    // It may have left before it was asked.
    assert!(exit.is_success() && exit.asked <= Asked::ToLeave, "{exit:?}");
}

#[tokio::test]
async fn sigterm_reaches_the_whole_group() {
    let (process, mut pipes) = sh::spawn(FAMILY).await;
    let pids = sh::pids(&mut pipes.stdout).await;
    let exit = process.stop(LONG_GRACE).await;
    assert_eq!((exit.cause, exit.asked), (Cause::Signalled(libc::SIGTERM), Asked::ToTerminate));
    sh::until_gone(&pids).await;
}

#[tokio::test]
async fn sigkill_follows_when_the_grace_period_is_over() {
    let (process, mut pipes) = sh::spawn(&format!("trap '' TERM; {FAMILY}")).await;
    let pids = sh::pids(&mut pipes.stdout).await;
    let begin = Instant::now();
    let exit = process.stop(SHORT_GRACE).await;
    assert_eq!((exit.cause, exit.asked), (Cause::Signalled(libc::SIGKILL), Asked::NothingMore));
    assert_eq!(exit.to_string(), "was killed by SIGKILL");
    assert!(begin.elapsed() >= 2 * SHORT_GRACE, "one wait for stdin, one after SIGTERM");
    sh::until_gone(&pids).await;
}

#[tokio::test]
async fn a_process_may_use_its_grace_period_to_clean_up() {
    let (process, mut pipes) =
        sh::spawn("trap 'echo bye >&2; exit 7' TERM; echo $$; while :; do read x || wait; done").await;
    sh::pids(&mut pipes.stdout).await;
    process.request_stop(LONG_GRACE);
    let exit = process.wait().await;
    assert_eq!((exit.cause, exit.asked), (Cause::Exited(7), Asked::ToTerminate));
    assert_eq!(process.stderr_tail(9), ["bye"]);
}

#[tokio::test]
async fn what_the_leader_leaves_behind_is_killed() {
    let (process, mut pipes) = sh::spawn("trap '' TERM; sleep 1000 & echo $$ $!").await;
    let pids = sh::pids(&mut pipes.stdout).await;
    let exit = process.wait().await;
    assert!(exit.is_success() && exit.is_unasked(), "{exit:?}");
    sh::until_gone(&pids).await;
}

#[tokio::test]
async fn dropping_the_handle_kills_the_group() {
    let (process, mut pipes) = sh::spawn(&format!("trap '' TERM; {FAMILY}")).await;
    let pids = sh::pids(&mut pipes.stdout).await;
    assert!(pids.iter().all(|&pid| sh::is_alive(pid)));
    drop(process);
    sh::until_gone(&pids).await;
}

#[tokio::test]
async fn a_dropped_spawn_leaves_nothing() {
    let marker = format!("100{}", std::process::id());
    let spec = sh::spec(&format!("sleep {marker} & wait"));
    let log = LogTail::new("test");
    for _ in 0..20 {
        // Polled once: the order is with the spawner thread, the answer not here yet.
        let _ = timeout(Duration::ZERO, Process::spawn_piped(&spec, &log)).await;
    }
    // The spawner thread works in order: when this one runs, the ones before were started.
    let (_process, mut pipes) = sh::spawn("echo 1; exec cat").await;
    sh::line(&mut pipes.stdout).await;
    sh::until("no dropped spawn runs", || !runs_with_argument(&marker)).await;
}

fn runs_with_argument(argument: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(argument)
    })
}

#[test]
fn the_end_of_the_runtime_kills_the_group() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (process, pids) = runtime.block_on(async {
        let (process, mut pipes) = sh::spawn(FAMILY).await;
        (process, sh::pids(&mut pipes.stdout).await)
    });
    drop(runtime);
    let after = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    after.block_on(async {
        sh::until_gone(&pids).await;
        assert_eq!(process.wait().await.cause, Cause::Unknown);
    });
}

#[tokio::test]
async fn a_descendant_that_left_the_group_cannot_hold_up_the_end() {
    let (process, mut pipes) = sh::spawn("setsid sh -c 'echo $$; exec sleep 1000' & exec cat").await;
    let pids = sh::pids(&mut pipes.stdout).await;
    drop(pipes);
    let exit = timeout(LIMIT, process.wait()).await.unwrap();
    assert!(exit.is_success());
    // It still holds stderr open. Only isolation can hold it in turn; here the test has to end it.
    let pid = rustix::process::Pid::from_raw(pids[0].cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    sh::until_gone(&pids).await;
}

#[tokio::test]
async fn the_last_bytes_can_be_read_after_the_end() {
    let (process, mut pipes) = sh::spawn("read x; echo \"last $x\"").await;
    pipes.stdin.write_all(b"words\n").await.unwrap();
    process.wait().await;
    let mut rest = String::new();
    pipes.stdout.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "last words\n");
}

#[tokio::test]
async fn stopping_goes_on_when_nobody_waits_for_it() {
    let (process, mut pipes) = sh::spawn(&format!("trap '' TERM; {FAMILY}")).await;
    let pids = sh::pids(&mut pipes.stdout).await;
    let _ = timeout(Duration::ZERO, process.stop(SHORT_GRACE)).await;
    sh::until_gone(&pids).await;
    assert_eq!(process.wait().await.asked, Asked::NothingMore);
}

#[tokio::test]
async fn no_descriptor_is_left_of_ended_processes() {
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let (process, pipes) = sh::spawn("exit 0").await;
    process.wait().await;
    drop((process, pipes));
    // Other tests in this process open some too, so only many leaked ones are a sign.
    let before = count();
    for _ in 0..100 {
        let (process, pipes) = sh::spawn("exit 0").await;
        process.wait().await;
        drop((process, pipes));
    }
    sh::until("descriptors are closed", || count() < before + 100).await;
}
