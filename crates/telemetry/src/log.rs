//! The log: lines on stderr, for people or as JSON. stdout is for data.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

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
}

/// A filter text that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("log filter {filter:?} is not valid: {reason}")]
pub struct FilterError {
    pub filter: String,
    pub reason: String,
}

/// Begins to log. Later calls change nothing.
///
/// # Errors
/// [`FilterError`].
pub fn init(config: &LogConfig) -> Result<(), FilterError> {
    let text = config.filter.clone().unwrap_or_else(|| default_filter(config));
    let filter = EnvFilter::builder()
        .parse(&text)
        .map_err(|error| FilterError { filter: text.clone(), reason: error.to_string() })?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr);
    // A second subscriber in one process (tests) is refused; the first one stays.
    let _ = match config.format {
        Format::Text => registry.with(layer.with_target(false)).try_init(),
        Format::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    Ok(())
}

fn default_filter(config: &LogConfig) -> String {
    let level = if config.debug { "debug" } else { "info" };
    let access = if config.access { "debug" } else { "off" };
    // Libraries speak up only when something is wrong.
    format!(
        "warn,proxy={level},middleware={level},workload={level},manager={level},cli={level},skep={level},{ACCESS}={access}"
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
