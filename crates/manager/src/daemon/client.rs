//! The other end of the daemon's socket: asks it, and starts it where it does not run.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use model::{GroupName, WorkloadName};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::Folders;
use super::wire::{DaemonView, GroupView, Problem, ProblemKind, WorkloadView};
use crate::socket::{self, SocketError};

/// How long the daemon may take to tell what it knows.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to start or stop something.
const LONG_PATIENCE: Duration = Duration::from_secs(300);
/// The same, where something is installed or fetched before.
const INSTALL_PATIENCE: Duration = Duration::from_secs(20 * 60);
/// How long it may take to begin to listen.
const TO_LISTEN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often a daemon that was killed meanwhile is asked at most.
const TRIES: usize = 3;
/// A process that was killed needs a moment until its sockets are closed.
const AFTER_AN_END: Duration = Duration::from_millis(50);

/// A daemon that can be asked.
#[derive(Clone, Debug)]
pub struct DaemonClient {
    folders: Folders,
    /// How it is started.
    launch: Option<Launch>,
}

/// The program, the name it is started by, and the arguments that make it the daemon.
#[derive(Clone, Debug)]
pub struct Launch {
    pub program: PathBuf,
    pub name: &'static str,
    pub args: &'static [&'static str],
}

/// Why the daemon did not do something.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("the daemon is not running")]
    NotRunning,
    #[error("the daemon could not be started: {reason}; what it said is in {} and {}", complaints.display(), log.display())]
    NotStarted { reason: String, complaints: PathBuf, log: PathBuf },
    #[error(transparent)]
    Problem(#[from] Problem),
}

impl DaemonClient {
    /// The daemon of these folders, if it runs.
    #[must_use]
    pub fn running(folders: Folders) -> Self {
        Self { folders, launch: None }
    }

    /// The daemon of these folders, which is started if it does not run.
    ///
    /// # Errors
    /// It does not run and cannot be started.
    pub async fn started(folders: Folders, launch: Launch) -> Result<Self, AskError> {
        let client = Self { folders, launch: Some(launch) };
        client.start_daemon().await?;
        Ok(client)
    }

    async fn start_daemon(&self) -> Result<(), AskError> {
        let socket = self.folders.socket();
        if socket::connect(&socket).await?.is_some() {
            return Ok(());
        }
        let launch = self.launch.as_ref().ok_or(AskError::NotRunning)?;
        let (log, complaints) = (self.folders.daemon_log(), self.folders.daemon_complaints());
        let failed = |reason: String| AskError::NotStarted {
            reason,
            complaints: complaints.clone(),
            log: log.clone(),
        };
        let mut daemon = spawn(launch, &complaints).map_err(|error| failed(error.to_string()))?;
        let deadline = Instant::now() + TO_LISTEN;
        while Instant::now() < deadline {
            if socket::connect(&socket).await?.is_some() {
                return Ok(());
            }
            // Where another command started one at the same time, ours ends well.
            if let Ok(Some(status)) = daemon.try_wait()
                && !status.success()
            {
                return Err(failed(last_line(&complaints).unwrap_or_else(|| status.to_string())));
            }
            sleep(LOOK_EVERY).await;
        }
        Err(failed("it does not listen".to_owned()))
    }

    /// What is known of the daemon.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn view(&self) -> Result<DaemonView, AskError> {
        self.ask(Method::GET, "/v1/daemon", Bytes::new(), PATIENCE).await
    }

    /// Has the daemon stop all workloads and end, and waits for it. They are started again with the next one.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn stop(&self) -> Result<(), AskError> {
        let pid = self.view().await?.pid;
        self.send(Method::POST, "/v1/daemon/stop", Bytes::new(), PATIENCE).await?;
        let deadline = Instant::now() + LONG_PATIENCE;
        // Another one may have been started by then.
        while self.view().await.is_ok_and(|view| view.pid == pid) {
            if Instant::now() > deadline {
                return Err(SocketError::silent(&self.folders.socket(), &"it does not end").into());
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// All workloads, by name.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn list(&self) -> Result<Vec<WorkloadView>, AskError> {
        self.ask(Method::GET, "/v1/workloads", Bytes::new(), PATIENCE).await
    }

    /// One of them.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn show(&self, name: &str) -> Result<WorkloadView, AskError> {
        self.ask(Method::GET, &path(name, "")?, Bytes::new(), PATIENCE).await
    }

    /// The RunConfig of one of them.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn config(&self, name: &str) -> Result<String, AskError> {
        let text = self.send(Method::GET, &path(name, "/config")?, Bytes::new(), PATIENCE).await?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Makes a workload of a RunConfig and starts it.
    ///
    /// # Errors
    /// [`AskError`]. After a [`Problem`] nothing is left of it; where the daemon ended meanwhile, the next one knows.
    pub async fn run(&self, config: String) -> Result<WorkloadView, AskError> {
        self.ask(Method::POST, "/v1/workloads", config.into(), INSTALL_PATIENCE).await
    }

    /// Starts one that does not run.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn start(&self, name: &str) -> Result<WorkloadView, AskError> {
        self.ask(Method::POST, &path(name, "/start")?, Bytes::new(), LONG_PATIENCE).await
    }

    /// Stops one, and it stays stopped. Requests under way may take so long; `None`: as long as it is configured.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn stop_workload(&self, name: &str, drain: Option<Duration>) -> Result<WorkloadView, AskError> {
        let what = match drain {
            Some(drain) => format!("/stop?timeout={}", drain.as_secs()),
            None => "/stop".to_owned(),
        };
        let patience = LONG_PATIENCE + drain.unwrap_or_default();
        self.ask(Method::POST, &path(name, &what)?, Bytes::new(), patience).await
    }

    /// Stops one and starts it again.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn restart(&self, name: &str) -> Result<WorkloadView, AskError> {
        self.ask(Method::POST, &path(name, "/restart")?, Bytes::new(), LONG_PATIENCE).await
    }

    /// Looks up anew what was asked for of a package, and starts that.
    ///
    /// # Errors
    /// [`AskError`]; where it could not be installed, what runs goes on.
    pub async fn refresh(&self, name: &str) -> Result<WorkloadView, AskError> {
        self.ask(Method::POST, &path(name, "/refresh")?, Bytes::new(), INSTALL_PATIENCE).await
    }

    /// Stops one and forgets it.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn remove(&self, name: &str) -> Result<(), AskError> {
        self.send(Method::DELETE, &path(name, "")?, Bytes::new(), LONG_PATIENCE).await.map(|_| ())
    }

    /// Has it take up workloads whose files were written by others, and gives their names.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn take_up_found(&self) -> Result<Vec<String>, AskError> {
        self.ask(Method::POST, "/v1/workloads/found", Bytes::new(), LONG_PATIENCE).await
    }

    /// Each change of a workload as it happens, until the daemon ends or they are not taken any more.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn events(&self, mut takes: impl FnMut(&WorkloadView) -> bool) -> Result<(), AskError> {
        let request = self.request(&Method::GET, "/v1/events", Bytes::new())?;
        let (mut text, mut strange) = (Vec::new(), None);
        let socket = self.folders.socket();
        let followed = socket::follow(&socket, request, |piece| {
            text.extend_from_slice(piece);
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                match serde_json::from_slice(&line) {
                    Ok(view) if takes(&view) => {}
                    Ok(_) => return false,
                    Err(error) => {
                        strange = Some(error);
                        return false;
                    }
                }
            }
            true
        });
        followed.await?.ok_or(AskError::NotRunning)?;
        strange.map_or(Ok(()), |error| Err(self.of_another_version(&error)))
    }

    /// All groups, by name.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn groups(&self) -> Result<Vec<GroupView>, AskError> {
        self.ask(Method::GET, "/v1/groups", Bytes::new(), PATIENCE).await
    }

    /// Makes a group.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn create_group(&self, name: &str) -> Result<GroupView, AskError> {
        self.ask(Method::POST, &group_path(name)?, Bytes::new(), PATIENCE).await
    }

    /// Removes a group, and its workloads too, or moves them to the group that is always there.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn remove_group(&self, name: &str, with_workloads: bool) -> Result<(), AskError> {
        let path = format!("{}?workloads={with_workloads}", group_path(name)?);
        self.send(Method::DELETE, &path, Bytes::new(), LONG_PATIENCE).await.map(|_| ())
    }

    async fn ask<T: for<'de> Deserialize<'de>>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        patience: Duration,
    ) -> Result<T, AskError> {
        let text = self.send(method, path, body, patience).await?;
        serde_json::from_slice(&text).map_err(|error| self.of_another_version(&error))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        patience: Duration,
    ) -> Result<Bytes, AskError> {
        let mut answered = self.try_send(&method, path, body.clone(), patience).await;
        for _ in 1..TRIES {
            match &answered {
                Err(error) if self.is_asked_again(&method, error) => {}
                _ => break,
            }
            sleep(AFTER_AN_END).await;
            self.start_daemon().await?;
            answered = self.try_send(&method, path, body.clone(), patience).await;
        }
        let (status, text) = answered?;
        if status.is_success() {
            return Ok(text);
        }
        match serde_json::from_slice::<Problem>(&text) {
            Ok(problem) => Err(problem.into()),
            Err(_) if status == StatusCode::NOT_FOUND => {
                Err(self.of_another_version(&"it does not know this request"))
            }
            Err(error) => Err(self.of_another_version(&error)),
        }
    }

    /// Whether the next daemon is asked what this one has not answered.
    fn is_asked_again(&self, method: &Method, error: &AskError) -> bool {
        match error {
            // It was killed while it was asked. What only reads does no harm twice.
            AskError::Socket(SocketError::Ended { .. }) => method == Method::GET,
            // It was killed after it had been looked for: its socket goes a moment after it. Nothing was asked.
            AskError::NotRunning => self.launch.is_some(),
            _ => false,
        }
    }

    async fn try_send(
        &self,
        method: &Method,
        path: &str,
        body: Bytes,
        patience: Duration,
    ) -> Result<(StatusCode, Bytes), AskError> {
        let request = self.request(method, path, body)?;
        socket::ask(&self.folders.socket(), request, patience).await?.ok_or(AskError::NotRunning)
    }

    fn request(&self, method: &Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, SocketError> {
        let request = Request::builder().method(method).uri(path).header(header::HOST, "skep");
        request.body(Full::new(body)).map_err(|error| SocketError::silent(&self.folders.socket(), &error))
    }

    fn of_another_version(&self, reason: &impl ToString) -> AskError {
        let reason = reason.to_string();
        let advice = format!(
            "it is of another version ({reason}): `skep daemon stop`, and the next command starts this one"
        );
        SocketError::silent(&self.folders.socket(), &advice).into()
    }
}

/// Where a workload is asked about. What is no name is none of a workload: nothing in it means something in a path.
fn path(name: &str, what: &str) -> Result<String, Problem> {
    match WorkloadName::new(name) {
        Ok(name) => Ok(format!("/v1/workloads/{name}{what}")),
        Err(_) => Err(Problem::not_found(name)),
    }
}

/// Where a group is asked about. A name of one has nothing but blanks that mean something in a path.
fn group_path(name: &str) -> Result<String, Problem> {
    match GroupName::new(name) {
        Ok(name) => Ok(format!("/v1/groups/{}", name.as_str().replace(' ', "%20"))),
        Err(error) => Err(Problem::new(ProblemKind::Invalid, error.to_string())),
    }
}

/// Starts it as a process that no terminal and no parent takes along. What it says before it has a log goes to a file.
fn spawn(Launch { program, name, args }: &Launch, complaints: &Path) -> std::io::Result<std::process::Child> {
    if let Some(folder) = complaints.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(complaints)?;
    // That of the last one; two that are started at once share it.
    file.set_len(0)?;
    let mut command = Command::new(program);
    command.arg0(name).args(*args).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
    command.spawn()
}

fn last_line(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().next_back().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_was_killed_is_asked_again_where_that_does_no_harm() {
        let [run, state, data, config] = ["run", "state", "data", "config"].map(PathBuf::from);
        let folders = Folders { run, state, data, config };
        let launch = Launch { program: "skep".into(), name: "skep", args: &[] };
        let running = DaemonClient::running(folders.clone());
        let started = DaemonClient { folders, launch: Some(launch) };
        let ended = || AskError::Socket(SocketError::Ended { path: "/s".into() });
        for (client, method, error, expect) in [
            (&started, Method::GET, ended(), true),
            (&started, Method::POST, ended(), false),
            (&started, Method::GET, AskError::NotRunning, true),
            (&started, Method::POST, AskError::NotRunning, true),
            (&running, Method::GET, AskError::NotRunning, false),
        ] {
            assert_eq!(client.is_asked_again(&method, &error), expect, "{method} {error}");
        }
    }
}
