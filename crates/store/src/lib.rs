//! What skep keeps: files, each written whole or not at all and readable by its owner only, and records, small texts
//! under an id that several processes may share.

#![forbid(unsafe_code)]

pub mod file;
pub mod records;

pub use records::{Change, Found, Records, Stored, Unavailable, Write};
