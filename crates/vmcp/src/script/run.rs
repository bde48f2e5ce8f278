//! Scripts as they run: so many at once, each with an evaluator, its calls, and its time.

#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::protocol::{Answer, Job, Limits, Said};
use super::request::Request;
use super::result::{failed, returned, value_of};

/// For a script in all.
const WITHIN: Duration = Duration::from_secs(60);
/// Scripts at once; others wait for their turn within their time.
const AT_ONCE: usize = 8;
/// Bytes of what a script prints that are kept.
const MAX_LOGS: usize = 64 * 1024;
/// Bytes of what a script returns, or gives to a tool.
const MAX_OUTPUT: usize = 4 * 1024 * 1024;
/// Bytes of a line of an evaluator: an output, and what is around it.
const MAX_LINE: u64 = 5 * 1024 * 1024;
/// Bytes of a tool's answer that a script is given.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// Calls of a script.
const MAX_CALLS: u64 = 1_000;
/// Bytes of a script's values.
const MAX_HEAP: usize = 128 * 1024 * 1024;

/// The future of a tool's result.
pub type Calling<'a> = Pin<Box<dyn Future<Output = Result<Bytes, String>> + Send + 'a>>;

/// The tools that a script may call.
pub trait Tools: Send + Sync {
    /// Their names.
    fn names(&self) -> Vec<String>;

    /// Calls one, and gives its result, or why there is none. Dropping the future cancels the call.
    fn call<'a>(&'a self, tool: &'a str, arguments: &'a RawValue) -> Calling<'a>;
}

/// The future of an evaluator.
pub type Starting<'a> = Pin<Box<dyn Future<Output = Result<Evaluator, NotStarted>> + Send + 'a>>;

/// Where scripts are evaluated.
pub trait Evaluators: Send + Sync + fmt::Debug {
    /// Starts one.
    fn start(&self) -> Starting<'_>;
}

/// Why there is no evaluator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotStarted(pub String);

/// One that waits for its job.
pub struct Evaluator {
    /// What it reads.
    pub input: Box<dyn AsyncWrite + Send + Unpin>,
    /// What it says.
    pub output: Box<dyn AsyncRead + Send + Unpin>,
    /// Dropping this ends it, whatever it does.
    pub held: Box<dyn Send>,
}

impl fmt::Debug for Evaluator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evaluator").finish_non_exhaustive()
    }
}

/// How scripts are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Statements of a script.
    pub steps: u64,
    /// Calls at once.
    pub parallel: usize,
    /// For each call.
    pub call_within: Duration,
}

/// What runs scripts.
#[derive(Debug)]
pub struct Scripts {
    settings: ArcSwap<Settings>,
    evaluators: Arc<dyn Evaluators>,
    turns: Semaphore,
}

impl Scripts {
    /// With evaluators from there.
    #[must_use]
    pub fn new(settings: Settings, evaluators: Arc<dyn Evaluators>) -> Self {
        Self { settings: ArcSwap::from_pointee(settings), evaluators, turns: Semaphore::new(AT_ONCE) }
    }

    /// How scripts are run.
    #[must_use]
    pub fn settings(&self) -> Settings {
        **self.settings.load()
    }

    /// From now on scripts are run like this. Those that run go on as they began.
    pub fn set_settings(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// Runs a script as a call of `execute_tool_script`, and gives the result of that.
    pub async fn run(&self, arguments: &[u8], tools: &dyn Tools) -> Vec<u8> {
        let request = match Request::read(arguments) {
            Ok(request) => request,
            Err(problem) => return failed(&problem.to_string(), ""),
        };
        let mut logs = String::new();
        let deadline = Instant::now() + WITHIN;
        let script = Script { settings: self.settings(), tools };
        let outcome = timeout_at(deadline, self.evaluate(request, script, &mut logs)).await;
        let late = || Err(format!("the script has not ended within {} s", WITHIN.as_secs()));
        match outcome.unwrap_or_else(|_| late()) {
            Ok(value) => returned(&value, &logs),
            Err(message) => failed(&format!("script failed: {message}"), &logs),
        }
    }

    async fn evaluate(
        &self,
        request: Request,
        running: Script<'_>,
        logs: &mut String,
    ) -> Result<Box<RawValue>, String> {
        let _turn = self.turns.acquire().await;
        let Evaluator { mut input, output, held: _held } = self
            .evaluators
            .start()
            .await
            .map_err(|error| format!("there is nothing that would evaluate it: {error}"))?;
        let Request { script, data } = request;
        let job = Job { script, data, tools: running.tools.names(), limits: running.limits() };
        // Whoever ends early says so, or its end does.
        let _ = write(&mut input, &job).await;
        running.attend(&mut input, output, logs).await
    }
}

/// A script that runs.
#[derive(Clone, Copy)]
struct Script<'a> {
    settings: Settings,
    tools: &'a dyn Tools,
}

impl Script<'_> {
    fn limits(self) -> Limits {
        let Settings { steps, parallel, .. } = self.settings;
        Limits { steps, calls: MAX_CALLS, parallel, output: MAX_OUTPUT, heap: MAX_HEAP }
    }

    /// Does what the evaluator asks for, until it has ended.
    async fn attend(
        self,
        input: &mut (dyn AsyncWrite + Send + Unpin),
        output: Box<dyn AsyncRead + Send + Unpin>,
        logs: &mut String,
    ) -> Result<Box<RawValue>, String> {
        let mut lines = Lines::new(output);
        let mut calls = FuturesUnordered::new();
        loop {
            tokio::select! {
                line = lines.next() => match line? {
                    Said::Call { id, tool, arguments } => calls.push(self.call(id, tool, arguments)),
                    Said::Print(text) => keep(logs, &text),
                    Said::Done(value) => return Ok(value),
                    Said::Failed(message) => return Err(message),
                },
                Some(answer) = calls.next() => {
                    // As above.
                    let _ = write(input, &answer).await;
                }
            }
        }
    }

    async fn call(self, id: u64, tool: String, arguments: Box<RawValue>) -> Answer {
        let within = self.settings.call_within;
        let outcome = match timeout(within, self.tools.call(&tool, &arguments)).await {
            Err(_) => Err(format!("{tool}: no answer within {within:?}")),
            Ok(Err(problem)) => Err(format!("{tool}: {problem}")),
            Ok(Ok(result)) if result.len() > MAX_ANSWER => {
                Err(format!("{tool}: its answer has {} bytes, a script is given {MAX_ANSWER}", result.len()))
            }
            Ok(Ok(result)) => value_of(&tool, &result),
        };
        Answer { id, outcome }
    }
}

/// Lines of an evaluator. What was read of one is kept when nobody waits for it any more.
struct Lines {
    output: BufReader<Box<dyn AsyncRead + Send + Unpin>>,
    line: Vec<u8>,
}

impl Lines {
    fn new(output: Box<dyn AsyncRead + Send + Unpin>) -> Self {
        Self { output: BufReader::new(output), line: Vec::new() }
    }

    async fn next(&mut self) -> Result<Said, String> {
        let left = MAX_LINE.saturating_sub(self.line.len() as u64);
        let read = (&mut self.output).take(left).read_until(b'\n', &mut self.line).await;
        if read.is_err() || !self.line.ends_with(b"\n") {
            return Err("its evaluator has ended: the script needed too much memory, or time in one expression, or is \
                        nested too deeply"
                .to_owned());
        }
        let said = serde_json::from_slice(&self.line);
        self.line.clear();
        said.map_err(|error| format!("its evaluator says what nobody understands: {error}"))
    }
}

async fn write(
    input: &mut (impl AsyncWrite + Unpin + ?Sized),
    what: &impl serde::Serialize,
) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    input.write_all(&line).await?;
    input.flush().await
}

/// Keeps what is printed, as far as there is room.
fn keep(logs: &mut String, text: &str) {
    let room = MAX_LOGS.saturating_sub(logs.len() + 1);
    if room > 0 {
        if !logs.is_empty() {
            logs.push('\n');
        }
        logs.push_str(&text[..text.floor_char_boundary(room)]);
    }
}
