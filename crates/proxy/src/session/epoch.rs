//! The epoch of a session: a number that grows whenever it moves, and that two replicas that move it at the same time, each
//! without knowing of the other, do not share. The later of two is where the session lives; so they agree as soon as they
//! hear of each other.
//!
//! The upper bits count moves, the lower ones are drawn by lot.

const LOT_BITS: u32 = 10;

/// The epoch of a session's next place.
pub(crate) fn after(epoch: u32) -> u32 {
    // The last count is not reached: at a move a second it takes 48 days, and sessions end after 7.
    let moves = moves(epoch).saturating_add(1).min((u32::MAX >> LOT_BITS) - 1);
    (moves << LOT_BITS) | fastrand::u32(..1 << LOT_BITS)
}

/// How often the session has moved.
pub(crate) fn moves(epoch: u32) -> u32 {
    epoch >> LOT_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_grow_and_two_that_follow_the_same_one_differ() {
        let mut epoch = 0;
        for count in 1..1000 {
            let next = after(epoch);
            assert!(next > epoch && moves(next) == count);
            epoch = next;
        }
        let drawn: std::collections::HashSet<u32> = (0..10_000).map(|_| after(epoch)).collect();
        assert!(drawn.len() > 1000);
        assert!(after(u32::MAX - 1) < u32::MAX, "that one says that a session has ended");
    }
}
