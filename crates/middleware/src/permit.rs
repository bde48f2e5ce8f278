//! Decides whether a request may be forwarded. No policy can be configured yet, so each passes with the permit that
//! says just that; this is where authorization will stand.

use auth::{Identity, Permit};

use crate::answer::Answer;
use crate::service::{Forwarding, Parsed, Service};

/// The layer.
#[derive(Debug)]
pub struct PermitAll<S> {
    inner: S,
}

impl<S> PermitAll<S> {
    /// Around what forwards.
    pub fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S: Service<Forwarding>> Service<Parsed> for PermitAll<S> {
    async fn call(&self, parsed: Parsed) -> Answer {
        let permitted = parsed.map(|request| Permit::NotConfigured.grant(request, Identity::Anonymous));
        self.inner.call(permitted).await
    }
}
