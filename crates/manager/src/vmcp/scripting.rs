//! Scripts of clients, each evaluated by a process of its own: skep, started in a hidden mode, with little memory, and killed
//! when its time is over. What an expression asks for at once no count within the process would keep from it.

use std::path::Path;
use std::process::ExitCode;

use vmcp::script::{Evaluator, Evaluators, NotStarted, Starting};
use workload::{CommandSpec, LogTail, Pipes, Process};

/// The first argument that starts the hidden mode.
const MODE: &str = "__script";

/// Evaluators that are processes.
#[derive(Debug)]
pub(super) struct Processes {
    command: CommandSpec,
    log: LogTail,
}

impl Processes {
    /// `skep` is this program.
    pub(super) fn new(skep: &Path) -> Result<Self, workload::process::BadCommand> {
        let command = CommandSpec::new(skep, [MODE])?.with_clear_env();
        Ok(Self { command, log: LogTail::quiet("script") })
    }
}

impl Evaluators for Processes {
    fn start(&self) -> Starting<'_> {
        Box::pin(async {
            let started = Process::spawn_piped(&self.command, &self.log).await;
            let (process, Pipes { stdin, stdout }) =
                started.map_err(|error| NotStarted(error.to_string()))?;
            Ok(Evaluator { input: Box::new(stdin), output: Box::new(stdout), held: Box::new(process) })
        })
    }
}

/// Bytes that an evaluator may write to, its stack included.
const MEMORY: u64 = 512 * 1024 * 1024;
/// Seconds of a processor. Whoever waits for tools uses none.
const PROCESSOR: u64 = 20;
/// Scripts are nested as deep as that allows; more of it than a thread usually has.
const STACK: usize = 64 * 1024 * 1024;

/// Is an evaluator, if this process was started as one. To be called in `main` before any argument is read.
#[must_use]
pub fn dispatch() -> Option<ExitCode> {
    let is_one = std::env::args_os().nth(1).is_some_and(|mode| mode == MODE);
    is_one.then(|| match evaluate() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever started it sees that it has ended, which is all there is to say.
        Err(_) => ExitCode::FAILURE,
    })
}

fn evaluate() -> std::io::Result<()> {
    bound()?;
    let evaluating = || vmcp::script::evaluator::evaluate_lines(std::io::stdin().lock(), std::io::stdout());
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(evaluating)?;
    thread.join().unwrap_or_else(|_| Err(std::io::Error::other("the evaluator has panicked")))
}

fn bound() -> std::io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let limit = |most: u64| Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::Data, limit(MEMORY))?;
    setrlimit(Resource::Cpu, limit(PROCESSOR))?;
    Ok(setrlimit(Resource::Core, limit(0))?)
}
