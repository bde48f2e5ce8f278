//! The two forms of the encrypted file.
//!
//! Ours: a header of 48 bytes, then what AES-256-GCM makes of the text, its tag at the end. The header is authenticated
//! with it. Numbers are big-endian.
//!
//! | bytes | |
//! |---|---|
//! | 0–6 | `SKEPSEC` |
//! | 7 | 1: the key is Argon2id (version 0x13) of the password |
//! | 8–19 | Argon2's memory in KiB, passes, lanes |
//! | 20–35 | salt |
//! | 36–47 | nonce |
//!
//! The salt stays while the key does; the nonce is random for each writing, of which a key has too few to matter.
//!
//! ToolHive's: nonce, ciphertext, tag; the key is the SHA-256 of the password. It is only read.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{digest, rand};
use model::SecretValue;
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"SKEPSEC\x01";
const SALT: usize = 16;
const NONCE: usize = 12;
const TAG: usize = 16;
const HEADER: usize = MAGIC.len() + 12 + SALT + NONCE;

/// What deriving a key from a password takes: whoever guesses passwords pays it for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Default for Cost {
    /// OWASP's recommendation for Argon2id.
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, passes: 2, lanes: 1 }
    }
}

impl Cost {
    /// More than this no file may ask for: who can write the file must not decide how long, and with how much memory,
    /// skep is busy with it.
    const MOST: Self = Self { memory_kib: 1024 * 1024, passes: 16, lanes: 16 };

    #[cfg(test)]
    pub(super) const CHEAP: Self = Self { memory_kib: 8, passes: 1, lanes: 1 };

    fn is_affordable(self) -> bool {
        let most = Self::MOST;
        self.memory_kib <= most.memory_kib && self.passes <= most.passes && self.lanes <= most.lanes
    }
}

/// A key, and what it was derived with.
#[derive(Clone)]
pub(super) struct Key {
    cost: Cost,
    salt: [u8; SALT],
    bytes: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("cost", &self.cost).finish_non_exhaustive()
    }
}

impl Key {
    /// A key with a new salt.
    pub(super) fn new(password: &SecretValue, cost: Cost) -> Result<Self, &'static str> {
        let mut salt = [0; SALT];
        rand::fill(&mut salt).map_err(|_| "the system gives no random bytes")?;
        Self::derive(password, cost, salt)
    }

    fn derive(password: &SecretValue, cost: Cost, salt: [u8; SALT]) -> Result<Self, &'static str> {
        const WRONG: &str = "what it says of deriving its key makes no sense";
        let mut bytes = Zeroizing::new([0; 32]);
        let params =
            Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(bytes.len())).map_err(|_| WRONG)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into(password.reveal().as_bytes(), &salt, &mut *bytes).map_err(|_| WRONG)?;
        Ok(Self { cost, salt, bytes })
    }
}

/// The password or the bytes are not those it was sealed with.
#[derive(Debug)]
pub(super) struct NotSealed;

/// A file that is not empty.
#[derive(Debug)]
pub(super) enum Sealed<'a> {
    Ours(Ours<'a>),
    ToolHives(ToolHives<'a>),
}

#[derive(Debug)]
pub(super) struct Ours<'a> {
    cost: Cost,
    salt: [u8; SALT],
    header: &'a [u8],
    sealed: &'a [u8],
}

#[derive(Debug)]
pub(super) struct ToolHives<'a>(&'a [u8]);

impl<'a> Sealed<'a> {
    /// Tells which form a file has. What begins as ours is ours: that ToolHive's random nonce does is out of reach.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, &'static str> {
        let (name, version) = (&MAGIC[..MAGIC.len() - 1], MAGIC[MAGIC.len() - 1]);
        let Some(rest) = bytes.strip_prefix(name) else { return Ok(Self::ToolHives(ToolHives(bytes))) };
        if rest.first().is_some_and(|there| *there != version) {
            return Err("a later skep has written it, or it is damaged");
        }
        let (header, sealed) = bytes.split_at_checked(HEADER).ok_or("its end is missing")?;
        let number = |index: usize| {
            let at = MAGIC.len() + 4 * index;
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let cost = Cost { memory_kib: number(0), passes: number(1), lanes: number(2) };
        if !cost.is_affordable() {
            return Err("it asks for more memory or time than a file may");
        }
        let mut salt = [0; SALT];
        salt.copy_from_slice(&header[MAGIC.len() + 12..HEADER - NONCE]);
        Ok(Self::Ours(Ours { cost, salt, header, sealed }))
    }
}

impl Ours<'_> {
    pub(super) fn key(&self, password: &SecretValue) -> Result<Key, &'static str> {
        Key::derive(password, self.cost, self.salt)
    }

    pub(super) fn is_sealed_with(&self, key: &Key) -> bool {
        (self.cost, self.salt) == (key.cost, key.salt)
    }

    pub(super) fn open(&self, key: &Key) -> Result<Zeroizing<Vec<u8>>, NotSealed> {
        open(&key.bytes, &self.header[HEADER - NONCE..], self.header, self.sealed)
    }
}

impl ToolHives<'_> {
    pub(super) fn open(&self, password: &SecretValue) -> Result<Zeroizing<Vec<u8>>, NotSealed> {
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(digest::digest(&digest::SHA256, password.reveal().as_bytes()).as_ref());
        let (nonce, sealed) = self.0.split_at_checked(NONCE).ok_or(NotSealed)?;
        open(&key, nonce, &[], sealed)
    }
}

fn aead(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("the key has the cipher's length"))
}

fn open(key: &[u8; 32], nonce: &[u8], header: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotSealed> {
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| NotSealed)?;
    let mut text = Zeroizing::new(sealed.to_vec());
    let length = aead(key).open_in_place(nonce, Aad::from(header), &mut text).map_err(|_| NotSealed)?.len();
    text.truncate(length);
    Ok(text)
}

/// Seals a text.
pub(super) fn seal(text: &[u8], key: &Key) -> Result<Vec<u8>, &'static str> {
    let mut nonce = [0; NONCE];
    rand::fill(&mut nonce).map_err(|_| "the system gives no random bytes")?;
    let mut file = Vec::with_capacity(HEADER + text.len() + TAG);
    file.extend_from_slice(MAGIC);
    for number in [key.cost.memory_kib, key.cost.passes, key.cost.lanes] {
        file.extend_from_slice(&number.to_be_bytes());
    }
    file.extend_from_slice(&key.salt);
    file.extend_from_slice(&nonce);
    let (header, nonce) = (file.clone(), Nonce::assume_unique_for_key(nonce));
    let mut sealed = Zeroizing::new(text.to_vec());
    let tag = aead(&key.bytes).seal_in_place_separate_tag(nonce, Aad::from(&header), &mut sealed);
    let tag = tag.map_err(|_| "it is too much for one file")?;
    file.extend_from_slice(&sealed);
    file.extend_from_slice(tag.as_ref());
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> SecretValue {
        SecretValue::new(text.to_owned())
    }

    #[test]
    fn a_file_says_how_its_key_is_derived() {
        let costs = [Cost::CHEAP, Cost { memory_kib: 64, passes: 2, lanes: 2 }];
        for cost in costs {
            let file = seal(b"text", &Key::new(&password("p"), cost).unwrap()).unwrap();
            assert_eq!(file.len(), HEADER + 4 + TAG);
            let Ok(Sealed::Ours(ours)) = Sealed::read(&file) else { panic!("it is ours") };
            assert_eq!(ours.cost, cost);
            assert_eq!(*ours.open(&ours.key(&password("p")).unwrap()).unwrap(), b"text");
            assert!(ours.open(&ours.key(&password("q")).unwrap()).is_err());
        }
    }

    #[test]
    fn what_a_file_may_ask_for_is_bounded() {
        let file = seal(b"text", &Key::new(&password("p"), Cost::CHEAP).unwrap()).unwrap();
        for (at, number) in [(8, Cost::MOST.memory_kib + 1), (12, 17), (16, 17), (8, u32::MAX)] {
            let mut greedy = file.clone();
            greedy[at..at + 4].copy_from_slice(&number.to_be_bytes());
            assert!(Sealed::read(&greedy).is_err(), "{at} {number}");
        }
        let mut none = file.clone();
        none[12..16].fill(0);
        let Ok(Sealed::Ours(ours)) = Sealed::read(&none) else { panic!("it is ours") };
        assert!(ours.key(&password("p")).is_err(), "no passes");
        let mut later = file;
        later[7] = 2;
        assert!(Sealed::read(&later).is_err());
    }

    #[test]
    fn the_costs_of_new_files_may_be_asked_for() {
        assert!(Cost::default().is_affordable());
    }
}
