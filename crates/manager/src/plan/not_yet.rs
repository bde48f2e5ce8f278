//! What a RunConfig may ask for and this version does not do. It would be served without that, which is mostly less
//! guarded, and so it is refused.
//!
//! Members that are not here are done, or say nothing about what is served (`registry_url`, `mcpserver_generation`).

use std::collections::BTreeMap;

use model::permissions::Mount;
use model::run_config::{Run, Source};
use model::{Json, Profile, RunConfig};
use serde::Deserialize;

/// A layer of the chain, as ToolHive writes it.
#[derive(Deserialize)]
struct Layer {
    r#type: String,
    #[serde(default)]
    parameters: Parameters,
}

/// Of all layers together, what must be said by a member too to be done.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Parameters {
    filter_tools: Option<Vec<String>>,
    tools_override: Option<serde_json::Value>,
    add_headers: BTreeMap<String, String>,
}

/// The members that ask for what is not there, and of the chain the layers.
pub(super) fn asked(config: &RunConfig, run: &Run) -> Vec<String> {
    let opaque = opaque(config).into_iter().filter(|(_, json)| json.as_ref().is_some_and(says_something));
    let plain = plain(config, run).into_iter().filter(|(_, is_asked)| *is_asked);
    let mut names: Vec<String> = opaque.map(|(name, _)| name.to_owned()).collect();
    names.extend(plain.map(|(name, _)| name.to_owned()));
    names.extend(layers(config));
    names
}

/// What nobody looks into yet.
fn opaque(config: &RunConfig) -> [(&'static str, &Option<Json>); 12] {
    [
        ("oidc_config", &config.oidc_config),
        ("token_exchange_config", &config.token_exchange_config),
        ("upstream_swap_config", &config.upstream_swap_config),
        ("aws_sts_config", &config.aws_sts_config),
        ("authz_config", &config.authz_config),
        ("audit_config", &config.audit_config),
        ("telemetry_config", &config.telemetry_config),
        ("rate_limit_config", &config.rate_limit_config),
        ("additional_middleware_configs", &config.additional_middleware_configs),
        ("validating_webhooks", &config.validating_webhooks),
        ("mutating_webhooks", &config.mutating_webhooks),
        ("embedded_auth_server_config", &config.embedded_auth_server_config),
    ]
}

fn plain(config: &RunConfig, run: &Run) -> [(&'static str, bool); 16] {
    let is_image = matches!(run.source, Source::Image(_));
    let profile = run.profile.as_ref();
    let scaling = config.scaling_config.as_ref();
    [
        ("authz_config_path", !config.authz_config_path.is_empty()),
        ("audit_config_path", !config.audit_config_path.is_empty()),
        ("remote_auth_config", logs_in(config)),
        ("cmd_args", !is_image && !config.cmd_args.is_empty()),
        // For an image there is a reason of its own.
        ("publish", !is_image && !config.publish.is_empty()),
        ("volumes", !config.volumes.iter().all(|volume| profile.is_some_and(|it| is_mounted(volume, it)))),
        ("env_file_dir", !config.env_file_dir.is_empty()),
        ("k8s_pod_template_patch", !config.k8s_pod_template_patch.is_empty()),
        ("allow_docker_gateway", config.allow_docker_gateway),
        ("trust_proxy_headers", config.trust_proxy_headers),
        ("strict_protocol_validation", config.strict_protocol_validation),
        ("thv_ca_bundle", !config.thv_ca_bundle.is_empty()),
        ("jwks_auth_token_file", !config.jwks_auth_token_file.is_empty()),
        ("scaling_config.session_redis", scaling.is_some_and(|scaling| scaling.session_redis.is_some())),
        (
            "scaling_config.backend_replicas",
            scaling.and_then(|scaling| scaling.backend_replicas).is_some_and(|count| count > 1),
        ),
        ("skep.accept_without", config.skep.as_ref().is_some_and(|skep| !skep.accept_without.is_empty())),
    ]
}

/// Whether it is not empty, in the way of its kind.
fn says_something(json: &Json) -> bool {
    match json.to::<serde_json::Value>() {
        Ok(serde_json::Value::Null) => false,
        Ok(serde_json::Value::Object(members)) => !members.is_empty(),
        Ok(serde_json::Value::Array(items)) => !items.is_empty(),
        _ => true,
    }
}

fn logs_in(config: &RunConfig) -> bool {
    config.remote_auth_config.as_ref().is_some_and(|auth| {
        let texts = [
            &auth.client_id,
            &auth.client_secret,
            &auth.client_secret_file,
            &auth.issuer,
            &auth.authorize_url,
            &auth.token_url,
            &auth.bearer_token,
            &auth.bearer_token_file,
            &auth.cached_client_id,
            &auth.cached_client_secret_ref,
            &auth.cached_refresh_token_ref,
            &auth.cached_cimd_client_id,
        ];
        texts.iter().any(|text| !text.is_empty())
    })
}

/// Whether the profile, which is what is looked at, shows it as well.
fn is_mounted(volume: &str, profile: &Profile) -> bool {
    let (path, mounts) = match volume.strip_suffix(":ro") {
        Some(path) => (path, &profile.read),
        None => (volume, &profile.write),
    };
    Mount::parse(path).is_ok_and(|mount| mounts.contains(&mount))
}

/// The layers that are not there, and those whose parameters no member says.
fn layers(config: &RunConfig) -> Vec<String> {
    let Some(json) = config.middleware_configs.as_ref().filter(|json| says_something(json)) else {
        return Vec::new();
    };
    let Ok(layers) = json.to::<Vec<Layer>>() else { return vec!["middleware_configs".to_owned()] };
    let refused = layers.iter().filter(|layer| match &*layer.r#type {
        "bodylimit" | "origin" | "mcp-parser" | "recovery" | "usagemetrics" => false,
        "tool-filter" | "tool-call-filter" => !filters_as_said(&layer.parameters, config),
        "header-forward" => !layer.parameters.add_headers.is_empty() && config.header_forward.is_none(),
        _ => true,
    });
    refused.map(|layer| format!("middleware_configs {}", layer.r#type)).collect()
}

fn filters_as_said(parameters: &Parameters, config: &RunConfig) -> bool {
    let said: serde_json::Value =
        config.tools_override.as_ref().and_then(|json| json.to().ok()).unwrap_or_default();
    let is_empty = |json: &serde_json::Value| json.as_object().is_none_or(serde_json::Map::is_empty);
    let wanted = parameters.tools_override.as_ref().unwrap_or(&serde_json::Value::Null);
    let same_tools = parameters.filter_tools.as_deref().unwrap_or_default() == config.tools_filter;
    same_tools && (*wanted == said || is_empty(wanted) && is_empty(&said))
}

#[cfg(test)]
mod tests {
    use model::Document;

    use super::*;

    /// Every member, saying something.
    const FULL: &str = include_str!("../../../model/src/run_config/full.json");

    /// Members that are done, or about nothing that is served.
    const DONE: [&str; 33] = [
        "schema_version",
        "mcpserver_generation",
        "image",
        "remote_url",
        "registry_api_url",
        "registry_url",
        "registry_server_name",
        "name",
        "container_name",
        "base_name",
        "transport",
        "host",
        "port",
        "target_port",
        "target_host",
        "allowed_origins",
        "permission_profile_name_or_path",
        "permission_profile",
        "env_vars",
        "debug",
        "container_labels",
        "rate_limit_namespace",
        "secrets",
        "isolate_network",
        "stateless",
        "session_ttl",
        "proxy_mode",
        "group",
        "tools_filter",
        "tools_override",
        "ignore_config",
        "endpoint_prefix",
        "header_forward",
    ];
    /// For images, which are not run, and from the future.
    const PASSED_OVER: [&str; 3] = ["runtime_config", "x_vendor", "future_number"];

    fn asked(text: &str) -> Vec<String> {
        let config = RunConfig::parse(text).unwrap();
        let command = r#"{"name":"a","transport":"stdio","skep":{"command":"c"}}"#;
        let mut run = RunConfig::parse(command).unwrap().checked().unwrap();
        run.profile = config.profile().unwrap();
        super::asked(&config, &run)
    }

    #[test]
    fn each_member_is_done_or_refused() {
        let full: serde_json::Map<String, serde_json::Value> = serde_json::from_str(FULL).unwrap();
        for (key, value) in full {
            let asked = asked(&serde_json::json!({&*key: value}).to_string());
            let is_done = DONE.contains(&&*key) || PASSED_OVER.contains(&&*key);
            assert_eq!(asked.is_empty(), is_done, "{key}: {asked:?}");
            assert!(asked.iter().all(|name| name.starts_with(&key)), "{key}: {asked:?}");
        }
    }

    #[test]
    fn what_is_there_and_says_nothing_asks_for_nothing() {
        for text in [
            r#"{"oidc_config":null,"authz_config":{},"validating_webhooks":[],"middleware_configs":[]}"#,
            r#"{"remote_auth_config":{"use_pkce":true,"scopes":["a"]},"scaling_config":{"backend_replicas":1}}"#,
            r#"{"volumes":["/a:/b:ro","/c"],"permission_profile":{"read":["/a:/b"],"write":["/c"]}}"#,
            r#"{"middleware_configs":[{"type":"bodylimit","parameters":{"max_bytes":1}},{"type":"mcp-parser"},
                {"type":"recovery"},{"type":"origin"},{"type":"usagemetrics","parameters":{}}]}"#,
            r#"{"tools_filter":["a"],"middleware_configs":[{"type":"tool-filter","parameters":
                {"filter_tools":["a"],"tools_override":{}}}]}"#,
        ] {
            assert_eq!(asked(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn volumes_and_layers_that_would_be_dropped_are_refused() {
        for (text, expect) in [
            (r#"{"volumes":["/a:/b"]}"#, "volumes"),
            (r#"{"volumes":["/a:/b:ro"],"permission_profile":{"write":["/a:/b"]}}"#, "volumes"),
            (r#"{"middleware_configs":[{"type":"auth"},{"type":"recovery"}]}"#, "middleware_configs auth"),
            (r#"{"middleware_configs":{"type":"auth"}}"#, "middleware_configs"),
            (
                r#"{"middleware_configs":[{"type":"tool-call-filter","parameters":{"filter_tools":["a"]}}]}"#,
                "middleware_configs tool-call-filter",
            ),
            (
                r#"{"middleware_configs":[{"type":"header-forward","parameters":{"add_headers":{"a":"b"}}}]}"#,
                "middleware_configs header-forward",
            ),
            (r#"{"scaling_config":{"backend_replicas":2}}"#, "scaling_config.backend_replicas"),
        ] {
            assert_eq!(asked(text), [expect], "{text}");
        }
    }
}
