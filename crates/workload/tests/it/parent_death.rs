//! However the holder of a process ends, nothing is left behind: neither the child nor what the child started.

use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

use crate::sh;

/// The example is built along with the tests.
pub(crate) fn holder() -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    let holder = deps.parent().unwrap().with_file_name("examples").join("hold");
    assert!(
        holder.exists(),
        "{} is missing; `cargo build -p workload --examples` makes it",
        holder.display()
    );
    holder
}

async fn dies_with_its_holder(signal: Signal) {
    // A child, its child, and one below that whose parent has gone; all deaf to what can be ignored.
    let script = "trap '' TERM HUP INT; \
                  sh -c 'sleep 1000 & echo $!' > /tmp/skep-orphan-$$; \
                  sleep 1000 & echo $$ $! $(cat /tmp/skep-orphan-$$); rm /tmp/skep-orphan-$$; wait; wait";
    let mut holder = Command::new(holder())
        .args(["/bin/sh", "-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pids = sh::pids(holder.stdout.take().unwrap()).await;
    assert_eq!(pids.len(), 3);
    assert!(pids.iter().all(|&pid| sh::is_alive(pid)));
    kill_process(Pid::from_raw(holder.id().unwrap().cast_signed()).unwrap(), signal).unwrap();
    holder.wait().await.unwrap();
    sh::until_gone(&pids).await;
}

#[tokio::test]
async fn nothing_survives_sigkill() {
    dies_with_its_holder(Signal::KILL).await;
}

#[tokio::test]
async fn nothing_survives_an_abort() {
    dies_with_its_holder(Signal::ABORT).await;
}

#[tokio::test]
async fn nothing_survives_an_unhandled_sigterm() {
    dies_with_its_holder(Signal::TERM).await;
}
