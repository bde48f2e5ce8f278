//! A process of a run that can be had again at the same address.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;
use testkit::Program;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// How often it is tried whether something listens, how long one try may take, and how many there are.
const LOOK: Duration = Duration::from_millis(10);
const LOOK_PATIENCE: Duration = Duration::from_millis(500);
const LOOKS: usize = 1000;

pub(super) struct Role {
    /// Of a name.
    command: Box<dyn Fn(&str) -> Command>,
    pub(super) name: String,
    pub(super) at: SocketAddr,
    program: Option<Program>,
}

impl Role {
    pub(super) fn new(
        name: String,
        address: Ipv4Addr,
        port: u16,
        command: impl Fn(&str) -> Command + 'static,
    ) -> Self {
        Self { command: Box::new(command), name, at: (address, port).into(), program: None }
    }

    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        self.program = Some(Program::start((self.command)(&self.name))?);
        Ok(())
    }

    /// Waits for the endpoint that it prints.
    pub(super) fn wait_for_url(&mut self) -> anyhow::Result<()> {
        self.program.as_mut().context("it was started")?.url().map(drop)
    }

    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)?;
        if let Some(mut program) = self.program.take() {
            program.wait(Duration::from_secs(10))?;
        }
        Ok(())
    }

    /// Lets it do nothing for a while.
    pub(super) async fn pause(&self, time: Duration) -> anyhow::Result<()> {
        self.signal(Signal::STOP)?;
        sleep(time).await;
        self.signal(Signal::CONT)
    }

    pub(super) async fn listens(&self) -> anyhow::Result<()> {
        for _ in 0..LOOKS {
            if matches!(timeout(LOOK_PATIENCE, TcpStream::connect(self.at)).await, Ok(Ok(_))) {
                return Ok(());
            }
            sleep(LOOK).await;
        }
        anyhow::bail!("nothing listens at {}", self.at)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.program.as_ref().context("it runs")?.signal(signal)
    }

    /// Kills it without warning, and starts it again a while later.
    pub(super) async fn replace(&mut self, away: Duration) -> anyhow::Result<()> {
        self.kill()?;
        sleep(away).await;
        self.start()
    }
}
