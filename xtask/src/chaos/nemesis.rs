//! What is done to the processes of a run, one thing after the other; packets that are lost are lost beside it.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, sleep_until};

use super::cast::Cast;

/// Proxies are spared for so long after Redis has lost everything, and they reach it: where the only process that knows a
/// session dies in that time, nobody can know it.
const REFILL: Duration = Duration::from_secs(5);
/// A session that a proxy was not told of is waited for for eight seconds: it is cut off from Redis for less, with what TCP
/// takes to notice that it no longer is.
const MOST_WITHOUT_REDIS: Duration = Duration::from_secs(5);
/// Mostly instances are cut off for a while that connections outlive, else for long enough to be found dead.
const SHORT_CUT: Duration = Duration::from_secs(4);
const LONG_CUT: Duration = Duration::from_secs(20);

pub(super) struct Nemesis {
    dice: Rng,
    /// Milliseconds.
    every: u64,
    instances: usize,
    proxies: usize,
    spared_until: Instant,
    /// One instance at most is cut off at a time, from one or from all, and one proxy from Redis.
    instance_cut_until: Instant,
    redis_cut_until: Instant,
}

impl Nemesis {
    pub(super) fn new(seed: u64, every: u64, instances: usize, proxies: usize) -> Self {
        let now = Instant::now();
        let dice = Rng::with_seed(!seed);
        Self {
            dice,
            every,
            instances,
            proxies,
            spared_until: now,
            instance_cut_until: now,
            redis_cut_until: now,
        }
    }

    /// How long it rests.
    pub(super) fn rest(&mut self) -> Duration {
        Duration::from_millis(self.every / 2 + self.dice.u64(..self.every))
    }

    fn a_while(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.dice.f64())
    }

    fn instance(&mut self) -> usize {
        self.dice.usize(..self.instances)
    }

    fn proxy(&mut self) -> usize {
        self.dice.usize(..self.proxies)
    }

    pub(super) async fn take_redis_away(&mut self, cast: &mut Cast) -> anyhow::Result<()> {
        sleep_until(self.redis_cut_until).await;
        let away = Duration::from_millis(500) + self.a_while(Duration::from_millis(1500));
        cast.restart_redis(away).await?;
        self.spared_until = Instant::now() + REFILL;
        Ok(())
    }

    /// Does something, whatever chance says.
    pub(super) async fn act(&mut self, cast: &mut Cast) -> anyhow::Result<()> {
        let now = Instant::now();
        let several = self.instances > 1;
        match self.dice.u64(..200) {
            0..20 if now < self.spared_until => Ok(()),
            0..18 => cast.kill_proxy(self.proxy()).await,
            18 | 19 => cast.rotate_keys().await,
            20..24 => cast.stop_proxy(self.proxy(), self.a_while(Duration::from_secs(4))).await,
            // One thing at a time: together they would keep the store away for longer than a session is waited for.
            24..26 if now > self.redis_cut_until.max(self.spared_until) => {
                cast.stop_redis(self.a_while(Duration::from_secs(4))).await
            }
            26..32 if several => {
                let one = self.instance();
                cast.swap_instances(one, (one + 1) % self.instances).await
            }
            32..44 => cast.stop_instance(self.instance(), self.a_while(Duration::from_secs(1))).await,
            // A session needs somewhere to go on.
            44..48 if self.instances > 2 || several && now > self.instance_cut_until => {
                cast.lend_address(self.instance(), self.a_while(Duration::from_secs(2))).await
            }
            48..72 if several && cast.can_be_cut() && now > self.instance_cut_until => {
                self.cut_instance(cast, now)
            }
            72..84 if cast.can_be_cut() && now > self.redis_cut_until.max(self.spared_until) => {
                let time = self.a_while(MOST_WITHOUT_REDIS);
                self.redis_cut_until = now + time;
                cast.cut_redis(self.proxy(), time)
            }
            _ => {
                let away = self.a_while(Duration::from_millis(self.every));
                cast.kill_instance(self.instance(), away).await
            }
        }
    }

    fn cut_instance(&mut self, cast: &mut Cast, now: Instant) -> anyhow::Result<()> {
        let time = match self.dice.u64(..6) {
            0 => LONG_CUT,
            _ => self.a_while(SHORT_CUT),
        };
        self.instance_cut_until = now + time;
        match self.dice.bool() {
            true => cast.cut_instance(self.instance(), self.proxy(), time),
            false => cast.cut_instance_off(self.instance(), time),
        }
    }
}
