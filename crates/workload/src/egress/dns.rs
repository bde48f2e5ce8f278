//! The name server of a workload: a pure function from a query to an answer.
//!
//! Nobody is asked. A name that the policy allows has the address that stands for it; what it really is gets looked up
//! when a connection is made, by skep. So no name leaves the machine that the policy does not allow, and none for
//! asking alone.
//!
//! A name that is not allowed is said not to exist. REFUSED would be nearer to the truth, but resolvers take it for a
//! fault of the server: they ask again, and programs report a failure that may pass.

use std::net::Ipv4Addr;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};

use super::host_name::HostName;
use super::policy::{Denial, EgressPolicy, Verdict};

/// How long a workload may keep an answer, in seconds. Asking again costs nothing.
const TIME_TO_LIVE: u32 = 30;
/// What we say that we can take; all there is to say fits into much less.
const UDP_PAYLOAD: u16 = 1232;
/// Identifier and flags, which a message that is otherwise garbage may still have.
const HEADER: usize = 12;

/// What is done about a message.
#[derive(Debug)]
pub(super) struct Answer {
    /// Bytes to send back; `None` where nothing should be.
    pub(super) reply: Option<Vec<u8>>,
    /// The name that was not allowed, and why.
    pub(super) denied: Option<(String, Denial)>,
}

/// Answers one message. `address_of` gives the address that stands for a name, if there is room for another.
pub(super) fn answer(
    query: &[u8],
    policy: &EgressPolicy,
    address_of: impl FnOnce(&HostName) -> Option<Ipv4Addr>,
) -> Answer {
    let Ok(query) = Message::from_vec(query) else {
        return Answer { reply: malformed(query), denied: None };
    };
    if query.metadata.message_type == MessageType::Response {
        return Answer { reply: None, denied: None };
    }
    let mut reply = reply_to(&query);
    let denied = fill(&mut reply, &query, policy, address_of);
    Answer { reply: reply.to_vec().ok(), denied }
}

/// A format error, to whoever at least sent the beginning of a query.
fn malformed(query: &[u8]) -> Option<Vec<u8>> {
    let is_query = query.len() >= HEADER && query[2] & 0x80 == 0;
    let identifier = u16::from_be_bytes(*query.first_chunk()?);
    let reply = Message::error_msg(identifier, OpCode::Query, ResponseCode::FormErr);
    if is_query { reply.to_vec().ok() } else { None }
}

/// The frame of an answer, which says nothing yet.
fn reply_to(query: &Message) -> Message {
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata = Metadata::response_from_request(&query.metadata);
    reply.metadata.recursion_available = true;
    reply.metadata.checking_disabled = false;
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_PAYLOAD).set_version(0);
        reply.set_edns(edns);
    }
    reply
}

fn fill(
    reply: &mut Message,
    query: &Message,
    policy: &EgressPolicy,
    address_of: impl FnOnce(&HostName) -> Option<Ipv4Addr>,
) -> Option<(String, Denial)> {
    let [question] = &query.queries[..] else {
        reply.metadata.response_code = ResponseCode::FormErr;
        return None;
    };
    reply.add_query(question.clone());
    let (code, denied) = match judge(query, question, policy) {
        Judged::Code(code) => (code, None),
        Judged::Denied(name, denial) => (ResponseCode::NXDomain, Some((name, denial))),
        Judged::Nothing => (ResponseCode::NoError, None),
        Judged::Address(name) => match address_of(&name) {
            Some(address) => {
                let data = RData::A(A(address));
                reply.add_answer(Record::from_rdata(question.name().clone(), TIME_TO_LIVE, data));
                (ResponseCode::NoError, None)
            }
            None => (ResponseCode::ServFail, None),
        },
    };
    reply.metadata.response_code = code;
    denied
}

/// What a question deserves.
enum Judged {
    /// Something that is not answered for any name.
    Code(ResponseCode),
    Denied(String, Denial),
    /// The name is there, without records of this type: IPv6 leads nowhere, and parameters of services are not known.
    Nothing,
    Address(HostName),
}

fn judge(query: &Message, question: &Query, policy: &EgressPolicy) -> Judged {
    if query.metadata.op_code != OpCode::Query {
        return Judged::Code(ResponseCode::NotImp);
    }
    if query.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Judged::Code(ResponseCode::BADVERS);
    }
    if question.query_class() != DNSClass::IN {
        return Judged::Code(ResponseCode::Refused);
    }
    let written = question.name().to_ascii();
    let Some(name) = host_name(question) else {
        return Judged::Denied(written, Denial::Host);
    };
    if let Verdict::Denied(denial) = policy.decide_name(&name) {
        return Judged::Denied(name.to_string(), denial);
    }
    match question.query_type() {
        RecordType::A | RecordType::ANY => Judged::Address(name),
        _ => Judged::Nothing,
    }
}

/// The labels as they are on the wire: a dot or another script within one makes it no name.
fn host_name(question: &Query) -> Option<HostName> {
    let labels: Vec<&[u8]> = question.name().iter().collect();
    let is_plain = labels.iter().all(|label| label.is_ascii() && !label.contains(&b'.'));
    let text = String::from_utf8(labels.join(&b'.')).ok()?;
    if is_plain { HostName::parse(&text) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::policy::EgressConfig;
    use hickory_proto::rr::Name;
    use proptest::prelude::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 7);

    fn policy(all: bool) -> EgressPolicy {
        let allow_host = Some(vec![".example.com".to_owned(), "one.example".to_owned()]);
        EgressPolicy::try_from(&EgressConfig { allow_host, allow_port: None, insecure_allow_all: all })
            .unwrap()
    }

    fn query(name: &str, kind: RecordType) -> Message {
        let mut query = Message::new(77, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        query.metadata.recursion_desired = true;
        query
    }

    fn ask(query: &Message) -> (Message, Option<(String, Denial)>) {
        let answer = answer(&query.to_vec().unwrap(), &policy(false), |_| Some(ADDRESS));
        (Message::from_vec(&answer.reply.unwrap()).unwrap(), answer.denied)
    }

    #[test]
    fn names_that_are_allowed_have_an_address_and_nothing_else() {
        let check = |name: &str, kind: RecordType, code: ResponseCode, answers: usize| {
            let query = query(name, kind);
            let (reply, denied) = ask(&query);
            let got = (reply.metadata.response_code, reply.answers.len());
            assert_eq!(got, (code, answers), "{name} {kind}");
            assert_eq!((reply.metadata.id, &reply.queries), (77, &query.queries), "{name} {kind}");
            assert!(reply.metadata.recursion_available && reply.metadata.recursion_desired);
            assert_eq!(denied.is_some(), code == ResponseCode::NXDomain, "{name} {kind}");
        };
        for name in ["example.com.", "A.b.eXample.com.", "one.example."] {
            check(name, RecordType::A, ResponseCode::NoError, 1);
            for kind in
                [RecordType::AAAA, RecordType::HTTPS, RecordType::SVCB, RecordType::TXT, RecordType::MX]
            {
                check(name, kind, ResponseCode::NoError, 0);
            }
        }
        for name in [
            "example.org.",
            "a.one.example.",
            ".",
            "com.",
            "c2VjcmV0.evil.example.",
            "1.0.0.127.in-addr.arpa.",
        ] {
            for kind in [RecordType::A, RecordType::AAAA, RecordType::TXT, RecordType::PTR] {
                check(name, kind, ResponseCode::NXDomain, 0);
            }
        }
    }

    #[test]
    fn an_answer_repeats_the_name_as_it_was_asked() {
        let (reply, _) = ask(&query("A.b.eXample.com.", RecordType::A));
        let [record] = &reply.answers[..] else { panic!("{reply:?}") };
        assert_eq!(record.name.to_ascii(), "A.b.eXample.com.");
        assert_eq!(record.data, RData::A(A(ADDRESS)));
    }

    #[test]
    fn other_messages_are_answered_with_what_is_wrong() {
        let code = |query: &Message| ask(query).0.metadata.response_code;
        let plain = query("example.com.", RecordType::A);
        let mut update = plain.clone();
        update.metadata.op_code = OpCode::Status;
        assert_eq!(code(&update), ResponseCode::NotImp);
        let mut chaos = plain.clone();
        chaos.queries[0].set_query_class(DNSClass::CH);
        assert_eq!(code(&chaos), ResponseCode::Refused);
        let mut two = plain.clone();
        two.queries.extend(plain.queries.clone());
        assert_eq!(code(&two), ResponseCode::FormErr);
        let mut none = plain.clone();
        none.queries.clear();
        assert_eq!(code(&none), ResponseCode::FormErr);
        let mut extended = plain.clone();
        extended.set_edns(Edns::new());
        assert!(ask(&extended).0.edns.is_some());
        let full = answer(&plain.to_vec().unwrap(), &policy(false), |_| None).reply.unwrap();
        assert_eq!(Message::from_vec(&full).unwrap().metadata.response_code, ResponseCode::ServFail);
        let mut response = plain.clone();
        response.metadata.message_type = MessageType::Response;
        assert!(answer(&response.to_vec().unwrap(), &policy(false), |_| Some(ADDRESS)).reply.is_none());
    }

    #[test]
    fn a_dot_within_a_label_does_not_make_a_name() {
        let mut odd = query("example.com.", RecordType::A);
        let labels: [&[u8]; 2] = [b"a.example", b"com"];
        odd.queries[0].set_name(Name::from_labels(labels).unwrap());
        assert_eq!(ask(&odd).0.metadata.response_code, ResponseCode::NXDomain);
        let labels: [&[u8]; 3] = ["ü".as_bytes(), b"example", b"com"];
        odd.queries[0].set_name(Name::from_labels(labels).unwrap());
        assert_eq!(ask(&odd).0.metadata.response_code, ResponseCode::NXDomain);
    }

    proptest! {
        #[test]
        fn garbage_gets_a_format_error_or_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let answer = answer(&bytes, &policy(true), |_| Some(ADDRESS));
            prop_assert!(answer.reply.is_none_or(|reply| reply.len() >= HEADER && reply[..2] == bytes[..2]));
        }

        #[test]
        fn a_query_with_damage_never_opens_another_name(at in 0..29usize, to: u8, length in 0..30usize) {
            let mut bytes = query("example.org.", RecordType::A).to_vec().unwrap();
            if let Some(byte) = bytes.get_mut(at) {
                *byte = to;
            }
            bytes.truncate(length.max(at));
            let mut given = None;
            answer(&bytes, &policy(false), |name| {
                given = Some(name.clone());
                Some(ADDRESS)
            });
            prop_assert_eq!(given, None);
        }
    }
}
