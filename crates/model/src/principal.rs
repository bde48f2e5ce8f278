//! Who a request comes from, in the form that sessions are bound to.

/// A digest of an identity (issuer and subject). Two requests are from the same principal exactly when these are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PrincipalDigest([u8; 16]);

impl PrincipalDigest {
    /// Everyone, where no authentication is configured.
    pub const ANONYMOUS: Self = Self([0; 16]);

    /// From the first 16 bytes of a cryptographic digest over issuer and subject.
    #[must_use]
    pub fn new(digest: [u8; 16]) -> Self {
        Self(digest)
    }

    /// The bytes, for sealing into a session token.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}
