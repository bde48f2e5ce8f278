//! A password in the kernel's keyring of the user, where ToolHive keeps it on machines without a Secret Service.

use std::fmt;

use linux_keyutils::{KeyError, KeyRing, KeyRingIdentifier};
use model::SecretValue;
use zeroize::Zeroizing;

use super::{PasswordError, PasswordSource};

/// A password in memory that only the kernel reads, until the machine is started again.
///
/// It protects from whoever gets at files and at nothing else; not from programs of the same account. Since it is gone
/// after a reboot, none is made here: one that somebody gives is kept ([`KernelKeyring::remember`]), to be asked for it
/// once.
#[derive(Clone, Debug)]
pub struct KernelKeyring {
    description: String,
}

impl KernelKeyring {
    /// The password under a description. ToolHive's is `toolhive:toolhive`.
    #[must_use]
    pub fn new(description: &str) -> Self {
        Self { description: description.to_owned() }
    }

    /// Keeps a password until the machine is started again.
    ///
    /// # Errors
    /// [`PasswordError::Keyring`].
    pub fn remember(&self, password: &SecretValue) -> Result<(), PasswordError> {
        let keyring = keyring().map_err(failed)?;
        keyring.add_key(&self.description, password.reveal().as_bytes()).map_err(failed)?;
        Ok(())
    }

    /// Forgets it. False where there was none.
    ///
    /// # Errors
    /// [`PasswordError::Keyring`].
    pub fn forget(&self) -> Result<bool, PasswordError> {
        match keyring().and_then(|keyring| keyring.search(&self.description)) {
            Ok(key) => key.invalidate().map(|()| true).map_err(failed),
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }
}

/// The user's keyring. It is linked to the thread's, since a key may be read only by who reaches it from its own: the
/// session's leads there after a login, and not in a service.
fn keyring() -> Result<KeyRing, KeyError> {
    let user = KeyRing::from_special_id(KeyRingIdentifier::User, true)?;
    KeyRing::from_special_id(KeyRingIdentifier::Thread, true)?.link_keyring(user)?;
    Ok(user)
}

/// A key that was taken away is found for a while after.
fn is_gone(error: &KeyError) -> bool {
    matches!(error, KeyError::KeyDoesNotExist | KeyError::KeyRevoked | KeyError::KeyExpired)
}

fn failed(error: impl fmt::Debug) -> PasswordError {
    PasswordError::Keyring { reason: format!("{error:?}") }
}

impl PasswordSource for KernelKeyring {
    fn existing(&self) -> Result<SecretValue, PasswordError> {
        let read = keyring().and_then(|keyring| keyring.search(&self.description)?.read_to_vec());
        let bytes = match read {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if is_gone(&error) => {
                return Err(PasswordError::NotRemembered { description: self.description.clone() });
            }
            Err(error) => return Err(failed(error)),
        };
        let text = str::from_utf8(&bytes).map_err(|_| failed("it is no text"))?;
        Ok(SecretValue::new(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_remembered_until_it_is_forgotten() {
        let source = KernelKeyring::new(&format!("skep-test:{}", std::process::id()));
        let password = SecretValue::new("hunter2".to_owned());
        if let Err(error) = source.remember(&password) {
            // Many containers have no keyrings.
            println!("not tried: {error}");
            return;
        }
        assert_eq!(source.existing().unwrap(), password);
        let other = source.clone();
        let elsewhere = std::thread::spawn(move || other.existing().unwrap());
        assert_eq!(elsewhere.join().unwrap(), password);
        assert!(source.forget().unwrap());
        assert!(matches!(source.existing_or_new(), Err(PasswordError::NotRemembered { .. })));
        assert!(!source.forget().unwrap());
    }
}
