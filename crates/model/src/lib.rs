//! The nouns of skep: names, what a workload is and may do, and who is asking. Raw forms are what files and flags say;
//! validated forms can only be made by checking. No IO, no runtime, no protocol.

#![forbid(unsafe_code)]

pub mod group;
pub mod json;
pub mod label;
pub mod name;
pub mod package;
pub mod permissions;
pub mod principal;
pub mod run_config;
pub mod secret;
pub mod timestamp;
pub mod workload;

pub use group::GroupName;
pub use json::{Document, Json};
pub use name::{NotAName, WorkloadName};
pub use package::PackageSpec;
pub use permissions::Profile;
pub use principal::PrincipalDigest;
pub use run_config::RunConfig;
pub use secret::{SecretRef, SecretValue};
pub use timestamp::Timestamp;
