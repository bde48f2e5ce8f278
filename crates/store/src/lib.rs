//! The files skep keeps. Every one of them is written whole or not at all, and readable by its owner only.

#![forbid(unsafe_code)]

pub mod file;
