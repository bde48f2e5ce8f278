//! What many backends look like as one: pure functions from what each of them lists to an immutable [`View`].
//!
//! Things stay as their backends wrote them, with everything in them that nobody here knows; only names, and what overrides
//! change, are spliced in. Names are resolved by [`tools`](self) as the configuration says: with prefixes, by priority, or by
//! hand. The same backends come to the same view, in whatever order they are given. Whatever is wrong with one thing leaves
//! out that thing, and is told ([`View::problems`]).
//!
//! Where the contract's own behaviour is a defect, it is not this one's: nothing depends on the order of a map; no backend
//! at all is an empty view and no error; a name that is contested by hand, or by a composite tool, costs those who contest it
//! and nobody else; tools that clients do not see do not take names from those they do; names of any length and spelling
//! become names that clients take. Filters name tools as overrides leave them and before prefixes, as in the contract.
//!
//! Deliberately absent: asking backends, their health, and who may see what.

mod composites;
mod hints;
mod item;
mod names;
mod problem;
mod prompts;
mod resources;
mod rewrite;
#[cfg(test)]
mod tests;
mod tools;
mod uri_template;
mod view;

use std::sync::Arc;

pub use hints::Hints;
pub use item::{Bounds, Item, ItemProblem, Kind, Listing};
pub use names::MAX_NAME;
pub use problem::{Claimant, Problem};
pub use view::{Route, View};

/// What is known of a backend.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Its identity.
    pub backend: Arc<str>,
    /// What it listed, if it ever did.
    pub listing: Option<Arc<Listing>>,
    /// Whether clients see what it offers. What they do not see but knew is still routed, under the same names.
    pub is_shown: bool,
}

impl Offer {
    fn of(&self, kind: Kind) -> &[Item] {
        self.listing.as_ref().map_or(&[], |listing| listing.of(kind))
    }

    fn claimant(&self, own: &Arc<str>) -> Claimant {
        Claimant { backend: Arc::clone(&self.backend), own: Arc::clone(own) }
    }
}
