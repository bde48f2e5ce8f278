//! The view: lists ready to be sent, and where what is in them goes.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use mcp::param_headers::ParamHeaders;

use super::composites::{self, Composites};
use super::problem::{Claimant, Problem};
use super::resources::Resources;
use super::rewrite::text;
use super::{Hints, Item, Kind, Offer, prompts, resources, tools};
use crate::config::{Aggregation, Composite};
use crate::workflow::template::Data;

/// Things on one page of a list.
const PAGE: usize = 1_000;
/// Bytes of one page, unless one thing has more.
const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The backend.
    pub backend: Arc<str>,
    /// What it says about harm, with what the configuration says instead.
    pub hints: Hints,
    /// What the configuration itself says of that.
    pub said: Hints,
    /// Whether clients may call it; otherwise only composite tools do.
    pub is_for_clients: bool,
    item: Item,
}

impl Route {
    pub(super) fn new(offer: &Offer, item: &Item, is_for_clients: bool) -> Self {
        let backend = Arc::clone(&offer.backend);
        Self { backend, hints: item.hints, said: Hints::default(), is_for_clients, item: item.clone() }
    }

    /// What the backend itself calls it.
    #[must_use]
    pub fn own(&self) -> &Arc<str> {
        &self.item.key
    }

    /// What the backend itself calls it, as the JSON string it wrote.
    #[must_use]
    pub fn own_json(&self) -> Bytes {
        self.item.key_json()
    }

    /// What the backend lists, as it wrote it.
    #[must_use]
    pub fn definition(&self) -> &Bytes {
        &self.item.json
    }

    /// The schema of a tool's arguments.
    #[must_use]
    pub fn input_schema(&self) -> Option<Data> {
        serde_json::from_slice(&self.item.input_schema()).ok()
    }

    /// Which of a tool's arguments are repeated in headers (2026-07-28).
    #[must_use]
    pub fn param_headers(&self) -> ParamHeaders {
        // A tool whose annotations are not allowed is not listed.
        ParamHeaders::from_schema(&self.item.input_schema()).unwrap_or_default()
    }

    pub(super) fn claimant(&self) -> Claimant {
        Claimant { backend: Arc::clone(&self.backend), own: Arc::clone(self.own()) }
    }
}

/// One line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// What lists are sorted by, and where a page ends.
    key: String,
    json: Bytes,
}

impl Shown {
    /// A line for something of a backend.
    pub(super) fn new(name: &str, json: Bytes) -> Self {
        Self { key: format!("0{name}"), json }
    }

    /// A line that comes last.
    fn own(name: &str, json: Bytes) -> Self {
        Self { key: format!("2{name}"), json }
    }

    fn name(&self) -> &str {
        &self.key[1..]
    }

    /// A line that comes after those of all backends.
    pub(super) fn composite(name: &str, json: Bytes) -> Self {
        Self { key: format!("1{name}"), json }
    }
}

/// What all clients see now, and which backend has what. It never changes; there is a next one.
#[derive(Debug, Default)]
pub struct View {
    lists: [Vec<Shown>; 4],
    tools: HashMap<Arc<str>, Route>,
    /// Tools' names, by backend and what it calls them.
    names: HashMap<Arc<str>, HashMap<Arc<str>, Arc<str>>>,
    composites: Composites,
    prompts: HashMap<Arc<str>, Route>,
    resources: Resources,
    instructions: String,
    missing: Vec<Arc<str>>,
    problems: Vec<Problem>,
}

impl View {
    /// Makes the view of these backends, in any order.
    #[must_use]
    pub fn new(offers: &[Offer], config: &Aggregation, composites: &[Composite]) -> Self {
        let mut view = Self::default();
        let mut sorted: Vec<&Offer> = offers.iter().collect();
        sorted.sort_by(|one, other| one.backend.cmp(&other.backend));
        sorted.dedup_by(|second, first| {
            let is_same = first.backend == second.backend;
            if is_same {
                view.problems.push(Problem::SameBackend(Arc::clone(&second.backend)));
            }
            is_same
        });
        for offer in &sorted {
            view.describe(offer);
        }
        view.add_tools(&sorted, config);
        view.add_composites(composites);
        let mut prompts = prompts::aggregate(&sorted, config);
        view.prompts = prompts.routes;
        view.lists[Kind::Prompts as usize] = prompts.shown;
        view.problems.append(&mut prompts.problems);
        let mut resources = resources::aggregate(&sorted);
        view.lists[Kind::Resources as usize] = std::mem::take(&mut resources.shown);
        view.lists[Kind::Templates as usize] = std::mem::take(&mut resources.shown_templates);
        view.problems.append(&mut resources.problems);
        view.resources = resources;
        for list in &mut view.lists {
            list.sort_by(|one, other| one.key.cmp(&other.key));
        }
        view
    }

    fn describe(&mut self, offer: &Offer) {
        let backend = || Arc::clone(&offer.backend);
        if !offer.is_shown || offer.listing.is_none() {
            self.missing.push(backend());
        }
        let Some(listing) = &offer.listing else { return };
        for (kind, key, problem) in listing.problems() {
            let (kind, key, problem) = (*kind, key.clone(), problem.clone());
            self.problems.push(Problem::Item { backend: backend(), kind, key, problem });
        }
        if listing.unnamed_problems() > 0 {
            let count = listing.unnamed_problems();
            self.problems.push(Problem::MoreItems { backend: backend(), count });
        }
        if let Some(text) = listing.instructions().filter(|_| offer.is_shown) {
            let begun = if self.instructions.is_empty() { "" } else { "\n\n" };
            self.instructions.push_str(&format!("{begun}{}: {text}", offer.backend));
        }
    }

    fn add_tools(&mut self, sorted: &[&Offer], config: &Aggregation) {
        let mut tools = tools::aggregate(sorted, config);
        self.tools = tools.routes;
        for (name, route) in &self.tools {
            let own = self.names.entry(Arc::clone(&route.backend)).or_default();
            own.insert(Arc::clone(route.own()), Arc::clone(name));
        }
        self.lists[Kind::Tools as usize] = tools.shown;
        self.problems.append(&mut tools.problems);
    }

    fn add_composites(&mut self, composites: &[Composite]) {
        let added = composites::aggregate(composites, self);
        self.lists[Kind::Tools as usize].extend(added.shown);
        self.problems.extend(added.problems);
        self.composites = added.composites;
    }

    /// The backend's tool that clients call by this name.
    #[must_use]
    pub fn tool(&self, name: &str) -> Option<&Route> {
        self.tools.get(name).filter(|route| route.is_for_clients)
    }

    /// The composite tool that clients call by this name: its name in the configuration.
    #[must_use]
    pub fn composite(&self, name: &str) -> Option<&str> {
        self.composites.get(name).map(|composite| &**composite)
    }

    /// The tool that a step of a workflow calls: by its name here, or as `backend.tool` by the backend's own name of it. It
    /// may be one that clients do not see.
    #[must_use]
    pub fn reference(&self, reference: &str) -> Option<&Route> {
        let by_own = || {
            let (backend, own) = reference.split_once('.')?;
            self.tools.get(self.name_of(backend, own)?)
        };
        self.tools.get(reference).or_else(by_own)
    }

    /// Under which name a backend's tool is here.
    #[must_use]
    pub fn name_of(&self, backend: &str, own: &str) -> Option<&str> {
        self.names.get(backend)?.get(own).map(|name| &**name)
    }

    /// All tools, those that clients do not see included, by name.
    #[must_use]
    pub fn tools(&self) -> Vec<(&str, &Route)> {
        let mut all: Vec<_> = self.tools.iter().map(|(name, route)| (&**name, route)).collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        all
    }

    /// The prompt of this name.
    #[must_use]
    pub fn prompt(&self, name: &str) -> Option<&Route> {
        self.prompts.get(name)
    }

    /// The backend that has a resource: who lists it, or whose template it fits.
    #[must_use]
    pub fn resource(&self, uri: &str) -> Option<&Arc<str>> {
        self.resources.backend(uri)
    }

    /// What backends say about themselves.
    #[must_use]
    pub fn instructions(&self) -> Option<&str> {
        (!self.instructions.is_empty()).then_some(&*self.instructions)
    }

    /// Backends whose things clients do not see.
    #[must_use]
    pub fn missing(&self) -> &[Arc<str>] {
        &self.missing
    }

    /// What is wrong, always in the same order.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The lines of a list, in its order.
    pub fn lines(&self, kind: Kind) -> impl Iterator<Item = &Bytes> {
        self.lists[kind as usize].iter().map(|shown| &shown.json)
    }

    /// Adds a tool that is neither a backend's nor a composite one. Who would have its name is not shown.
    pub(crate) fn add_own(&mut self, name: &str, json: Bytes) {
        let list = &mut self.lists[Kind::Tools as usize];
        list.retain(|shown| {
            let is_taken = shown.name() == name;
            if is_taken {
                self.problems.push(Problem::Taken(name.into()));
            }
            !is_taken
        });
        list.push(Shown::own(name, json));
    }

    /// The names that clients call composite tools by.
    pub(crate) fn composites(&self) -> impl Iterator<Item = &str> {
        self.composites.keys().map(|name| &**name)
    }

    /// Whether the same things of this kind are shown, spelt the same way.
    #[must_use]
    pub fn shows_same(&self, kind: Kind, other: &Self) -> bool {
        self.lists[kind as usize] == other.lists[kind as usize]
    }

    /// A page as the result of a list request. `cursor` is what the page before said comes next; it is good for later views,
    /// too.
    #[must_use]
    pub fn page(&self, kind: Kind, cursor: Option<&str>) -> Vec<u8> {
        let list = &self.lists[kind as usize];
        let from = cursor.map_or(0, |cursor| list.partition_point(|shown| shown.key.as_str() <= cursor));
        let (mut count, mut bytes) = (0, 0);
        for shown in list[from..].iter().take(PAGE) {
            if count > 0 && bytes + shown.json.len() > PAGE_BYTES {
                break;
            }
            count += 1;
            bytes += shown.json.len() + 1;
        }
        let page = &list[from..from + count];
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
        if let Some(last) = page.last().filter(|_| from + count < list.len()) {
            result.extend_from_slice(b",\"nextCursor\":");
            result.extend_from_slice(&text(&last.key));
        }
        result.push(b'}');
        result
    }
}
