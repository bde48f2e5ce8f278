//! The tidy test: what the compiler does not see. Which crate may use which, lints inherited, headers, links.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::build::root;

/// Which crate may use which of ours (`house-style.md` §2). Whatever is not here is not allowed.
const ARROWS: [(&str, &[&str]); 13] = [
    ("mcp", &[]),
    ("model", &[]),
    ("telemetry", &[]),
    ("auth", &["model", "telemetry"]),
    ("middleware", &["auth", "mcp", "model", "telemetry"]),
    ("proxy", &["mcp", "model", "telemetry"]),
    ("workload", &["model", "telemetry"]),
    ("store", &["model", "telemetry"]),
    ("vmcp", &["auth", "mcp", "model", "proxy", "telemetry"]),
    ("example", &["mcp"]),
    ("manager", &["auth", "mcp", "middleware", "model", "proxy", "store", "telemetry", "vmcp", "workload"]),
    ("cli", &["example", "manager", "mcp", "middleware", "model", "proxy", "telemetry", "workload"]),
    ("xtask", &["testkit"]),
];

/// Support that any test may use and nothing else may.
const DEV_ONLY: &str = "testkit";

/// Names that say nothing.
const EMPTY_NAMES: [&str; 5] = ["utils", "util", "common", "helpers", "types"];

/// Checks everything and lists what is wrong.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    let files = tracked()?;
    for file in &files {
        let text = || fs::read_to_string(root().join(file)).with_context(|| file.display().to_string());
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => check_source(file, &text()?, &mut wrong),
            Some("md") => check_links(file, &text()?, &mut wrong),
            _ if file.ends_with("Cargo.toml") && file.starts_with("crates") => {
                check_manifest(file, &text()?, &mut wrong);
            }
            _ => {}
        }
    }
    if wrong.is_empty() {
        println!("tidy: {} files, nothing to say", files.len());
        return Ok(());
    }
    wrong.iter().for_each(|line| println!("{line}"));
    bail!("tidy: {} things to mend", wrong.len())
}

/// The files that git knows or would take.
fn tracked() -> anyhow::Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root());
    let out = git.output().context("git could not be started")?;
    let text = String::from_utf8(out.stdout)?;
    Ok(text.lines().map(PathBuf::from).filter(|path| root().join(path).is_file()).collect())
}

fn check_source(file: &Path, text: &str, wrong: &mut Vec<String>) {
    let mut say = |what: &str| wrong.push(format!("{}: {what}", file.display()));
    if !text.starts_with("//!") {
        say("begins without a `//!` header that says what it is for");
    }
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name == "mod.rs" {
        say("is a mod.rs: name it after its module");
    }
    if EMPTY_NAMES.iter().any(|empty| name.strip_suffix(".rs") == Some(empty)) {
        say("has a name that says nothing");
    }
    let is_root = ["src/lib.rs", "src/main.rs"].iter().any(|end| file.ends_with(end));
    if is_root && !file.starts_with("crates/workload") && !text.contains("#![forbid(unsafe_code)]") {
        say("does not forbid unsafe code");
    }
    let unsafe_home = file.starts_with("crates/workload/src/process/os");
    // Split, so that this line is not one itself.
    let word = concat!("unsafe", " ");
    let uses = |line: &str| !line.trim_start().starts_with("//") && line.contains(word) && line.contains('{');
    if !unsafe_home && !is_root && text.lines().any(uses) {
        say("has unsafe code outside of workload::process::os");
    }
}

fn check_manifest(file: &Path, text: &str, wrong: &mut Vec<String>) {
    let name = file.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
    let mut say = |what: String| wrong.push(format!("{}: {what}", file.display()));
    if !text.contains("[lints]\nworkspace = true") {
        say("does not inherit the workspace's lints".to_owned());
    }
    let allowed = ARROWS.iter().find(|(other, _)| *other == name).map(|(_, allowed)| *allowed);
    let ours: Vec<&str> = ARROWS.iter().map(|(name, _)| *name).chain([DEV_ONLY]).collect();
    let mut section = "";
    for line in text.lines() {
        if line.starts_with('[') {
            section = line;
            continue;
        }
        let Some((used, value)) = line.split_once('=') else { continue };
        let used = used.trim().trim_end_matches(".workspace");
        let is_dependency = section.contains("dependencies");
        if is_dependency && !line.contains("workspace") && !value.contains("true") {
            say(format!("{used} has a version of its own: versions stand in the workspace"));
        }
        if section != "[dependencies]" || !ours.contains(&used) {
            continue;
        }
        let fine = allowed.is_none_or(|allowed| allowed.contains(&used)) && (used != DEV_ONLY);
        if !fine {
            say(format!("may not use {used}"));
        }
    }
    if allowed.is_none() && name != DEV_ONLY {
        say("is not in the table of arrows (xtask/src/tidy.rs)".to_owned());
    }
}

/// Links to files of ours must lead somewhere.
fn check_links(file: &Path, text: &str, wrong: &mut Vec<String>) {
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let path = link.split('#').next().unwrap_or_default();
        if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
            continue;
        }
        if !root().join(folder).join(path).exists() {
            wrong.push(format!("{}: the link to {link} leads nowhere", file.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(check: impl Fn(&mut Vec<String>)) -> usize {
        let mut wrong = Vec::new();
        check(&mut wrong);
        wrong.len()
    }

    #[test]
    fn a_forbidden_arrow_is_seen() {
        let manifest =
            |uses: &str| format!("[lints]\nworkspace = true\n\n[dependencies]\n{uses}.workspace = true\n");
        let file = Path::new("crates/proxy/Cargo.toml");
        assert_eq!(found(|wrong| check_manifest(file, &manifest("mcp"), wrong)), 0);
        assert_eq!(found(|wrong| check_manifest(file, &manifest("workload"), wrong)), 1);
        assert_eq!(found(|wrong| check_manifest(file, &manifest("testkit"), wrong)), 1);
        assert_eq!(
            found(|wrong| check_manifest(Path::new("crates/new/Cargo.toml"), &manifest("bytes"), wrong)),
            1
        );
        assert_eq!(found(|wrong| check_manifest(file, "[dependencies]\nbytes = \"1\"\n", wrong)), 2);
    }

    #[test]
    fn a_bare_or_unsafe_file_is_seen() {
        let file = Path::new("crates/proxy/src/body.rs");
        assert_eq!(found(|wrong| check_source(file, "//! Fine.\n", wrong)), 0);
        assert_eq!(found(|wrong| check_source(file, "fn main() {}\n", wrong)), 1);
        let code = format!("//! Fine.\nlet x = {} {{ 1 }};\n", "unsafe");
        assert_eq!(found(|wrong| check_source(file, &code, wrong)), 1);
        assert_eq!(found(|wrong| check_source(Path::new("crates/x/src/utils.rs"), "//! No.\n", wrong)), 1);
    }

    #[test]
    fn a_dead_link_is_seen() {
        let file = Path::new("README.md");
        assert_eq!(found(|wrong| check_links(file, "[a](Cargo.toml) [b](https://x/y)", wrong)), 0);
        assert_eq!(found(|wrong| check_links(file, "[a](no/such/file.md#x)", wrong)), 1);
    }
}
