//! What skep keeps: files, each written whole or not at all and readable by its owner only; records, small texts under an
//! id that several processes may share; secrets; and what people have set.

#![forbid(unsafe_code)]

pub mod config;
pub mod file;
pub mod ignore;
pub mod records;
pub mod secrets;
pub mod state;

pub use records::{Change, Found, Records, Stored, Unavailable, Write};
