//! The rules of the namespace, given to nf_tables in one transaction. As `nft` would print them:
//!
//! ```text
//! table ip skep {
//!     chain redirect {
//!         type nat hook output priority dstnat; policy accept;
//!         ip daddr 127.0.0.0/8 accept
//!         ip daddr 198.18.0.1 tcp dport 53 accept
//!         meta l4proto tcp redirect to :PORT
//!     }
//!     chain refuse {
//!         type filter hook output priority filter; policy drop;
//!         meta l4proto tcp accept
//!         ip daddr 127.0.0.0/8 accept
//!         ip daddr 198.18.0.1 accept
//!     }
//! }
//! ```
//!
//! What the policy drops fails where it is sent, with EPERM. TCP needs no second look: what was not redirected goes to
//! this namespace itself.

use std::io;

use super::DNS_SERVER;
use super::netlink::{APPEND, Attributes, CREATE, Family, Request};

const TABLE: &str = "skep";
const REDIRECT: &str = "redirect";
const REFUSE: &str = "refuse";

/// Messages (`linux/netfilter/nfnetlink.h`, `nf_tables.h`).
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;

const NFPROTO_IPV4: u8 = 2;
const NF_INET_LOCAL_OUT: u32 = 3;
/// `NF_IP_PRI_NAT_DST`, and `NF_IP_PRI_FILTER`.
const BEFORE_ROUTING: i32 = -100;
const AFTERWARDS: i32 = 0;

/// Where values are held while a rule is looked at, and where the verdict goes.
const REGISTER: u32 = 1;
const VERDICT_REGISTER: u32 = 0;

/// A verdict, or what becomes of a packet that no rule of a chain has judged.
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

const TCP: u8 = 6;

/// Creates the table with both chains. `port` is the listener's that gets the connections.
pub(super) fn install(port: u16) -> io::Result<()> {
    let mut batch = Request::default();
    batch.plain(BATCH_BEGIN, 0, &header(0, SUBSYSTEM), |_| ());
    batch.message(NEW_TABLE, CREATE, &ours(), |table| table.name(1, TABLE));
    chain(&mut batch, REDIRECT, "nat", BEFORE_ROUTING, ACCEPT);
    rule(&mut batch, REDIRECT, |rule| {
        own_loopback(rule);
        verdict(rule, ACCEPT);
    });
    rule(&mut batch, REDIRECT, |rule| {
        name_server(rule);
        is_tcp(rule);
        payload(rule, Part::Transport, 2, &DNS_SERVER.port().to_be_bytes());
        verdict(rule, ACCEPT);
    });
    rule(&mut batch, REDIRECT, |rule| {
        is_tcp(rule);
        redirect(rule, port);
    });
    chain(&mut batch, REFUSE, "filter", AFTERWARDS, DROP);
    for accepted in [is_tcp, own_loopback, name_server] {
        rule(&mut batch, REFUSE, |rule| {
            accepted(rule);
            verdict(rule, ACCEPT);
        });
    }
    batch.plain(BATCH_END, 0, &header(0, SUBSYSTEM), |_| ());
    batch.carry_out(Family::Netfilter)
}

/// `struct nfgenmsg`.
fn header(family: u8, resource: u16) -> Vec<u8> {
    let [high, low] = resource.to_be_bytes();
    vec![family, 0, high, low]
}

fn ours() -> Vec<u8> {
    header(NFPROTO_IPV4, 0)
}

/// A chain that sees what this namespace sends.
fn chain(batch: &mut Request, name: &str, kind: &str, priority: i32, policy: u32) {
    batch.message(NEW_CHAIN, CREATE, &ours(), |chain| {
        chain.name(1, TABLE);
        chain.name(3, name);
        chain.nested(4, |hook| {
            hook.network_number(1, NF_INET_LOCAL_OUT);
            hook.bytes(2, &priority.to_be_bytes());
        });
        chain.network_number(5, policy);
        chain.name(7, kind);
    });
}

/// A rule is a list of expressions; the first comparison that fails ends it.
fn rule(batch: &mut Request, chain: &str, expressions: impl FnOnce(&mut Attributes)) {
    batch.message(NEW_RULE, CREATE | APPEND, &ours(), |rule| {
        rule.name(1, TABLE);
        rule.name(2, chain);
        rule.nested(4, expressions);
    });
}

fn expression(rule: &mut Attributes, name: &str, data: impl FnOnce(&mut Attributes)) {
    rule.nested(1, |element| {
        element.name(1, name);
        element.nested(2, data);
    });
}

/// `ip daddr 127.0.0.0/8`: its first byte.
fn own_loopback(rule: &mut Attributes) {
    payload(rule, Part::Network, 16, &[127]);
}

fn name_server(rule: &mut Attributes) {
    payload(rule, Part::Network, 16, &DNS_SERVER.ip().octets());
}

/// Which header of a packet is looked at.
#[derive(Clone, Copy, Debug)]
enum Part {
    Network = 1,
    Transport = 2,
}

/// The packet has these bytes there.
fn payload(rule: &mut Attributes, part: Part, offset: u32, value: &[u8]) {
    expression(rule, "payload", |load| {
        load.network_number(1, REGISTER);
        load.network_number(2, part as u32);
        load.network_number(3, offset);
        load.network_number(4, u32::try_from(value.len()).expect("a few bytes"));
    });
    equals(rule, value);
}

fn is_tcp(rule: &mut Attributes) {
    const L4_PROTOCOL: u32 = 16;
    expression(rule, "meta", |load| {
        load.network_number(1, REGISTER);
        load.network_number(2, L4_PROTOCOL);
    });
    equals(rule, &[TCP]);
}

fn equals(rule: &mut Attributes, value: &[u8]) {
    const EQUAL: u32 = 0;
    expression(rule, "cmp", |compare| {
        compare.network_number(1, REGISTER);
        compare.network_number(2, EQUAL);
        compare.nested(3, |data| data.bytes(1, value));
    });
}

fn verdict(rule: &mut Attributes, verdict: u32) {
    expression(rule, "immediate", |immediate| {
        immediate.network_number(1, VERDICT_REGISTER);
        immediate.nested(2, |data| data.nested(2, |code| code.network_number(1, verdict)));
    });
}

fn redirect(rule: &mut Attributes, port: u16) {
    expression(rule, "immediate", |immediate| {
        immediate.network_number(1, REGISTER);
        immediate.nested(2, |data| data.bytes(1, &port.to_be_bytes()));
    });
    expression(rule, "redir", |redirect| redirect.network_number(1, REGISTER));
}
