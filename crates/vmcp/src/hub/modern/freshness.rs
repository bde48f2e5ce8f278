//! How long a list is good for, and for whom (2026-07-28 "Caching"): what is made of several is good as long as each of
//! them is.

use std::time::Duration;

use tokio::time::Instant;

/// What a server says about a result of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::hub) struct Freshness {
    since: Instant,
    /// `None`: nothing was read yet.
    ttl: Option<Duration>,
    is_public: bool,
}

impl Freshness {
    /// Of what is read from now on.
    pub(in crate::hub) fn of_now(since: Instant) -> Self {
        Self { since, ttl: None, is_public: true }
    }

    /// One page more, with what it says, as JSON text. What is missing or makes no sense is as short as can be.
    pub(in crate::hub) fn take(&mut self, ttl: Option<&[u8]>, scope: Option<&[u8]>) {
        let milliseconds = ttl.and_then(|ttl| std::str::from_utf8(ttl).ok()?.parse::<u64>().ok());
        let ttl = Duration::from_millis(milliseconds.unwrap_or_default());
        self.ttl = Some(self.ttl.map_or(ttl, |known| known.min(ttl)));
        self.is_public &= scope == Some(br#""public""#);
    }

    /// What is left of it.
    fn left(&self, now: Instant) -> Duration {
        self.ttl.unwrap_or_default().saturating_sub(now - self.since)
    }
}

/// The members that say how long a result is good for that is made of these; `None` is one that does not say.
pub(in crate::hub) fn members(parts: &[Option<Freshness>], now: Instant) -> String {
    let ttl = parts.iter().map(|part| part.map_or(Duration::ZERO, |part| part.left(now))).min();
    let is_public = parts.iter().all(|part| part.is_some_and(|part| part.is_public));
    let scope = if is_public { "public" } else { "private" };
    format!(r#""ttlMs":{},"cacheScope":"{scope}""#, ttl.unwrap_or_default().as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_made_of_several_is_good_as_long_as_each_of_them() {
        let now = Instant::now();
        let of = |ttl: &[u8], scope: &[u8]| {
            let mut freshness = Freshness::of_now(now);
            freshness.take(Some(ttl), Some(scope));
            Some(freshness)
        };
        let (long, short) = (of(b"9000", br#""public""#), of(b"3000", br#""public""#));
        let (private, odd) = (of(b"9000", br#""private""#), of(b"-1", b"7"));
        for (parts, after, expect) in [
            (&[long][..], 0, r#""ttlMs":9000,"cacheScope":"public""#),
            (&[long, short], 1, r#""ttlMs":2000,"cacheScope":"public""#),
            (&[long, short], 4, r#""ttlMs":0,"cacheScope":"public""#),
            (&[long, private], 0, r#""ttlMs":9000,"cacheScope":"private""#),
            (&[long, odd], 0, r#""ttlMs":0,"cacheScope":"private""#),
            (&[long, None], 0, r#""ttlMs":0,"cacheScope":"private""#),
            (&[], 0, r#""ttlMs":0,"cacheScope":"public""#),
        ] {
            assert_eq!(members(parts, now + Duration::from_secs(after)), expect, "{parts:?} {after}");
        }
    }
}
