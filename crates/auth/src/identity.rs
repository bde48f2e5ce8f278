//! Who a request comes from.

use model::PrincipalDigest;

/// The identity of a caller. Inserted into a request's extensions by the layer that authenticates, and by no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// No authentication is configured.
    Anonymous,
}

impl Identity {
    /// What sessions are bound to.
    #[must_use]
    pub fn digest(&self) -> PrincipalDigest {
        match self {
            Self::Anonymous => PrincipalDigest::ANONYMOUS,
        }
    }
}
