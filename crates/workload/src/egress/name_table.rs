//! Addresses that stand for names: what a workload is told a name's address is, so that the connection which follows
//! tells the name.
//!
//! Bounded: the name that was used longest ago makes room, never one that a connection holds. Addresses are given out
//! in a circle through the whole range, so one that was let go comes back for another name as late as possible; until
//! then it stands for nothing, and a workload that kept it is refused rather than led elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::host_name::HostName;

/// 198.18.0.0/15 without its first 256 addresses, one of which is the name server's.
const FIRST: u32 = Ipv4Addr::new(198, 18, 1, 0).to_bits();
const LAST: u32 = Ipv4Addr::new(198, 19, 255, 255).to_bits();

/// Names that have an address at a time.
const NAMES: usize = 4096;

/// Shared by the name server and the connections.
#[derive(Clone, Debug)]
pub(super) struct NameTable(Arc<Mutex<Table>>);

#[derive(Debug)]
struct Table {
    entries: HashMap<Ipv4Addr, Entry>,
    addresses: HashMap<HostName, Ipv4Addr>,
    /// The entries that no connection holds, by when they were last used.
    idle: BTreeMap<u64, Ipv4Addr>,
    clock: u64,
    next: u32,
    capacity: usize,
}

#[derive(Debug)]
struct Entry {
    name: HostName,
    used: u64,
    holders: usize,
}

/// A name whose address stays as it is while this is held.
#[derive(Debug)]
pub(super) struct Held {
    table: NameTable,
    address: Ipv4Addr,
    name: HostName,
}

impl NameTable {
    pub(super) fn new() -> Self {
        Self::with_capacity(NAMES)
    }

    fn with_capacity(capacity: usize) -> Self {
        let table = Table {
            entries: HashMap::new(),
            addresses: HashMap::new(),
            idle: BTreeMap::new(),
            clock: 0,
            next: FIRST,
            capacity,
        };
        Self(Arc::new(Mutex::new(table)))
    }

    /// The address that stands for a name; `None` when connections hold all there are.
    pub(super) fn address_of(&self, name: &HostName) -> Option<Ipv4Addr> {
        self.0.lock().address_of(name)
    }

    /// The name that an address stands for.
    pub(super) fn hold(&self, address: Ipv4Addr) -> Option<Held> {
        let name = self.0.lock().hold(address)?;
        Some(Held { table: self.clone(), address, name })
    }

    /// Whether an address is of the range that stands for names, or the name server's.
    pub(super) fn covers(address: Ipv4Addr) -> bool {
        matches!(address.octets(), [198, 18 | 19, ..])
    }
}

impl Held {
    pub(super) fn name(&self) -> &HostName {
        &self.name
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.table.0.lock().release(self.address);
    }
}

impl Table {
    fn address_of(&mut self, name: &HostName) -> Option<Ipv4Addr> {
        if let Some(address) = self.addresses.get(name).copied() {
            self.touch(address);
            return Some(address);
        }
        if self.entries.len() >= self.capacity {
            let (_, oldest) = self.idle.pop_first()?;
            let forgotten = self.entries.remove(&oldest)?;
            self.addresses.remove(&forgotten.name);
        }
        let address = self.free_address();
        self.clock += 1;
        self.idle.insert(self.clock, address);
        self.entries.insert(address, Entry { name: name.clone(), used: self.clock, holders: 0 });
        self.addresses.insert(name.clone(), address);
        Some(address)
    }

    /// There is one: the range is far larger than the table.
    fn free_address(&mut self) -> Ipv4Addr {
        loop {
            let address = Ipv4Addr::from_bits(self.next);
            self.next = if self.next == LAST { FIRST } else { self.next + 1 };
            if !self.entries.contains_key(&address) {
                return address;
            }
        }
    }

    fn touch(&mut self, address: Ipv4Addr) {
        let Some(entry) = self.entries.get_mut(&address) else { return };
        self.clock += 1;
        if self.idle.remove(&entry.used).is_some() {
            self.idle.insert(self.clock, address);
        }
        entry.used = self.clock;
    }

    fn hold(&mut self, address: Ipv4Addr) -> Option<HostName> {
        let entry = self.entries.get_mut(&address)?;
        entry.holders += 1;
        self.idle.remove(&entry.used);
        Some(entry.name.clone())
    }

    fn release(&mut self, address: Ipv4Addr) {
        let Some(entry) = self.entries.get_mut(&address) else { return };
        entry.holders -= 1;
        if entry.holders == 0 {
            self.clock += 1;
            entry.used = self.clock;
            self.idle.insert(self.clock, address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(number: usize) -> HostName {
        HostName::parse(&format!("n{number}.example")).unwrap()
    }

    fn named(table: &NameTable, address: Ipv4Addr) -> Option<HostName> {
        table.hold(address).map(|held| held.name().clone())
    }

    #[test]
    fn a_name_keeps_its_address_until_others_need_the_room() {
        let table = NameTable::with_capacity(2);
        let [a, b] = [0, 1].map(|n| table.address_of(&name(n)).unwrap());
        assert_ne!(a, b);
        assert_eq!(table.address_of(&name(0)), Some(a));
        let c = table.address_of(&name(2)).unwrap();
        assert_eq!([a, b, c].map(|address| named(&table, address)), [Some(name(0)), None, Some(name(2))]);
        assert_ne!(c, b, "an address that was let go is not given to the next name");
    }

    #[test]
    fn a_name_that_is_held_is_not_let_go() {
        let table = NameTable::with_capacity(2);
        let [a, b] = [0, 1].map(|n| table.address_of(&name(n)).unwrap());
        let (first, again, other) = (table.hold(a).unwrap(), table.hold(a).unwrap(), table.hold(b).unwrap());
        assert_eq!(table.address_of(&name(2)), None);
        assert_eq!(table.address_of(&name(0)), Some(a));
        drop((first, other));
        assert!(table.address_of(&name(2)).is_some());
        assert_eq!([a, b].map(|address| named(&table, address)), [Some(name(0)), None]);
        drop(again);
    }

    #[test]
    fn the_range_goes_round_and_leaves_out_the_name_server() {
        let table = NameTable::with_capacity(1);
        let all = usize::try_from(LAST - FIRST + 1).unwrap();
        let given: Vec<Ipv4Addr> = (0..all).map(|n| table.address_of(&name(n)).unwrap()).collect();
        assert!(given.is_sorted() && given.iter().all(|&address| NameTable::covers(address)));
        assert!(!given.contains(crate::process::netns::DNS_SERVER.ip()));
        assert_eq!(table.address_of(&name(all)), given.first().copied());
    }

    proptest! {
        #[test]
        fn whatever_happens_each_address_is_one_names_and_held_ones_stay(
            steps in proptest::collection::vec((0..12usize, 0..3u8), 0..200)
        ) {
            let table = NameTable::with_capacity(5);
            let mut held: Vec<(usize, Held)> = Vec::new();
            for (number, what) in steps {
                match what {
                    0 => {
                        if let Some(address) = table.address_of(&name(number)) {
                            prop_assert_eq!(named(&table, address), Some(name(number)));
                        }
                    }
                    1 => {
                        let address = table.address_of(&name(number));
                        held.extend(address.and_then(|address| table.hold(address)).map(|hold| (number, hold)));
                    }
                    _ => drop((!held.is_empty()).then(|| held.swap_remove(number % held.len()))),
                }
                for (number, hold) in &held {
                    prop_assert_eq!(hold.name(), &name(*number));
                    prop_assert_eq!(table.address_of(&name(*number)), Some(hold.address));
                }
                let inside = table.0.lock();
                prop_assert!(inside.entries.len() <= 5);
                prop_assert_eq!(inside.entries.len(), inside.addresses.len());
                prop_assert_eq!(inside.idle.len(), inside.entries.values().filter(|entry| entry.holders == 0).count());
            }
        }
    }
}
