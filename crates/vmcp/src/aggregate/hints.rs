//! What a tool says about the harm it can do, and the least that is to be said of a tool made of others.

use mcp::json::{JsonError, Reader};

use crate::config::Annotations;

/// What was said; what was not is what the protocol assumes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// It changes nothing.
    pub read_only: Option<bool>,
    /// It may destroy something.
    pub destructive: Option<bool>,
    /// Doing it twice is doing it once.
    pub idempotent: Option<bool>,
    /// It reaches beyond what is known.
    pub open_world: Option<bool>,
}

impl Hints {
    /// Those of an `annotations` object. What is no boolean was not said.
    pub(super) fn read(annotations: Option<&[u8]>) -> Self {
        let mut hints = Self::default();
        let Some(text) = annotations.filter(|text| text.starts_with(b"{")) else { return hints };
        // The text was read before; of what cannot be read, nothing was said.
        let _ = Reader::new(text).and_then(|mut reader| {
            reader.object::<JsonError>(|reader, name| {
                let said = match reader.value()?.of(text) {
                    Some(b"true") => Some(true),
                    Some(b"false") => Some(false),
                    _ => None,
                };
                match name {
                    b"readOnlyHint" => hints.read_only = said,
                    b"destructiveHint" => hints.destructive = said,
                    b"idempotentHint" => hints.idempotent = said,
                    b"openWorldHint" => hints.open_world = said,
                    _ => {}
                }
                Ok(())
            })
        });
        hints
    }

    /// With what the configuration says instead.
    pub(super) fn changed_by(self, annotations: &Annotations) -> Self {
        Self {
            read_only: annotations.read_only.or(self.read_only),
            destructive: annotations.destructive.or(self.destructive),
            idempotent: annotations.idempotent.or(self.idempotent),
            open_world: annotations.open_world.or(self.open_world),
        }
    }

    /// The least that can be said of all of these together: read-only if all are, the rest if any is. Whether it is
    /// idempotent does not follow.
    pub(super) fn floor(all: impl Iterator<Item = Self>) -> Option<Self> {
        all.map(|hints| {
            let is_read_only = hints.read_only.unwrap_or(false);
            // What changes nothing destroys nothing.
            let is_destructive = hints.destructive.unwrap_or(!is_read_only);
            (is_read_only, is_destructive, hints.open_world.unwrap_or(true))
        })
        .reduce(|one, other| (one.0 && other.0, one.1 || other.1, one.2 || other.2))
        .map(|(read_only, destructive, open_world)| Self {
            read_only: Some(read_only),
            destructive: Some(destructive),
            idempotent: None,
            open_world: Some(open_world),
        })
    }

    /// Which annotation says that it is safer than this floor.
    pub(super) fn is_undercut_by(self, said: &Annotations) -> Option<&'static str> {
        let undercuts = [
            ("readOnlyHint", self.read_only == Some(false) && said.read_only == Some(true)),
            ("destructiveHint", self.destructive == Some(true) && said.destructive == Some(false)),
            ("openWorldHint", self.open_world == Some(true) && said.open_world == Some(false)),
        ];
        undercuts.into_iter().find(|(_, undercuts)| *undercuts).map(|(name, _)| name)
    }
}

/// Annotations as members of JSON.
pub(super) fn members(title: Option<&str>, hints: Hints) -> Vec<(&'static str, Vec<u8>)> {
    let flags = [
        ("readOnlyHint", hints.read_only),
        ("destructiveHint", hints.destructive),
        ("idempotentHint", hints.idempotent),
        ("openWorldHint", hints.open_world),
    ];
    let flags = flags.into_iter().filter_map(|(name, flag)| Some((name, flag?.to_string().into_bytes())));
    title.map(|title| ("title", super::rewrite::text(title))).into_iter().chain(flags).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_the_least_that_can_be_said() {
        let read = |text: &str| Hints::read(Some(text.as_bytes()));
        let safe = r#"{"readOnlyHint":true,"openWorldHint":false}"#;
        for (all, expect) in [
            (&[][..], None),
            (&["{}"], Some((false, true, true))),
            (&[safe], Some((true, false, false))),
            (&[safe, "{}"], Some((false, true, true))),
            (&[safe, r#"{"destructiveHint":false,"openWorldHint":false}"#], Some((false, false, false))),
            (&[safe, r#"{"readOnlyHint":true}"#], Some((true, false, true))),
            (&[r#"{"readOnlyHint":"yes"}"#], Some((false, true, true))),
        ] {
            let expect = expect.map(|(read_only, destructive, open_world)| Hints {
                read_only: Some(read_only),
                destructive: Some(destructive),
                idempotent: None,
                open_world: Some(open_world),
            });
            assert_eq!(Hints::floor(all.iter().map(|text| read(text))), expect, "{all:?}");
        }
    }
}
