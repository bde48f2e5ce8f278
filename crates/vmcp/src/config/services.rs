//! What a server does beside serving: numbers, records, search, scripts, sessions, limits.

use std::collections::BTreeMap;
use std::time::Duration;

use super::section::{Reader, Section};

/// `telemetry`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Telemetry {
    /// Where it goes.
    pub endpoint: Option<String>,
    /// What this server is called there.
    pub service_name: Option<String>,
    /// Its version there.
    pub service_version: Option<String>,
    /// Whether traces are made.
    pub has_tracing: bool,
    /// Whether metrics are sent.
    pub has_metrics: bool,
    /// Which part of the traces is kept.
    pub sampling_rate: Option<f64>,
    /// Headers of what is sent.
    pub headers: BTreeMap<String, String>,
    /// Whether it is sent without TLS.
    pub is_insecure: bool,
    /// Whether `/metrics` is served.
    pub has_prometheus: bool,
    /// The port of that.
    pub prometheus_port: Option<u16>,
    /// Whether it is on the server's own port.
    pub prometheus_on_transport: bool,
    /// Variables that are noted with each trace.
    pub environment_variables: Vec<String>,
    /// What else is.
    pub custom_attributes: BTreeMap<String, String>,
    /// Whether attributes have their former names, too.
    pub uses_legacy_attributes: bool,
    /// Certificates of the receiver.
    pub ca_cert: Option<String>,
}

pub(super) fn telemetry(root: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<Telemetry> {
    let mut section = root.section(reader, "telemetry")?;
    let rate = section.text(reader, "samplingRate");
    let port = section.count(reader, "prometheusPort", (1, 65_535), 0);
    let mut flag = |name| section.flag(reader, name).unwrap_or_default();
    let mut telemetry = Telemetry {
        has_tracing: flag("tracingEnabled"),
        has_metrics: flag("metricsEnabled"),
        is_insecure: flag("insecure"),
        has_prometheus: flag("enablePrometheusMetricsPath"),
        prometheus_on_transport: flag("metricsOnTransportPort"),
        uses_legacy_attributes: flag("useLegacyAttributes"),
        prometheus_port: u16::try_from(port).ok().filter(|port| *port != 0),
        ..Telemetry::default()
    };
    telemetry.endpoint = section.text(reader, "endpoint");
    telemetry.service_name = section.text(reader, "serviceName");
    telemetry.service_version = section.text(reader, "serviceVersion");
    telemetry.headers = section.text_map(reader, "headers");
    telemetry.environment_variables = section.texts(reader, "environmentVariables");
    telemetry.custom_attributes = section.text_map(reader, "customAttributes");
    telemetry.ca_cert = section.text(reader, "caCertPath");
    telemetry.sampling_rate = rate.and_then(|rate| number(&section, reader, "samplingRate", &rate, 1.0));
    section.finish(reader);
    Some(telemetry)
}

/// A number that is written as a text, from 0 to a maximum.
fn number(section: &Section<'_>, reader: &mut Reader<'_>, name: &str, text: &str, most: f64) -> Option<f64> {
    match text.parse::<f64>() {
        Ok(number) if (0.0..=most).contains(&number) => Some(number),
        Ok(_) => {
            section.say(reader, name, format!("must be between 0.0 and {most:?}, got {text}"));
            None
        }
        Err(error) => {
            section.say(reader, name, format!("must be a valid number: {error}"));
            None
        }
    }
}

/// `audit`.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    /// Whether there is one.
    pub is_enabled: bool,
    /// What this server is called in it.
    pub component: String,
    /// What is recorded; none: everything.
    pub event_types: Vec<String>,
    /// What is not, whatever else is said.
    pub excluded_event_types: Vec<String>,
    /// Whether requests are in it.
    pub has_request_data: bool,
    /// Whether answers are.
    pub has_response_data: bool,
    /// Whether a tool's own errors are failures.
    pub detects_application_errors: bool,
    /// Bytes of a request or an answer that are kept.
    pub max_data_size: usize,
    /// How many delegations of identity are followed.
    pub max_delegation_depth: usize,
    /// The file it goes to, if not to the output.
    pub log_file: Option<String>,
}

/// What can be recorded.
const EVENT_TYPES: [&str; 23] = [
    "mcp_initialize",
    "mcp_tool_call",
    "mcp_tools_list",
    "mcp_resource_read",
    "mcp_resources_list",
    "mcp_prompt_get",
    "mcp_prompts_list",
    "mcp_notification",
    "mcp_ping",
    "mcp_logging",
    "mcp_completion",
    "mcp_roots_list_changed",
    "sse_connection",
    "mcp_request",
    "http_request",
    "vmcp_workflow_started",
    "vmcp_workflow_completed",
    "vmcp_workflow_failed",
    "vmcp_workflow_timed_out",
    "vmcp_workflow_step_started",
    "vmcp_workflow_step_completed",
    "vmcp_workflow_step_failed",
    "vmcp_workflow_step_skipped",
];

pub(super) fn audit(root: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<Audit> {
    let mut section = root.section(reader, "audit")?;
    let audit = Audit {
        is_enabled: section.flag(reader, "enabled").unwrap_or_default(),
        component: section.text(reader, "component").unwrap_or_else(|| "vmcp-server".to_owned()),
        event_types: event_types(&mut section, reader, "eventTypes", "unknown event type"),
        excluded_event_types: event_types(
            &mut section,
            reader,
            "excludeEventTypes",
            "unknown exclude event type",
        ),
        has_request_data: section.flag(reader, "includeRequestData").unwrap_or_default(),
        has_response_data: section.flag(reader, "includeResponseData").unwrap_or_default(),
        detects_application_errors: section.flag(reader, "detectApplicationErrors").unwrap_or(true),
        max_data_size: section.count(reader, "maxDataSize", (0, i64::MAX), 1024),
        max_delegation_depth: section.count(reader, "maxDelegationDepth", (1, i64::MAX), 10),
        log_file: section.text(reader, "logFile"),
    };
    section.finish(reader);
    Some(audit)
}

fn event_types(
    section: &mut Section<'_>,
    reader: &mut Reader<'_>,
    name: &'static str,
    complaint: &str,
) -> Vec<String> {
    let types = section.texts(reader, name);
    for unknown in types.iter().filter(|known| !EVENT_TYPES.contains(&known.as_str())) {
        section.say(reader, name, format!(": {complaint}: {unknown}"));
    }
    types
}

/// `optimizer`.
#[derive(Clone, Debug, PartialEq)]
pub struct Optimizer {
    /// What finds tools by meaning; without it they are found by words.
    pub embedding: Option<Embedding>,
    /// How many tools an answer holds.
    pub max_tools: usize,
    /// Which part of an answer is found by meaning.
    pub semantic_ratio: f64,
    /// How far a meaning may be.
    pub distance_threshold: f64,
}

/// What finds tools by meaning.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// Where it is.
    pub service: String,
    /// Whether it speaks OpenAI's protocol rather than that of text-embeddings-inference.
    pub is_openai: bool,
    /// Its model.
    pub model: Option<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// Headers of what is asked.
    pub headers: BTreeMap<String, String>,
}

pub(super) fn optimizer(root: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<Optimizer> {
    let mut section = root.section(reader, "optimizer")?;
    let providers = [("tei", false), ("openai", true)];
    let is_openai = section.word(reader, "embeddingProvider", &providers).unwrap_or_default();
    let service = section.text(reader, "embeddingService");
    let model = section.text(reader, "embeddingModel");
    let missing = [("embeddingService", service.is_none()), ("embeddingModel", model.is_none())];
    for (name, _) in missing.into_iter().filter(|(_, missing)| is_openai && *missing) {
        section.say(reader, name, "is required when optimizer.embeddingProvider is \"openai\"");
    }
    let headers = embedding_headers(&mut section, reader, is_openai);
    let timeout = section.duration_or(reader, "embeddingServiceTimeout", Duration::from_secs(30));
    let ratio = section.text(reader, "hybridSearchSemanticRatio").unwrap_or_else(|| "0.5".to_owned());
    let distance = section.text(reader, "semanticDistanceThreshold").unwrap_or_else(|| "1.0".to_owned());
    let optimizer = Optimizer {
        embedding: service.map(|service| Embedding { service, is_openai, model, timeout, headers }),
        max_tools: section.count(reader, "maxToolsToReturn", (1, 50), 8),
        semantic_ratio: number(&section, reader, "hybridSearchSemanticRatio", &ratio, 1.0).unwrap_or(0.5),
        distance_threshold: number(&section, reader, "semanticDistanceThreshold", &distance, 2.0)
            .unwrap_or(1.0),
    };
    section.finish(reader);
    Some(optimizer)
}

fn embedding_headers(
    section: &mut Section<'_>,
    reader: &mut Reader<'_>,
    is_openai: bool,
) -> BTreeMap<String, String> {
    let headers = section.text_map(reader, "embeddingHeaders");
    if !headers.is_empty() && !is_openai {
        section.say(reader, "embeddingHeaders", "are for the provider \"openai\" only");
    }
    if headers.len() > 32 {
        section.say(reader, "embeddingHeaders", "must be 32 at most");
    }
    for (name, value) in &headers {
        if ["authorization", "content-type"].contains(&&*name.to_ascii_lowercase()) {
            section.say(reader, "embeddingHeaders", format!("must not set {name:?}"));
        } else if !is_header_name(name) || !(1..=8192).contains(&value.len()) {
            section.say(reader, "embeddingHeaders", format!(": {name:?} or its value is invalid"));
        }
    }
    headers
}

/// `codeMode`.
#[derive(Clone, Debug, PartialEq)]
pub struct CodeMode {
    /// Whether there is one.
    pub is_enabled: bool,
    /// How many steps a script has.
    pub step_limit: usize,
    /// How many calls it makes at once.
    pub max_parallel: usize,
    /// How long each may take.
    pub call_timeout: Duration,
}

pub(super) fn code_mode(root: &mut Section<'_>, reader: &mut Reader<'_>) -> CodeMode {
    let mut code_mode = CodeMode {
        is_enabled: false,
        step_limit: 100_000,
        max_parallel: 10,
        call_timeout: Duration::from_secs(30),
    };
    let Some(mut section) = root.section(reader, "codeMode") else { return code_mode };
    code_mode.is_enabled = section.flag(reader, "enabled").unwrap_or_default();
    code_mode.step_limit = section.count(reader, "stepLimit", (1, i64::MAX), code_mode.step_limit);
    code_mode.max_parallel =
        section.count(reader, "parallelMaxConcurrency", (1, i64::MAX), code_mode.max_parallel);
    code_mode.call_timeout = section.duration_or(reader, "toolCallTimeout", code_mode.call_timeout);
    section.finish(reader);
    code_mode
}

/// `sessionStorage`.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionStorage {
    /// In this process.
    Memory,
    /// In a Redis that replicas share.
    Redis {
        /// Where it is.
        address: String,
        /// Which of its databases.
        database: i64,
        /// What the keys begin with, if that is said, with a colon at its end.
        key_prefix: Option<String>,
    },
}

pub(super) fn session_storage(root: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<SessionStorage> {
    let mut section = root.section(reader, "sessionStorage")?;
    let is_redis =
        section.word(reader, "provider", &[("memory", false), ("redis", true)]).unwrap_or_default();
    let address = section.text(reader, "address");
    let database = section.integer(reader, "db").unwrap_or_default();
    let key_prefix = section.text(reader, "keyPrefix");
    if key_prefix.as_ref().is_some_and(|prefix| !prefix.ends_with(':')) {
        section.say(reader, "keyPrefix", "must end with ':'");
    }
    if is_redis && address.is_none() {
        section.say(reader, "address", "is required when provider is redis");
    }
    section.finish(reader);
    Some(match address {
        Some(address) if is_redis => SessionStorage::Redis { address, database, key_prefix },
        _ => SessionStorage::Memory,
    })
}

/// `rateLimiting`.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimits {
    /// Of all tools together.
    pub all: Limit,
    /// Of single tools.
    pub tools: Vec<ToolLimit>,
}

/// A limit: for all callers together, for each of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limit {
    /// For all callers together.
    pub shared: Option<Bucket>,
    /// For each of them.
    pub per_user: Option<Bucket>,
}

/// The limit of one tool.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolLimit {
    /// Its name as clients see it.
    pub name: String,
    /// The limit.
    pub limit: Limit,
}

/// So many calls, that come back in so much time.
#[derive(Clone, Debug, PartialEq)]
pub struct Bucket {
    /// How many.
    pub max_tokens: usize,
    /// In which time.
    pub refill_period: Duration,
}

pub(super) fn rate_limits(root: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<RateLimits> {
    let mut section = root.section(reader, "rateLimiting")?;
    let all = limit(&mut section, reader);
    let mut tools = Vec::new();
    for mut tool in section.sections(reader, "tools") {
        tools.push(ToolLimit { name: tool.required(reader, "name"), limit: limit(&mut tool, reader) });
        tool.finish(reader);
    }
    section.finish(reader);
    Some(RateLimits { all, tools })
}

fn limit(section: &mut Section<'_>, reader: &mut Reader<'_>) -> Limit {
    let mut read = |name| section.section(reader, name).map(|section| bucket(section, reader));
    Limit { shared: read("shared"), per_user: read("perUser") }
}

fn bucket(mut section: Section<'_>, reader: &mut Reader<'_>) -> Bucket {
    let max_tokens = section.integer(reader, "maxTokens").unwrap_or_default();
    if max_tokens < 1 {
        section.say(reader, "maxTokens", format!("must be >= 1, got {max_tokens}"));
    }
    // Kubernetes writes a text, the file of ToolHive's operator a map that holds it.
    let nested = section
        .node("refillPeriod")
        .is_some_and(|node| matches!(node.value, super::node::Value::Map(_)))
        .then(|| section.section(reader, "refillPeriod"))
        .flatten();
    let refill_period = match nested {
        Some(mut nested) => {
            let duration = nested.duration(reader, "duration");
            nested.finish(reader);
            duration
        }
        None => section.duration(reader, "refillPeriod"),
    };
    let refill_period = refill_period.unwrap_or_default();
    if refill_period.is_zero() {
        section.say(reader, "refillPeriod", "must be positive");
    }
    section.finish(reader);
    Bucket { max_tokens: usize::try_from(max_tokens).unwrap_or_default(), refill_period }
}

/// Headers that belong to a connection, or say who somebody is.
const RESTRICTED: [&str; 19] = [
    "host",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "http2-settings",
    "proxy-authorization",
    "proxy-authenticate",
    "proxy-connection",
    "transfer-encoding",
    "content-length",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "authorization",
    "cookie",
];

/// Names of headers in lower case, none of which says who somebody is.
pub(super) fn passthrough_headers(root: &mut Section<'_>, reader: &mut Reader<'_>) -> Vec<String> {
    let mut headers = Vec::new();
    for header in root.texts(reader, "passthroughHeaders") {
        let name = header.to_ascii_lowercase();
        let message = if name.is_empty() {
            "header name must not be empty".to_owned()
        } else if RESTRICTED.contains(&name.as_str()) {
            format!("{header:?} is a restricted header and cannot be forwarded")
        } else if !is_header_name(&name) {
            format!("invalid header name {header:?}")
        } else {
            headers.push(name);
            continue;
        };
        root.say(reader, "passthroughHeaders", format!(": {message}"));
    }
    headers
}

/// Whether a text is a token of RFC 9110.
pub(super) fn is_header_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_allowed)
}
