//! The keys that session tokens are sealed with.
//!
//! A ring is a list: the first key seals, all open, so a new key can be put in front without losing a session. There is
//! no default key. Replicas that share a ring accept each other's tokens.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

const KEY_BYTES: usize = 32;

/// Bytes of a key's id: enough to find the key, of no use to guess it.
pub(crate) const KEY_ID_BYTES: usize = 4;
pub(crate) const NONCE_BYTES: usize = 12;

/// Why a text is not a key ring.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error(
        "no key in it; put one line of 32 random bytes in base64 (for instance from `openssl rand -base64 32`)"
    )]
    Empty,
    #[error("line {line} is not 32 bytes in base64")]
    NotAKey { line: usize },
    #[error("line {line} repeats an earlier key")]
    Repeated { line: usize },
}

struct Key {
    id: [u8; KEY_ID_BYTES],
    aead: RandomizedNonceKey,
}

/// The keys, newest first.
pub struct KeyRing {
    keys: Vec<Key>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("keys", &self.keys.len()).finish()
    }
}

impl KeyRing {
    /// Reads one key per line, base64 (either alphabet); empty lines and those that begin with `#` are passed over.
    ///
    /// # Errors
    /// [`KeyError`], which never quotes the text.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut keys: Vec<Key> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bytes = STANDARD
                .decode(line)
                .or_else(|_| URL_SAFE_NO_PAD.decode(line.trim_end_matches('=')))
                .map_err(|_| KeyError::NotAKey { line: number + 1 })?;
            let bytes: [u8; KEY_BYTES] =
                bytes.try_into().map_err(|_| KeyError::NotAKey { line: number + 1 })?;
            let key = Key::new(&bytes);
            if keys.iter().any(|earlier| earlier.id == key.id) {
                return Err(KeyError::Repeated { line: number + 1 });
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(KeyError::Empty) } else { Ok(Self { keys }) }
    }

    /// A fresh random key as a line for a key file.
    ///
    /// # Panics
    /// If the operating system gives no randomness, which no caller could mend.
    #[must_use]
    pub fn generate_line() -> String {
        let mut bytes = [0; KEY_BYTES];
        aws_lc_rs::rand::fill(&mut bytes).expect("the system's random source works");
        STANDARD.encode(bytes)
    }

    /// Encrypts `plain` with the first key: key id, nonce, ciphertext and tag. Contexts are apart by their first twelve bytes.
    ///
    /// # Panics
    /// Never: no text is as long as the cipher's limit.
    #[must_use]
    pub fn seal(&self, context: &'static [u8], plain: &[u8]) -> Vec<u8> {
        let key = &self.keys[0];
        let mut sealed = plain.to_vec();
        let nonce = key
            .aead
            .seal_in_place_append_tag(aad(context, key.id), &mut sealed)
            .expect("a token is far below the cipher's length limit");
        let mut out = Vec::with_capacity(KEY_ID_BYTES + NONCE_BYTES + sealed.len());
        out.extend_from_slice(&key.id);
        out.extend_from_slice(nonce.as_ref());
        out.extend_from_slice(&sealed);
        out
    }

    /// Decrypts in place; `None` for whatever this ring did not seal in this context.
    #[must_use]
    pub fn open<'a>(&self, context: &'static [u8], sealed: &'a mut [u8]) -> Option<&'a [u8]> {
        let (head, rest) = sealed.split_at_mut_checked(KEY_ID_BYTES + NONCE_BYTES)?;
        let id: [u8; KEY_ID_BYTES] = head[..KEY_ID_BYTES].try_into().ok()?;
        let nonce = Nonce::try_assume_unique_for_key(&head[KEY_ID_BYTES..]).ok()?;
        // An unknown key id is tried with the first key all the same, so that it takes as long as a bad seal.
        let key = self.keys.iter().find(|key| key.id == id).unwrap_or(&self.keys[0]);
        key.aead.open_in_place(nonce, aad(context, id), rest).ok().map(|plain| &*plain)
    }
}

impl Key {
    fn new(bytes: &[u8; KEY_BYTES]) -> Self {
        let hash = digest::digest(&digest::SHA256, bytes);
        Self {
            id: hash.as_ref()[..KEY_ID_BYTES].try_into().expect("SHA-256 has 32 bytes"),
            aead: RandomizedNonceKey::new(&AES_256_GCM, bytes).expect("32 bytes are an AES-256 key"),
        }
    }
}

fn aad(context: &'static [u8], key_id: [u8; KEY_ID_BYTES]) -> Aad<[u8; 16]> {
    let mut bytes = [0; 16];
    let taken = context.len().min(12);
    bytes[..taken].copy_from_slice(&context[..taken]);
    bytes[12..].copy_from_slice(&key_id);
    Aad::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: &[u8] = b"test";

    fn ring(lines: &[&str]) -> KeyRing {
        KeyRing::parse(&lines.join("\n")).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_ring_and_no_other() {
        let (a, b) = (KeyRing::generate_line(), KeyRing::generate_line());
        let sealed = ring(&[&a]).seal(CONTEXT, b"secret");
        assert_eq!(ring(&[&a]).open(CONTEXT, &mut sealed.clone()), Some(&b"secret"[..]));
        assert_eq!(ring(&[&b]).open(CONTEXT, &mut sealed.clone()), None);
        assert_eq!(ring(&[&a]).open(b"other", &mut sealed.clone()), None);
        assert_eq!(ring(&[&a]).open(CONTEXT, &mut []), None);
    }

    #[test]
    fn a_new_key_in_front_leaves_old_tokens_valid() {
        let (old, new) = (KeyRing::generate_line(), KeyRing::generate_line());
        let sealed = ring(&[&old]).seal(CONTEXT, b"x");
        let rotated = ring(&["# newest first", &new, "", &old]);
        assert!(rotated.open(CONTEXT, &mut sealed.clone()).is_some());
        let sealed = rotated.seal(CONTEXT, b"x");
        assert!(ring(&[&new]).open(CONTEXT, &mut sealed.clone()).is_some());
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let ring = ring(&[&KeyRing::generate_line()]);
        let sealed = ring.seal(CONTEXT, b"secret");
        for at in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[at] ^= 1;
            assert_eq!(ring.open(CONTEXT, &mut forged), None, "byte {at}");
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_key_file_without_quoting_it() {
        let key = KeyRing::generate_line();
        for (text, error) in [
            (String::new(), KeyError::Empty),
            ("# only a comment".into(), KeyError::Empty),
            (format!("{key}\nshort"), KeyError::NotAKey { line: 2 }),
            (format!("{key}\n{key}"), KeyError::Repeated { line: 2 }),
        ] {
            assert_eq!(KeyRing::parse(&text).err(), Some(error));
        }
    }
}
