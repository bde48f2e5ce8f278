//! Connections: each that the workload makes is accepted, judged by where it was going, and led there or reset.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use telemetry::Tasks;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::EgressLimits;
use super::audit::Audit;
use super::dial::{Dialler, NotDialled};
use super::door;
use super::name_table::{Held, NameTable};
use super::outside::Outside;
use super::pace::Pace;
use super::policy::{Denial, Destination, EgressPolicy};
use super::relay::{relay, reset};
use crate::process::netns::original_destination;

/// What every connection of a workload needs.
#[derive(Debug)]
pub(super) struct Gate<O> {
    pub(super) policy: Arc<EgressPolicy>,
    pub(super) names: NameTable,
    pub(super) audit: Arc<Audit>,
    pub(super) limits: EgressLimits,
    pub(super) pace: Arc<Pace>,
    pub(super) outside: O,
}

impl<O: Outside> Gate<O> {
    /// Accepts until the tasks are to stop.
    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener, tasks: Tasks) {
        let (most, gate) = (self.limits.connections, Arc::clone(&self));
        let full = |stream| gate.refuse_for_want_of_room(stream);
        let serve = |stream, stop| {
            let gate = Arc::clone(&self);
            async move { gate.connection(stream, stop).await }
        };
        door::let_in(listener, most, &self.pace, tasks, full, serve).await;
    }

    fn refuse_for_want_of_room(&self, stream: TcpStream) {
        let target = target(&stream);
        reset(stream);
        if let Some(target) = target {
            let held = self.names.hold(*target.ip());
            self.audit.denied(&display(held.as_ref(), *target.ip()), target.port(), Denial::TooMany);
        }
    }

    async fn connection(&self, inside: TcpStream, stop: CancellationToken) {
        let Some(target) = target(&inside) else { return reset(inside) };
        let (address, port) = (*target.ip(), target.port());
        let held = self.names.hold(address);
        let host = display(held.as_ref(), address);
        let dialled = tokio::select! {
            () = stop.cancelled() => return reset(inside),
            dialled = self.dial(held.as_ref(), address, port) => dialled,
        };
        match dialled {
            Ok(outside) => {
                self.audit.allowed();
                self.carry(inside, outside, stop).await;
            }
            Err(NotDialled::Denied(denial)) => {
                reset(inside);
                self.audit.denied(&host, port, denial);
            }
            Err(NotDialled::Failed(error)) => {
                reset(inside);
                self.audit.failed(&host, port, &error.to_string());
            }
        }
    }

    /// Neither side takes a connection that was cut for one that is over.
    async fn carry(&self, mut inside: TcpStream, mut outside: TcpStream, stop: CancellationToken) {
        for stream in [&inside, &outside] {
            // What comes is passed on at once; whether to gather small writes is the choice of who makes them.
            let _ = stream.set_nodelay(true);
        }
        let is_over = tokio::select! {
            () = stop.cancelled() => false,
            ended = relay(&mut inside, &mut outside, self.limits.idle) => ended.is_ok(),
        };
        if !is_over {
            reset(outside);
            reset(inside);
        }
    }

    async fn dial(&self, held: Option<&Held>, address: Ipv4Addr, port: u16) -> Result<TcpStream, NotDialled> {
        let destination = match held {
            Some(held) => Destination::Name(held.name().clone()),
            None if NameTable::covers(address) => return Err(NotDialled::Denied(Denial::Forgotten)),
            None => Destination::Address(address),
        };
        let dialler = Dialler { policy: &self.policy, outside: &self.outside, within: self.limits.connect };
        dialler.dial(&destination, port).await
    }
}

/// Where a connection was going; that of one which came here without a redirect is the gate itself. `None` when the
/// kernel does not know, so that nothing can be decided.
fn target(stream: &TcpStream) -> Option<SocketAddrV4> {
    original_destination(stream).ok()
}

fn display(held: Option<&Held>, address: Ipv4Addr) -> String {
    held.map_or_else(|| address.to_string(), |held| held.name().to_string())
}
