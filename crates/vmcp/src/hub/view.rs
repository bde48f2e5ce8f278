//! What all clients see now: an immutable snapshot of what the backends offer, and which of them has what.
//!
//! Every tool and prompt is shown with its backend's name in front; resources and templates keep their URIs, and the first backend
//! by name has those that several offer.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use mcp::message::splice;

use super::Member;
use super::listing::{Item, ListKind, Listing};

/// Things on one page of a list.
const PAGE: usize = 1_000;

/// What is known of a backend.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) member: Arc<Member>,
    pub(super) listing: Option<Arc<Listing>>,
    /// Whether clients see what it offers. What they do not see but knew is still called.
    pub(super) is_shown: bool,
}

/// Where a call goes.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) member: Arc<Member>,
    /// What the backend itself calls it, as a JSON string.
    pub(super) own: Bytes,
}

/// One line of a list.
#[derive(Debug)]
struct Shown {
    key: String,
    json: Bytes,
}

/// The snapshot.
#[derive(Debug, Default)]
pub(super) struct View {
    /// What stands before a name; `{workload}` in it is the backend's.
    prefix: String,
    lists: [Vec<Shown>; 4],
    tools: HashMap<String, Route>,
    prompts: HashMap<String, Route>,
    resources: HashMap<String, Arc<Member>>,
    templates: Vec<(String, Arc<Member>)>,
    instructions: String,
    /// Backends that are left out, by name.
    pub(super) missing: Vec<Arc<str>>,
}

impl View {
    /// From what is known of each backend; they are sorted by name.
    pub(super) fn new(backends: &[Known], prefix: &str) -> Self {
        let mut view = Self { prefix: prefix.to_owned(), ..Self::default() };
        for Known { member, listing, is_shown } in backends {
            if !is_shown || listing.is_none() {
                view.missing.push(Arc::clone(&member.name));
            }
            if let Some(listing) = listing {
                view.add(member, listing, *is_shown);
            }
        }
        for list in &mut view.lists {
            list.sort_by(|one, other| one.key.cmp(&other.key));
        }
        view.templates.sort_by(|one, other| one.0.cmp(&other.0));
        view
    }

    fn add(&mut self, member: &Arc<Member>, listing: &Listing, is_shown: bool) {
        let prefix = self.prefix.replace("{workload}", &member.name);
        for (kind, routes) in [(ListKind::Tools, &mut self.tools), (ListKind::Prompts, &mut self.prompts)] {
            for item in listing.of(kind) {
                let name = format!("{prefix}{}", item.key);
                if routes.contains_key(&name) {
                    continue;
                }
                if is_shown {
                    self.lists[kind as usize].push(Shown { key: name.clone(), json: renamed(item, &name) });
                }
                let own = Bytes::copy_from_slice(&item.json[item.key_span.range()]);
                routes.insert(name, Route { member: Arc::clone(member), own });
            }
        }
        for item in listing.of(ListKind::Resources) {
            if !self.resources.contains_key(&item.key) {
                self.resources.insert(item.key.clone(), Arc::clone(member));
                if is_shown {
                    self.lists[ListKind::Resources as usize].push(as_it_is(item));
                }
            }
        }
        for item in listing.of(ListKind::Templates) {
            if self.templates.iter().all(|(template, _)| *template != item.key) {
                self.templates.push((item.key.clone(), Arc::clone(member)));
                if is_shown {
                    self.lists[ListKind::Templates as usize].push(as_it_is(item));
                }
            }
        }
        if let Some(text) = listing.instructions.as_ref().filter(|_| is_shown) {
            let begun = if self.instructions.is_empty() { "" } else { "\n\n" };
            self.instructions.push_str(&format!("{begun}{}: {text}", member.name));
        }
    }

    pub(super) fn tool(&self, name: &str) -> Option<&Route> {
        self.tools.get(name)
    }

    pub(super) fn prompt(&self, name: &str) -> Option<&Route> {
        self.prompts.get(name)
    }

    /// Who has the resource: who lists it, or whose template it fits.
    pub(super) fn resource(&self, uri: &str) -> Option<&Arc<Member>> {
        let listed = self.resources.get(uri);
        let by_template =
            || self.templates.iter().find(|(template, _)| template == uri || fits(template, uri));
        listed.or_else(|| by_template().map(|(_, member)| member))
    }

    pub(super) fn instructions(&self) -> Option<&str> {
        (!self.instructions.is_empty()).then_some(&*self.instructions)
    }

    /// Whether the same things of this kind are shown, spelt the same way.
    pub(super) fn shows_same(&self, kind: ListKind, other: &Self) -> bool {
        let (one, other) = (&self.lists[kind as usize], &other.lists[kind as usize]);
        one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.json == other.json)
    }

    /// A page as the result of a list request; `cursor` is the last key of the page before.
    pub(super) fn page(&self, kind: ListKind, cursor: Option<&str>) -> Vec<u8> {
        let list = &self.lists[kind as usize];
        let from = cursor.map_or(0, |cursor| list.partition_point(|shown| shown.key.as_str() <= cursor));
        let page = &list[from..list.len().min(from + PAGE)];
        let bytes: usize = page.iter().map(|shown| shown.json.len() + 1).sum();
        let mut result = Vec::with_capacity(bytes + 64);
        result.extend_from_slice(b"{\"");
        result.extend_from_slice(kind.member().as_bytes());
        result.extend_from_slice(b"\":[");
        for (place, shown) in page.iter().enumerate() {
            if place > 0 {
                result.push(b',');
            }
            result.extend_from_slice(&shown.json);
        }
        result.push(b']');
        if let Some(last) = page.last().filter(|_| from + page.len() < list.len()) {
            result.extend_from_slice(b",\"nextCursor\":");
            result.extend_from_slice(serde_json::Value::from(last.key.as_str()).to_string().as_bytes());
        }
        result.push(b'}');
        result
    }
}

fn renamed(item: &Item, name: &str) -> Bytes {
    let name = serde_json::Value::from(name).to_string();
    splice(&item.json, &[(item.key_span, name.as_bytes())])
}

fn as_it_is(item: &Item) -> Shown {
    Shown { key: item.key.clone(), json: item.json.clone() }
}

/// Whether a URI could be had from a template (RFC 6570): what stands between the expressions stands in it too, in order.
fn fits(template: &str, uri: &str) -> bool {
    let (mut rest, mut template, mut is_first) = (uri, template, true);
    loop {
        let (literal, behind) = match template.split_once('{') {
            None => (template, None),
            Some((literal, expression)) => match expression.split_once('}') {
                None => return false,
                Some((_, behind)) => (literal, Some(behind)),
            },
        };
        let found = match (is_first, behind) {
            (true, None) => return rest == literal,
            (true, Some(_)) => rest.starts_with(literal).then_some(0),
            (false, None) => return rest.ends_with(literal),
            (false, Some(_)) => rest.find(literal),
        };
        let (Some(found), Some(behind)) = (found, behind) else { return false };
        rest = &rest[found + literal.len()..];
        (template, is_first) = (behind, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_fits_its_template() {
        for (template, uri, expect) in [
            ("file:///{path}", "file:///a/b", true),
            ("file:///{path}", "http:///a", false),
            ("a://{x}/b/{y}.txt", "a://1/b/2.txt", true),
            ("a://{x}/b/{y}.txt", "a://1/c/2.txt", false),
            ("a://{x}/b", "a://1/b", true),
            ("a://{x}/b", "a://1/bc", false),
            ("a://b", "a://b", true),
            ("a://b", "a://bc", false),
            ("{x}", "anything", true),
            ("a{broken", "a", false),
        ] {
            assert_eq!(fits(template, uri), expect, "{template} {uri}");
        }
    }
}
