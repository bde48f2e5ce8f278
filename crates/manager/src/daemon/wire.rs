//! What the daemon and its clients say to each other: HTTP/1.1 with JSON over its socket.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/daemon` | [`DaemonView`] |
//! | `POST /v1/daemon/stop` | 202 |
//! | `GET /v1/workloads` | a list of [`WorkloadView`] |
//! | `POST /v1/workloads`, a RunConfig | [`WorkloadView`], when it runs or has failed |
//! | `GET /v1/workloads/NAME` | [`WorkloadView`] |
//! | `DELETE /v1/workloads/NAME` | 204, when it is gone |
//! | `POST /v1/workloads/NAME/start`, `/stop`, `/restart` | [`WorkloadView`], when that is done |
//! | `GET /v1/workloads/NAME/config` | its RunConfig |
//! | `POST /v1/workloads/found` | the names of those whose files came from elsewhere and are taken up now |
//! | `GET /v1/groups` | a list of [`GroupView`] |
//! | `POST /v1/groups/NAME` | [`GroupView`], of a new one |
//! | `DELETE /v1/groups/NAME`, `?workloads=true` | 204, when it is gone; its workloads are in `default`, or gone too |
//! | `GET /v1/events` | a line of JSON per change: [`WorkloadView`] |
//!
//! Anything else that comes back is a [`Problem`].

use std::collections::BTreeMap;

use model::Timestamp;
use model::workload::Status;
use serde::{Deserialize, Serialize};

/// The daemon itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DaemonView {
    pub version: String,
    pub pid: u32,
    /// When it was started.
    pub since: Timestamp,
    pub workloads: usize,
}

/// A workload, in the shape that ToolHive lists it.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct WorkloadView {
    pub name: String,
    /// The image, the command, or `remote`.
    pub package: String,
    /// The endpoint for clients; empty where there never was one.
    pub url: String,
    pub port: u16,
    /// How the server is spoken to.
    pub transport_type: String,
    /// How clients speak to the endpoint.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub proxy_mode: String,
    pub status: Status,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status_context: String,
    pub created_at: Timestamp,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remote: bool,
    pub started_at: Timestamp,
    /// Where its metrics are, while it runs and has them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub metrics_url: String,
}

/// A group.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct GroupView {
    pub name: String,
    /// Clients whose configuration names its workloads.
    pub registered_clients: Vec<String>,
    /// The names of its workloads.
    pub workloads: Vec<String>,
}

/// Why something was not done.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    pub kind: ProblemKind,
    pub message: String,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// There is no workload or group of this name.
    NotFound,
    /// There is one already.
    Exists,
    /// The request or the configuration cannot be.
    Invalid,
    /// It was tried and did not work.
    Failed,
}

impl Problem {
    pub(crate) fn new(kind: ProblemKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Nothing more is begun.
    pub(crate) fn leaving() -> Self {
        Self::new(ProblemKind::Failed, "the daemon is being stopped; the next command starts another")
    }

    pub(crate) fn no_group(name: &str) -> Self {
        Self::new(
            ProblemKind::NotFound,
            format!(
                "group '{name}' does not exist: `skep group create NAME` makes one, `skep group list` shows them"
            ),
        )
    }

    pub(crate) fn not_found(name: &str) -> Self {
        Self::new(
            ProblemKind::NotFound,
            format!("there is no workload named {name:?}; `skep list --all` shows them"),
        )
    }
}
