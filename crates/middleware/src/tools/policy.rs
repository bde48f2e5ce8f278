//! The decision, without IO: which tools are seen, under which names, and what a called name means.

use std::collections::{HashMap, HashSet};

/// What a tool is shown as; what is `None` stays as the backend says.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolOverride {
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
}

/// Why a filter and overrides make no policy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToolPolicyError {
    #[error("the tool filter has an empty name in it")]
    EmptyFilterName,
    #[error("a tool override has an empty tool name")]
    EmptyOverrideName,
    #[error("the override of tool {0:?} changes nothing: give it a name or a description")]
    EmptyOverride(String),
    #[error("tools {0:?} and {1:?} would both be called {2:?}")]
    SameName(String, String, String),
    #[error("neither a tool filter nor an override is given")]
    Nothing,
}

/// What a called name means.
#[derive(Debug, PartialEq, Eq)]
pub enum Call<'a> {
    /// The filter leaves it out.
    Unknown,
    AsIs,
    /// The backend knows it by this name.
    Renamed(&'a str),
}

/// Filter and overrides, checked.
#[derive(Debug)]
pub struct ToolPolicy {
    /// Names as the client sees them; `None`: all.
    visible: Option<HashSet<String>>,
    /// By the backend's name.
    overrides: HashMap<String, ToolOverride>,
    /// From the name the client sees to the backend's.
    actual: HashMap<String, String>,
}

impl ToolPolicy {
    /// From the names a client may see (after renaming; none given: all) and the overrides by the backend's name. An
    /// empty text in an override means "leave".
    ///
    /// # Errors
    /// [`ToolPolicyError`].
    pub fn new(
        filter: &[String],
        overrides: impl IntoIterator<Item = (String, ToolOverride)>,
    ) -> Result<Self, ToolPolicyError> {
        if filter.iter().any(String::is_empty) {
            return Err(ToolPolicyError::EmptyFilterName);
        }
        let mut policy = Self {
            visible: (!filter.is_empty()).then(|| filter.iter().cloned().collect()),
            overrides: HashMap::new(),
            actual: HashMap::new(),
        };
        for (tool, shown) in overrides {
            policy.add_override(tool, shown)?;
        }
        if policy.visible.is_none() && policy.overrides.is_empty() {
            return Err(ToolPolicyError::Nothing);
        }
        Ok(policy)
    }

    fn add_override(&mut self, tool: String, shown: ToolOverride) -> Result<(), ToolPolicyError> {
        let set = |text: Option<String>| text.filter(|text| !text.is_empty());
        let shown = ToolOverride { name: set(shown.name), description: set(shown.description) };
        if tool.is_empty() {
            return Err(ToolPolicyError::EmptyOverrideName);
        }
        if shown == ToolOverride::default() {
            return Err(ToolPolicyError::EmptyOverride(tool));
        }
        if let Some(name) = &shown.name
            && let Some(other) = self.actual.insert(name.clone(), tool.clone())
        {
            return Err(ToolPolicyError::SameName(other, tool, name.clone()));
        }
        self.overrides.insert(tool, shown);
        Ok(())
    }

    /// How the backend's tool is shown; `None`: not at all.
    pub(super) fn show(&self, tool: &str) -> Option<Option<&ToolOverride>> {
        let shown = self.overrides.get(tool);
        let name = shown.and_then(|shown| shown.name.as_deref()).unwrap_or(tool);
        let visible = self.visible.as_ref().is_none_or(|visible| visible.contains(name));
        visible.then_some(shown)
    }

    /// What a name in `tools/call` means. The backend's own name of a renamed tool stays callable where no filter says
    /// otherwise (as in ToolHive); hiding is what the filter is for.
    #[must_use]
    pub fn call(&self, name: &str) -> Call<'_> {
        if name.is_empty() || self.visible.as_ref().is_some_and(|visible| !visible.contains(name)) {
            return Call::Unknown;
        }
        self.actual.get(name).map_or(Call::AsIs, |actual| Call::Renamed(actual))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> ToolOverride {
        ToolOverride { name: Some(name.into()), description: None }
    }

    #[test]
    fn says_what_is_wrong_with_a_policy() {
        use ToolPolicyError::{EmptyFilterName, EmptyOverride, EmptyOverrideName, Nothing, SameName};
        let new = |filter: &[&str], overrides: Vec<(&str, ToolOverride)>| {
            let filter: Vec<_> = filter.iter().map(|name| (*name).to_owned()).collect();
            ToolPolicy::new(&filter, overrides.into_iter().map(|(tool, shown)| (tool.to_owned(), shown)))
                .err()
        };
        assert_eq!(new(&[], vec![]), Some(Nothing));
        assert_eq!(new(&[""], vec![]), Some(EmptyFilterName));
        assert_eq!(new(&[], vec![("", named("x"))]), Some(EmptyOverrideName));
        assert_eq!(new(&[], vec![("a", named(""))]), Some(EmptyOverride("a".into())));
        let twice = vec![("a", named("x")), ("b", named("x"))];
        assert_eq!(new(&[], twice), Some(SameName("a".into(), "b".into(), "x".into())));
        assert_eq!(new(&["a"], vec![]), None);
    }

    #[test]
    fn the_filter_speaks_of_names_as_they_are_shown() {
        let policy = ToolPolicy::new(&["say".into()], [("echo".into(), named("say"))]).unwrap();
        assert_eq!(policy.call("say"), Call::Renamed("echo"));
        assert_eq!(policy.call("echo"), Call::Unknown);
        assert!(policy.show("echo").is_some() && policy.show("say").is_some() && policy.show("rm").is_none());
        let policy = ToolPolicy::new(&[], [("echo".into(), named("say"))]).unwrap();
        assert_eq!(policy.call("echo"), Call::AsIs);
    }
}
