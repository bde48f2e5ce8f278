//! The configuration of a virtual MCP: ToolHive's file, read strictly. Whatever is wrong with it is said at once, each with
//! its path and place.
//!
//! What is read is what is there; what of it cannot be served yet is refused by name ([`Config::unsupported`]).
//!
//! Deliberately absent: files and the environment. The caller has read the one and lends the other.

mod aggregation;
mod composite;
mod duration;
mod incoming;
mod node;
mod operational;
mod outgoing;
mod problem;
mod section;
mod services;

use std::collections::BTreeMap;

pub use aggregation::{Aggregation, Annotations, Conflicts, Override, Visibility, WorkloadTools};
pub use composite::{
    Action, Arguments, Choice, Composite, ForEach, OnError, Output, OutputProperty, OutputType, OutputValue,
    Step, StepKind, ToolCall,
};
pub use incoming::{Authorization, Incoming, IncomingKind, Oidc};
pub use operational::{CircuitBreaker, FailureHandling, Operational, PartialFailure, Timeouts};
pub use outgoing::{Outgoing, Source, Strategy, StrategyKind};
pub use problem::{Invalid, Place, Problem};
pub use services::{
    Audit, Bucket, CodeMode, Embedding, Limit, Optimizer, RateLimits, SessionStorage, Telemetry, ToolLimit,
};

use node::Node;
use section::{Reader, Section};

/// A configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// What this server is called, in its answers and in policies.
    pub name: String,
    /// The group whose workloads are behind it.
    pub group: String,
    /// Backends by name and address. With any, the group is not asked.
    pub backends: Vec<Backend>,
    /// Who may come in.
    pub incoming: Incoming,
    /// As whom backends are called.
    pub outgoing: Outgoing,
    /// How backends become one.
    pub aggregation: Aggregation,
    /// Tools that are made of others.
    pub composites: Vec<Composite>,
    /// Tools of that kind that are elsewhere, for Kubernetes.
    pub composite_references: Vec<String>,
    /// Times and what happens on failures.
    pub operational: Operational,
    /// Whatever its owner notes.
    pub metadata: BTreeMap<String, String>,
    /// Where numbers and traces go.
    pub telemetry: Option<Telemetry>,
    /// What is recorded.
    pub audit: Option<Audit>,
    /// Two tools to find and call all others by.
    pub optimizer: Option<Optimizer>,
    /// Scripts that call tools.
    pub code_mode: CodeMode,
    /// Where sessions are kept.
    pub session_storage: Option<SessionStorage>,
    /// How often tools may be called.
    pub rate_limits: Option<RateLimits>,
    /// Headers of clients that backends see, in lower case.
    pub passthrough_headers: Vec<String>,
}

/// A backend by address.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// Its name, which is its identity.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// What it speaks.
    pub transport: Transport,
    /// Whether it is somebody else's, reached directly.
    pub is_entry: bool,
    /// Certificates that it may show besides the usual ones.
    pub ca_bundle: Option<String>,
    /// Whatever its owner notes.
    pub metadata: BTreeMap<String, String>,
}

/// What a backend speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// HTTP with a stream of events, the old way.
    Sse,
    /// Streamable HTTP.
    StreamableHttp,
}

impl Config {
    /// Reads a configuration. `environment` is asked for the variables that it names.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, Invalid> {
        let node = Node::parse(text).map_err(|problem| Invalid(vec![problem]))?;
        let mut reader = Reader { problems: Vec::new(), environment };
        let config = Section::of(String::new(), &node, &mut reader).map(|root| read(root, &mut reader));
        let mut problems = reader.problems;
        problems.sort_by_key(|problem| problem.place);
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(Invalid(problems)),
        }
    }

    /// What it asks for that cannot be had yet, by path and name.
    #[must_use]
    pub fn unsupported(&self) -> Vec<(String, String)> {
        let mut all = self.outgoing.unsupported();
        if self.optimizer.is_some() && self.incoming.authorization.is_some() {
            let reason = "the optimizer and incomingAuth.authz are mutually exclusive";
            all.push(("optimizer".to_owned(), reason.to_owned()));
        }
        all
    }
}

fn read(mut root: Section<'_>, reader: &mut Reader<'_>) -> Config {
    let config = Config {
        name: root.required(reader, "name"),
        group: root.required(reader, "groupRef"),
        backends: backends(&mut root, reader),
        incoming: incoming::read(&mut root, reader),
        outgoing: outgoing::read(&mut root, reader),
        aggregation: aggregation::read(&mut root, reader),
        operational: operational::read(&mut root, reader),
        composites: composite::read(&mut root, reader),
        composite_references: composite_references(&mut root, reader),
        metadata: root.text_map(reader, "metadata"),
        telemetry: services::telemetry(&mut root, reader),
        audit: services::audit(&mut root, reader),
        optimizer: services::optimizer(&mut root, reader),
        code_mode: services::code_mode(&mut root, reader),
        session_storage: services::session_storage(&mut root, reader),
        rate_limits: services::rate_limits(&mut root, reader),
        passthrough_headers: services::passthrough_headers(&mut root, reader),
    };
    if config.rate_limits.is_some() && !matches!(config.session_storage, Some(SessionStorage::Redis { .. })) {
        root.say(reader, "rateLimiting", "requires Redis session storage (sessionStorage.provider: redis)");
    }
    root.finish(reader);
    config
}

fn backends(root: &mut Section<'_>, reader: &mut Reader<'_>) -> Vec<Backend> {
    let mut backends: Vec<Backend> = Vec::new();
    for mut section in root.sections(reader, "backends") {
        let transports = [("sse", Transport::Sse), ("streamable-http", Transport::StreamableHttp)];
        let is_entry = section.word(reader, "type", &[("entry", ())]).is_some();
        let backend = Backend {
            name: section.required(reader, "name"),
            url: section.required(reader, "url"),
            transport: section
                .required_word(reader, "transport", &transports)
                .unwrap_or(Transport::StreamableHttp),
            is_entry,
            ca_bundle: ca_bundle(&mut section, reader),
            metadata: section.text_map(reader, "metadata"),
        };
        if backend.ca_bundle.is_some() && !is_entry {
            section.say(reader, "caBundlePath", "is only valid when type is \"entry\"");
        }
        let is_address = ["http://", "https://"].iter().any(|scheme| backend.url.starts_with(scheme));
        if !backend.url.is_empty() && !is_address {
            section.say(reader, "url", "must be an http or https URL");
        }
        if !backend.name.is_empty() && backends.iter().any(|known| known.name == backend.name) {
            section.say(reader, "name", format!("is given twice: {}", backend.name));
        }
        backends.push(backend);
        section.finish(reader);
    }
    backends
}

/// The path of a file with certificates: absolute, without steps up.
fn ca_bundle(section: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<String> {
    let path = section.text(reader, "caBundlePath")?;
    if path.contains('\0') || path.contains("..") {
        section.say(reader, "caBundlePath", "contains invalid path characters");
    } else if !path.starts_with('/') {
        section.say(reader, "caBundlePath", "must be an absolute path");
    }
    Some(path)
}

fn composite_references(root: &mut Section<'_>, reader: &mut Reader<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for mut section in root.sections(reader, "compositeToolRefs") {
        let name = section.required(reader, "name");
        if !name.is_empty() && names.contains(&name) {
            section.say(reader, "name", format!("is a duplicate composite tool reference: {name}"));
        }
        names.push(name);
        section.finish(reader);
    }
    names
}

#[cfg(test)]
mod tests;
