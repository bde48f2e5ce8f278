//! Who asks and what they may do, as vocabulary: later layers decide in these words, the innermost service demands them.
//!
//! No policy engine and no token validation is here yet; without them everyone is anonymous and permitted, and says so.

#![forbid(unsafe_code)]

pub mod identity;
pub mod permit;

pub use identity::Identity;
pub use permit::{Permit, Permitted};
