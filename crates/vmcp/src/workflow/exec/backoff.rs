//! How long to wait before something is tried again: half as much again each time, up to sixty times what it was first, and
//! by chance up to half more or less.

use std::time::Duration;

/// How much longer each wait is.
const FACTOR: f64 = 1.5;
/// How many times the first one the longest is.
const MOST: f64 = 60.0;

/// The wait after so many attempts; `chance` is between 0 and 1.
pub(super) fn after(attempts: usize, first: Duration, chance: f64) -> Duration {
    let grown = (1..attempts).fold(1.0, |factor: f64, _| (factor * FACTOR).min(MOST));
    first.mul_f64(grown * (0.5 + chance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_bound() {
        let second = Duration::from_secs(1);
        for (attempts, chance, expect) in
            [(1, 0.5, 1.0), (2, 0.5, 1.5), (3, 0.5, 2.25), (1, 0.0, 0.5), (1, 1.0, 1.5), (500, 0.5, 60.0)]
        {
            assert_eq!(after(attempts, second, chance).as_secs_f64(), expect, "{attempts} {chance}");
        }
    }
}
