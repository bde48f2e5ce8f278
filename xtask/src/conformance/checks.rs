//! What a run of the suite found, and what another run lost against it.
//!
//! Checks are counted by scenario and id, since ids repeat. A check that was passed and now is merely information,
//! a warning or skipped is lost too: the suite's own exit code does not see that.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Check {
    id: String,
    status: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    passed: usize,
    failed: usize,
}

/// The checks of one run, by `scenario:id`.
#[derive(Debug, Default)]
pub(super) struct Checks {
    counts: BTreeMap<String, Count>,
}

impl Checks {
    /// Reads the folder that the suite wrote.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let mut checks = Self::default();
        let mut pending = vec![folder.to_owned()];
        while let Some(folder) = pending.pop() {
            for entry in std::fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    pending.push(path);
                } else if path.file_name().is_some_and(|name| name == "checks.json") {
                    let scenario = scenario(&folder)?;
                    checks.add(&scenario, &std::fs::read_to_string(&path)?)?;
                }
            }
        }
        ensure!(
            !checks.counts.is_empty(),
            "the suite wrote no checks: see {}",
            folder.join("suite.log").display()
        );
        Ok(checks)
    }

    fn add(&mut self, scenario: &str, text: &str) -> anyhow::Result<()> {
        for check in serde_json::from_str::<Vec<Check>>(text)? {
            let count = self.counts.entry(format!("{scenario}:{}", check.id)).or_default();
            count.passed += usize::from(check.status == "SUCCESS");
            count.failed += usize::from(check.status == "FAILURE");
        }
        Ok(())
    }

    pub(super) fn passed(&self) -> usize {
        self.counts.values().map(|count| count.passed).sum()
    }

    pub(super) fn failed(&self) -> usize {
        self.counts.values().map(|count| count.failed).sum()
    }

    /// What `other` passes less often, or fails more often, than this run.
    pub(super) fn lost_in(&self, other: &Self) -> Vec<String> {
        let none = Count::default();
        let worse = |name: &&String| {
            let (before, after) =
                (self.counts.get(*name).unwrap_or(&none), other.counts.get(*name).unwrap_or(&none));
            after.passed < before.passed || after.failed > before.failed
        };
        let mut names: Vec<&String> = self.counts.keys().chain(other.counts.keys()).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().filter(worse).cloned().collect()
    }
}

/// `server-tools-list-2026-11-25T19-21-54-882Z` is `tools-list`.
fn scenario(folder: &Path) -> anyhow::Result<String> {
    let name = folder.file_name().and_then(|name| name.to_str()).context("a folder without a name")?;
    let name = name.strip_prefix("server-").unwrap_or(name);
    let time = name.len().checked_sub("-2026-11-25T19-21-54-882Z".len());
    let is_time = |rest: &str| rest.starts_with("-20") && rest.ends_with('Z');
    Ok(match time.filter(|at| name.is_char_boundary(*at) && is_time(&name[*at..])) {
        Some(at) => name[..at].to_owned(),
        None => name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks(text: &[(&str, &str)]) -> Checks {
        let mut checks = Checks::default();
        let list: Vec<_> =
            text.iter().map(|(id, status)| serde_json::json!({"id": id, "status": status})).collect();
        checks.add("s", &serde_json::to_string(&list).unwrap()).unwrap();
        checks
    }

    #[test]
    fn what_is_no_longer_passed_is_lost_whatever_it_became() {
        let base = checks(&[("a", "SUCCESS"), ("b", "SUCCESS"), ("b", "SUCCESS"), ("c", "INFO")]);
        assert!(base.lost_in(&checks(&[("a", "SUCCESS"), ("b", "SUCCESS"), ("b", "SUCCESS")])).is_empty());
        assert_eq!(base.lost_in(&checks(&[("a", "INFO"), ("b", "SUCCESS")])), ["s:a", "s:b"]);
        assert_eq!(
            base.lost_in(&checks(&[("a", "SUCCESS"), ("b", "SUCCESS"), ("b", "SUCCESS"), ("d", "FAILURE")])),
            ["s:d"]
        );
    }

    #[test]
    fn scenarios_are_known_without_their_time() {
        for (folder, expect) in [
            ("server-tools-list-2026-11-25T19-21-54-882Z", "tools-list"),
            ("server-server-sse-polling-2026-11-25T19-21-54-882Z", "server-sse-polling"),
            ("sse-retry-2026-11-25T19-21-54-882Z", "sse-retry"),
            ("plain", "plain"),
        ] {
            assert_eq!(scenario(Path::new(folder)).unwrap(), expect);
        }
    }
}
