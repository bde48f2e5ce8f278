//! The daemon's requests, each a call of the fleet.

use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use futures_util::StreamExt;
use model::{Document, RunConfig, Timestamp};
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::fleet::Fleet;
use super::wire::{DaemonView, GroupView, Problem, ProblemKind, WorkloadView};
use super::workload::Task;
use crate::socket::OwnListener;

/// What the requests are about.
#[derive(Clone, Debug)]
pub(super) struct Api {
    pub(super) fleet: Fleet,
    pub(super) version: &'static str,
    pub(super) since: SystemTime,
    pub(super) stop: CancellationToken,
}

impl Api {
    pub(super) fn router(self) -> Router {
        Router::new()
            .route("/v1/daemon", get(daemon))
            .route("/v1/daemon/stop", post(stop_daemon))
            .route("/v1/workloads", get(list).post(run))
            .route("/v1/workloads/found", post(found))
            .route("/v1/groups", get(list_groups))
            .route("/v1/groups/{name}", post(create_group).delete(remove_group))
            .route("/v1/workloads/{name}", get(show).delete(remove))
            .route("/v1/workloads/{name}/config", get(config))
            .route("/v1/workloads/{name}/start", post(start))
            .route("/v1/workloads/{name}/stop", post(stop))
            .route("/v1/workloads/{name}/restart", post(restart))
            .route("/v1/workloads/{name}/refresh", post(refresh))
            .route("/v1/events", get(events))
            .with_state(self)
    }
}

/// Connections of this user's processes, as axum takes them.
pub(super) struct OwnConnections(pub(super) OwnListener);

impl axum::serve::Listener for OwnConnections {
    type Io = UnixStream;
    type Addr = ();

    async fn accept(&mut self) -> (UnixStream, ()) {
        (self.0.accept().await, ())
    }

    fn local_addr(&self) -> std::io::Result<()> {
        Ok(())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = match self.kind {
            ProblemKind::NotFound => StatusCode::NOT_FOUND,
            ProblemKind::Exists => StatusCode::CONFLICT,
            ProblemKind::Invalid => StatusCode::BAD_REQUEST,
            ProblemKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(self)).into_response()
    }
}

type Answer<T> = Result<Json<T>, Problem>;

async fn daemon(State(api): State<Api>) -> Json<DaemonView> {
    Json(DaemonView {
        version: api.version.to_owned(),
        pid: std::process::id(),
        since: Timestamp::from(api.since),
        workloads: api.fleet.count(),
    })
}

async fn stop_daemon(State(api): State<Api>) -> StatusCode {
    api.stop.cancel();
    StatusCode::ACCEPTED
}

async fn list(State(api): State<Api>) -> Json<Vec<WorkloadView>> {
    Json(api.fleet.list())
}

async fn run(State(api): State<Api>, text: String) -> Answer<WorkloadView> {
    let config =
        RunConfig::parse(&text).map_err(|error| Problem::new(ProblemKind::Invalid, error.to_string()))?;
    detached(async move { api.fleet.run(config).await }).await
}

async fn found(State(api): State<Api>) -> Answer<Vec<String>> {
    api.fleet.take_up_found().await.map(Json)
}

async fn list_groups(State(api): State<Api>) -> Answer<Vec<GroupView>> {
    api.fleet.list_groups().await.map(Json)
}

async fn create_group(State(api): State<Api>, Path(name): Path<String>) -> Answer<GroupView> {
    detached(async move { api.fleet.create_group(&name).await }).await
}

/// What goes with a group.
#[derive(Debug, Deserialize)]
struct With {
    #[serde(default)]
    workloads: bool,
}

async fn remove_group(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(With { workloads }): Query<With>,
) -> Result<StatusCode, Problem> {
    let removed = detached(async move { api.fleet.remove_group(&name, workloads).await }).await;
    removed.map(|_| StatusCode::NO_CONTENT)
}

async fn show(State(api): State<Api>, Path(name): Path<String>) -> Answer<WorkloadView> {
    api.fleet.show(&name).map(Json)
}

async fn config(State(api): State<Api>, Path(name): Path<String>) -> Result<String, Problem> {
    api.fleet.config(&name).await
}

async fn start(State(api): State<Api>, Path(name): Path<String>) -> Answer<WorkloadView> {
    order(api, name, Task::Start).await
}

/// How gently.
#[derive(Debug, Deserialize)]
struct Gently {
    /// Seconds for requests under way.
    timeout: Option<u64>,
}

async fn stop(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(Gently { timeout }): Query<Gently>,
) -> Answer<WorkloadView> {
    order(api, name, Task::Stop(timeout.map(Duration::from_secs))).await
}

async fn restart(State(api): State<Api>, Path(name): Path<String>) -> Answer<WorkloadView> {
    order(api, name, Task::Restart).await
}

async fn refresh(State(api): State<Api>, Path(name): Path<String>) -> Answer<WorkloadView> {
    order(api, name, Task::Refresh).await
}

async fn remove(State(api): State<Api>, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    order(api, name, Task::Remove).await.map(|_| StatusCode::NO_CONTENT)
}

async fn order(api: Api, name: String, task: Task) -> Answer<WorkloadView> {
    detached(async move { api.fleet.order(&name, task).await }).await
}

/// Goes on to its end though the client goes away.
async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Answer<T> {
    let ended = tokio::spawn(work).await;
    ended.unwrap_or_else(|error| Err(Problem::new(ProblemKind::Failed, error.to_string()))).map(Json)
}

/// Each change as a line of JSON, until the client goes away. Whoever is too slow gets the newest ones.
async fn events(State(api): State<Api>) -> Body {
    let lines = futures_util::stream::unfold(api.fleet.news(), async |mut news| {
        loop {
            match news.recv().await {
                Ok(view) => {
                    let line = serde_json::to_string(&view).unwrap_or_default() + "\n";
                    return Some((Ok::<_, std::convert::Infallible>(line), news));
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    Body::from_stream(lines.take_until(api.stop.cancelled_owned()))
}
