//! The processes of a run, and what is done to them.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::network::{Cut, Network, Spot};
use super::role::Role;

/// The keys that all proxies have in the beginning: the one of zeros.
const FIRST_KEY: char = 'A';

/// All of them. Instances are at the first spots, then the proxies, then Redis.
pub(super) struct Cast {
    instances: Vec<Role>,
    /// At the address of each instance, another server, which does not run.
    strangers: Vec<Role>,
    proxies: Vec<Role>,
    redis: Role,
    folder: TempDir,
    deeds: BTreeMap<&'static str, usize>,
    /// Each of one letter; the first seals.
    keys: Vec<char>,
    network: Option<Arc<Network>>,
    healing: JoinSet<anyhow::Result<()>>,
    /// An instance that nobody reaches, and until when.
    cut_off: Option<(usize, Instant)>,
}

impl Cast {
    pub(super) fn start(
        binary: &Path,
        instances: usize,
        proxies: usize,
        network: Option<Arc<Network>>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("keys"), key_line(FIRST_KEY))?;
        for journal in ["journal", "strange"] {
            std::fs::write(folder.path().join(journal), "")?;
        }
        let spot = |number: usize| network.as_ref().map_or_else(Spot::local, |net| net.spots[number].clone());
        let ports = (0..instances).map(|_| free_port()).collect::<anyhow::Result<Vec<_>>>()?;
        let each = |own: bool| {
            let all = ports.iter().enumerate();
            all.map(|(number, &port)| instance(binary, folder.path(), &spot(number), (number, port), own))
                .collect()
        };
        let (instances, strangers): (Vec<Role>, Vec<Role>) = (each(true), each(false));
        let redis = redis(folder.path(), &spot(instances.len() + proxies))?;
        let targets: Vec<String> = instances.iter().map(|role| format!("http://{}/mcp", role.at)).collect();
        let new =
            |number| proxy(binary, folder.path(), &spot(instances.len() + number), number, &targets, &redis);
        let proxies = (0..proxies).map(new).collect::<anyhow::Result<Vec<_>>>()?;
        let (deeds, keys, healing) = (BTreeMap::new(), vec![FIRST_KEY], JoinSet::new());
        let mut cast = Self {
            instances,
            strangers,
            proxies,
            redis,
            folder,
            deeds,
            keys,
            network,
            healing,
            cut_off: None,
        };
        cast.redis.start()?;
        for role in cast.instances.iter_mut().chain(&mut cast.proxies) {
            role.start()?;
            role.wait_for_url()?;
        }
        Ok(cast)
    }

    pub(super) fn urls(&self) -> Vec<String> {
        self.proxies.iter().map(|proxy| format!("http://{}/mcp", proxy.at)).collect()
    }

    fn count(&mut self, deed: &'static str) {
        *self.deeds.entry(deed).or_default() += 1;
    }

    pub(super) async fn kill_instance(&mut self, which: usize, away: Duration) -> anyhow::Result<()> {
        self.count("instances killed");
        self.instances[which].replace(away).await?;
        self.is_back(which).await
    }

    /// Waits for an instance, unless nobody could see it.
    async fn is_back(&self, which: usize) -> anyhow::Result<()> {
        match self.cut_off {
            Some((one, until)) if one == which && Instant::now() < until => Ok(()),
            _ => self.instances[which].listens().await,
        }
    }

    pub(super) async fn stop_instance(&mut self, which: usize, time: Duration) -> anyhow::Result<()> {
        self.count("instances stopped for a while");
        self.instances[which].pause(time).await
    }

    /// A replica that does nothing for longer than its claims last: it must not believe afterwards that nobody else did.
    pub(super) async fn stop_proxy(&mut self, which: usize, time: Duration) -> anyhow::Result<()> {
        self.count("proxies stopped for a while");
        self.proxies[which].pause(time).await
    }

    /// A store that does not answer, and has lost nothing.
    pub(super) async fn stop_redis(&mut self, time: Duration) -> anyhow::Result<()> {
        self.count("times Redis was stopped for a while");
        self.redis.pause(time).await
    }

    /// Two instances are killed, and each comes back at the address of the other.
    pub(super) async fn swap_instances(&mut self, one: usize, other: usize) -> anyhow::Result<()> {
        self.count("times two instances changed addresses");
        let names = (self.instances[one].name.clone(), self.instances[other].name.clone());
        (self.instances[other].name, self.instances[one].name) = names;
        for which in [one, other] {
            self.instances[which].kill()?;
        }
        for which in [one, other] {
            self.instances[which].start()?;
            self.is_back(which).await?;
        }
        Ok(())
    }

    /// An instance is killed, and for a while another server has its address.
    pub(super) async fn lend_address(&mut self, which: usize, time: Duration) -> anyhow::Result<()> {
        self.count("times another server had an instance's address");
        self.instances[which].kill()?;
        self.strangers[which].start()?;
        sleep(time).await;
        self.strangers[which].kill()?;
        self.instances[which].start()?;
        self.is_back(which).await
    }

    /// Whether packets can be lost.
    pub(super) fn can_be_cut(&self) -> bool {
        self.network.is_some()
    }

    /// A proxy does not reach an instance.
    pub(super) fn cut_instance(&mut self, which: usize, proxy: usize, time: Duration) -> anyhow::Result<()> {
        self.count("times a proxy was cut off from an instance");
        self.cut(Cut::Between(which, self.instances.len() + proxy), time)
    }

    /// Nobody reaches an instance.
    pub(super) fn cut_instance_off(&mut self, which: usize, time: Duration) -> anyhow::Result<()> {
        self.count("times an instance was cut off from everyone");
        self.cut_off = Some((which, Instant::now() + time));
        self.cut(Cut::Off(which), time)
    }

    /// A proxy does not reach Redis.
    pub(super) fn cut_redis(&mut self, proxy: usize, time: Duration) -> anyhow::Result<()> {
        self.count("times a proxy was cut off from Redis");
        let instances = self.instances.len();
        self.cut(Cut::Between(instances + proxy, instances + self.proxies.len()), time)
    }

    /// Loses packets from now on, and no longer than this, whatever else is done meanwhile.
    fn cut(&mut self, cut: Cut, time: Duration) -> anyhow::Result<()> {
        let network = Arc::clone(self.network.as_ref().context("there is a network")?);
        let until = Instant::now() + time;
        network.cut(cut)?;
        self.healing.spawn(async move {
            sleep_until(until).await;
            network.heal(cut)
        });
        Ok(())
    }

    /// A new key seals from now on: first all proxies learn to open with it, one after the other, then to seal.
    pub(super) async fn rotate_keys(&mut self) -> anyhow::Result<()> {
        self.count("times session keys were rotated");
        let count = u32::try_from(self.deeds["times session keys were rotated"])?;
        let new = char::from_u32(u32::from(FIRST_KEY) + count % 26).context("a letter")?;
        self.keys.retain(|key| *key != new);
        self.keys.push(new);
        self.tell_keys().await?;
        self.keys.rotate_right(1);
        self.tell_keys().await
    }

    async fn tell_keys(&mut self) -> anyhow::Result<()> {
        let lines: String = self.keys.iter().map(|key| key_line(*key)).collect();
        std::fs::write(self.folder.path().join("keys"), lines)?;
        for which in 0..self.proxies.len() {
            self.kill_proxy(which).await?;
        }
        Ok(())
    }

    pub(super) async fn kill_proxy(&mut self, which: usize) -> anyhow::Result<()> {
        self.count("proxies killed");
        self.proxies[which].replace(Duration::ZERO).await?;
        self.proxies[which].listens().await
    }

    /// Takes Redis away, and all that is in it.
    pub(super) async fn restart_redis(&mut self, away: Duration) -> anyhow::Result<()> {
        self.count("times Redis lost everything");
        self.redis.replace(away).await?;
        self.redis.listens().await
    }

    /// What was carried out, a line each.
    pub(super) fn journal(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.folder.path().join("journal"))?)
    }

    /// What other servers have carried out.
    pub(super) fn strange_journal(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.folder.path().join("strange"))?)
    }

    /// What could not be healed; all that was cut is, or was to be.
    pub(super) fn healed(&mut self) -> anyhow::Result<()> {
        while let Some(healed) = self.healing.try_join_next() {
            healed??;
        }
        Ok(())
    }

    /// Leaves what the proxies logged for somebody to read, and says where.
    pub(super) fn keep_logs(self) -> PathBuf {
        self.folder.keep()
    }

    pub(super) fn deeds(&self) -> &BTreeMap<&'static str, usize> {
        &self.deeds
    }
}

/// An instance of the backend, or another server at its address.
fn instance(binary: &Path, folder: &Path, spot: &Spot, (number, port): (usize, u16), own: bool) -> Role {
    let (server, journal) = if own { ("skep-example", "journal") } else { ("stranger", "strange") };
    let (binary, journal, there) = (binary.to_owned(), folder.join(journal), spot.clone());
    Role::new(number.to_string(), spot.address, port, move |name| {
        let mut command = there.command(&binary);
        let address = there.address.to_string();
        command.args(["example", "--http", &format!("{address}:{port}"), "--allowed-hosts", &address]);
        command.args(["--instance", name, "--server-name", server]).arg("--journal").arg(&journal);
        command
    })
}

fn redis(folder: &Path, spot: &Spot) -> anyhow::Result<Role> {
    let (folder, there, port) = (folder.to_owned(), spot.clone(), free_port()?);
    Ok(Role::new("redis".to_owned(), spot.address, port, move |_| {
        let mut command = there.command("redis-server");
        command.args(["--port", &port.to_string(), "--bind", &there.address.to_string()]);
        // Without a password it serves its own machine only, unless it is told that the network is safe: it is ours.
        command.args(["--protected-mode", "no", "--save", "", "--dir"]).arg(&folder);
        command
    }))
}

fn proxy(
    binary: &Path,
    folder: &Path,
    spot: &Spot,
    number: usize,
    targets: &[String],
    redis: &Role,
) -> anyhow::Result<Role> {
    let (binary, there, targets, port) = (binary.to_owned(), spot.clone(), targets.to_vec(), free_port()?);
    let (store, keys) = (format!("redis://{}", redis.at), folder.join("keys"));
    let log = folder.join(format!("proxy-{number}.log"));
    Ok(Role::new(number.to_string(), spot.address, port, move |_| {
        let mut command = there.command(&binary);
        command.args(["proxy", "chaos", "--format", "json", "--host", &there.address.to_string()]);
        command.args(["--port", &port.to_string(), "--store", &store]);
        command.arg("--session-key-file").arg(&keys);
        for target in &targets {
            command.args(["--target-uri", target]);
        }
        if let Ok(log) = std::fs::File::options().create(true).append(true).open(&log) {
            command.stderr(log);
        }
        command
    }))
}

/// 32 bytes in base64.
fn key_line(letter: char) -> String {
    // The last letter of 32 bytes has two bits to spare, which are none.
    format!("{}A=\n", letter.to_string().repeat(42))
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
