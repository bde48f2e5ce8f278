//! What somebody has who has used ToolHive: its files in their shapes, those of early versions too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;
use testkit::Program;

/// What ToolHive would have written: see `toolhive_secrets.py` beside it.
const SECRETS: &[u8] = include_bytes!("../../../store/src/secrets/encrypted/toolhive.bin");
/// What they are encrypted with.
pub(crate) const PASSWORD: &str = "correct horse";

/// A configuration that another version has added to, and whose author has commented.
pub(crate) const SETTINGS: &str = "secrets:\n    provider_type: encrypted # mine\n    setup_completed: true\nclients:\n    registered_clients: [cursor]\nfuture:\n    deep: {a: [1, ~]}\ndefault_group_migration: true\n";

/// The three folders.
pub(crate) struct ToolHive {
    pub(crate) state: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) config: PathBuf,
}

impl ToolHive {
    /// Where it is in a home directory where nobody says otherwise.
    pub(crate) fn in_home(home: &Path) -> Self {
        let below = |folder: &str| home.join(folder).join("toolhive");
        Self { state: below(".local/state"), data: below(".local/share"), config: below(".config") }
    }

    /// Writes all there is. `docs` and `wiki` are served by `url`; `wiki` is, by ToolHive's own process.
    pub(crate) fn write(&self, url: &str, process: &Program) {
        let config = |name: &str, more: serde_json::Value| {
            let mut members = json!({"schema_version": "v0.1.0", "image": "", "name": name, "container_name": name,
                "base_name": name, "transport": "streamable-http", "host": "127.0.0.1", "port": 0,
                "permission_profile": null, "group": "default"});
            members.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            self.put(&self.state, &format!("runconfigs/{name}.json"), &format!("{members:#}"));
        };
        config(
            "fetch",
            json!({"image": "docker.io/mcp/fetch:latest", "transport": "stdio", "proxy_mode": "streamable-http",
                "isolate_network": true, "permission_profile": {"network": {"outbound": {"insecure_allow_all": true}}},
                "container_labels": {"toolhive": "true", "toolhive-name": "fetch"}, "secrets": ["github,target=TOKEN"],
                "middleware_configs": [{"type": "mcp-parser"}, {"type": "recovery"}]}),
        );
        config(
            "docs",
            json!({"remote_url": url, "group": "my team", "x_future": {"n": 18446744073709551615_u64}}),
        );
        config("wiki", json!({"remote_url": url}));
        config("old", json!({"remote_url": url, "remote_auth_config": {"ClientID": "me", "UsePKCE": true}}));
        config("guarded", json!({"remote_url": url, "oidc_config": {"Issuer": "https://a.example"}}));
        config("_odd", json!({"remote_url": url}));
        self.put(&self.state, "runconfigs/broken.json", "{\"name\": \"bro");
        for (name, status, process) in [
            ("fetch", "stopped", 0),
            ("docs", "running", 4_000_000),
            ("wiki", "running", process.pid()),
            ("old", "stopped", 0),
            ("guarded", "running", 4_000_001),
        ] {
            let record = json!({"status": status, "created_at": "2026-01-02T03:04:05.123456789Z",
                "updated_at": "2026-01-02T03:04:05Z", "process_id": process});
            self.put(&self.data, &format!("statuses/{name}.json"), &record.to_string());
        }
        let group = |name: &str, clients: &[&str]| {
            let group = json!({"name": name, "registered_clients": clients, "x_color": "red"});
            self.put(&self.state, &format!("groups/{name}.json"), &group.to_string());
        };
        group("default", &["cursor"]);
        group("my team", &["vscode", "cursor"]);
        self.put(&self.config, "config.yaml", SETTINGS);
        self.put(&self.config, "thvignore", ".env\n");
        self.put(&self.data, "secrets_encrypted", "");
        std::fs::write(self.data.join("secrets_encrypted"), SECRETS).unwrap();
    }

    fn put(&self, folder: &Path, below: &str, text: &str) {
        let path = folder.join(below);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Every file with its content.
    pub(crate) fn content(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut content = BTreeMap::new();
        let mut folders = vec![self.state.clone(), self.data.clone(), self.config.clone()];
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else {
                    content.insert(path.clone(), std::fs::read(path).unwrap());
                }
            }
        }
        content
    }
}

/// A process that looks like the one that ToolHive serves a workload with.
pub(crate) fn process_of(name: &str) -> Program {
    let mut command = Command::new("sh");
    command.args(["-c", "sleep 1000; true", "start", name, "--foreground"]).stdin(Stdio::null());
    Program::start(command).unwrap()
}
