//! What uv is told, or pip where there is no uv, and what they have made: a virtual environment, and the list of what is in
//! it, each with its digest, which is what was installed.
//!
//! A program of an environment that was moved names in its first line where that was made, so it is run with the
//! environment's Python.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use model::package::{PackageSpec, normal_name};
use serde::Deserialize;

use super::PackageError;
use super::maker::{Maker, Step};
use super::pin::Made;
use super::program::{Program, is_python};

const HELP: &str =
    "install Python 3 (with venv: on Debian the package python3-venv); with uv beside it, it is quicker";
/// What was asked for, and what it comes to.
const ASKED: &str = "asked.txt";
const LOCK: &str = "requirements.txt";
const REPORT: &str = "report.json";
/// The environment, and its Python.
const ENVIRONMENT: &str = "venv";
const PYTHON: &str = "venv/bin/python";

/// Becomes another program. The sandbox shows a program and what it needs; here that is Python, and what is become needs
/// nothing else.
const BECOME: &str = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])";

/// What pip would install.
#[derive(Deserialize)]
struct Report {
    install: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    metadata: Metadata,
    download_info: Download,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    version: String,
}

#[derive(Deserialize)]
struct Download {
    #[serde(default)]
    archive_info: Option<Archive>,
}

#[derive(Deserialize)]
struct Archive {
    #[serde(default)]
    hashes: BTreeMap<String, String>,
    #[serde(default)]
    hash: String,
}

/// The tools of this user.
struct Tools<'a> {
    maker: &'a Maker<'a>,
    /// The program that Python really is. What is on the `PATH` may be a script that looks for it, and does more.
    python: String,
    uv: Option<PathBuf>,
}

pub(super) async fn make(maker: &Maker<'_>) -> Result<Made, PackageError> {
    let spec = &maker.job.spec;
    maker.job.needed("python3", HELP)?;
    let tools = Tools::find(maker).await?;
    let asked = std::iter::once(requirement(spec)).chain(maker.job.with.iter().cloned());
    maker.write(ASKED, &asked.map(|line| line + "\n").collect::<String>())?;
    tools.lock().await?;
    let lock = maker.read(LOCK)?;
    let version = locked_version(&lock, spec.name());
    let pinned =
        spec.at(version.ok_or_else(|| maker.unreadable("is not in the list of what it comes to"))?)?;
    if maker.is_there(&pinned) {
        return Ok(Made { pinned, programs: None });
    }
    maker.tell(&format!("installing {} {} …", pinned.name(), pinned.exact().unwrap_or_default()));
    tools.install().await?;
    let programs = programs(maker)?;
    Ok(Made { pinned, programs: Some(programs) })
}

/// The line that asks for it.
fn requirement(spec: &PackageSpec) -> String {
    let text = spec.to_string();
    let text = text.strip_prefix("uvx://").unwrap_or_default();
    match spec.exact() {
        Some(_) => text.replacen('@', "==", 1),
        None => text.to_owned(),
    }
}

impl<'a> Tools<'a> {
    async fn find(maker: &'a Maker<'a>) -> Result<Self, PackageError> {
        let args = ["-I", "-c", "import sys; print(sys.executable)"].map(str::to_owned).to_vec();
        let step = Step { what: "python3", program: "python3".into(), args, ..Step::default() };
        let python = maker.run(step).await?.trim().to_owned();
        Ok(Self { maker, python, uv: maker.job.tool("uv") })
    }

    /// Finds out what it comes to.
    async fn lock(&self) -> Result<(), PackageError> {
        if let Some(uv) = &self.uv {
            let args = ["pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"];
            return self.uv(uv, "uv pip compile", &[&args, ["-o", LOCK, ASKED].as_slice()].concat()).await;
        }
        let own = self.maker.scratch.join("tools").to_string_lossy().into_owned();
        self.python("python3 -m venv", &["-m", "venv", &own]).await?;
        let args = ["install", "--quiet", "--dry-run", "--ignore-installed", "--report", REPORT, "-r", ASKED];
        self.pip("pip install --dry-run", &args).await?;
        let lock = lock_of(&self.maker.read(REPORT)?).map_err(|error| self.maker.unreadable(error))?;
        self.maker.write(LOCK, &lock)
    }

    async fn install(&self) -> Result<(), PackageError> {
        let args = ["install", "--quiet", "--require-hashes", "-r", LOCK];
        if let Some(uv) = &self.uv {
            self.uv(uv, "uv venv", &["venv", "--quiet", ENVIRONMENT]).await?;
            let more = ["--compile-bytecode", "--python", PYTHON];
            return self.uv(uv, "uv pip install", &[&["pip"], args.as_slice(), &more].concat()).await;
        }
        self.python("python3 -m venv", &["-m", "venv", "--without-pip", ENVIRONMENT]).await?;
        self.pip("pip install", &[&["--python", PYTHON], args.as_slice()].concat()).await
    }

    async fn uv(&self, uv: &Path, what: &str, args: &[&str]) -> Result<(), PackageError> {
        let cache = self.maker.scratch.join("uv").to_string_lossy().into_owned();
        let env = vec![
            // What it fetches by itself would be fetched from elsewhere.
            ("UV_PYTHON_DOWNLOADS", "never".to_owned()),
            ("UV_PYTHON", self.python.clone()),
            ("UV_CACHE_DIR", cache),
            ("UV_LINK_MODE", "copy".to_owned()),
            ("UV_NO_PROGRESS", "1".to_owned()),
            ("UV_NO_CONFIG", "1".to_owned()),
        ];
        let read = [Some(uv.to_owned()), uv.canonicalize().ok()].into_iter().flatten().collect();
        self.become_(what, &uv.to_string_lossy(), args, env, read).await
    }

    /// pip of an environment of its own: the system's may be old, or not there.
    async fn pip(&self, what: &str, args: &[&str]) -> Result<(), PackageError> {
        let own = self.maker.scratch.join("tools/bin/python").to_string_lossy().into_owned();
        let cache = self.maker.scratch.join("pip").to_string_lossy().into_owned();
        let env = vec![("PIP_CACHE_DIR", cache), ("PIP_DISABLE_PIP_VERSION_CHECK", "1".to_owned())];
        self.become_(what, &own, &[&["-m", "pip"], args].concat(), env, Vec::new()).await
    }

    /// Runs a program that is not shown itself through Python, which is, with all that it needs.
    async fn become_(
        &self,
        what: &str,
        program: &str,
        args: &[&str],
        env: Vec<(&str, String)>,
        read: Vec<PathBuf>,
    ) -> Result<(), PackageError> {
        let all = ["-I", "-c", BECOME, program].iter().chain(args).map(|arg| (*arg).to_owned()).collect();
        let program = self.python.as_str().into();
        self.maker.run(Step { what, program, args: all, env, read, cwd: None }).await.map(drop)
    }

    async fn python(&self, what: &str, args: &[&str]) -> Result<(), PackageError> {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let step = Step { what, program: self.python.as_str().into(), args, ..Step::default() };
        self.maker.run(step).await.map(drop)
    }
}

/// A report as a list that pip installs from.
fn lock_of(report: &str) -> Result<String, String> {
    let report: Report =
        serde_json::from_str(report).map_err(|error| format!("pip's report is not readable: {error}"))?;
    let lines =
        report.install.into_iter().map(|Item { metadata: Metadata { name, version }, download_info }| {
            let archive = download_info.archive_info.ok_or_else(|| format!("{name} is no archive"))?;
            let named = archive.hashes.get("sha256").map(|hex| format!("sha256:{hex}"));
            let hash = named.unwrap_or_else(|| archive.hash.replacen('=', ":", 1));
            if hash.is_empty() {
                return Err(format!("{name} has no digest"));
            }
            Ok(format!("{name}=={version} --hash={hash}\n"))
        });
    lines.collect()
}

/// The version of a package in a list.
fn locked_version<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let name = normal_name(name);
    lock.lines().find_map(|line| {
        let (left, right) = line.split_once("==")?;
        let is_it = normal_name(left.split('[').next()?.trim()) == name;
        is_it.then(|| right.split([' ', ';', '\\']).next().unwrap_or_default().trim())
    })
}

/// The programs that came with the package: its record lists its files.
fn programs(maker: &Maker<'_>) -> Result<BTreeMap<String, Program>, PackageError> {
    let lib = maker.entry.join(ENVIRONMENT).join("lib");
    let name = normal_name(maker.job.spec.name());
    let folders = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten();
    let infos = folders(lib).flat_map(|python| folders(python.path().join("site-packages")));
    let is_its = |file: &str| {
        let stem = file.strip_suffix(".dist-info").and_then(|stem| stem.rsplit_once('-'));
        stem.is_some_and(|(of, _)| normal_name(of) == name)
    };
    let mut its = infos.filter(|entry| is_its(&entry.file_name().to_string_lossy()));
    let info = its.next().ok_or_else(|| maker.unreadable("there is no record of its files"))?;
    let path = info.path().join("RECORD");
    let record = std::fs::read_to_string(&path).map_err(PackageError::on(&path, "read"))?;
    let program = |name: &str| {
        let path = PathBuf::from(ENVIRONMENT).join("bin").join(name);
        let through = is_python(&maker.entry.join(&path)).then(|| PathBuf::from(PYTHON));
        (name.to_owned(), Program { path, through })
    };
    Ok(in_bin(&record).map(program).collect())
}

/// The files of a record that are programs.
fn in_bin(record: &str) -> impl Iterator<Item = &str> {
    let files = record.lines().filter_map(|line| line.split(',').next());
    let names = files.filter_map(|file| file.strip_prefix("../../../bin/"));
    names.filter(|name| !name.is_empty() && !name.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_a_requirement() {
        for (spec, expect) in [
            ("uvx://a", "a"),
            ("uvx://a@1.0", "a==1.0"),
            ("uvx://a[x,y]==1.0", "a[x,y]==1.0"),
            ("uvx://a>=1,<2", "a>=1,<2"),
            ("uvx://a~=1.4", "a~=1.4"),
        ] {
            assert_eq!(requirement(&spec.parse().unwrap()), expect);
        }
    }

    #[test]
    fn a_report_becomes_a_list_with_digests() {
        let report = r#"{"install":[
            {"metadata":{"name":"A_b","version":"1.0"},"download_info":{"url":"u","archive_info":{"hash":"sha256=1","hashes":{"sha256":"1"}}}},
            {"metadata":{"name":"c","version":"2"},"download_info":{"url":"u","archive_info":{"hash":"sha256=2"}}}]}"#;
        let lock = lock_of(report).unwrap();
        assert_eq!(lock, "A_b==1.0 --hash=sha256:1\nc==2 --hash=sha256:2\n");
        assert_eq!(locked_version(&lock, "a-b"), Some("1.0"));
        for bad in [
            r#"{"install":[{"metadata":{"name":"a","version":"1"},"download_info":{"vcs_info":{}}}]}"#,
            r#"{"install":[{"metadata":{"name":"a","version":"1"},"download_info":{"archive_info":{}}}]}"#,
            "{",
        ] {
            assert!(lock_of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_version_is_found_in_a_list() {
        let lock = "a==1 \\\n    --hash=sha256:1\nmcp-server-time[x]==2026.1.26 \\\n    --hash=sha256:2\nb==3 ; python_version>'3'\n";
        for (name, expect) in
            [("mcp_server_time", Some("2026.1.26")), ("a", Some("1")), ("b", Some("3")), ("c", None)]
        {
            assert_eq!(locked_version(lock, name), expect);
        }
    }

    #[test]
    fn programs_are_the_files_in_bin() {
        let record =
            "a/__init__.py,sha256=x,1\n../../../bin/a,sha256=y,2\n../../../bin/../x,,\n../../../bin/b,,\n";
        assert_eq!(in_bin(record).collect::<Vec<_>>(), ["a", "b"]);
    }
}
