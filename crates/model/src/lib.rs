//! The nouns of skep: names, and who is asking. Raw forms are what files and flags say; validated forms can only be made
//! by checking. No IO, no runtime, no protocol.

#![forbid(unsafe_code)]

pub mod name;
pub mod principal;

pub use name::{NotAName, WorkloadName};
pub use principal::PrincipalDigest;
