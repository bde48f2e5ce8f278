//! A password in a keyring of the user's, where ToolHive keeps it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::SecretValue;

use super::super::program::{Answer, Mute, Program};
use super::{PasswordError, PasswordFile, PasswordSource};

/// A keyring of the user's: on Linux the kernel's, then the Secret Service of the session, by `secret-tool`; on macOS the
/// keychain, by `security`.
///
/// It is read only. Programs of the same account read it as well, without asking on most systems.
#[derive(Debug)]
pub struct Keyring {
    /// Both the service and the account.
    name: String,
    program: Program,
}

impl Keyring {
    /// The entry of this name. The programs get this environment (they need `HOME`, `PATH`, and the session's bus), and may
    /// take so long: a person may have to unlock the keyring.
    #[must_use]
    pub fn new(name: &str, environment: Vec<(OsString, OsString)>, limit: Duration) -> Self {
        let path = PathBuf::from(if cfg!(target_os = "macos") { "security" } else { "secret-tool" });
        Self { name: name.to_owned(), program: Program { path, environment, limit } }
    }

    /// The password; `None` where there is none, or no keyring.
    ///
    /// # Errors
    /// [`PasswordError::Keyring`] where it is not known whether there is.
    pub fn find(&self) -> Result<Option<SecretValue>, PasswordError> {
        #[cfg(target_os = "linux")]
        if let Some(password) = kernel::find(&format!("{0}:{0}", self.name)) {
            return Ok(Some(password));
        }
        if !self.has_session() {
            return Ok(None);
        }
        let name = &*self.name;
        let asked = match cfg!(target_os = "macos") {
            true => self.program.ask(&["find-generic-password", "-s", name, "-a", name, "-w"]),
            false => self.program.ask(&["lookup", "service", name, "username", name]),
        };
        match asked {
            Ok(answer) => Ok(password_of(&answer)),
            Err(Mute::NotStarted(_)) => Ok(None),
            Err(mute) => Err(PasswordError::Keyring { reason: mute.to_string() }),
        }
    }

    /// Whether somebody could answer: asking would start a bus otherwise.
    fn has_session(&self) -> bool {
        let of = |wanted: &str| self.program.environment.iter().find(|(name, _)| name == wanted);
        let has_bus =
            || of("XDG_RUNTIME_DIR").is_some_and(|(_, folder)| Path::new(folder).join("bus").exists());
        cfg!(target_os = "macos") || of("DBUS_SESSION_BUS_ADDRESS").is_some() || has_bus()
    }
}

/// What the program found. That it fails means that there is nothing, which it does not tell from a locked keyring.
fn password_of(answer: &Answer) -> Option<SecretValue> {
    let text = str::from_utf8(&answer.out).ok().filter(|_| answer.status.success())?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    (!text.is_empty()).then(|| SecretValue::new(text.to_owned()))
}

#[cfg(target_os = "linux")]
mod kernel {
    use linux_keyutils::{KeyError, KeyRing, KeyRingIdentifier};
    use model::SecretValue;
    use zeroize::Zeroizing;

    /// The user's keyring. It is linked to the thread's, since a key may be read only by who reaches it from its own: the
    /// session's leads there after a login, and not in a service.
    pub(super) fn user() -> Result<KeyRing, KeyError> {
        let user = KeyRing::from_special_id(KeyRingIdentifier::User, false)?;
        KeyRing::from_special_id(KeyRingIdentifier::Thread, true)?.link_keyring(user)?;
        Ok(user)
    }

    /// A key of it. Many systems have none, and containers no keyrings.
    pub(super) fn find(description: &str) -> Option<SecretValue> {
        let bytes = user().and_then(|keyring| keyring.search(description)?.read_to_vec());
        let bytes = Zeroizing::new(bytes.ok()?);
        Some(SecretValue::new(str::from_utf8(&bytes).ok()?.to_owned()))
    }
}

/// The password in a file, or else, while there is no such file, in a keyring.
#[derive(Debug)]
pub struct KeptPassword {
    file: PasswordFile,
    keyring: Keyring,
}

impl KeptPassword {
    /// The password of either.
    #[must_use]
    pub fn new(file: PasswordFile, keyring: Keyring) -> Self {
        Self { file, keyring }
    }

    fn of_keyring(&self) -> Result<Option<SecretValue>, PasswordError> {
        if self.file.is_there() { Ok(None) } else { self.keyring.find() }
    }
}

impl PasswordSource for KeptPassword {
    fn existing(&self) -> Result<SecretValue, PasswordError> {
        self.of_keyring()?.map_or_else(|| self.file.existing(), Ok)
    }

    fn existing_or_new(&self) -> Result<SecretValue, PasswordError> {
        self.of_keyring()?.map_or_else(|| self.file.existing_or_new(), Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A keyring that the program in this script has.
    fn keyring(name: &str, script: &str) -> (tempfile::TempDir, Keyring) {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tool");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        let environment = vec![("DBUS_SESSION_BUS_ADDRESS".into(), "unix:path=/nowhere".into())];
        let mut keyring = Keyring::new(name, environment, Duration::from_secs(20));
        keyring.program.path = path;
        (folder, keyring)
    }

    fn name(of: &str) -> String {
        format!("skep-test-{of}-{}", std::process::id())
    }

    fn found(keyring: &Keyring) -> Option<String> {
        keyring.find().unwrap().map(|password| password.reveal().to_owned())
    }

    #[test]
    fn the_session_is_asked_for_the_entry() {
        let name = name("session");
        let (_folder, known) =
            keyring(&name, r#"[ "$1 $2 $4" = "lookup service username" ] && echo "$3+$5""#);
        assert_eq!(found(&known), Some(format!("{name}+{name}")));
        for script in ["exit 1", "true", "echo it is locked >&2; exit 1"] {
            assert_eq!(found(&keyring(&name, script).1), None, "{script}");
        }
        let (folder, mut nobody) = keyring(&name, "echo never");
        nobody.program.environment.clear();
        assert_eq!(found(&nobody), None, "no bus is started");
        nobody.program.environment = vec![("XDG_RUNTIME_DIR".into(), folder.path().into())];
        assert_eq!(found(&nobody), None);
        std::fs::write(folder.path().join("bus"), "").unwrap();
        assert_eq!(found(&nobody), Some("never".to_owned()));
        nobody.program.path = "/nowhere/secret-tool".into();
        assert_eq!(found(&nobody), None, "who has no such program has no such keyring");
    }

    #[test]
    fn a_file_goes_before_the_keyring_and_is_made_where_there_is_neither() {
        let (folder, known) = keyring(&name("file"), "echo of the keyring");
        let file = PasswordFile::new(folder.path().join("password"));
        let kept = KeptPassword::new(file.clone(), known);
        assert_eq!(kept.existing_or_new().unwrap().reveal(), "of the keyring");
        assert!(!file.is_there());
        file.keep(&SecretValue::new("of the file".to_owned())).unwrap();
        assert_eq!(kept.existing().unwrap().reveal(), "of the file");
        let (folder, none) = keyring(&name("none"), "exit 1");
        let kept = KeptPassword::new(PasswordFile::new(folder.path().join("password")), none);
        assert!(matches!(kept.existing(), Err(PasswordError::Gone { .. })));
        assert_eq!(kept.existing_or_new().unwrap(), kept.existing().unwrap());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernel_is_asked_first() {
        let name = name("kernel");
        let (_folder, known) = keyring(&name, "echo of the session");
        let Ok(user) = kernel::user() else { return println!("not tried: there are no keyrings here") };
        let Ok(key) = user.add_key(&format!("{name}:{name}"), b"of the kernel") else {
            return println!("not tried: the keyring takes no keys");
        };
        assert_eq!(found(&known), Some("of the kernel".to_owned()));
        key.invalidate().unwrap();
        assert_eq!(found(&known), Some("of the session".to_owned()));
    }
}
