//! As whom backends are called.

use std::collections::BTreeMap;

use model::SecretValue;

use super::section::{Reader, Section};

/// `outgoingAuth`.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Whether workloads say how they are called.
    pub source: Source,
    /// How those are called that nothing is said of.
    pub default: Option<Strategy>,
    /// How the others are.
    pub backends: BTreeMap<String, Strategy>,
}

/// Who says how a backend is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// This file alone.
    Inline,
    /// The workload, and this file where it does not.
    Discovered,
}

/// How a backend is called.
#[derive(Clone, Debug)]
pub enum Strategy {
    /// As nobody.
    Unauthenticated,
    /// With a header.
    HeaderInjection {
        /// The header's name.
        name: String,
        /// Its value.
        value: SecretValue,
    },
    /// In a way that is known, and not served yet.
    Other(StrategyKind),
}

/// The ways that are known by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrategyKind {
    /// As nobody.
    Unauthenticated,
    /// With a header.
    HeaderInjection,
    /// With a token for the caller's, as RFC 8693 has it.
    TokenExchange,
    /// With the token of an upstream provider.
    UpstreamInject,
    /// With AWS's temporary credentials.
    AwsSts,
    /// On behalf of the caller.
    OnBehalfOf,
    /// With an identity assertion that another provider takes.
    CrossApp,
}

impl StrategyKind {
    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

const KINDS: [(&str, StrategyKind); 7] = [
    ("unauthenticated", StrategyKind::Unauthenticated),
    ("header_injection", StrategyKind::HeaderInjection),
    ("token_exchange", StrategyKind::TokenExchange),
    ("upstream_inject", StrategyKind::UpstreamInject),
    ("aws_sts", StrategyKind::AwsSts),
    ("obo", StrategyKind::OnBehalfOf),
    ("xaa", StrategyKind::CrossApp),
];

/// The blocks of all types. ToolHive's files may have any of them beside the one that counts.
const BLOCKS: [&str; 6] = ["headerInjection", "tokenExchange", "upstreamInject", "awsSts", "obo", "xaa"];

impl Outgoing {
    /// The ways that are not served yet, by their place.
    pub(super) fn unsupported(&self) -> Vec<(String, String)> {
        let default = self.default.iter().map(|strategy| ("outgoingAuth.default".to_owned(), strategy));
        let backends = self.backends.iter();
        let all = default.chain(backends.map(|(name, s)| (format!("outgoingAuth.backends.{name}"), s)));
        all.filter_map(|(path, strategy)| match strategy {
            Strategy::Other(kind) => Some((path, format!("the strategy {} is not served yet", kind.name()))),
            Strategy::Unauthenticated | Strategy::HeaderInjection { .. } => None,
        })
        .collect()
    }
}

pub(super) fn read(root: &mut Section<'_>, reader: &mut Reader<'_>) -> Outgoing {
    let mut outgoing = Outgoing { source: Source::Inline, default: None, backends: BTreeMap::new() };
    let Some(mut section) = root.required_section(reader, "outgoingAuth") else { return outgoing };
    let sources = [("inline", Source::Inline), ("discovered", Source::Discovered)];
    if let Some(source) = section.required_word(reader, "source", &sources) {
        outgoing.source = source;
    }
    outgoing.default = section.section(reader, "default").and_then(|section| strategy(section, reader));
    for (name, path, node) in section.map(reader, "backends") {
        let strategy = Section::of(path, node, reader).and_then(|section| strategy(section, reader));
        outgoing.backends.extend(strategy.map(|strategy| (name.to_owned(), strategy)));
    }
    section.finish(reader);
    outgoing
}

/// A strategy: its type, and the one block that belongs to it.
fn strategy(mut section: Section<'_>, reader: &mut Reader<'_>) -> Option<Strategy> {
    let kind = section.required_word(reader, "type", &KINDS)?;
    section.know(&BLOCKS);
    let block = match kind {
        StrategyKind::Unauthenticated => {
            section.finish(reader);
            return Some(Strategy::Unauthenticated);
        }
        StrategyKind::HeaderInjection => "headerInjection",
        StrategyKind::TokenExchange => "tokenExchange",
        StrategyKind::UpstreamInject => "upstreamInject",
        StrategyKind::AwsSts => "awsSts",
        StrategyKind::OnBehalfOf => "obo",
        StrategyKind::CrossApp => "xaa",
    };
    let settings = section.required_section(reader, block);
    section.finish(reader);
    let mut settings = settings?;
    let strategy = match kind {
        StrategyKind::HeaderInjection => header_injection(&mut settings, reader),
        StrategyKind::TokenExchange => token_exchange(&mut settings, reader),
        StrategyKind::AwsSts => aws_sts(&mut settings, reader),
        StrategyKind::OnBehalfOf => on_behalf_of(&mut settings, reader),
        StrategyKind::CrossApp => cross_app(&mut settings, reader),
        _ => texts(&mut settings, reader, &["providerName"]),
    };
    settings.finish(reader);
    Some(strategy.unwrap_or(Strategy::Other(kind)))
}

/// Texts that are only checked to be some.
fn texts(section: &mut Section<'_>, reader: &mut Reader<'_>, names: &[&'static str]) -> Option<Strategy> {
    for name in names {
        section.text(reader, name);
    }
    None
}

fn header_injection(section: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<Strategy> {
    let name = section.required(reader, "headerName");
    if !name.is_empty() && !super::services::is_header_name(&name) {
        section.say(reader, "headerName", format!("is an invalid header name {name:?}"));
    }
    let value = secret(section, reader, "headerValue", "headerValueEnv");
    if value.is_none() && !section.has("headerValue") && !section.has("headerValueEnv") {
        section.say(reader, "headerValue", "or headerValueEnv must be set");
    }
    let value = value?;
    if value.chars().any(|character| matches!(character, '\r' | '\n' | '\0')) {
        section.say(reader, "headerValue", "must be one line");
    }
    Some(Strategy::HeaderInjection { name, value: SecretValue::new(value) })
}

/// A secret that stands in the file or in a variable, not in both.
fn secret(
    section: &mut Section<'_>,
    reader: &mut Reader<'_>,
    name: &'static str,
    variable: &'static str,
) -> Option<String> {
    let value = section.text(reader, name);
    let Some(named) = section.text(reader, variable) else { return value };
    if value.is_some() {
        section.say(reader, variable, format!("and {name} are both set: only one of them may be"));
        return value;
    }
    let found = (reader.environment)(&named).filter(|found| !found.is_empty());
    if found.is_none() {
        section.say(reader, variable, format!(": environment variable {named} not set or empty"));
    }
    found
}

fn token_exchange(section: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<Strategy> {
    section.required(reader, "tokenUrl");
    secret(section, reader, "clientSecret", "clientSecretEnv");
    section.texts(reader, "scopes");
    texts(section, reader, &["clientId", "audience", "subjectTokenType", "subjectProviderName"])
}

fn aws_sts(section: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<Strategy> {
    section.required(reader, "region");
    if let Some(seconds) = section.integer(reader, "sessionDuration").filter(|n| !(900..=43_200).contains(n))
    {
        section.say(reader, "sessionDuration", format!("must be between 900 and 43200, got {seconds}"));
    }
    for mut mapping in section.sections(reader, "roleMappings") {
        mapping.integer(reader, "priority");
        texts(&mut mapping, reader, &["claim", "matcher", "roleArn"]);
        mapping.finish(reader);
    }
    let names = ["service", "fallbackRoleArn", "roleClaim", "sessionNameClaim", "subjectProviderName"];
    texts(section, reader, &names)
}

fn on_behalf_of(section: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<Strategy> {
    section.required(reader, "tokenUrl");
    secret(section, reader, "clientSecret", "clientSecretEnv");
    section.texts(reader, "scopes");
    section.integer(reader, "cacheSkewSeconds");
    texts(section, reader, &["clientId", "audience", "subjectTokenProviderName"])
}

fn cross_app(section: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<Strategy> {
    for name in ["idpTokenUrl", "targetTokenUrl", "targetAudience"] {
        section.required(reader, name);
    }
    secret(section, reader, "idpClientSecret", "idpClientSecretEnv");
    secret(section, reader, "targetClientSecret", "targetClientSecretEnv");
    section.texts(reader, "scopes");
    section.flag(reader, "insecureTargetTokenUrl");
    let id_token = "urn:ietf:params:oauth:token-type:id_token";
    if let Some(kind) = section.text(reader, "subjectTokenType").filter(|kind| kind != id_token) {
        let message = format!("is unsupported: {kind:?}; only {id_token:?} is accepted");
        section.say(reader, "subjectTokenType", message);
    }
    texts(section, reader, &["idpClientId", "targetClientId", "targetResource", "subjectProviderName"])
}
