//! What a composite tool answers.

use super::super::section::{Reader, Section};
use super::template;
use crate::workflow::template::{Data, Template};

/// How deep properties may be nested.
const MAX_DEPTH: usize = 10;

/// `output`.
#[derive(Clone, Debug)]
pub struct Output {
    /// The properties, in their order.
    pub properties: Vec<(String, OutputProperty)>,
    /// Those that must be there.
    pub required: Vec<String>,
}

/// A property.
#[derive(Clone, Debug)]
pub struct OutputProperty {
    /// What it is.
    pub kind: OutputType,
    /// What it means.
    pub description: String,
    /// Where it comes from.
    pub value: OutputValue,
    /// What it is if that fails.
    pub default: Option<Data>,
}

/// Where a property comes from.
#[derive(Clone, Debug)]
pub enum OutputValue {
    /// A template.
    Template(Template),
    /// Properties of its own.
    Properties(Vec<(String, OutputProperty)>),
    /// It was wrong.
    Nothing,
}

/// What a property is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputType {
    /// A text.
    String,
    /// An integer.
    Integer,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// An object.
    Object,
    /// A list.
    Array,
}

const TYPES: [(&str, OutputType); 6] = [
    ("string", OutputType::String),
    ("integer", OutputType::Integer),
    ("number", OutputType::Number),
    ("boolean", OutputType::Boolean),
    ("object", OutputType::Object),
    ("array", OutputType::Array),
];

pub(super) fn read(mut section: Section<'_>, reader: &mut Reader<'_>) -> Output {
    let properties = properties(&mut section, reader, 1);
    let required = section.texts(reader, "required");
    for name in required.iter().filter(|name| !properties.iter().any(|(known, _)| known == *name)) {
        section.say(reader, "required", format!(": required field {name:?} does not exist in properties"));
    }
    section.finish(reader);
    Output { properties, required }
}

fn properties(
    section: &mut Section<'_>,
    reader: &mut Reader<'_>,
    depth: usize,
) -> Vec<(String, OutputProperty)> {
    if depth > MAX_DEPTH {
        section.say(reader, "properties", format!("are nested deeper than {MAX_DEPTH} levels"));
        section.node("properties");
        return Vec::new();
    }
    let mut all = Vec::new();
    for (name, path, node) in section.map(reader, "properties") {
        let property = Section::of(path, node, reader).and_then(|section| property(section, reader, depth));
        all.extend(property.map(|property| (name.to_owned(), property)));
    }
    if all.is_empty() && !section.has("properties") {
        section.say(reader, "properties", "cannot be empty");
    }
    all
}

fn property(mut section: Section<'_>, reader: &mut Reader<'_>, depth: usize) -> Option<OutputProperty> {
    let kind = section.required_word(reader, "type", &TYPES);
    let description = section.required(reader, "description");
    let default = section.data("default");
    let source = section.text(reader, "value");
    let value = match (source, section.has("properties")) {
        (Some(_), true) => {
            reader.say(section.path.clone(), section.place, "has both value and properties: one is enough");
            section.node("properties");
            OutputValue::Nothing
        }
        (Some(source), false) => {
            let path = section.path_of("value");
            template(reader, &path, section.place_of("value"), &source)
                .map_or(OutputValue::Nothing, OutputValue::Template)
        }
        (None, true) if kind == Some(OutputType::Object) => {
            OutputValue::Properties(properties(&mut section, reader, depth + 1))
        }
        (None, has_properties) => {
            let message =
                if has_properties { "is required: only an object has properties" } else { "is required" };
            section.say(reader, "value", message);
            section.node("properties");
            OutputValue::Nothing
        }
    };
    section.finish(reader);
    kind.map(|kind| OutputProperty { kind, description, value, default })
}
