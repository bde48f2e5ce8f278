//! Reads a profile member by member, so that each problem has its place and none hides another.

use serde::de::DeserializeOwned;

use super::{HostRule, Inbound, Mount, Network, NetworkMode, NotAProfile, Outbound, Problem, Profile};
use crate::json::{Json, Object};

/// How much of a value is shown.
const SHOWN: usize = 80;

pub(super) fn profile(text: &str) -> Result<Profile, NotAProfile> {
    let mut reader = Reader::default();
    let whole = match Json::parse(text) {
        Ok(json) => json,
        Err(error) => {
            return Err(NotAProfile(vec![problem("profile", "text", &format!("is not JSON: {error}"))]));
        }
    };
    let mut profile = Profile::default();
    for (name, value) in reader.members("", &whole) {
        match &*name {
            "name" => {
                profile.name = reader.value("name", &value, "a text").filter(|name: &String| !name.is_empty())
            }
            "read" => profile.read = reader.list("read", &value, Mount::parse),
            "write" => profile.write = reader.list("write", &value, Mount::parse),
            "network" => profile.network = Some(network(&mut reader, &value)),
            "privileged" => {
                profile.privileged = reader.value("privileged", &value, "true or false").unwrap_or(false)
            }
            _ => reader.unknown(&name, &value, "name, read, write, network and privileged"),
        }
    }
    if reader.problems.is_empty() { Ok(profile) } else { Err(NotAProfile(reader.problems)) }
}

fn network(reader: &mut Reader, json: &Json) -> Network {
    let mut network = Network::default();
    for (name, value) in reader.members("network", json) {
        let field = format!("network.{name}");
        match &*name {
            "mode" => {
                let text: String = reader.value(&field, &value, "a text").unwrap_or_default();
                network.mode = reader.judged(&field, &value, NetworkMode::parse(&text)).unwrap_or_default();
            }
            "outbound" => network.outbound = Some(outbound(reader, &value)),
            "inbound" => network.inbound = Some(inbound(reader, &value)),
            _ => reader.unknown(&field, &value, "mode, outbound and inbound"),
        }
    }
    network
}

fn outbound(reader: &mut Reader, json: &Json) -> Outbound {
    let mut outbound = Outbound::default();
    for (name, value) in reader.members("network.outbound", json) {
        let field = format!("network.outbound.{name}");
        match &*name {
            "insecure_allow_all" => {
                outbound.insecure_allow_all = reader.value(&field, &value, "true or false").unwrap_or(false);
            }
            "allow_host" => outbound.allow_host = Some(reader.list(&field, &value, HostRule::parse)),
            "allow_port" => outbound.allow_port = Some(ports(reader, &field, &value)),
            _ => reader.unknown(&field, &value, "insecure_allow_all, allow_host and allow_port"),
        }
    }
    outbound
}

fn inbound(reader: &mut Reader, json: &Json) -> Inbound {
    let mut inbound = Inbound::default();
    for (name, value) in reader.members("network.inbound", json) {
        let field = format!("network.inbound.{name}");
        match &*name {
            "allow_host" => inbound.allow_host = Some(reader.list(&field, &value, HostRule::parse)),
            _ => reader.unknown(&field, &value, "allow_host"),
        }
    }
    inbound
}

fn ports(reader: &mut Reader, field: &str, json: &Json) -> Vec<u16> {
    let items: Vec<Json> = reader.value(field, json, "a list of ports").unwrap_or_default();
    let port = |(index, item): (usize, &Json)| {
        let port = item
            .to::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or("is no port: write a number from 1 to 65535");
        reader.judged(&format!("{field}[{index}]"), item, port)
    };
    items.iter().enumerate().filter_map(port).collect()
}

fn problem(field: &str, value: &str, help: &str) -> Problem {
    Problem { field: field.to_owned(), value: value.chars().take(SHOWN).collect(), help: help.to_owned() }
}

#[derive(Default)]
struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    /// The members of an object that are not null.
    fn members(&mut self, field: &str, json: &Json) -> Vec<(String, Json)> {
        let object = match json.to::<Object>() {
            Ok(object) => object,
            Err(error) => {
                let field = if field.is_empty() { "profile" } else { field };
                let help = format!("is no object to be read: {}", crate::json::reason(&error));
                self.problems.push(problem(field, json.text(), &help));
                return Vec::new();
            }
        };
        let members = object.members().filter(|(_, value)| !value.is_null());
        members.map(|(name, value)| (name.to_owned(), value.clone())).collect()
    }

    fn value<T: DeserializeOwned>(&mut self, field: &str, json: &Json, expected: &str) -> Option<T> {
        let value = json.to().ok();
        if value.is_none() {
            self.problems.push(problem(field, json.text(), &format!("is not {expected}")));
        }
        value
    }

    /// A list of texts, each read by `read`.
    fn list<T>(&mut self, field: &str, json: &Json, read: fn(&str) -> Result<T, &'static str>) -> Vec<T> {
        let items: Vec<Json> = self.value(field, json, "a list of texts").unwrap_or_default();
        let item = |(index, item): (usize, &Json)| {
            let field = format!("{field}[{index}]");
            let text: String = self.value(&field, item, "a text")?;
            self.judged(&field, item, read(&text))
        };
        items.iter().enumerate().filter_map(item).collect()
    }

    fn judged<T>(&mut self, field: &str, json: &Json, read: Result<T, &'static str>) -> Option<T> {
        read.map_err(|help| self.problems.push(problem(field, json.text(), help))).ok()
    }

    fn unknown(&mut self, field: &str, json: &Json, known: &str) {
        self.problems.push(problem(
            field,
            json.text(),
            &format!("is for a field that is not known; known are {known}"),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_profile_is_read_and_written() {
        let text = r#"{"name":"full","read":["/data","/a:/b"],"write":["volume://v:/c"],"network":{"mode":"bridge","outbound":{"allow_host":[".example.com"],"allow_port":[443,80]},"inbound":{"allow_host":["localhost"]}},"privileged":true}"#;
        assert_eq!(profile(text).unwrap().to_json().text(), text);
    }

    #[test]
    fn a_list_that_is_empty_is_not_one_that_is_absent() {
        for text in [
            "{}",
            r#"{"network":{"outbound":{}}}"#,
            r#"{"network":{"outbound":{"allow_host":[]}}}"#,
            r#"{"network":{"outbound":{"allow_port":[]}}}"#,
            r#"{"network":{"outbound":{"allow_host":[],"allow_port":[443]},"inbound":{"allow_host":[]}}}"#,
        ] {
            assert_eq!(profile(text).unwrap().to_json().text(), text);
        }
    }

    #[test]
    fn every_problem_is_named_with_its_value() {
        for (text, expect) in [
            ("", vec!["profile"]),
            ("[]", vec!["profile"]),
            (r#"{"name":1}"#, vec!["name"]),
            (r#"{"read":"/a"}"#, vec!["read"]),
            (r#"{"read":["/a",1,"$x"],"write":["a:b:c"]}"#, vec!["read[1]", "read[2]", "write[0]"]),
            (r#"{"Privileged":true}"#, vec!["Privileged"]),
            (r#"{"privileged":"yes"}"#, vec!["privileged"]),
            (r#"{"privileged":false,"privileged":true}"#, vec!["profile"]),
            (r#"{"network":[]}"#, vec!["network"]),
            (r#"{"network":{"mode":"a b","egress":{}}}"#, vec!["network.mode", "network.egress"]),
            (
                r#"{"network":{"outbound":{"allow_port":[0,65536,"80",-1,1],"allow_hosts":[]}}}"#,
                vec![
                    "network.outbound.allow_port[0]",
                    "network.outbound.allow_port[1]",
                    "network.outbound.allow_port[2]",
                    "network.outbound.allow_port[3]",
                    "network.outbound.allow_hosts",
                ],
            ),
            (
                r#"{"network":{"inbound":{"allow_host":["*"],"allow_port":[1]}}}"#,
                vec!["network.inbound.allow_host[0]", "network.inbound.allow_port"],
            ),
        ] {
            let NotAProfile(problems) = profile(text).unwrap_err();
            let fields: Vec<&str> = problems.iter().map(|problem| &*problem.field).collect();
            assert_eq!(fields, expect, "{text}: {problems:?}");
        }
        let error = profile(r#"{"network":{"outbound":{"allow_hosts":["a"]}}}"#).unwrap_err().to_string();
        let expect = r#"not a permission profile: network.outbound.allow_hosts: ["a"] is for a field that is not known; known are insecure_allow_all, allow_host and allow_port"#;
        assert_eq!(error, expect);
    }
}
