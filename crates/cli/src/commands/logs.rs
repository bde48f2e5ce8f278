//! `skep logs`: what servers wrote, from the files the daemon keeps.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use manager::daemon::Folders;
use manager::daemon::client::DaemonClient;
use telemetry::bounded_file;

use super::daemon;
use crate::args::LogsArgs;
use crate::dirs;
use crate::exit::Outcome;
use crate::printer::Printer;

/// How often it is looked whether something was added.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A word that is no server's name here.
const PRUNE: &str = "prune";

pub(crate) fn run(args: &LogsArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    let folders = dirs::folders()?;
    if args.name == PRUNE {
        return prune(&folders, printer);
    }
    let log = if args.proxy { folders.daemon_log() } else { folders.log(&args.name) };
    let filter = Filter::new(args);
    let mut last = VecDeque::new();
    let show = |line: &str| printer.data(&(filter.shown(line).to_owned() + "\n"));
    for path in [bounded_file::before(&log), log.clone()] {
        for line in lines(&path)? {
            let line = line?;
            if !filter.takes(&line) {
                continue;
            }
            match args.tail {
                None => show(&line)?,
                Some(count) => {
                    last.push_back(line);
                    if last.len() > count {
                        last.pop_front();
                    }
                }
            }
        }
    }
    last.iter().try_for_each(|line| show(line))?;
    if args.follow {
        return follow(&log, &filter, show);
    }
    if !log.exists() {
        bail!("there is no log of {:?}: `skep list --all` shows the servers", args.name);
    }
    Ok(Outcome::Done)
}

/// Which lines are shown, and how.
struct Filter<'a> {
    since: Option<SystemTime>,
    /// Of the daemon's lines, those about this workload.
    about: Option<String>,
    args: &'a LogsArgs,
}

impl<'a> Filter<'a> {
    fn new(args: &'a LogsArgs) -> Self {
        let about = args.proxy.then(|| format!("workload.name={}", args.name));
        Self { since: args.since, about, args }
    }

    fn takes(&self, line: &str) -> bool {
        let at = || line.split_once(' ').and_then(|(at, _)| humantime::parse_rfc3339(at).ok());
        let is_about =
            |about: &String| line.split([' ', '{', '}', ',']).any(|word| word.replace('"', "") == *about);
        self.about.as_ref().is_none_or(is_about)
            && self.since.is_none_or(|since| at().is_none_or(|at| at >= since))
    }

    fn shown<'l>(&self, line: &'l str) -> &'l str {
        match line.split_once(' ') {
            Some((at, rest))
                if !self.args.timestamps && !self.args.proxy && humantime::parse_rfc3339(at).is_ok() =>
            {
                rest
            }
            _ => line,
        }
    }
}

fn lines(path: &Path) -> anyhow::Result<impl Iterator<Item = std::io::Result<String>>> {
    let file = match File::open(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("{} could not be read", path.display())),
    };
    Ok(file.into_iter().flat_map(|file| BufReader::new(file).lines()))
}

/// Shows what is added, until it is interrupted. A file that is put aside is read to its end, then the next one from its
/// beginning.
fn follow(
    path: &PathBuf,
    filter: &Filter<'_>,
    show: impl Fn(&str) -> anyhow::Result<()>,
) -> anyhow::Result<Outcome> {
    let mut open: Option<(u64, BufReader<File>)> = None;
    let mut is_first = true;
    let mut line = String::new();
    loop {
        if open.is_none()
            && let Ok(mut file) = File::open(path)
        {
            if is_first {
                file.seek(std::io::SeekFrom::End(0))?;
            }
            open = Some((file.metadata()?.ino(), BufReader::new(file)));
        }
        is_first = false;
        if let Some((number, reader)) = &mut open {
            while reader.read_line(&mut line)? > 0 {
                // The rest of a line that is being written comes with the next look.
                if !line.ends_with('\n') {
                    break;
                }
                let whole = line.trim_end_matches('\n');
                if filter.takes(whole) {
                    show(whole)?;
                }
                line.clear();
            }
            let is_same = std::fs::metadata(path).is_ok_and(|found| found.ino() == *number);
            if !is_same {
                open = None;
                continue;
            }
        }
        sleep(LOOK_EVERY);
    }
}

/// Removes the logs of servers that are no more.
fn prune(folders: &Folders, printer: &Printer) -> anyhow::Result<Outcome> {
    let views = daemon::ask(async |daemon: DaemonClient| Ok(daemon.list().await?))?;
    let logs = folders.logs();
    let entries = match std::fs::read_dir(&logs) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            printer.data("No log files found\n")?;
            return Ok(Outcome::Done);
        }
        Err(error) => return Err(error).with_context(|| format!("{} could not be read", logs.display())),
    };
    let mut removed = 0;
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()) {
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = file.strip_suffix(".1").unwrap_or(file).strip_suffix(".log");
        let is_orphan = name.is_some_and(|name| views.iter().all(|view| view.name != name));
        if is_orphan {
            std::fs::remove_file(&path)
                .with_context(|| format!("{} could not be removed", path.display()))?;
            printer.data(&format!("Removed: {}\n", path.display()))?;
            removed += 1;
        }
    }
    if removed == 0 {
        printer.data("No orphaned log files found to prune\n")?;
    }
    Ok(Outcome::Done)
}
