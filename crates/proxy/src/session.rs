//! Sessions: the id a client holds ([`token`], sealed with [`keys`]), the ones this process serves ([`table`]), and
//! what is kept about each so that it can be rebuilt elsewhere ([`store`]).

pub(crate) mod epoch;
pub mod keys;
pub mod store;
pub mod table;
pub mod token;
pub mod view;

pub use crate::recovery::remembered::{Agreed, Remembered};
pub use keys::{KeyError, KeyRing};
pub use store::{
    Change, Kept, MemoryStore, PartTokens, SessionRecord, SessionStore, StoreUnavailable, Write,
};
pub use table::{Limits, Opened, Session, Table, TableFull};
pub use token::{Claims, Pin, RouteId};
