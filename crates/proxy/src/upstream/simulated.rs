//! A network in memory, for simulations: connections of a thread go to what the thread says is there.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

use tokio::io::DuplexStream;

pub(crate) type Dialled = Pin<Box<dyn Future<Output = io::Result<DuplexStream>> + Send>>;
type Dial = Rc<dyn Fn(SocketAddr) -> Dialled>;

thread_local! {
    static DIAL: RefCell<Option<Dial>> = const { RefCell::new(None) };
}

/// From now on connections of this thread are made by `dial`.
pub(crate) fn network(dial: impl Fn(SocketAddr) -> Dialled + 'static) {
    DIAL.set(Some(Rc::new(dial)));
}

/// A connection in the thread's own network; `None` where it has none.
pub(super) fn dial(address: SocketAddr) -> Option<Dialled> {
    DIAL.with_borrow(|dial| dial.as_ref().map(|dial| dial(address)))
}
