//! Where the daemon keeps what.

use std::path::PathBuf;

use crate::control::ControlFolder;

/// The folders, and what is where in them.
///
/// | path | holds |
/// |---|---|
/// | `RUN/daemon.sock`, `RUN/daemon.lock` | the daemon's socket, and who it is |
/// | `RUN/containers/` | what containers are begun with |
/// | `STATE/runconfigs/NAME.json` | what a workload is |
/// | `STATE/groups/NAME.json` | the groups |
/// | `STATE/sessions/` | its sessions |
/// | `STATE/session.keys` | what they are sealed with |
/// | `DATA/statuses/NAME.json` | what a workload is to do, and does |
/// | `DATA/logs/NAME.log`, `DATA/logs/daemon/daemon.log` | what it wrote, and what the daemon did |
/// | `DATA/homes/NAME/` | its home directory, where it is isolated |
/// | `DATA/secrets_encrypted`, `STATE/secrets.password` | secrets, and what they are encrypted with |
/// | `CONFIG/config.yaml` | what people set once for all |
/// | `CONFIG/thvignore` | what no server sees of any directory |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// Sockets and locks. Not the login's own folder: that may go while the daemon stays, and another session may have
    /// another one, or none.
    pub run: PathBuf,
    /// What must survive a restart and nobody edits.
    pub state: PathBuf,
    /// What may be large.
    pub data: PathBuf,
    /// What people edit.
    pub config: PathBuf,
}

impl Folders {
    pub(crate) fn socket(&self) -> PathBuf {
        self.run.join("daemon.sock")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.run.join("daemon.lock")
    }

    /// What containers are begun with: copies, and sockets for a moment.
    pub(crate) fn containers(&self) -> PathBuf {
        self.run.join("containers")
    }

    /// Where each process that serves can be asked about its sessions.
    #[must_use]
    pub fn control(&self) -> ControlFolder {
        ControlFolder(self.run.join("sessions"))
    }

    /// The folder of the sessions' files.
    #[must_use]
    pub fn sessions(&self) -> PathBuf {
        self.state.join("sessions")
    }

    pub(crate) fn sessions_of(&self, name: &str) -> PathBuf {
        self.sessions().join(format!("{name}.redb"))
    }

    /// The keys that session ids are sealed with.
    #[must_use]
    pub fn session_keys(&self) -> PathBuf {
        self.state.join("session.keys")
    }

    /// The folder of the workloads' logs.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.data.join("logs")
    }

    /// A workload's log.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    /// The daemon's own log.
    #[must_use]
    pub fn daemon_log(&self) -> PathBuf {
        self.logs().join("daemon").join("daemon.log")
    }

    /// What the daemon said before it had a log.
    pub(crate) fn daemon_complaints(&self) -> PathBuf {
        self.logs().join("daemon").join("stderr")
    }

    /// What no server sees of any directory.
    pub(crate) fn global_ignore(&self) -> PathBuf {
        self.config.join("thvignore")
    }

    /// What people set once for all.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.config.join("config.yaml")
    }

    /// The encrypted secrets.
    #[must_use]
    pub fn secrets(&self) -> PathBuf {
        self.data.join("secrets_encrypted")
    }

    /// What they are encrypted with.
    #[must_use]
    pub fn secrets_password(&self) -> PathBuf {
        self.state.join("secrets.password")
    }

    pub(crate) fn home(&self, name: &str) -> PathBuf {
        self.data.join("homes").join(name)
    }
}
