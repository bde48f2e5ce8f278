//! The session id a client holds: a sealed token that says which session it is, whose, and where it lives.
//!
//! `s1.` and base64url of key id, nonce, AES-256-GCM ciphertext and tag. Nothing in it can be read or changed by the
//! client. Any replica with the keys can serve it without asking a store. It grants nothing by itself: the principal
//! inside must be the one who asks.

use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use model::PrincipalDigest;
use uuid::Uuid;

use super::keys::KeyRing;

const PREFIX: &str = "s1.";
const CONTEXT: &[u8] = b"session-v1";
/// No token that we seal is longer; anything longer is refused before any work.
const MAX_TOKEN: usize = 2048;
/// Sealed claims whose backend session id is no longer than a few UUIDs fit in this.
const USUAL_SEALED: usize = 256;

/// Which route (workload) a session belongs to: a digest of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteId(u64);

impl RouteId {
    /// The id of a route's name. The same name gives the same id on every replica.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, name.as_bytes());
        Self(u64::from_le_bytes(hash.as_ref()[..8].try_into().expect("SHA-256 has 32 bytes")))
    }

    pub(crate) fn number(self) -> u64 {
        self.0
    }

    pub(crate) fn from_number(number: u64) -> Self {
        Self(number)
    }
}

/// The exact backend instance that holds a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Where it listened when the session began.
    pub address: SocketAddr,
    /// What it is beyond its address: a digest of pod UID, container id, or of scheme and authority.
    pub identity: u64,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    pub id: Uuid,
    pub route: RouteId,
    pub principal: PrincipalDigest,
    pub pin: Pin,
    /// Counts how often the session was rebuilt.
    pub epoch: u32,
    /// Seconds since the Unix epoch.
    pub issued: u64,
    /// The backend's own session id, empty where it has none.
    pub backend_session: Vec<u8>,
}

impl Claims {
    /// Seals the claims into a header value.
    ///
    /// # Panics
    /// Never: base64url is a header value.
    #[must_use]
    pub fn seal(&self, keys: &KeyRing) -> HeaderValue {
        let mut token = String::with_capacity(160 + self.backend_session.len() * 4 / 3);
        token.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(keys.seal(CONTEXT, &self.to_bytes()), &mut token);
        HeaderValue::from_str(&token).expect("base64url is a header value")
    }

    /// Opens a token; `None` for anything these keys did not seal.
    #[must_use]
    pub fn open(keys: &KeyRing, token: &[u8]) -> Option<Self> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let encoded = token.strip_prefix(PREFIX.as_bytes())?;
        // Most fit in the small one: clearing room for the largest costs as much as opening them.
        let (mut small, mut large) = ([0; USUAL_SEALED], Vec::new());
        let buffer = if encoded.len() <= USUAL_SEALED {
            &mut small[..]
        } else {
            large.resize(encoded.len(), 0);
            &mut large[..]
        };
        let length = URL_SAFE_NO_PAD.decode_slice(encoded, buffer).ok()?;
        Self::from_bytes(keys.open(CONTEXT, &mut buffer[..length])?)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96 + self.backend_session.len());
        out.extend_from_slice(self.id.as_bytes());
        out.extend_from_slice(&self.route.0.to_le_bytes());
        out.extend_from_slice(self.principal.as_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.issued.to_le_bytes());
        out.extend_from_slice(&self.pin.identity.to_le_bytes());
        out.extend_from_slice(&self.pin.address.port().to_le_bytes());
        match self.pin.address.ip() {
            IpAddr::V4(ip) => {
                out.push(4);
                out.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                out.push(6);
                out.extend_from_slice(&ip.octets());
            }
        }
        out.extend_from_slice(&self.backend_session);
        out
    }

    fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        Some(Self {
            id: Uuid::from_bytes(take(bytes)?),
            route: RouteId(u64::from_le_bytes(take(bytes)?)),
            principal: PrincipalDigest::new(take(bytes)?),
            epoch: u32::from_le_bytes(take(bytes)?),
            issued: u64::from_le_bytes(take(bytes)?),
            pin: {
                let identity = u64::from_le_bytes(take(bytes)?);
                let port = u16::from_le_bytes(take(bytes)?);
                let ip = match take(bytes)? {
                    [4] => IpAddr::from(take::<4>(bytes)?),
                    [6] => IpAddr::from(take::<16>(bytes)?),
                    _ => return None,
                };
                Pin { address: SocketAddr::new(ip, port), identity }
            },
            backend_session: bytes.to_vec(),
        })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys() -> KeyRing {
        KeyRing::parse(&KeyRing::generate_line()).unwrap()
    }

    fn claims(backend_session: Vec<u8>, v6: bool) -> Claims {
        let address = if v6 { "[2001:db8::1]:8080" } else { "10.1.2.3:80" };
        Claims {
            id: Uuid::from_u128(7),
            route: RouteId::of("everything"),
            principal: PrincipalDigest::new([9; 16]),
            pin: Pin { address: address.parse().unwrap(), identity: 11 },
            epoch: 3,
            issued: 1_700_000_000,
            backend_session,
        }
    }

    proptest! {
        #[test]
        fn a_token_is_a_legal_session_id_and_gives_its_claims_back(
            session in proptest::collection::vec(0x21u8..0x7f, 0..200), v6: bool
        ) {
            let keys = keys();
            let claims = claims(session, v6);
            let token = claims.seal(&keys);
            prop_assert!(mcp::headers::is_session_id(token.as_bytes()));
            prop_assert_eq!(Claims::open(&keys, token.as_bytes()), Some(claims));
        }

        #[test]
        fn no_other_text_opens(token in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(Claims::open(&keys(), &token), None);
        }
    }

    #[test]
    fn a_token_of_another_ring_a_cut_one_and_a_huge_one_do_not_open() {
        let keys = keys();
        let token = claims(b"abc".to_vec(), false).seal(&keys);
        assert_eq!(Claims::open(&super::tests::keys(), token.as_bytes()), None);
        assert_eq!(Claims::open(&keys, &token.as_bytes()[..token.len() - 1]), None);
        assert_eq!(Claims::open(&keys, &token.as_bytes()[PREFIX.len()..]), None);
        assert_eq!(Claims::open(&keys, &vec![b'a'; MAX_TOKEN + 1]), None);
    }
}
