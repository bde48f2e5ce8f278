//! The evaluator: one script, from its job to its outcome, on the thread that asks for it.
//!
//! It trusts nothing to end. Statements and the heap are counted; what happens within one expression is not, so whoever
//! runs it is ready to kill it, and gives it little memory.
//!
//! What a script's calls do at once is in [`calls`].

mod builtins;
mod calls;
mod names;
mod pipes;
#[cfg(test)]
mod tests;
mod value;
mod wrap;

use std::io;
use std::rc::Rc;

use serde_json::value::RawValue;
use starlark::codemap::{FileSpan, FileSpanRef};
use starlark::environment::{Globals, GlobalsBuilder, LibraryExtension, Module};
use starlark::eval::{BeforeStmtFuncDyn, Evaluator};
use starlark::syntax::{AstModule, Dialect, DialectTypes};
use starlark::values::Value;
use starlark::{Error, PrintHandler};

use super::protocol::{Answer, Job, Limits, Said};
use calls::Calls;
pub use pipes::evaluate_lines;

/// Calls within calls. More is an endless recursion.
const MAX_DEPTH: usize = 200;
/// What the script is called in what goes wrong.
const SCRIPT: &str = "script";
const PRELUDE: &str = "tools";

const DIALECT: Dialect = Dialect {
    enable_load: false,
    enable_types: DialectTypes::ParseOnly,
    enable_f_strings: true,
    ..Dialect::Extended
};

/// The other end of an evaluator.
pub trait Line {
    /// Says something.
    ///
    /// # Errors
    /// Nobody is there any more.
    fn say(&mut self, said: &Said) -> io::Result<()>;

    /// Waits for an answer.
    ///
    /// # Errors
    /// Nobody is there any more.
    fn hear(&mut self) -> io::Result<Answer>;
}

/// Evaluates a job, and says what came of it.
///
/// # Errors
/// Nobody is there any more.
pub fn evaluate(job: &Job, line: impl Line + 'static) -> io::Result<()> {
    Rc::new(Calls::new(Box::new(line), job.limits)).during(|calls| {
        let outcome = match run(job, calls) {
            Ok(json) => RawValue::from_string(json).map(Said::Done)?,
            Err(message) => Said::Failed(message),
        };
        calls.say(&outcome)
    })
}

fn run(job: &Job, calls: &Calls) -> Result<String, String> {
    let functions = names::functions(&job.tools);
    let module = Module::new();
    for (name, value) in &job.data {
        if !names::is_name(name) {
            return Err(format!("data: {name:?} is not a name that a script can use"));
        }
        if names::is_builtin(name) || functions.iter().any(|(function, _)| function == name) {
            return Err(format!("data: {name:?} is the name of a function of the script"));
        }
        module.set(name, value::from_json(value, module.heap()));
    }
    let globals = globals();
    let prints = Prints(calls);
    let mut evaluator = Evaluator::new(&module);
    evaluator.set_print_handler(&prints);
    evaluator.set_max_callstack_size(MAX_DEPTH).map_err(|error| error.to_string())?;
    evaluator.before_stmt_for_dap((Box::new(Counted::new(job.limits)) as Box<dyn BeforeStmtFuncDyn>).into());
    let mut eval = |name: &str, text: String| {
        let ast = AstModule::parse(name, text, &DIALECT)?;
        evaluator.eval_module(ast, &globals)
    };
    eval(PRELUDE, names::prelude(&functions)).map_err(|error| explain(&error))?;
    let returned: Value<'_> = eval(SCRIPT, wrap::wrapped(&job.script)).map_err(|error| explain(&error))?;
    value::to_json(returned, job.limits.output).map_err(|problem| format!("the script's result: {problem}"))
}

fn globals() -> Globals {
    let extensions = [
        LibraryExtension::Print,
        LibraryExtension::Json,
        LibraryExtension::Map,
        LibraryExtension::Filter,
        LibraryExtension::StructType,
        LibraryExtension::SetType,
    ];
    GlobalsBuilder::extended_by(&extensions).with(builtins::builtins).build()
}

/// What went wrong, and in which line of the script.
fn explain(error: &Error) -> String {
    let line_of = |span: &FileSpan| (span.filename() == SCRIPT).then(|| span.resolve_span().begin.line);
    let frames = error.call_stack().frames.iter().rev();
    let mut places = error.span().into_iter().chain(frames.filter_map(|frame| frame.location.as_ref()));
    let what = error.without_diagnostic().to_string();
    let what = what.lines().next().unwrap_or_default();
    // The first line is not the script's own, and lines are counted from nought.
    match places.find_map(line_of).filter(|line| *line > 0) {
        Some(line) => format!("line {line}: {what}"),
        None => what.to_owned(),
    }
}

/// Counts what a script does.
struct Counted {
    left: u64,
    limits: Limits,
}

impl Counted {
    fn new(limits: Limits) -> Self {
        Self { left: limits.steps, limits }
    }
}

impl<'a, 'e: 'a> BeforeStmtFuncDyn<'a, 'e> for Counted {
    fn call<'v>(
        &mut self,
        span: FileSpanRef<'_>,
        evaluator: &mut Evaluator<'v, 'a, 'e>,
    ) -> starlark::Result<()> {
        if span.file.filename() != SCRIPT {
            return Ok(());
        }
        let Some(left) = self.left.checked_sub(1) else {
            return Err(other(format!("the script has more than {} steps", self.limits.steps)));
        };
        self.left = left;
        if evaluator.heap().allocated_bytes() > self.limits.heap {
            let most = self.limits.heap / 1024 / 1024;
            return Err(other(format!("the script needs more than {most} MiB of memory")));
        }
        Ok(())
    }
}

struct Prints<'c>(&'c Calls);

impl PrintHandler for Prints<'_> {
    fn println(&self, text: &str) -> starlark::Result<()> {
        self.0.say(&Said::Print(text.to_owned())).map_err(|error| other(error.to_string()))
    }
}

/// An error with nothing but a text.
fn other(text: String) -> Error {
    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Text(String);
    Error::new_other(Text(text))
}
