//! A command kept running.

use std::time::Duration;

use telemetry::Tasks;
use tokio::sync::watch;
use tokio::time::timeout;
use workload::backoff::BackoffPolicy;
use workload::process::Cause;
use workload::{CommandSpec, LogTail, RestartPolicy, State, Supervisor};

use crate::sh::{self, LIMIT};

fn policy(give_up_after: u32) -> RestartPolicy {
    let backoff = BackoffPolicy {
        base: Duration::from_millis(1),
        cap: Duration::from_millis(4),
        healthy_after: Duration::from_secs(60),
        give_up_after,
    };
    RestartPolicy { backoff, grace: Duration::from_secs(15) }
}

async fn reach(state: &mut watch::Receiver<State>, is_it: impl Fn(&State) -> bool) -> State {
    timeout(LIMIT, state.wait_for(|state| is_it(state))).await.unwrap().unwrap().clone()
}

/// Waits until it runs under a process id other than the given one.
async fn runs(state: &mut watch::Receiver<State>, not: u32) -> u32 {
    match reach(state, |state| matches!(state, State::Running { pid } if *pid != not)).await {
        State::Running { pid } => pid,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_killed_server_is_started_again_and_then_stopped_for_good() {
    let supervisor =
        Supervisor::start(sh::spec("exec sleep 1000"), LogTail::new("test"), policy(9), &Tasks::new());
    let mut state = supervisor.state();
    let first = runs(&mut state, 0).await;
    let pid = rustix::process::Pid::from_raw(first.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let second = runs(&mut state, first).await;
    let State::Stopped { exit: Some(exit) } = timeout(LIMIT, supervisor.stop()).await.unwrap() else {
        panic!("it was running")
    };
    assert_eq!(exit.cause, Cause::Signalled(libc::SIGTERM));
    sh::until_gone(&[first, second]).await;
}

#[tokio::test]
async fn a_server_that_keeps_dying_is_given_up_with_its_last_words() {
    let log = LogTail::new("test");
    let script = "echo starting; echo port is taken >&2; exit 3";
    let supervisor = Supervisor::start(sh::spec(script), log.clone(), policy(3), &Tasks::new());
    let last = reach(&mut supervisor.state(), State::is_final).await;
    let State::Failed { reason, hint: None, last_lines } = last else { panic!("{last:?}") };
    assert_eq!(reason, "failed 3 times in a row, the last time: exited with status 3");
    assert_eq!(last_lines.len(), 6);
    assert_eq!(last_lines.iter().filter(|line| *line == "port is taken").count(), 3);
}

#[tokio::test]
async fn a_program_that_does_not_exist_fails_at_once() {
    let spec = CommandSpec::new("no-such-program-here", [""; 0]).unwrap();
    let supervisor = Supervisor::start(spec, LogTail::new("test"), policy(1000), &Tasks::new());
    let last = reach(&mut supervisor.state(), State::is_final).await;
    let State::Failed { reason, hint, last_lines } = last else { panic!("{last:?}") };
    assert_eq!(reason, "there is no program named \"no-such-program-here\" on PATH");
    assert!(hint.is_some() && last_lines.is_empty());
}

#[tokio::test]
async fn a_stop_ends_the_pause() {
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    let slow = BackoffPolicy { base: year, cap: year, ..policy(9).backoff };
    let slow = RestartPolicy { backoff: slow, ..policy(9) };
    let tasks = Tasks::new();
    let supervisor = Supervisor::start(sh::spec("exit 0"), LogTail::new("test"), slow, &tasks);
    let mut state = supervisor.state();
    reach(&mut state, |state| matches!(state, State::BackingOff { failures: 1, .. })).await;
    tasks.stop();
    assert_eq!(reach(&mut state, State::is_final).await, State::Stopped { exit: None });
    assert_eq!(tasks.wait(LIMIT).await, 0);
}

#[tokio::test]
async fn dropping_the_supervisor_stops_the_server() {
    let supervisor =
        Supervisor::start(sh::spec("sleep 1000 & wait"), LogTail::new("test"), policy(9), &Tasks::new());
    let pid = runs(&mut supervisor.state(), 0).await;
    drop(supervisor);
    sh::until_gone(&[pid]).await;
}
