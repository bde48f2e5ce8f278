//! A file to begin with: the workloads of a group as backends, and what else has to be said, as it usually is.

use std::fmt::Write;

use serde_json::Value;

use super::group::is_behind;
use crate::daemon::wire::WorkloadView;

/// The text of a virtual MCP's file for a group, with those of these workloads that are there. Where none is, the file says so,
/// and follows the group as it is served.
#[must_use]
pub fn draft(group: &str, workloads: &[WorkloadView]) -> String {
    let mut of_group: Vec<_> =
        workloads.iter().filter(|workload| workload.group == group && is_behind(workload)).collect();
    of_group.sort_by(|one, other| one.name.cmp(&other.name));
    let name = text(&format!("{}-vmcp", group.replace(' ', "-")));
    let mut file = format!(
        "# Several MCP servers as one: skep vmcp serve --config FILE\nname: {name}\ngroupRef: {}\n",
        text(group)
    );
    if of_group.is_empty() {
        file.push_str(
            "# None yet: the servers of the group are followed as they come and go.\nbackends: []\n",
        );
    } else {
        file.push_str(
            "# Without this list the servers of the group are followed as they come and go.\nbackends:\n",
        );
    }
    for workload in of_group {
        let transport = if workload.proxy_mode == "sse" { "sse" } else { "streamable-http" };
        let (name, url) = (text(&workload.name), text(&workload.url));
        // Writing to a text does not fail.
        let _ = writeln!(file, "  - name: {name}\n    url: {url}\n    transport: {transport}");
    }
    file.push_str(REST);
    file
}

const REST: &str = "\
incomingAuth:
  type: anonymous
outgoingAuth:
  source: inline
aggregation:
  # prefix, priority or manual: what becomes of tools of the same name
  conflictResolution: prefix
  conflictResolutionConfig:
    prefixFormat: \"{workload}_\"
operational:
  failureHandling:
    healthCheckInterval: 30s
    healthCheckTimeout: 10s
    unhealthyThreshold: 3
    partialFailureMode: best_effort
";

/// A text in quotes: JSON's are YAML's, too.
fn text(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmcp::check;

    fn workload(name: &str, group: &str, status: &str, mode: &str) -> WorkloadView {
        let view = serde_json::json!({
            "name": name, "package": "p", "url": format!("http://127.0.0.1:1/{name}"), "port": 1, "transport_type": "stdio",
            "proxy_mode": mode, "status": status, "created_at": "2026-01-01T00:00:00Z", "group": group,
            "started_at": "2026-01-01T00:00:00Z",
        });
        serde_json::from_value(view).unwrap()
    }

    #[test]
    fn what_is_drafted_is_valid_and_has_the_groups_servers() {
        let workloads = [
            workload("b", "desk", "running", "sse"),
            workload("a", "desk", "running", "streamable-http"),
            workload("off", "desk", "stopped", "sse"),
            workload("other", "default", "running", "sse"),
        ];
        for group in ["desk", "my \"group\": #1", "none"] {
            let file = draft(group, &workloads);
            check(&file, &|_| None).unwrap_or_else(|error| panic!("{error}\n{file}"));
        }
        let file = draft("desk", &workloads);
        let (a, b) = (file.find("name: \"a\"").unwrap(), file.find("name: \"b\"").unwrap());
        assert!(a < b && file.contains("transport: sse") && !file.contains("off") && !file.contains("other"));
    }
}
