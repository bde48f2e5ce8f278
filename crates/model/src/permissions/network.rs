//! Whom a workload may talk to, and who to it.

use std::fmt;

use serde::{Serialize, Serializer};

/// The network section of a profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Network {
    #[serde(skip_serializing_if = "NetworkMode::is_unsaid")]
    pub mode: NetworkMode,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outbound: Option<Outbound>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inbound: Option<Inbound>,
}

/// The network of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NetworkMode {
    /// Nothing is said: the runtime's default.
    #[default]
    Unsaid,
    /// `default`: the runtime's default, said.
    Default,
    Bridge,
    None,
    Host,
    /// A network that somebody made.
    Custom(String),
}

impl NetworkMode {
    /// Reads a mode.
    ///
    /// # Errors
    /// What is wrong and what helps.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        Ok(match text {
            "" => Self::Unsaid,
            "default" => Self::Default,
            "bridge" => Self::Bridge,
            "none" => Self::None,
            "host" => Self::Host,
            name if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(allowed) => {
                Self::Custom(name.to_owned())
            }
            _ => return Err("is no network: write bridge, default, none, host or the name of a network"),
        })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Unsaid => "",
            Self::Default => "default",
            Self::Bridge => "bridge",
            Self::None => "none",
            Self::Host => "host",
            Self::Custom(name) => name,
        }
    }

    /// Whether traffic passes where it can be isolated: a bridge of the runtime's.
    #[must_use]
    pub fn can_isolate(&self) -> bool {
        matches!(self, Self::Unsaid | Self::Default | Self::Bridge)
    }

    fn is_unsaid(&self) -> bool {
        *self == Self::Unsaid
    }
}

impl Serialize for NetworkMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Where connections may go. A list that is not there does not restrict, one that is there and empty allows nothing;
/// without any, nothing is allowed. Who enforces it has the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outbound {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure_allow_all: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_host: Option<Vec<HostRule>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_port: Option<Vec<u16>>,
}

/// Which Host headers requests to the workload may have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Inbound {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_host: Option<Vec<HostRule>>,
}

/// A host: exactly this one, or with a dot before it, it and everything below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRule(String);

impl HostRule {
    /// Reads a rule: a name, an address, or `.name`.
    ///
    /// # Errors
    /// What is wrong and what helps.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains('*') {
            return Err("has a *: write .example.com for a name and everything below it");
        }
        if text.parse::<std::net::IpAddr>().is_ok() {
            return Ok(Self(text.to_owned()));
        }
        let name = text.strip_prefix('.').unwrap_or(text);
        let is_label = |label: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            (1..=63).contains(&label.len()) && label.chars().all(allowed)
        };
        if name.len() > 253 || !name.split('.').all(is_label) {
            return Err(
                "is no host: write a name such as example.com or .example.com, without scheme, port and path",
            );
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for HostRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_a_name_or_an_address() {
        for text in ["example.com", ".example.com", "EXAMPLE.com", "a_b-c.d", "10.0.0.1", "::1"] {
            assert_eq!(HostRule::parse(text).unwrap().as_str(), text);
        }
        for text in
            ["", ".", "*.example.com", "https://a", "a:443", "a/b", "a..b", "a b", "é.com", &"a".repeat(64)]
        {
            assert!(HostRule::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn modes_are_written_as_they_are_read() {
        for text in ["", "default", "bridge", "none", "host", "my_net.1"] {
            assert_eq!(NetworkMode::parse(text).unwrap().as_str(), text);
        }
        for text in ["container:other", "-x", " host", "a b"] {
            assert!(NetworkMode::parse(text).is_err(), "{text}");
        }
    }
}
