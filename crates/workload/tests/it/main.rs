//! Real processes: how they start, how they end, and that nothing is left of them.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may, too; clippy sees only the test functions themselves"
)]

#[cfg(target_os = "linux")]
mod breakout;
#[cfg(target_os = "linux")]
mod container;
#[cfg(target_os = "linux")]
mod egress;
#[cfg(target_os = "linux")]
mod isolation;
mod leave;
mod parent_death;
#[cfg(target_os = "linux")]
mod sandboxed;
mod sh;
mod start;
mod supervise;
