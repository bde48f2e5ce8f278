//! The permit: proof that somebody decided a request may be forwarded.
//!
//! What forwards takes [`Permitted`] requests only, so a request that no layer decided about does not type-check.

use crate::identity::Identity;

/// Why a request may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permit {
    /// No authorization is configured: everything may pass, and the log says so at start.
    NotConfigured,
}

/// A request, who asks, and why it may pass. Made by [`Permit::grant`] alone.
#[derive(Debug)]
pub struct Permitted<R> {
    request: R,
    identity: Identity,
    permit: Permit,
}

impl Permit {
    /// Lets a request pass.
    #[must_use]
    pub fn grant<R>(self, request: R, identity: Identity) -> Permitted<R> {
        Permitted { request, identity, permit: self }
    }
}

impl<R> Permitted<R> {
    /// Why it may pass.
    #[must_use]
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// The request and who asks, for the one who forwards it.
    #[must_use]
    pub fn into_parts(self) -> (R, Identity) {
        (self.request, self.identity)
    }
}
