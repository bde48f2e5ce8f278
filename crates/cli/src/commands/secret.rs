//! `skep secret`: what servers need and nobody should read.

use std::io::{IsTerminal, Read};
use std::path::Path;

use anyhow::{Context, bail};
use manager::secrets::{self, Provider, SecretsKeeper};
use model::SecretValue;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::args::{SecretArgs, SecretCommand};
use crate::exit::Outcome;
use crate::face::Face;
use crate::printer::Printer;
use crate::{dirs, surroundings};

pub(crate) fn run(args: &SecretArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    let provider =
        surroundings::here()?.secrets.context("there is no home directory to keep secrets in: set HOME")?;
    match &args.command {
        SecretCommand::Setup { provider: keeper, password_file } => {
            return setup(keeper.as_deref(), password_file.as_deref(), printer);
        }
        SecretCommand::Provider { name } => choose(name, printer)?,
        SecretCommand::Set { name } => {
            provider.set(name, &read_value("the secret", printer)?)?;
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

/// Says who keeps secrets, and takes the password of those that are there.
fn setup(keeper: Option<&str>, password_file: Option<&Path>, printer: &Printer) -> anyhow::Result<Outcome> {
    let folders = dirs::folders()?;
    let keeper = match keeper {
        Some(word) => word.to_owned(),
        None => ask_keeper(printer)?,
    };
    let is_encrypted = keeper.parse::<SecretsKeeper>()? == SecretsKeeper::Encrypted;
    match password_file {
        Some(_) if !is_encrypted => bail!("--password-file is for encrypted secrets"),
        Some(path) => secrets::keep_password(&read_password(path, printer)?, &folders)?,
        None if is_encrypted && secrets::lacks_password(&folders) => {
            if !std::io::stdin().is_terminal() {
                bail!(
                    "there are encrypted secrets in {}: give their password with --password-file",
                    folders.secrets().display()
                );
            }
            secrets::keep_password(
                &read_value("the password of the secrets that are there", printer)?,
                &folders,
            )?;
        }
        None => {}
    }
    choose(&keeper, printer)?;
    Ok(Outcome::Done)
}

fn ask_keeper(printer: &Printer) -> anyhow::Result<String> {
    if !std::io::stdin().is_terminal() {
        bail!("say who keeps secrets: --provider encrypted, environment, 1password or systemd");
    }
    printer.say("who keeps secrets: encrypted (a file), environment, 1password or systemd? [encrypted]");
    let mut word = String::new();
    std::io::stdin().read_line(&mut word).context("the answer is not text")?;
    Ok(if word.trim().is_empty() {
        SecretsKeeper::Encrypted.as_str().to_owned()
    } else {
        word.trim().to_owned()
    })
}

fn choose(word: &str, printer: &Printer) -> anyhow::Result<()> {
    let keeper: SecretsKeeper = word.parse()?;
    secrets::set_keeper(keeper, &dirs::folders()?)?;
    printer.say(&format!("secrets are kept by: {}", keeper.as_str()));
    let variable = Face::of_this_process().variable("SECRETS_PROVIDER");
    if std::env::var_os(&variable).is_some() {
        printer.say(&format!("Note: {variable} is set, and goes before it"));
    }
    Ok(())
}

/// A password in a file, or from stdin.
pub(super) fn read_password(path: &Path, printer: &Printer) -> anyhow::Result<SecretValue> {
    if path == Path::new("-") {
        return read_value("the password", printer);
    }
    let text =
        std::fs::read_to_string(path).with_context(|| format!("{} could not be read", path.display()))?;
    let value = without_newline(&text);
    if value.is_empty() {
        bail!("{} is empty", path.display());
    }
    Ok(SecretValue::new(value.to_owned()))
}

/// What comes by stdin, without the newline at its end: a secret in an argument could be read by everyone.
fn read_value(what: &str, printer: &Printer) -> anyhow::Result<SecretValue> {
    let mut text = String::new();
    if std::io::stdin().is_terminal() {
        printer.say(&format!("type {what}, then Enter (it is not shown)"));
        let _unseen = Unseen::begin();
        std::io::stdin().read_line(&mut text).with_context(|| format!("{what} is not text"))?;
    } else {
        std::io::stdin().read_to_string(&mut text).with_context(|| format!("{what} is not text"))?;
    }
    let value = without_newline(&text);
    if value.is_empty() {
        bail!("there is nothing on stdin: write for instance `skep secret set NAME < file`");
    }
    Ok(SecretValue::new(value.to_owned()))
}

fn without_newline(text: &str) -> &str {
    text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text)).unwrap_or(text)
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
