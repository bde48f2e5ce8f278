//! What a server offers: its tools, resources and prompts, all pages of them.

use std::collections::HashSet;

use mcp::ErrorCode;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::ClientError;
use super::connection::{Connection, Params};

/// A server that gives more pages of one list than this does not come to an end.
const MAX_PAGES: usize = 1000;

/// A kind of thing a server offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    Tools,
    Resources,
    Prompts,
}

impl Category {
    pub const ALL: [Self; 3] = [Self::Tools, Self::Resources, Self::Prompts];

    /// The member that declares it among a server's capabilities, and that holds the entries of a list.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Resources => "resources",
            Self::Prompts => "prompts",
        }
    }

    fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Resources => "resources/list",
            Self::Prompts => "prompts/list",
        }
    }
}

/// The categories that were asked for; the others are `None` and not in the JSON.
#[derive(Debug, Default, Serialize)]
pub struct Listing {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Tool>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<Resource>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompts: Option<Vec<Prompt>>,
}

/// An entry of a list: the members that a table shows, and the whole. Serialised, it is as it came.
macro_rules! entry {
    ($(#[$doc:meta])* $name:ident, $members:ident { $($field:ident: $type:ty = $wire:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            $(pub $field: $type,)*
            pub raw: Box<RawValue>,
        }

        #[derive(Deserialize)]
        struct $members {
            $(#[serde(default, rename = $wire)] $field: $type,)*
        }

        impl $name {
            fn read(raw: Box<RawValue>) -> serde_json::Result<Self> {
                let $members { $($field,)* } = serde_json::from_str(raw.get())?;
                Ok(Self { $($field,)* raw })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.raw.serialize(serializer)
            }
        }
    };
}

entry! {
    /// A tool.
    Tool, ToolMembers {
        name: String = "name",
        description: Option<String> = "description",
    }
}

entry! {
    /// A resource.
    Resource, ResourceMembers {
        name: String = "name",
        uri: String = "uri",
        description: Option<String> = "description",
        mime_type: Option<String> = "mimeType",
    }
}

entry! {
    /// A prompt.
    Prompt, PromptMembers {
        name: String = "name",
        description: Option<String> = "description",
        arguments: Vec<PromptArgument> = "arguments",
    }
}

/// An argument of a prompt.
#[derive(Debug, Deserialize)]
pub struct PromptArgument {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub required: bool,
}

/// One page of any of the lists.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    tools: Vec<Box<RawValue>>,
    #[serde(default)]
    resources: Vec<Box<RawValue>>,
    #[serde(default)]
    prompts: Vec<Box<RawValue>>,
    #[serde(default, rename = "nextCursor")]
    next_cursor: Option<String>,
}

/// Reads the lists of these categories.
pub(super) async fn read(
    connection: &mut Connection,
    categories: &[Category],
) -> Result<Listing, ClientError> {
    let mut listing = Listing::default();
    for category in categories {
        let entries =
            if connection.offers(*category) { entries(connection, *category).await? } else { Vec::new() };
        let wrong = |error: serde_json::Error| ClientError::Protocol {
            method: category.method(),
            reason: error.to_string(),
        };
        match category {
            Category::Tools => listing.tools = Some(each(entries, Tool::read).map_err(wrong)?),
            Category::Resources => listing.resources = Some(each(entries, Resource::read).map_err(wrong)?),
            Category::Prompts => listing.prompts = Some(each(entries, Prompt::read).map_err(wrong)?),
        }
    }
    Ok(listing)
}

fn each<T>(
    entries: Vec<Box<RawValue>>,
    read: impl Fn(Box<RawValue>) -> serde_json::Result<T>,
) -> serde_json::Result<Vec<T>> {
    entries.into_iter().map(read).collect()
}

/// The entries of all pages.
async fn entries(connection: &mut Connection, category: Category) -> Result<Vec<Box<RawValue>>, ClientError> {
    let method = category.method();
    let mut entries = Vec::new();
    let mut cursor: Option<String> = None;
    let mut seen = HashSet::new();
    loop {
        let params = Params { cursor: cursor.as_deref(), ..Params::default() };
        let page = match connection.request(method, params).await {
            Ok(page) => page,
            // Declared, yet not there: nothing of it is offered.
            Err(ClientError::Refused { code, .. }) if code == ErrorCode::MethodNotFound.number() => break,
            Err(error) => return Err(error),
        };
        let page: Page = serde_json::from_str(page.get())
            .map_err(|error| ClientError::Protocol { method, reason: error.to_string() })?;
        entries.extend(match category {
            Category::Tools => page.tools,
            Category::Resources => page.resources,
            Category::Prompts => page.prompts,
        });
        let Some(next) = page.next_cursor else { break };
        if seen.len() == MAX_PAGES || !seen.insert(next.clone()) {
            return Err(ClientError::Protocol {
                method,
                reason: "the pages do not come to an end".to_owned(),
            });
        }
        cursor = Some(next);
    }
    Ok(entries)
}
