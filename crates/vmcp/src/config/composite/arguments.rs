//! Arguments of a step: a tree whose texts are templates. Names are none.

use super::super::node::{Node, Value};
use super::super::section::Reader;
use super::template;
use crate::workflow::template::{Data, Template};

/// How deep arguments may be nested.
const MAX_DEPTH: usize = 100;

/// What a step gives to its tool, before it is known.
#[derive(Clone, Debug)]
pub enum Arguments {
    /// What stays as it is.
    Value(Data),
    /// A text that is rendered.
    Template(Template),
    /// A list of these.
    List(Vec<Self>),
    /// An object of these.
    Map(Vec<(String, Self)>),
}

impl Arguments {
    /// Every template in it.
    pub fn templates(&self) -> Vec<&Template> {
        let mut templates = Vec::new();
        let mut todo = vec![self];
        while let Some(arguments) = todo.pop() {
            match arguments {
                Self::Value(_) => {}
                Self::Template(template) => templates.push(template),
                Self::List(values) => todo.extend(values.iter().rev()),
                Self::Map(members) => todo.extend(members.iter().rev().map(|(_, value)| value)),
            }
        }
        templates
    }
}

pub(super) fn read(reader: &mut Reader<'_>, path: &str, node: &Node, depth: usize) -> Arguments {
    if depth > MAX_DEPTH {
        reader.say(path, node.place, format!(": template expansion depth limit exceeded: {MAX_DEPTH}"));
        return Arguments::Value(Data::Null);
    }
    match &node.value {
        Value::Text(text) => {
            template(reader, path, node.place, text).map_or(Arguments::Value(Data::Null), Arguments::Template)
        }
        Value::List(values) => Arguments::List(
            values
                .iter()
                .enumerate()
                .map(|(index, value)| read(reader, &format!("{path}[{index}]"), value, depth + 1))
                .collect(),
        ),
        Value::Map(members) => Arguments::Map(
            members
                .iter()
                .map(|(name, value)| {
                    (name.clone(), read(reader, &format!("{path}[{name}]"), value, depth + 1))
                })
                .collect(),
        ),
        _ => Arguments::Value(node.to_data()),
    }
}
