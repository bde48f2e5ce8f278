//! Secrets of 1Password, by its program `op`.

use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use model::SecretValue;
use zeroize::Zeroizing;

use super::{Abilities, Provider, SecretError};

/// More is no secret that a variable holds.
const MAX: u64 = 1024 * 1024;
/// How much of what the program complains about is passed on.
const SHOWN: usize = 200;
/// Between two looks whether the program has ended, once it has said all.
const PAUSE: Duration = Duration::from_millis(10);
/// Looks, before it is ended.
const LOOKS: u32 = 100;

/// What `op` says where there is no such vault, item or field.
const NOT_THERE: [&str; 4] = ["isn't a vault", "isn't an item", "isn't a field", "does not have a field"];

/// Secrets of 1Password, each by its `op://VAULT/ITEM/FIELD`.
pub struct OnePassword {
    program: PathBuf,
    environment: Vec<(OsString, OsString)>,
    limit: Duration,
}

impl OnePassword {
    /// Secrets by a program, which gets this environment and no other (it needs `OP_SERVICE_ACCOUNT_TOKEN`, and a `HOME`
    /// and a `PATH`) and may take so long to answer.
    #[must_use]
    pub fn new(program: PathBuf, environment: Vec<(OsString, OsString)>, limit: Duration) -> Self {
        Self { program, environment, limit }
    }

    fn failed(&self, reason: impl Into<String>) -> SecretError {
        SecretError::Program { program: self.program.display().to_string(), reason: reason.into() }
    }

    fn start(&self, name: &str) -> Result<Child, SecretError> {
        let mut command = Command::new(&self.program);
        command.args(["read", "--no-newline", name]);
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map_err(|error| self.failed(format!("it could not be started: {error}")))
    }

    /// What the program says on both ways out, and how it ended.
    fn run(&self, name: &str) -> Result<(ExitStatus, Said, Said), SecretError> {
        let mut child = self.start(name)?;
        let (out, err) = (listen(child.stdout.take()), listen(child.stderr.take()));
        let said = out.recv_timeout(self.limit).and_then(|out| Ok((out, err.recv_timeout(self.limit)?)));
        let ended = said.ok().and_then(|said| Some((wait(&mut child)?, said)));
        match ended {
            Some((status, (out, err))) => Ok((status, out, err)),
            None => {
                // If it has ended by now there is nothing to kill; either way it is reaped.
                let _ = child.kill();
                let _ = child.wait();
                Err(self.failed(format!("it did not answer in {:?}", self.limit)))
            }
        }
    }
}

/// The environment holds a token.
impl fmt::Debug for OnePassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnePassword").field("program", &self.program).finish_non_exhaustive()
    }
}

type Said = Zeroizing<Vec<u8>>;

/// Reads all that is said, in a thread that ends when nobody can say any more.
fn listen(from: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Said> {
    let (to, said) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut text = Zeroizing::new(Vec::new());
        if let Some(from) = from {
            // What could be read until then is what was said.
            let _ = from.take(MAX + 1).read_to_end(&mut text);
        }
        let _ = to.send(text);
    });
    said
}

/// How the program ended, if it has or does soon.
fn wait(child: &mut Child) -> Option<ExitStatus> {
    for _ in 0..LOOKS {
        if let Some(status) = child.try_wait().ok()? {
            return Some(status);
        }
        thread::sleep(PAUSE);
    }
    None
}

impl Provider for OnePassword {
    fn name(&self) -> &'static str {
        "1password"
    }

    fn abilities(&self) -> Abilities {
        Abilities::default()
    }

    fn get(&self, name: &str) -> Result<Option<SecretValue>, SecretError> {
        if !name.starts_with("op://") || name.contains('\0') {
            return Err(SecretError::Name { name: name.to_owned(), help: "write op://VAULT/ITEM/FIELD" });
        }
        let (status, out, err) = self.run(name)?;
        // First, since a program whose pipe is closed fails of that.
        if out.len() as u64 > MAX {
            return Err(self.failed("it is larger than 1 MiB"));
        }
        if !status.success() {
            let complaint = String::from_utf8_lossy(&err);
            if NOT_THERE.iter().any(|words| complaint.contains(words)) {
                return Ok(None);
            }
            let complaint: String =
                complaint.lines().next().unwrap_or_default().chars().take(SHOWN).collect();
            return Err(self.failed(format!("{status}: {complaint}")));
        }
        let text = str::from_utf8(&out).map_err(|_| self.failed("it is no text"))?;
        Ok(Some(SecretValue::new(text.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn provider(limit: Duration) -> OnePassword {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/secrets/one_password/fake_op.sh");
        OnePassword::new(program, vec![("OP_SERVICE_ACCOUNT_TOKEN".into(), "token".into())], limit)
    }

    fn get(name: &str) -> Result<Option<String>, String> {
        let got = provider(Duration::from_secs(60)).get(name);
        got.map(|value| value.map(|value| value.reveal().to_owned())).map_err(|error| error.to_string())
    }

    #[test]
    fn the_program_is_asked_for_secrets() {
        assert_eq!(get("op://vault/item/field"), Ok(Some("value of op://vault/item/field".to_owned())));
        assert_eq!(get("op://vault/item/two lines"), Ok(Some("one\ntwo\n".to_owned())));
        assert_eq!(get("op://vault/missing/field"), Ok(None));
        for (name, says) in [
            ("op://vault/locked/field", "[ERROR] not signed in"),
            ("op://vault/bytes/field", "it is no text"),
            ("op://vault/huge/field", "it is larger than 1 MiB"),
            ("--account", "write op://VAULT/ITEM/FIELD"),
            ("", "write op://VAULT/ITEM/FIELD"),
        ] {
            let error = get(name).unwrap_err();
            assert!(error.contains(says), "{name}: {error}");
        }
    }

    #[test]
    fn the_program_sees_the_environment_that_is_given() {
        let seen = get("op://vault/environment/field").unwrap().unwrap();
        assert!(!format!("{:?}", provider(Duration::ZERO)).contains("TOKEN"));
        assert!(seen.contains("OP_SERVICE_ACCOUNT_TOKEN=token") && !seen.contains("CARGO"), "{seen}");
    }

    #[test]
    fn a_program_that_does_not_answer_is_ended() {
        let error =
            provider(Duration::from_millis(100)).get("op://vault/silent/field").unwrap_err().to_string();
        assert!(error.contains("did not answer in 100ms"), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let provider = OnePassword::new("/nowhere/op".into(), Vec::new(), Duration::from_secs(1));
        let error = provider.get("op://a/b/c").unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/op did not give the secret: it could not be started"), "{error}");
    }
}
