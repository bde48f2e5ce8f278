//! `skep completion SHELL`.

use crate::args::{Args, CompletionArgs};
use crate::exit::Outcome;
use crate::face::Face;
use crate::printer::Printer;

pub(crate) fn run(args: &CompletionArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    let mut script = Vec::new();
    let face = Face::of_this_process();
    clap_complete::generate(args.shell, &mut Args::command_of(face), face.command, &mut script);
    printer.data(&String::from_utf8(script)?)?;
    Ok(Outcome::Done)
}
