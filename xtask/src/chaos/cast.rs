//! The processes of a run, and what is done to them.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;
use tempfile::TempDir;
use testkit::Program;
use tokio::net::TcpStream;
use tokio::time::sleep;

/// How often it is tried whether something listens, and how many times.
const LOOK: Duration = Duration::from_millis(10);
const LOOKS: usize = 1000;

/// The keys that all proxies have in the beginning: the one of zeros.
const FIRST_KEY: char = 'A';

/// A process that can be had again at the same port.
struct Role {
    /// Of a name.
    command: Box<dyn Fn(&str) -> Command>,
    name: String,
    port: u16,
    program: Option<Program>,
}

impl Role {
    fn new(name: String, port: u16, command: impl Fn(&str) -> Command + 'static) -> Self {
        Self { command: Box::new(command), name, port, program: None }
    }

    fn start(&mut self) -> anyhow::Result<()> {
        self.program = Some(Program::start((self.command)(&self.name))?);
        Ok(())
    }

    fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)?;
        if let Some(mut program) = self.program.take() {
            program.wait(Duration::from_secs(10))?;
        }
        Ok(())
    }

    /// Lets it do nothing for a while.
    async fn pause(&self, time: Duration) -> anyhow::Result<()> {
        self.signal(Signal::STOP)?;
        sleep(time).await;
        self.signal(Signal::CONT)
    }

    async fn listens(&self) -> anyhow::Result<()> {
        for _ in 0..LOOKS {
            if TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return Ok(());
            }
            sleep(LOOK).await;
        }
        anyhow::bail!("nothing listens at port {}", self.port)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.program.as_ref().context("it runs")?.signal(signal)
    }

    /// Kills it without warning, and starts it again a while later.
    async fn replace(&mut self, away: Duration) -> anyhow::Result<()> {
        self.kill()?;
        sleep(away).await;
        self.start()?;
        self.listens().await
    }
}

/// All of them.
pub(super) struct Cast {
    instances: Vec<Role>,
    proxies: Vec<Role>,
    redis: Role,
    folder: TempDir,
    deeds: BTreeMap<&'static str, usize>,
    /// Each of one letter; the first seals.
    keys: Vec<char>,
}

impl Cast {
    pub(super) fn start(binary: &Path, instances: usize, proxies: usize) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let keys = folder.path().join("keys");
        std::fs::write(&keys, key_line(FIRST_KEY))?;
        let (binary, journal) = (binary.to_owned(), folder.path().join("journal"));
        std::fs::write(&journal, "")?;
        let redis_port = free_port()?;
        let place = folder.path().to_owned();
        let redis = Role::new("redis".to_owned(), redis_port, move |_| {
            let mut command = quiet("redis-server");
            command.args(["--port", &redis_port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]);
            command.arg(&place);
            command
        });
        let ports = (0..instances).map(|_| free_port()).collect::<anyhow::Result<Vec<_>>>()?;
        let instances = ports.iter().enumerate().map(|(number, &port)| {
            let (binary, journal) = (binary.clone(), journal.clone());
            Role::new(number.to_string(), port, move |name| {
                let mut command = quiet(&binary);
                command.args(["example", "--http", &format!("127.0.0.1:{port}"), "--instance"]);
                command.arg(name).arg("--journal").arg(&journal);
                command
            })
        });
        let instances = instances.collect();
        let targets: Vec<String> = ports.iter().map(|port| format!("http://127.0.0.1:{port}/mcp")).collect();
        let mut roles = Vec::new();
        for number in 0..proxies {
            let log = folder.path().join(format!("proxy-{number}.log"));
            let (binary, keys, targets, port) = (binary.clone(), keys.clone(), targets.clone(), free_port()?);
            roles.push(Role::new(number.to_string(), port, move |_| {
                let mut command = proxy(&binary, &keys, &targets, port, redis_port);
                let log = std::fs::File::options().create(true).append(true).open(&log);
                if let Ok(log) = log {
                    command.stderr(log);
                }
                command
            }));
        }
        let deeds = BTreeMap::new();
        let mut cast = Self { instances, proxies: roles, redis, folder, deeds, keys: vec![FIRST_KEY] };
        cast.redis.start()?;
        for role in cast.instances.iter_mut().chain(&mut cast.proxies) {
            role.start()?;
            role.program.as_mut().context("it was started")?.url()?;
        }
        Ok(cast)
    }

    pub(super) fn urls(&self) -> Vec<String> {
        self.proxies.iter().map(|proxy| format!("http://127.0.0.1:{}/mcp", proxy.port)).collect()
    }

    pub(super) async fn kill_instance(&mut self, which: usize, away: Duration) -> anyhow::Result<()> {
        *self.deeds.entry("instances killed").or_default() += 1;
        self.instances[which].replace(away).await
    }

    pub(super) async fn stop_instance(&mut self, which: usize, time: Duration) -> anyhow::Result<()> {
        *self.deeds.entry("instances stopped for a while").or_default() += 1;
        self.instances[which].pause(time).await
    }

    /// A replica that does nothing for longer than its claims last: it must not believe afterwards that nobody else did.
    pub(super) async fn stop_proxy(&mut self, which: usize, time: Duration) -> anyhow::Result<()> {
        *self.deeds.entry("proxies stopped for a while").or_default() += 1;
        self.proxies[which].pause(time).await
    }

    /// A store that does not answer, and has lost nothing.
    pub(super) async fn stop_redis(&mut self, time: Duration) -> anyhow::Result<()> {
        *self.deeds.entry("times Redis was stopped for a while").or_default() += 1;
        self.redis.pause(time).await
    }

    /// Two instances are killed, and each comes back at the address of the other.
    pub(super) async fn swap_instances(&mut self, one: usize, other: usize) -> anyhow::Result<()> {
        *self.deeds.entry("times two instances changed addresses").or_default() += 1;
        let names = (self.instances[one].name.clone(), self.instances[other].name.clone());
        (self.instances[other].name, self.instances[one].name) = names;
        for which in [one, other] {
            self.instances[which].kill()?;
        }
        for which in [one, other] {
            self.instances[which].start()?;
            self.instances[which].listens().await?;
        }
        Ok(())
    }

    /// A new key seals from now on: first all proxies learn to open with it, one after the other, then to seal.
    pub(super) async fn rotate_keys(&mut self) -> anyhow::Result<()> {
        *self.deeds.entry("times session keys were rotated").or_default() += 1;
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
        *self.deeds.entry("proxies killed").or_default() += 1;
        self.proxies[which].replace(Duration::ZERO).await
    }

    /// Takes Redis away, and all that is in it.
    pub(super) async fn restart_redis(&mut self, away: Duration) -> anyhow::Result<()> {
        *self.deeds.entry("times Redis lost everything").or_default() += 1;
        self.redis.replace(away).await
    }

    /// What was carried out, a line each.
    pub(super) fn journal(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.folder.path().join("journal"))?)
    }

    /// Leaves what the proxies logged for somebody to read, and says where.
    pub(super) fn keep_logs(self) -> PathBuf {
        self.folder.keep()
    }

    pub(super) fn deeds(&self) -> &BTreeMap<&'static str, usize> {
        &self.deeds
    }
}

fn proxy(binary: &Path, keys: &PathBuf, targets: &[String], port: u16, redis_port: u16) -> Command {
    let mut command = quiet(binary);
    command.args(["proxy", "chaos", "--format", "json", "--port", &port.to_string()]);
    command.arg("--store").arg(format!("redis://127.0.0.1:{redis_port}"));
    command.arg("--session-key-file").arg(keys);
    for target in targets {
        command.args(["--target-uri", target]);
    }
    command
}

/// 32 bytes in base64.
fn key_line(letter: char) -> String {
    // The last letter of 32 bytes has two bits to spare, which are none.
    format!("{}A=\n", letter.to_string().repeat(42))
}

fn quiet(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
