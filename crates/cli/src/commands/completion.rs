//! `skep completion SHELL`.

use clap::CommandFactory;

use crate::args::{Args, CompletionArgs};
use crate::exit::Outcome;
use crate::printer::Printer;

pub(crate) fn run(args: &CompletionArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "skep", &mut script);
    printer.data(&String::from_utf8(script)?)?;
    Ok(Outcome::Done)
}
