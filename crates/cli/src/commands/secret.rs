//! `skep secret`: what servers need and nobody should read.

use std::io::{IsTerminal, Read};

use anyhow::{Context, bail};
use manager::secrets::Provider;
use model::SecretValue;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::args::{SecretArgs, SecretCommand};
use crate::exit::Outcome;
use crate::printer::Printer;
use crate::surroundings;

pub(crate) fn run(args: &SecretArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    let provider =
        surroundings::here()?.secrets.context("there is no home directory to keep secrets in: set HOME")?;
    match &args.command {
        SecretCommand::Set { name } => {
            provider.set(name, &read_value(printer)?)?;
            printer.say(&format!("secret {name} is kept"));
        }
        SecretCommand::Get { name } => {
            let value = provider.get(name)?.with_context(|| format!("there is no secret {name:?}"))?;
            printer.data(&format!("{}\n", value.reveal()))?;
        }
        SecretCommand::Delete { name } => {
            if !provider.delete(name)? {
                bail!("there is no secret {name:?}");
            }
            printer.say(&format!("secret {name} is forgotten"));
        }
        SecretCommand::List => list(&*provider, printer)?,
    }
    Ok(Outcome::Done)
}

fn list(provider: &dyn Provider, printer: &Printer) -> anyhow::Result<()> {
    let names = provider.list()?;
    if names.is_empty() {
        printer.say("there are no secrets");
        return Ok(());
    }
    printer.data("Available secrets:\n")?;
    names.iter().try_for_each(|name| printer.data(&format!("  - {name}\n")))
}

/// What comes by stdin, without the newline at its end: a secret in an argument could be read by everyone.
fn read_value(printer: &Printer) -> anyhow::Result<SecretValue> {
    let mut text = String::new();
    if std::io::stdin().is_terminal() {
        printer.say("type the secret, then Enter (it is not shown)");
        let _unseen = Unseen::begin();
        std::io::stdin().read_line(&mut text).context("the secret is not text")?;
    } else {
        std::io::stdin().read_to_string(&mut text).context("the secret is not text")?;
    }
    let value = text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text)).unwrap_or(&text);
    if value.is_empty() {
        bail!("there is nothing on stdin: write for instance  skep secret set NAME < file");
    }
    Ok(SecretValue::new(value.to_owned()))
}

/// The terminal shows nothing of what is typed, as long as this is there.
struct Unseen(Option<Termios>);

impl Unseen {
    fn begin() -> Self {
        let before = tcgetattr(rustix::stdio::stdin()).ok();
        if let Some(mut quiet) = before.clone() {
            quiet.local_modes.remove(LocalModes::ECHO);
            // Where it cannot be had, it is shown as anything else.
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &quiet);
        }
        Self(before)
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}
