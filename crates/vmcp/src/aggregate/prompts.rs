//! Prompts of many backends: each under its name with a prefix, except for backends that have priority, whose prompts keep
//! their names. Of two that have priority, the first one by the configuration has a name; names that are contested in any
//! other way are nobody's.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::problem::{Claimant, Problem};
use super::rewrite::{text, with_members};
use super::view::{Route, Shown};
use super::{Item, Kind, Offer, names};
use crate::config::{Aggregation, Conflicts};

/// All prompts under their names.
#[derive(Default)]
pub(super) struct Prompts {
    pub(super) routes: HashMap<Arc<str>, Route>,
    pub(super) shown: Vec<Shown>,
    pub(super) problems: Vec<Problem>,
}

struct Claim<'a> {
    offer: &'a Offer,
    item: &'a Item,
    rank: Option<usize>,
    is_respelled: bool,
}

pub(super) fn aggregate(offers: &[&Offer], config: &Aggregation) -> Prompts {
    let mut claims: BTreeMap<String, Vec<Claim<'_>>> = BTreeMap::new();
    for offer in offers {
        let (rank, prefix) = standing(offer, config);
        for item in offer.of(Kind::Prompts) {
            let wanted = format!("{prefix}{}", item.key);
            let respelled = names::respelled(&wanted, Kind::Prompts);
            let is_respelled = respelled.is_some();
            let name = respelled.unwrap_or(wanted);
            claims.entry(name).or_default().push(Claim { offer, item, rank, is_respelled });
        }
    }
    let mut prompts = Prompts::default();
    for (name, claims) in claims {
        prompts.name(&name, claims);
    }
    prompts
}

/// Which priority a backend's prompts have, and what stands in front of their names.
fn standing(offer: &Offer, config: &Aggregation) -> (Option<usize>, String) {
    let (format, rank) = match &config.conflicts {
        Conflicts::Prefix { format } => (format, None),
        Conflicts::Priority { order } => {
            (&config.prefix, order.iter().position(|name| **name == *offer.backend))
        }
        Conflicts::Manual => (&config.prefix, None),
    };
    let prefix = if rank.is_some() { String::new() } else { format.replace("{workload}", &offer.backend) };
    (rank, prefix)
}

impl Prompts {
    fn name(&mut self, name: &str, mut claims: Vec<Claim<'_>>) {
        let kind = Kind::Prompts;
        claims.sort_by_key(|claim| claim.rank);
        let claimant = |claim: &Claim<'_>| claim.offer.claimant(&claim.item.key);
        let Some(winner) = claims.first() else { return };
        if claims.len() > 1 {
            if claims.iter().any(|claim| claim.rank.is_none()) {
                let mut claimants: Vec<Claimant> = claims.iter().map(claimant).collect();
                claimants.sort();
                return self.problems.push(Problem::Unresolved { kind, name: name.into(), claimants });
            }
            let losers = claims[1..].iter().map(claimant).collect();
            let winner = claimant(winner);
            self.problems.push(Problem::Conflict { kind, name: name.into(), winner, losers });
        }
        let name: Arc<str> = name.into();
        if winner.is_respelled {
            let of = claimant(winner);
            self.problems.push(Problem::Respelled { kind, of, name: Arc::clone(&name) });
        }
        if winner.offer.is_shown {
            let json = with_members(&winner.item.json, &[("name", text(&name))]);
            self.shown.push(Shown::new(&name, json));
        }
        self.routes.insert(name, Route::new(winner.offer, winner.item, true));
    }
}
