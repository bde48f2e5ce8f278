//! Programs under test: started, listened to, stopped with their whole process group when dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// A program that does not say what it should within this has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// The `skep` that is to be tried, where `SKEP_TEST_BINARY` names one; relative to the workspace. Without it, tests and
/// chores take what cargo has built.
#[must_use]
pub fn binary() -> Option<PathBuf> {
    let named = std::env::var_os("SKEP_TEST_BINARY").filter(|named| !named.is_empty())?;
    Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(named))
}

/// A running program.
#[derive(Debug)]
pub struct Program {
    child: Child,
    /// What it writes to stdout, line by line.
    lines: Receiver<String>,
}

impl Program {
    /// Starts it, leader of its own process group. stderr is ours unless `command` says otherwise.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(mut command: Command) -> anyhow::Result<Self> {
        command.stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let stdout = child.stdout.take().context("no stdout")?;
        Ok(Self { child, lines: read_lines(stdout) })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its output.
    ///
    /// # Errors
    /// It ended, or said nothing in time.
    pub fn line(&mut self) -> anyhow::Result<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(line),
            Err(_) => match self.child.try_wait()? {
                Some(status) => bail!("the program ended: {status}"),
                None => bail!("the program said nothing within {PATIENCE:?}"),
            },
        }
    }

    /// Writes to its stdin, which must be a pipe.
    ///
    /// # Errors
    /// It does not read.
    pub fn say(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(self.child.stdin.as_mut().context("its stdin is no pipe")?.write_all(text.as_bytes())?)
    }

    /// The URL that stands first in its output: alone on a line, or as `url` of a JSON object.
    ///
    /// # Errors
    /// It ended, or said nothing in time.
    pub fn url(&mut self) -> anyhow::Result<String> {
        loop {
            let line = self.line()?;
            if line.starts_with("http://") || line.starts_with("https://") {
                return Ok(line);
            }
            let told: Option<serde_json::Value> = serde_json::from_str(&line).ok();
            if let Some(url) = told.as_ref().and_then(|told| told["url"].as_str()) {
                return Ok(url.to_owned());
            }
        }
    }

    /// Sends a signal to the program alone.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill_process(self.group(), signal)?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not end within `at_most`.
    pub fn wait(&mut self, at_most: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + at_most;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("the program did not end within {at_most:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks it to stop and waits for that.
    ///
    /// # Errors
    /// It does not within a minute.
    pub fn stop(mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(Duration::from_secs(60))
    }

    fn group(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Its own end may clean up more than its group: ask first.
            let _ = self.signal(Signal::TERM);
            if self.wait(Duration::from_secs(5)).is_err() {
                let _ = kill_process_group(self.group(), Signal::KILL);
            }
            let _ = self.child.wait();
        }
    }
}

/// Runs a command to its end and gives stdout, stderr and status.
///
/// # Errors
/// It cannot be started, or does not end within `at_most`.
pub fn run(mut command: Command, at_most: Duration) -> anyhow::Result<(String, String, ExitStatus)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
    let group = Pid::from_child(&child);
    let mut out = child.stdout.take().context("no stdout")?;
    let mut err = child.stderr.take().context("no stderr")?;
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        err.read_to_string(&mut text).map(|_| text)
    });
    let (over, ended) = channel();
    let watching = std::thread::spawn(move || {
        if ended.recv_timeout(at_most).is_err() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    });
    let mut text = String::new();
    out.read_to_string(&mut text)?;
    let status = child.wait()?;
    // The watch may have given up already.
    let _ = over.send(());
    let _ = watching.join();
    let stderr = reading.join().map_err(|_| anyhow::anyhow!("reading stderr panicked"))??;
    Ok((text, stderr, status))
}

fn read_lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}
