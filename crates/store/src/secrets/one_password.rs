//! Secrets of 1Password, by its program `op`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use model::SecretValue;

use super::program::{Answer, Program};
use super::{Abilities, Provider, SecretError};

/// What `op` says where there is no such vault, item or field.
const NOT_THERE: [&str; 4] = ["isn't a vault", "isn't an item", "isn't a field", "does not have a field"];

/// Secrets of 1Password, each by its `op://VAULT/ITEM/FIELD`.
#[derive(Debug)]
pub struct OnePassword(Program);

impl OnePassword {
    /// Secrets by a program, which gets this environment and no other (it needs `OP_SERVICE_ACCOUNT_TOKEN`, and a `HOME`
    /// and a `PATH`) and may take so long to answer.
    #[must_use]
    pub fn new(program: PathBuf, environment: Vec<(OsString, OsString)>, limit: Duration) -> Self {
        Self(Program { path: program, environment, limit })
    }

    fn failed(&self, reason: impl Into<String>) -> SecretError {
        SecretError::Program { program: self.0.path.display().to_string(), reason: reason.into() }
    }
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
        let answer = self.0.ask(&["read", "--no-newline", name]);
        let answer: Answer = answer.map_err(|mute| self.failed(mute.to_string()))?;
        if !answer.status.success() {
            let complaint = answer.complaint();
            if NOT_THERE.iter().any(|words| complaint.contains(words)) {
                return Ok(None);
            }
            return Err(self.failed(format!("{}: {}", answer.status, answer.first_words())));
        }
        let text = str::from_utf8(&answer.out).map_err(|_| self.failed("it is no text"))?;
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
