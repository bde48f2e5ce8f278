//! What a workload may touch: ToolHive's permission profile, read strictly. A field that is not understood is an error,
//! since a restriction that is passed over is a hole.
//!
//! What cannot be enforced at a level of isolation is for whoever enforces it to refuse.

mod mount;
mod network;
mod read;

use serde::Serialize;

pub use mount::Mount;
pub use network::{HostRule, Inbound, Network, NetworkMode, Outbound};

use crate::Json;

/// A permission profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Profile {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<Mount>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub write: Vec<Mount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub privileged: bool,
}

/// Something in a profile that cannot stay so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value} {help}")]
pub struct Problem {
    /// Where, as `network.outbound.allow_port[0]`.
    pub field: String,
    /// What is there.
    pub value: String,
    /// What is wrong with it and what helps.
    pub help: String,
}

/// Why a text is no permission profile: everything that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a permission profile: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct NotAProfile(pub Vec<Problem>);

impl Profile {
    /// Reads a profile.
    ///
    /// # Errors
    /// [`NotAProfile`] with every problem.
    pub fn parse(text: &str) -> Result<Self, NotAProfile> {
        read::profile(text)
    }

    /// The profiles that need no file: `none` (no mounts, no way out) and `network` (no mounts, every way out).
    #[must_use]
    pub fn builtin(name: &str) -> Option<Self> {
        let insecure_allow_all = match name {
            "none" => false,
            "network" => true,
            _ => return None,
        };
        let outbound = Outbound { insecure_allow_all, ..Outbound::default() };
        let network = Network { outbound: Some(outbound), ..Network::default() };
        Some(Self { name: Some(name.to_owned()), network: Some(network), ..Self::default() })
    }

    /// Its JSON, as [`Profile::parse`] reads it.
    #[must_use]
    pub fn to_json(&self) -> Json {
        Json::of(self).expect("a profile is made of texts, numbers and lists")
    }

    /// Where it may connect to. Where the profile says nothing, nowhere.
    #[must_use]
    pub fn outbound(&self) -> Outbound {
        self.network.as_ref().and_then(|network| network.outbound.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_profiles_differ_in_the_network() {
        let (none, network) = (Profile::builtin("none").unwrap(), Profile::builtin("network").unwrap());
        assert_eq!(none.outbound(), Outbound::default());
        assert_eq!(network.outbound(), Outbound { insecure_allow_all: true, ..Outbound::default() });
        assert!(Profile::builtin("None").is_none());
        for profile in [none, network] {
            assert_eq!(Profile::parse(profile.to_json().text()), Ok(profile));
        }
    }

    #[test]
    fn what_a_profile_says_nothing_about_is_denied() {
        for text in ["{}", r#"{"network":{}}"#, r#"{"network":null}"#, r#"{"network":{"mode":"bridge"}}"#] {
            assert_eq!(Profile::parse(text).unwrap().outbound(), Outbound::default(), "{text}");
        }
    }
}
