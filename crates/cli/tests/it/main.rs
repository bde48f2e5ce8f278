//! The product from outside: the real binary, real sockets, real processes and real kills; servers and clients that
//! nobody here wrote where they are installed (`cargo xtask test` does that).

#![forbid(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "real programs take real time")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it left out"
)]

mod bridge;
mod commands;
mod containers;
mod daemon;
mod fetching;
mod groups;
mod harness;
mod home;
mod isolation;
mod kills;
mod lifecycle;
mod meta_tools;
mod migrate;
mod packages;
mod places;
mod proxy;
mod recovery;
mod refusals;
mod relay;
mod resuming;
mod revival;
mod sdk;
mod settings;
mod stores;
mod streams;
mod thv;
mod tls;
mod toolhive;
mod tools;
mod unasked;
mod vmcp;
mod vmcp_eras;
mod workflows;
