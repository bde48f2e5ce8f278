//! What a running skep can be asked by whoever started it: over a Unix socket in a folder that only this user can enter,
//! and only by processes of this user.
//!
//! HTTP/1.1 with JSON: `GET /v1/sessions`, `GET /v1/sessions/ID`, `DELETE /v1/sessions/ID`; `GET /v1/runs`, and
//! `GET /v1/runs/ID`, with what tools were given and said where the query is `private`.

mod runs;

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use proxy::session::view::{SessionDetail, SessionView};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use vmcp::hub::RunView;

use crate::socket::{self, OwnListener, SocketError};

pub use runs::{RunEntry, RunList, RunReport};

/// How long a skep may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
const SUFFIX: &str = ".sock";

/// Where a process is asked.
#[derive(Clone, Debug)]
pub struct ControlFolder(pub PathBuf);

/// The sessions of one process.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SessionList {
    /// What is served.
    pub name: String,
    pub pid: u32,
    pub sessions: Vec<SessionLine>,
}

/// One of them.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionLine {
    pub id: Uuid,
    pub principal: String,
    pub place: String,
    pub epoch: u32,
    /// Unix seconds.
    pub began: u64,
    /// `None`: something is under way.
    pub idle_seconds: Option<u64>,
}

/// All that is told of one.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionReport {
    pub name: String,
    #[serde(flatten)]
    pub line: SessionLine,
    pub protocol_version: Option<String>,
    pub server: Option<String>,
    pub log_level: Option<String>,
    pub subscriptions: Vec<String>,
    pub timeline: Vec<TimelineEntry>,
}

/// Something that happened to a session.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TimelineEntry {
    /// Unix milliseconds.
    pub at: u64,
    pub what: String,
    pub detail: String,
}

impl From<SessionView> for SessionLine {
    fn from(view: SessionView) -> Self {
        let SessionView { id, principal, place, epoch, began, idle } = view;
        Self { id, principal, place, epoch, began, idle_seconds: idle.map(|idle| idle.as_secs()) }
    }
}

impl SessionReport {
    fn new(name: &str, detail: SessionDetail) -> Self {
        let (protocol_version, server) = detail.agreed.unzip();
        let began =
            TimelineEntry { at: detail.view.began * 1000, what: "began".into(), detail: String::new() };
        let happened = detail.timeline.into_iter().map(|entry| TimelineEntry {
            at: entry
                .at
                .duration_since(UNIX_EPOCH)
                .map_or(0, |at| u64::try_from(at.as_millis()).unwrap_or(0)),
            what: entry.what.to_owned(),
            detail: entry.detail,
        });
        Self {
            name: name.to_owned(),
            timeline: std::iter::once(began).chain(happened).collect(),
            line: detail.view.into(),
            protocol_version,
            server,
            log_level: detail.log_level,
            subscriptions: detail.subscriptions,
        }
    }
}

/// What is asked about.
pub(crate) trait Sessions: Send + Sync + 'static {
    fn list(&self) -> Vec<SessionView>;
    fn show(&self, id: Uuid) -> Option<SessionDetail>;
    /// False where there is none of this id.
    fn end(&self, id: Uuid) -> impl Future<Output = bool> + Send;
    /// The runs of workflows that are not forgotten; without workflows none.
    fn runs(&self) -> impl Future<Output = Result<Vec<RunView>, String>> + Send;
    /// One of them, if there is one of this id. With `private`, what tools were given and said is told too.
    fn run(&self, id: Uuid, private: bool) -> impl Future<Output = Result<Option<RunView>, String>> + Send;
}

/// Where one process is asked.
#[derive(Debug)]
pub(crate) struct Control(OwnListener);

impl Control {
    /// Listens for questions about what is served under this name.
    ///
    /// # Errors
    /// [`SocketError`].
    pub(crate) fn bind(folder: &ControlFolder, name: &str) -> Result<Self, SocketError> {
        let ControlFolder(folder) = folder;
        let path = folder.join(format!("{name}.{}{SUFFIX}", std::process::id()));
        OwnListener::bind(path).map(Self)
    }

    /// Answers until `stop`.
    pub(crate) async fn serve(self, name: String, sessions: Arc<impl Sessions>, stop: CancellationToken) {
        while let Some(stream) = stop.run_until_cancelled(self.0.accept()).await {
            let service = hyper::service::service_fn(|request| answer(&name, &*sessions, request));
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // One at a time is enough for people; nobody may keep it for long.
            let _ = timeout(PATIENCE, connection).await;
        }
    }
}

async fn answer<B>(
    name: &str,
    sessions: &impl Sessions,
    request: Request<B>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path();
    let run = path.strip_prefix("/v1/runs/").and_then(|id| id.parse::<Uuid>().ok());
    if request.method() == Method::GET && (path == "/v1/runs" || run.is_some()) {
        let private = request.uri().query() == Some("private");
        return Ok(json(&told_runs(name, sessions, run, private).await));
    }
    let id = path.strip_prefix("/v1/sessions/").and_then(|id| id.parse::<Uuid>().ok());
    let nothing = |status: StatusCode| {
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        response
    };
    Ok(match (request.method(), path, id) {
        (&Method::GET, "/v1/sessions", _) => {
            let sessions = sessions.list().into_iter().map(Into::into).collect();
            json(&SessionList { name: name.to_owned(), pid: std::process::id(), sessions })
        }
        (&Method::GET, _, Some(id)) => match sessions.show(id) {
            Some(detail) => json(&SessionReport::new(name, detail)),
            None => nothing(StatusCode::NOT_FOUND),
        },
        (&Method::DELETE, _, Some(id)) if sessions.end(id).await => nothing(StatusCode::NO_CONTENT),
        _ => nothing(StatusCode::NOT_FOUND),
    })
}

/// All runs, or one.
async fn told_runs(name: &str, sessions: &impl Sessions, id: Option<Uuid>, private: bool) -> RunList {
    let runs = match id {
        None => sessions
            .runs()
            .await
            .map(|views| views.into_iter().map(|view| RunReport::from(view).without_timeline()).collect()),
        Some(id) => sessions.run(id, private).await.map(|view| view.into_iter().map(Into::into).collect()),
    };
    let (runs, problem) = match runs {
        Ok(runs) => (runs, None),
        Err(problem) => (Vec::new(), Some(problem)),
    };
    RunList { name: name.to_owned(), runs, problem }
}

fn json(value: &impl Serialize) -> Response<Full<Bytes>> {
    let text = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Full::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

/// The processes of this user that can be asked.
#[derive(Debug)]
pub struct Controls {
    sockets: Vec<PathBuf>,
}

impl Controls {
    /// Those that serve something under `name`, or all.
    ///
    /// # Errors
    /// The folder cannot be read; that there is none is no error.
    pub fn find(folder: &ControlFolder, name: Option<&str>) -> Result<Self, SocketError> {
        let ControlFolder(folder) = folder;
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self { sockets: Vec::new() }),
            Err(source) => return Err(SocketError::Socket { path: folder.clone(), source }),
        };
        let is_asked_for = |path: &PathBuf| {
            let stem = path.file_name().and_then(|file| file.to_str()?.strip_suffix(SUFFIX));
            let served = stem.and_then(|stem| Some(stem.rsplit_once('.')?.0));
            served.is_some_and(|served| name.is_none_or(|name| name == served))
        };
        let mut sockets: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(is_asked_for).collect();
        sockets.sort();
        Ok(Self { sockets })
    }

    /// The sessions of all of them. A socket that nobody listens on is removed: its process was killed.
    ///
    /// # Errors
    /// One of them does not answer.
    pub async fn list(&self) -> Result<Vec<SessionList>, SocketError> {
        let mut lists = Vec::new();
        for socket in &self.sockets {
            if let Some((StatusCode::OK, text)) = ask(socket, Method::GET, "/v1/sessions").await? {
                lists.push(read(socket, &text)?);
            }
        }
        Ok(lists)
    }

    /// What is known of a session; `None` where none of them serves it.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn show(&self, id: Uuid) -> Result<Option<SessionReport>, SocketError> {
        for socket in &self.sockets {
            let answer = ask(socket, Method::GET, &format!("/v1/sessions/{id}")).await?;
            if let Some((StatusCode::OK, text)) = answer {
                return read(socket, &text).map(Some);
            }
        }
        Ok(None)
    }

    /// The runs of workflows that all of them know of.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn runs(&self) -> Result<Vec<RunList>, SocketError> {
        self.runs_at("/v1/runs").await
    }

    /// One run, as each knows of it. With `private`, what tools were given and said is there too.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn run(&self, id: Uuid, private: bool) -> Result<Vec<RunList>, SocketError> {
        self.runs_at(&format!("/v1/runs/{id}{}", if private { "?private" } else { "" })).await
    }

    async fn runs_at(&self, path: &str) -> Result<Vec<RunList>, SocketError> {
        let mut lists = Vec::new();
        for socket in &self.sockets {
            if let Some((StatusCode::OK, text)) = ask(socket, Method::GET, path).await? {
                lists.push(read(socket, &text)?);
            }
        }
        Ok(lists)
    }

    /// Ends a session; false where none of them serves it.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn end(&self, id: Uuid) -> Result<bool, SocketError> {
        for socket in &self.sockets {
            let answer = ask(socket, Method::DELETE, &format!("/v1/sessions/{id}")).await?;
            if answer.is_some_and(|(status, _)| status.is_success()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn read<T: for<'de> Deserialize<'de>>(socket: &Path, text: &[u8]) -> Result<T, SocketError> {
    serde_json::from_slice(text)
        .map_err(|error| SocketError::silent(socket, &format!("it is another version of skep ({error})")))
}

/// `None`: nobody listens there, and the socket is removed.
async fn ask(socket: &Path, method: Method, path: &str) -> Result<Option<(StatusCode, Bytes)>, SocketError> {
    let request = Request::builder().method(method).uri(path).header(header::HOST, "skep");
    let request = request.body(Full::default()).expect("a method and a path make a request");
    let answered = socket::ask(socket, request, PATIENCE).await?;
    if answered.is_none() {
        let _ = std::fs::remove_file(socket);
    }
    Ok(answered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmcp::hub::TaskLine;

    struct One(Uuid);

    impl Sessions for One {
        fn list(&self) -> Vec<SessionView> {
            vec![self.view()]
        }

        fn show(&self, id: Uuid) -> Option<SessionDetail> {
            (id == self.0).then(|| SessionDetail {
                view: self.view(),
                agreed: Some(("2025-11-25".into(), "s".into())),
                log_level: None,
                subscriptions: vec!["a://b".into()],
                timeline: Vec::new(),
            })
        }

        async fn end(&self, id: Uuid) -> bool {
            id == self.0
        }

        async fn runs(&self) -> Result<Vec<RunView>, String> {
            Ok(vec![run(self.0)])
        }

        async fn run(&self, id: Uuid, private: bool) -> Result<Option<RunView>, String> {
            let arguments = private.then(|| serde_json::json!({"secret": 1}));
            Ok((id == self.0).then(|| RunView { arguments, ..run(id) }))
        }
    }

    fn run(id: Uuid) -> RunView {
        let line = TaskLine { at: 9, task: Some("a".into()), what: "sent", detail: None };
        RunView {
            id,
            workflow: "w".into(),
            session: None,
            began: 7,
            state: "running",
            is_here: true,
            arguments: None,
            timeline: vec![line],
        }
    }

    impl One {
        fn view(&self) -> SessionView {
            let idle = Some(Duration::from_secs(3));
            SessionView {
                id: self.0,
                principal: "anonymous".into(),
                place: "here".into(),
                epoch: 1,
                began: 5,
                idle,
            }
        }
    }

    #[tokio::test]
    async fn a_process_is_asked_and_one_that_was_killed_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let folder = ControlFolder(folder.path().join("run"));
        assert!(Controls::find(&folder, None).unwrap().list().await.unwrap().is_empty());
        let id = Uuid::new_v4();
        let (stop, control) = (CancellationToken::new(), Control::bind(&folder, "a.b").unwrap());
        let serving = tokio::spawn(control.serve("a.b".into(), Arc::new(One(id)), stop.clone()));
        drop(std::os::unix::net::UnixListener::bind(folder.0.join("dead.1.sock")).unwrap());
        let all = Controls::find(&folder, None).unwrap();
        assert_eq!(all.sockets.len(), 2);
        let lists = all.list().await.unwrap();
        assert_eq!((lists.len(), lists[0].sessions[0].id), (1, id));
        assert!(!folder.0.join("dead.1.sock").exists());
        let named = Controls::find(&folder, Some("a.b")).unwrap();
        let report = named.show(id).await.unwrap().unwrap();
        assert_eq!((&*report.server.unwrap(), &*report.timeline[0].what), ("s", "began"));
        assert!(named.show(Uuid::new_v4()).await.unwrap().is_none());
        assert!(named.end(id).await.unwrap());
        assert!(!named.end(Uuid::new_v4()).await.unwrap());
        let runs = named.runs().await.unwrap().remove(0).runs;
        assert_eq!((runs[0].id, runs[0].last, runs[0].timeline.len()), (id, 9, 0));
        let told = |private: bool| named.run(id, private);
        let (public, private) = (told(false).await.unwrap(), told(true).await.unwrap());
        assert!(public[0].runs[0].timeline[0].what == "sent" && public[0].runs[0].arguments.is_none());
        assert_eq!(private[0].runs[0].arguments, Some(serde_json::json!({"secret": 1})));
        assert!(named.run(Uuid::new_v4(), true).await.unwrap()[0].runs.is_empty());
        assert!(Controls::find(&folder, Some("c")).unwrap().sockets.is_empty());
        stop.cancel();
        serving.await.unwrap();
        assert!(std::fs::read_dir(&folder.0).unwrap().next().is_none(), "the socket goes with the process");
    }
}
