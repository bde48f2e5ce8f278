//! Resources and their templates of many backends. URIs stay as they are, since whoever reads one resource finds those of
//! others in it; the first backend has those that several offer. A backend that is well goes before one that is not.

use std::collections::HashMap;
use std::sync::Arc;

use super::problem::{Claimant, Problem};
use super::uri_template::UriTemplate;
use super::view::Shown;
use super::{Kind, Offer};

/// All resources, and who has them.
#[derive(Debug, Default)]
pub(super) struct Resources {
    listed: HashMap<Arc<str>, Arc<str>>,
    /// By their text; those of backends that are not well come last.
    templates: Vec<Template>,
    pub(super) shown: Vec<Shown>,
    pub(super) shown_templates: Vec<Shown>,
    pub(super) problems: Vec<Problem>,
}

#[derive(Debug)]
struct Template {
    is_shown: bool,
    text: Arc<str>,
    parsed: Option<UriTemplate>,
    backend: Arc<str>,
}

pub(super) fn aggregate(offers: &[&Offer]) -> Resources {
    let mut all = Resources::default();
    let (well, others): (Vec<&Offer>, Vec<&Offer>) = offers.iter().partition(|offer| offer.is_shown);
    let mut templates: HashMap<Arc<str>, Arc<str>> = HashMap::new();
    for offer in well.into_iter().chain(others) {
        for item in offer.of(Kind::Resources) {
            if claim(&mut all.listed, &mut all.problems, Kind::Resources, offer, &item.key) && offer.is_shown
            {
                all.shown.push(Shown::new(&item.key, item.json.clone()));
            }
        }
        for item in offer.of(Kind::Templates) {
            if claim(&mut templates, &mut all.problems, Kind::Templates, offer, &item.key) {
                if offer.is_shown {
                    all.shown_templates.push(Shown::new(&item.key, item.json.clone()));
                }
                all.add_template(offer, &item.key);
            }
        }
    }
    all.templates.sort_by(|one, other| (!one.is_shown, &one.text).cmp(&(!other.is_shown, &other.text)));
    all
}

/// Whether a backend has a URI now; somebody before it may have it.
fn claim(
    owners: &mut HashMap<Arc<str>, Arc<str>>,
    problems: &mut Vec<Problem>,
    kind: Kind,
    offer: &Offer,
    key: &Arc<str>,
) -> bool {
    if let Some(owner) = owners.get(key) {
        let winner = Claimant { backend: Arc::clone(owner), own: Arc::clone(key) };
        let losers = vec![offer.claimant(key)];
        problems.push(Problem::Conflict { kind, name: Arc::clone(key), winner, losers });
        return false;
    }
    owners.insert(Arc::clone(key), Arc::clone(&offer.backend));
    true
}

impl Resources {
    fn add_template(&mut self, offer: &Offer, key: &Arc<str>) {
        let parsed = UriTemplate::parse(key);
        if parsed.is_none() {
            self.problems.push(Problem::Template(offer.claimant(key)));
        }
        let (text, backend) = (Arc::clone(key), Arc::clone(&offer.backend));
        self.templates.push(Template { is_shown: offer.is_shown, text, parsed, backend });
    }

    /// Who has a resource: who lists it, else whose template it is, else whose template it fits first.
    pub(super) fn backend(&self, uri: &str) -> Option<&Arc<str>> {
        if let Some(backend) = self.listed.get(uri) {
            return Some(backend);
        }
        let itself = self.templates.iter().find(|template| *template.text == *uri);
        let fitting = || {
            self.templates
                .iter()
                .find(|template| template.parsed.as_ref().is_some_and(|parsed| parsed.fits(uri)))
        };
        itself.or_else(fitting).map(|template| &template.backend)
    }
}
