//! Compiles pid 1 of a sandbox, a program that is embedded in skep (`src/process/os/init/main.rs` says why).

#![allow(clippy::expect_used, reason = "a build that cannot go on says so and stops")]

use std::env::var_os;
use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "src/process/os/init/main.rs";

/// Small, and without anything that the loader would have to do.
const OPTIONS: [&str; 13] = [
    "--edition=2024",
    "--crate-type=bin",
    "--crate-name=init",
    "-Copt-level=s",
    "-Cpanic=abort",
    "-Ccodegen-units=1",
    "-Cstrip=symbols",
    "-Crelocation-model=pic",
    "-Clink-arg=-nostdlib",
    "-Clink-arg=-nostartfiles",
    "-Clink-arg=-static-pie",
    "-Clink-arg=-Wl,--build-id=none,--gc-sections,-z,norelro",
    "-Dwarnings",
];

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    if var_os("CARGO_CFG_TARGET_OS").is_none_or(|system| system != "linux") {
        return;
    }
    let given = |name: &str| var_os(name).expect("cargo says it");
    let mut rustc = Command::new(given("RUSTC"));
    rustc.args(OPTIONS).arg("--target").arg(given("TARGET"));
    if var_os("CARGO_CFG_TARGET_ENV").is_some_and(|libc| libc == "musl") {
        // Or rustc adds the beginning of a program with musl to a program that begins by itself.
        rustc.arg("-Clink-self-contained=no");
    }
    if let Some(linker) = var_os("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={}", linker.display()));
    }
    rustc.arg("-o").arg(PathBuf::from(given("OUT_DIR")).join("init")).arg(SOURCE);
    let status = rustc.status().expect("rustc can be started");
    assert!(status.success(), "{SOURCE} was not compiled: {status}");
}
