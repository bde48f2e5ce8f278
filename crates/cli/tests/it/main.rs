//! The product from outside: the real binary, real sockets, real processes and real kills; servers and clients that
//! nobody here wrote where they are installed (`cargo xtask test` does that).

#![forbid(unsafe_code)]

mod bridge;
mod commands;
mod harness;
mod lifecycle;
mod proxy;
mod refusals;
mod relay;
mod sdk;
mod streams;
mod tls;
mod tools;
