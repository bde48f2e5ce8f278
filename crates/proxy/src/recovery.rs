//! How a session outlives its backend, without IO: what counts as the loss of a session ([`loss`]), what has to be said
//! again to another instance ([`remembered`]), and in which order ([`machine`]).
//!
//! `docs/design/recovery.md` has the state diagram and the guarantees. Who sends and waits is [`crate::forward`].

pub mod history;
pub(crate) mod loss;
pub(crate) mod machine;
pub(crate) mod notice;
pub(crate) mod remembered;
pub(crate) mod resend;
