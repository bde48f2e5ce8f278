//! `skep logs`: what servers wrote, from the files the daemon keeps.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
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
    let show = |line: &str| printer.data(&(filter.shown(line).to_owned() + "\n"));
    let mut last = VecDeque::new();
    let mut take = |line: &str| match args.tail {
        _ if !filter.takes(line) => Ok(()),
        None => show(line),
        Some(count) => {
            last.push_back(line.to_owned());
            if last.len() > count {
                last.pop_front();
            }
            Ok(())
        }
    };
    if let Some(mut before) = open(&bounded_file::before(&log))? {
        before.each_line(&mut take)?;
    }
    let mut file = open(&log)?;
    if file.is_none() && !args.follow {
        bail!("there is no log of {:?}: it has written none, or is none of `skep list --all`", args.name);
    }
    if let Some(file) = &mut file {
        file.each_line(&mut take)?;
    }
    last.iter().try_for_each(|line| show(line))?;
    if args.follow {
        let show = |line: &str| if filter.takes(line) { show(line) } else { Ok(()) };
        follow(&log, file, show)?;
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

/// A log file that is read.
struct Reader {
    /// Which file it is, whatever it is called by now.
    number: u64,
    reader: BufReader<File>,
    line: String,
}

/// `None` where there is no such file.
fn open(path: &Path) -> anyhow::Result<Option<Reader>> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?.ino(), file)));
    match opened {
        Ok((number, file)) => Ok(Some(Reader { number, reader: BufReader::new(file), line: String::new() })),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} could not be read", path.display())),
    }
}

impl Reader {
    /// The lines that are whole and not read yet. The rest of one that is being written comes the next time.
    fn each_line(&mut self, mut take: impl FnMut(&str) -> anyhow::Result<()>) -> anyhow::Result<()> {
        while self.reader.read_line(&mut self.line)? > 0 && self.line.ends_with('\n') {
            take(self.line.trim_end_matches('\n'))?;
            self.line.clear();
        }
        Ok(())
    }
}

/// Shows what is added, until it is interrupted or nobody reads it. A file that was put aside is read to its end, then the next
/// one from its beginning.
fn follow(
    path: &Path,
    mut file: Option<Reader>,
    show: impl Fn(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    loop {
        // In this order: what is in a file that is not written to any more is seen by now.
        let newest = std::fs::metadata(path).ok().map(|found| found.ino());
        if let Some(file) = &mut file {
            file.each_line(&show)?;
        }
        if newest.is_some() && file.as_ref().map(|file| file.number) != newest {
            file = open(path)?;
            continue;
        }
        if !crate::printer::is_read() {
            return Ok(());
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
