//! The log: lines on stderr or in a file, for people or as JSON. stdout is for data.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::bounded_file::BoundedFile;

/// The target of access log events: one per request, at debug level.
pub const ACCESS: &str = "access";

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// What is logged.
#[derive(Clone, Debug, Default)]
pub struct LogConfig {
    pub format: Format,
    /// Debug lines of our own crates too.
    pub debug: bool,
    /// One line per request.
    pub access: bool,
    /// A filter in `tracing` syntax that replaces the rest.
    pub filter: Option<String>,
    /// Where the lines go, if not to stderr. What workloads write is in their own files then, and not here.
    pub file: Option<PathBuf>,
}

/// Why nothing is logged.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("log filter {filter:?} is not valid: {reason}")]
    Filter { filter: String, reason: String },
    #[error("the log {} cannot be written: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
}

/// Begins to log. Later calls change nothing.
///
/// # Errors
/// [`LogError`].
pub fn init(config: &LogConfig) -> Result<(), LogError> {
    let text = config.filter.clone().unwrap_or_else(|| default_filter(config));
    let filter = EnvFilter::builder()
        .parse(&text)
        .map_err(|error| LogError::Filter { filter: text.clone(), reason: error.to_string() })?;
    let registry = tracing_subscriber::registry().with(filter);
    let (writer, ansi) = match &config.file {
        None => (BoxMakeWriter::new(io::stderr), io::stderr().is_terminal()),
        Some(path) => {
            let file =
                BoundedFile::open(path).map_err(|source| LogError::File { path: path.clone(), source })?;
            let file = SharedFile(Arc::new(Mutex::new(file)));
            (BoxMakeWriter::new(move || file.clone()), false)
        }
    };
    let layer = fmt::layer().with_writer(writer).with_ansi(ansi);
    // A second subscriber in one process (tests) is refused; the first one stays.
    let _ = match config.format {
        Format::Text => registry.with(layer.with_target(false)).try_init(),
        Format::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    Ok(())
}

/// A file that all threads write to, an event at a time.
#[derive(Clone)]
struct SharedFile(Arc<Mutex<BoundedFile>>);

impl Write for SharedFile {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.lock().write(event)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().flush()
    }
}

fn default_filter(config: &LogConfig) -> String {
    let level = if config.debug { "debug" } else { "info" };
    let access = if config.access { "debug" } else { "off" };
    let written = if config.file.is_some() { "off" } else { level };
    // Libraries speak up only when something is wrong.
    format!(
        "warn,proxy={level},middleware={level},workload={level},workload::log={written},vmcp={level},manager={level},\
         cli={level},skep={level},{ACCESS}={access}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_filter_can_be_read_and_a_bad_one_is_named() {
        for (debug, access) in [(false, false), (true, false), (false, true), (true, true)] {
            let text = default_filter(&LogConfig { debug, access, ..LogConfig::default() });
            assert!(EnvFilter::builder().parse(&text).is_ok(), "{text}");
        }
        let bad = LogConfig { filter: Some("a=b=c".into()), ..LogConfig::default() };
        assert!(init(&bad).unwrap_err().to_string().contains("a=b=c"));
    }
}
