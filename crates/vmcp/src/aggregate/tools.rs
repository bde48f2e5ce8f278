//! Tools of many backends under names that tell them apart.
//!
//! A tool is renamed by its override first; filters and conflicts go by that name. Then conflicts are resolved as the
//! configuration says, and at last names are spelt so that every client takes them. Where the contract leaves something to
//! chance, or has one mistake hide everything, it is different here:
//! - Of tools that come to the same name with their prefixes, the first by backend has it.
//! - Tools that clients never see do not contend with those they see: they step aside with a prefix, and composite tools
//!   still reach them.
//! - Where names are resolved by hand and one is not, those who claim it are left out, and not everything.
//! - What has to be prefixed in a conflict has the configured prefix.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::problem::{Claimant, Problem};
use super::rewrite::{text, with_members};
use super::view::{Route, Shown};
use super::{Item, Kind, Offer, hints, names};
use crate::config::{Aggregation, Conflicts, Override, Visibility, WorkloadTools};

/// A tool on its way to a name.
struct Claim<'a> {
    offer: &'a Offer,
    item: &'a Item,
    change: Option<&'a Override>,
    /// Its name after overrides.
    base: &'a str,
    is_hidden: bool,
}

impl Claim<'_> {
    fn claimant(&self) -> Claimant {
        self.offer.claimant(&self.item.key)
    }

    /// Whoever comes first has a name that several would have.
    fn order(&self) -> (bool, &str, bool, &str) {
        let is_renamed = self.change.is_some_and(|change| change.name.is_some());
        (self.is_hidden, &*self.offer.backend, !is_renamed, &*self.item.key)
    }
}

/// All tools under their names, and which of them clients see.
#[derive(Default)]
pub(super) struct Tools {
    pub(super) routes: HashMap<Arc<str>, Route>,
    pub(super) shown: Vec<Shown>,
    pub(super) problems: Vec<Problem>,
}

pub(super) fn aggregate(offers: &[&Offer], config: &Aggregation) -> Tools {
    let mut tools = Tools::default();
    let mut claims: BTreeMap<&str, Vec<Claim<'_>>> = BTreeMap::new();
    for offer in offers {
        for claim in tools.claims(offer, config) {
            claims.entry(claim.base).or_default().push(claim);
        }
    }
    let mut prefixed = Vec::new();
    for (base, mut claims) in claims {
        claims.sort_by(|one, other| one.order().cmp(&other.order()));
        tools.resolve(base, claims, config, &mut prefixed);
    }
    // Who keeps a name goes before who steps aside.
    prefixed.sort_by(|(one, _), (other, _)| one.order().cmp(&other.order()));
    for (claim, wanted) in prefixed {
        tools.name(&claim, &wanted);
    }
    tools
}

impl Tools {
    /// A backend's tools, each under a name of its own within the backend.
    fn claims<'a>(&mut self, offer: &'a Offer, config: &'a Aggregation) -> Vec<Claim<'a>> {
        let settings = config.tools.iter().find(|tools| *tools.workload == *offer.backend);
        let mut by_base: BTreeMap<&str, Vec<Claim<'a>>> = BTreeMap::new();
        for item in offer.of(Kind::Tools) {
            let change = settings.and_then(|settings| settings.overrides.get(&*item.key));
            let base = change.and_then(|change| change.name.as_deref()).unwrap_or(&item.key);
            let is_hidden = is_hidden(config, settings, base);
            by_base.entry(base).or_default().push(Claim { offer, item, change, base, is_hidden });
        }
        if let (Some(settings), Some(_)) = (settings, &offer.listing) {
            self.note_unused(offer, settings, &by_base);
        }
        let mut kept = Vec::new();
        for (base, mut claims) in by_base {
            claims.sort_by(|one, other| one.order().cmp(&other.order()));
            let mut claims = claims.into_iter();
            let Some(winner) = claims.next() else { continue };
            self.note_conflict(base, &winner.claimant(), claims.map(|loser| loser.claimant()).collect());
            kept.push(winner);
        }
        kept
    }

    fn note_unused(
        &mut self,
        offer: &Offer,
        settings: &WorkloadTools,
        by_base: &BTreeMap<&str, Vec<Claim<'_>>>,
    ) {
        let has = |name: &str| offer.of(Kind::Tools).iter().any(|item| *item.key == *name);
        for name in settings.overrides.keys().filter(|name| !has(name)) {
            self.problems.push(Problem::UnusedOverride(offer.claimant(&name.as_str().into())));
        }
        for name in settings.filter.iter().filter(|name| !by_base.contains_key(name.as_str())) {
            let (backend, name) = (Arc::clone(&offer.backend), name.clone());
            self.problems.push(Problem::UnusedFilter { backend, name });
        }
    }

    fn note_conflict(&mut self, name: &str, winner: &Claimant, losers: Vec<Claimant>) {
        if !losers.is_empty() {
            let (kind, name, winner) = (Kind::Tools, name.into(), winner.clone());
            self.problems.push(Problem::Conflict { kind, name, winner, losers });
        }
    }

    /// Names those that keep their names; the others are to be prefixed, or left out. Claims are in order: shown ones
    /// first, then by backend.
    fn resolve<'a>(
        &mut self,
        base: &str,
        claims: Vec<Claim<'a>>,
        config: &Aggregation,
        prefixed: &mut Vec<(Claim<'a>, String)>,
    ) {
        let is_contested = claims.len() > 1;
        let (mut contenders, aside): (Vec<_>, Vec<_>) = match claims.first().map(|first| first.is_hidden) {
            Some(false) => claims.into_iter().partition(|claim| !claim.is_hidden),
            _ => (claims, Vec::new()),
        };
        let aside = aside.into_iter().map(|claim| with_prefix(claim, &config.prefix));
        match &config.conflicts {
            Conflicts::Prefix { format } => {
                prefixed.extend(contenders.into_iter().map(|claim| with_prefix(claim, format)));
                prefixed.extend(aside.map(|(claim, _)| with_prefix(claim, format)));
                return;
            }
            _ if !is_contested || contenders.len() == 1 => {
                contenders.iter().for_each(|claim| self.name(claim, base));
            }
            Conflicts::Priority { order } => {
                let rank = |claim: &Claim<'_>| order.iter().position(|name| **name == *claim.offer.backend);
                contenders.sort_by_key(|claim| rank(claim).unwrap_or(order.len()));
                match contenders.first().and_then(rank) {
                    None => prefixed
                        .extend(contenders.into_iter().map(|claim| with_prefix(claim, &config.prefix))),
                    Some(_) => self.first_wins(base, contenders, &config.prefix, prefixed),
                }
            }
            Conflicts::Manual if contenders.iter().all(|claim| claim.is_hidden) => {
                prefixed.extend(contenders.into_iter().map(|claim| with_prefix(claim, &config.prefix)));
            }
            Conflicts::Manual => {
                let claimants = contenders.iter().map(Claim::claimant).collect();
                self.problems.push(Problem::Unresolved { kind: Kind::Tools, name: base.into(), claimants });
            }
        }
        prefixed.extend(aside);
    }

    /// The first one keeps the name. Of the others, clients lose what they would have seen; what is hidden steps aside.
    fn first_wins<'a>(
        &mut self,
        base: &str,
        claims: Vec<Claim<'a>>,
        prefix: &str,
        prefixed: &mut Vec<(Claim<'a>, String)>,
    ) {
        let mut claims = claims.into_iter();
        let Some(winner) = claims.next() else { return };
        self.name(&winner, base);
        let (hidden, lost): (Vec<_>, Vec<_>) = claims.partition(|claim| claim.is_hidden);
        self.note_conflict(base, &winner.claimant(), lost.iter().map(Claim::claimant).collect());
        prefixed.extend(hidden.into_iter().map(|claim| with_prefix(claim, prefix)));
    }

    /// Gives a tool its name, unless another one has it.
    fn name(&mut self, claim: &Claim<'_>, wanted: &str) {
        let respelled = names::respelled(wanted, Kind::Tools);
        let name: Arc<str> = respelled.as_deref().unwrap_or(wanted).into();
        if let Some(winner) = self.routes.get(&name).map(Route::claimant) {
            return self.note_conflict(&name, &winner, vec![claim.claimant()]);
        }
        if respelled.is_some() {
            let (of, name) = (claim.claimant(), Arc::clone(&name));
            self.problems.push(Problem::Respelled { kind: Kind::Tools, of, name });
        }
        if !claim.is_hidden && claim.offer.is_shown {
            self.shown.push(Shown::new(&name, changed(claim, &name)));
        }
        let mut route = Route::new(claim.offer, claim.item, !claim.is_hidden);
        if let Some(change) = claim.change {
            route.hints = route.hints.changed_by(&change.annotations);
            route.said = route.said.changed_by(&change.annotations);
        }
        self.routes.insert(name, route);
    }
}

fn with_prefix<'a>(claim: Claim<'a>, format: &str) -> (Claim<'a>, String) {
    let name = format!("{}{}", format.replace("{workload}", &claim.offer.backend), claim.base);
    (claim, name)
}

/// Whether the configuration hides a tool, by its name after overrides.
fn is_hidden(config: &Aggregation, settings: Option<&WorkloadTools>, base: &str) -> bool {
    match settings {
        _ if config.excludes_all => true,
        None => config.visibility == Visibility::Deny,
        Some(settings) if settings.excludes_all => true,
        Some(settings) => !settings.filter.is_empty() && !settings.filter.iter().any(|shown| shown == base),
    }
}

/// The tool as clients see it: with its name, and what its override changes.
fn changed(claim: &Claim<'_>, name: &str) -> Bytes {
    let mut changes = vec![("name", text(name))];
    if let Some(change) = claim.change {
        changes.extend(change.description.as_ref().map(|description| ("description", text(description))));
        let said = hints::Hints::default().changed_by(&change.annotations);
        let members = hints::members(change.annotations.title.as_deref(), said);
        if !members.is_empty() {
            changes.push(("annotations", with_members(claim.item.annotations(), &members).to_vec()));
        }
    }
    with_members(&claim.item.json, &changes)
}
