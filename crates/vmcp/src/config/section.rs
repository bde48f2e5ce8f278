//! Reads a map member by member: what is of the wrong kind is noted, and so is, at the end, what nobody asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use super::duration;
use super::node::{Node, Value};
use super::problem::{Place, Problem};
use crate::workflow::template::Data;

/// What is found to be wrong, and what the environment holds.
pub(super) struct Reader<'e> {
    pub(super) problems: Vec<Problem>,
    pub(super) environment: &'e dyn Fn(&str) -> Option<String>,
}

impl Reader<'_> {
    pub(super) fn say(&mut self, path: impl Into<String>, place: Place, message: impl Into<String>) {
        self.problems.push(Problem { path: path.into(), place, message: message.into() });
    }
}

/// A map that is being read.
pub(super) struct Section<'n> {
    pub(super) path: String,
    pub(super) place: Place,
    members: &'n [(String, Node)],
    asked: Vec<&'static str>,
}

impl<'n> Section<'n> {
    /// The map that a node is; nothing where it is none, which is noted.
    pub(super) fn of(path: String, node: &'n Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Map(members) => Some(Self { path, place: node.place, members, asked: Vec::new() }),
            _ => {
                reader.say(path, node.place, format!("must be a map, not {}", node.noun()));
                None
            }
        }
    }

    pub(super) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Where a member stands, or the map where it is missing.
    pub(super) fn place_of(&self, name: &str) -> Place {
        self.members.iter().find(|(known, _)| known == name).map_or(self.place, |(_, node)| node.place)
    }

    /// Notes something about a member.
    pub(super) fn say(&self, reader: &mut Reader<'_>, name: &str, message: impl Into<String>) {
        reader.say(self.path_of(name), self.place_of(name), message);
    }

    /// A member, unless it is missing or null.
    pub(super) fn node(&mut self, name: &'static str) -> Option<&'n Node> {
        self.asked.push(name);
        let (_, node) = self.members.iter().find(|(known, _)| known == name)?;
        if matches!(node.value, Value::Null) { None } else { Some(node) }
    }

    /// Takes members for settings, though they do nothing here: those of its kind's siblings.
    pub(super) fn know(&mut self, names: &[&'static str]) {
        self.asked.extend_from_slice(names);
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.members.iter().any(|(known, node)| known == name && !matches!(node.value, Value::Null))
    }

    /// A member of a kind.
    fn read<T>(
        &mut self,
        reader: &mut Reader<'_>,
        name: &'static str,
        kind: &str,
        read: impl FnOnce(&'n Value) -> Option<T>,
    ) -> Option<T> {
        let node = self.node(name)?;
        let value = read(&node.value);
        if value.is_none() {
            self.say(reader, name, format!("must be {kind}, not {}", node.noun()));
        }
        value
    }

    pub(super) fn text(&mut self, reader: &mut Reader<'_>, name: &'static str) -> Option<String> {
        self.read(reader, name, "a text", |value| match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        })
        .filter(|text| !text.is_empty())
    }

    /// A text that must be there.
    pub(super) fn required(&mut self, reader: &mut Reader<'_>, name: &'static str) -> String {
        let before = reader.problems.len();
        let text = self.text(reader, name);
        if text.is_none() && reader.problems.len() == before {
            self.say(reader, name, "is required");
        }
        text.unwrap_or_default()
    }

    pub(super) fn flag(&mut self, reader: &mut Reader<'_>, name: &'static str) -> Option<bool> {
        self.read(reader, name, "true or false", |value| match value {
            Value::Bool(flag) => Some(*flag),
            Value::Text(word) if matches!(word.as_str(), "yes" | "on") => Some(true),
            Value::Text(word) if matches!(word.as_str(), "no" | "off") => Some(false),
            _ => None,
        })
    }

    pub(super) fn integer(&mut self, reader: &mut Reader<'_>, name: &'static str) -> Option<i64> {
        self.read(reader, name, "an integer", |value| match value {
            Value::Integer(integer) => Some(*integer),
            _ => None,
        })
    }

    /// An integer in a range; nothing and zero are the default.
    pub(super) fn count(
        &mut self,
        reader: &mut Reader<'_>,
        name: &'static str,
        (least, most): (i64, i64),
        default: usize,
    ) -> usize {
        let Some(integer) = self.integer(reader, name).filter(|integer| *integer != 0) else {
            return default;
        };
        if !(least..=most).contains(&integer) {
            let message = if most == i64::MAX {
                format!("must be >= {least}, got {integer}")
            } else {
                format!("must be between {least} and {most}, got {integer}")
            };
            self.say(reader, name, message);
        }
        usize::try_from(integer).unwrap_or(default)
    }

    /// A duration as Go writes it. Negative ones are noted.
    pub(super) fn duration(&mut self, reader: &mut Reader<'_>, name: &'static str) -> Option<Duration> {
        let text = self.text(reader, name)?;
        match duration::parse(&text) {
            Ok(duration) => Some(duration),
            Err(wrong) => {
                self.say(reader, name, format!("is an invalid duration: {wrong}"));
                None
            }
        }
    }

    /// [`Self::duration`]; nothing and zero are the default.
    pub(super) fn duration_or(
        &mut self,
        reader: &mut Reader<'_>,
        name: &'static str,
        default: Duration,
    ) -> Duration {
        self.duration(reader, name).filter(|duration| !duration.is_zero()).unwrap_or(default)
    }

    pub(super) fn texts(&mut self, reader: &mut Reader<'_>, name: &'static str) -> Vec<String> {
        let path = self.path_of(name);
        let mut texts = Vec::new();
        for (index, node) in self.list(reader, name).iter().enumerate() {
            match &node.value {
                Value::Text(text) => texts.push(text.clone()),
                _ => reader.say(
                    format!("{path}[{index}]"),
                    node.place,
                    format!("must be a text, not {}", node.noun()),
                ),
            }
        }
        texts
    }

    pub(super) fn text_map(
        &mut self,
        reader: &mut Reader<'_>,
        name: &'static str,
    ) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        for (member, path, node) in self.map(reader, name) {
            match &node.value {
                Value::Text(text) => drop(texts.insert(member.to_owned(), text.clone())),
                _ => reader.say(path, node.place, format!("must be a text, not {}", node.noun())),
            }
        }
        texts
    }

    /// One of a few words; without any, the default.
    pub(super) fn word<T: Copy>(
        &mut self,
        reader: &mut Reader<'_>,
        name: &'static str,
        words: &[(&str, T)],
    ) -> Option<T> {
        let text = self.text(reader, name)?;
        let known = words.iter().find(|(word, _)| *word == text);
        if known.is_none() {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.say(reader, name, format!("must be one of: {}", all.join(", ")));
        }
        known.map(|(_, value)| *value)
    }

    /// [`Self::word`], one of which must be there.
    pub(super) fn required_word<T: Copy>(
        &mut self,
        reader: &mut Reader<'_>,
        name: &'static str,
        words: &[(&str, T)],
    ) -> Option<T> {
        if !self.has(name) {
            self.asked.push(name);
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.say(reader, name, format!("must be one of: {}", all.join(", ")));
            return None;
        }
        self.word(reader, name, words)
    }

    pub(super) fn list(&mut self, reader: &mut Reader<'_>, name: &'static str) -> &'n [Node] {
        self.read(reader, name, "a list", |value| match value {
            Value::List(values) => Some(values.as_slice()),
            _ => None,
        })
        .unwrap_or_default()
    }

    /// The maps of a list.
    pub(super) fn sections(&mut self, reader: &mut Reader<'_>, name: &'static str) -> Vec<Self> {
        let path = self.path_of(name);
        let nodes = self.list(reader, name).iter().enumerate();
        nodes.filter_map(|(index, node)| Section::of(format!("{path}[{index}]"), node, reader)).collect()
    }

    /// A map's members, with their paths.
    pub(super) fn map(
        &mut self,
        reader: &mut Reader<'_>,
        name: &'static str,
    ) -> Vec<(&'n str, String, &'n Node)> {
        let path = self.path_of(name);
        let members = self.read(reader, name, "a map", |value| match value {
            Value::Map(members) => Some(members.as_slice()),
            _ => None,
        });
        let members = members.unwrap_or_default().iter();
        members.map(|(name, node)| (name.as_str(), format!("{path}.{name}"), node)).collect()
    }

    pub(super) fn section(&mut self, reader: &mut Reader<'_>, name: &'static str) -> Option<Self> {
        let node = self.node(name)?;
        Section::of(self.path_of(name), node, reader)
    }

    /// [`Self::section`], which must be there.
    pub(super) fn required_section(&mut self, reader: &mut Reader<'_>, name: &'static str) -> Option<Self> {
        if !self.has(name) {
            self.asked.push(name);
            self.say(reader, name, "is required");
            return None;
        }
        self.section(reader, name)
    }

    /// A value of any kind.
    pub(super) fn data(&mut self, name: &'static str) -> Option<Data> {
        self.node(name).map(Node::to_data)
    }

    /// Notes what nobody asked for.
    pub(super) fn finish(self, reader: &mut Reader<'_>) {
        for (name, node) in self.members.iter().filter(|(name, _)| !self.asked.contains(&name.as_str())) {
            let known = self.asked.join(", ");
            reader.say(self.path_of(name), node.place, format!("is no setting here; there are: {known}"));
        }
    }
}
