//! How a workload is run: ToolHive's RunConfig. The same document is kept, exported, imported and shown.
//!
//! Every key of ToolHive's is read, and written under the same name. Keys that are not known stay where they stood. What
//! is skep's own is under the one key `skep`. Nothing is judged when it is read, so that a workload with a wrong value can
//! be listed, shown and mended: [`RunConfig::checked`] judges.
//!
//! INVARIANT: secrets are here by reference only. What they resolve to is a [`crate::SecretValue`], which cannot be
//! written.

mod checked;
mod parts;

use std::collections::BTreeMap;
use std::fmt;

pub use checked::{Isolation, Problems, Run, Source, Transport};
pub use parts::{
    HeaderForward, IgnoreConfig, RemoteAuthConfig, RuntimeConfig, ScalingConfig, SessionRedis, SkepConfig,
};

use crate::json::{Document, Json, NotADocument, Object, members, read_document, write_document};
use crate::secret::SecretRef;
use crate::{Profile, WorkloadName};

/// The version of the document that is written.
pub const SCHEMA_VERSION: &str = "v0.1.0";

members! {
    /// A workload's configuration. Fields are ToolHive's keys; [`Json`] is what only one reader looks into.
    #[derive(Clone, Default, PartialEq)]
    pub struct RunConfig {
        schema_version: String = always,
        /// Counted by Kubernetes.
        mcpserver_generation: i64,
        /// The image reference that is run.
        image: String = always,
        /// Where the server is, if it runs elsewhere: then there is no container and no process.
        remote_url: String,
        /// Where the entry came from.
        registry_api_url: String,
        registry_url: String,
        registry_server_name: String,
        remote_auth_config: Option<RemoteAuthConfig>,
        /// What is given to the image's entry point.
        cmd_args: Vec<String>,
        name: String = always,
        container_name: String,
        /// The name under which files are kept.
        base_name: String,
        transport: String = always,
        /// Where the proxy listens.
        host: String = always,
        port: u16 = always,
        /// Where the server listens.
        target_port: u16,
        target_host: String,
        allowed_origins: Vec<String>,
        publish: Vec<String>,
        permission_profile_name_or_path: String,
        /// The resolved profile: see [`RunConfig::profile`].
        permission_profile: Option<Json> = always,
        /// In clear, and so without secrets.
        env_vars: BTreeMap<String, String>,
        env_file_dir: String,
        debug: bool,
        volumes: Vec<String>,
        /// The standard ones and the user's.
        container_labels: BTreeMap<String, String>,
        oidc_config: Option<Json>,
        token_exchange_config: Option<Json>,
        upstream_swap_config: Option<Json>,
        aws_sts_config: Option<Json>,
        authz_config: Option<Json>,
        authz_config_path: String,
        audit_config: Option<Json>,
        audit_config_path: String,
        telemetry_config: Option<Json>,
        rate_limit_config: Option<Json>,
        rate_limit_namespace: String,
        /// `NAME,target=ENV`: see [`RunConfig::secret_refs`].
        secrets: Vec<String>,
        k8s_pod_template_patch: String,
        isolate_network: bool,
        allow_docker_gateway: bool,
        trust_proxy_headers: bool,
        strict_protocol_validation: bool,
        stateless: bool,
        /// A duration of Go's; nothing is two hours.
        session_ttl: String,
        proxy_mode: String,
        thv_ca_bundle: String,
        jwks_auth_token_file: String,
        group: String,
        tools_filter: Vec<String>,
        tools_override: Option<Json>,
        ignore_config: Option<IgnoreConfig>,
        /// The chain, outermost first.
        middleware_configs: Option<Json>,
        additional_middleware_configs: Option<Json>,
        validating_webhooks: Option<Json>,
        mutating_webhooks: Option<Json>,
        endpoint_prefix: String,
        runtime_config: Option<RuntimeConfig>,
        header_forward: Option<HeaderForward>,
        embedded_auth_server_config: Option<Json>,
        scaling_config: Option<ScalingConfig>,
        /// What only skep knows.
        skep: Option<SkepConfig>,
        ; original
    }
}

impl RunConfig {
    /// The configuration of a workload that nothing else is said of.
    #[must_use]
    pub fn new(name: &WorkloadName) -> Self {
        let name = name.as_str().to_owned();
        Self {
            schema_version: SCHEMA_VERSION.to_owned(),
            container_name: name.clone(),
            base_name: name.clone(),
            name,
            ..Self::default()
        }
    }

    /// The permission profile, checked. `None` where there is none.
    ///
    /// # Errors
    /// [`crate::permissions::NotAProfile`].
    pub fn profile(&self) -> Result<Option<Profile>, crate::permissions::NotAProfile> {
        self.permission_profile.as_ref().map(|json| Profile::parse(json.text())).transpose()
    }

    /// Sets the permission profile.
    pub fn set_profile(&mut self, profile: &Profile) {
        self.permission_profile = Some(profile.to_json());
    }

    /// The secrets that become environment variables.
    ///
    /// # Errors
    /// The first that is not `NAME,target=ENV`.
    pub fn secret_refs(&self) -> Result<Vec<SecretRef>, crate::secret::NotASecretRef> {
        self.secrets.iter().map(|text| SecretRef::parse(text)).collect()
    }

    /// The skep part, made if there is none.
    pub fn skep_mut(&mut self) -> &mut SkepConfig {
        self.skep.get_or_insert_default()
    }

    /// The keys of secrets that stand here in clear, as early versions of ToolHive wrote them. They are to be moved to
    /// where secrets are kept before the document is written again.
    #[must_use]
    pub fn secrets_in_clear(&self) -> Vec<&'static str> {
        let auth = self.remote_auth_config.iter().flat_map(|auth| {
            [
                ("remote_auth_config.client_secret", &auth.client_secret),
                ("remote_auth_config.bearer_token", &auth.bearer_token),
            ]
        });
        let in_clear = |text: &String| !text.is_empty() && SecretRef::parse(text).is_err();
        auth.filter(|(_, text)| in_clear(text)).map(|(key, _)| key).collect()
    }
}

impl Document for RunConfig {
    fn parse(text: &str) -> Result<Self, NotADocument> {
        let (mut config, original): (Self, Object) = read_document(text, modernise)?;
        config.original = original;
        if config.schema_version.is_empty() {
            SCHEMA_VERSION.clone_into(&mut config.schema_version);
        }
        Ok(config)
    }

    fn to_text(&self) -> String {
        write_document(self, &self.original)
    }
}

/// Gives the members that early versions of ToolHive called otherwise their name.
fn modernise(members: &mut Object) {
    let key = "remote_auth_config";
    let Some(mut auth) = members.get(key).and_then(|json| json.to::<Object>().ok()) else { return };
    for (old, new) in parts::LEGACY_REMOTE_AUTH {
        auth.rename(old, new);
    }
    members.put(key, Json::of(&auth).expect("an object of JSON values"));
}

/// Environment, arguments and tokens may be private; what it is about is not.
impl fmt::Debug for RunConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, image, transport, group, .. } = self;
        let mut shown = f.debug_struct("RunConfig");
        shown.field("name", name).field("image", image).field("transport", transport).field("group", group);
        shown.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Written by hand from the contract: every key, and some that nobody knows.
    const FULL: &str = include_str!("run_config/full.json");

    fn parse(text: &str) -> RunConfig {
        RunConfig::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    #[test]
    fn a_full_document_is_written_as_it_was_read() {
        assert_eq!(parse(FULL).to_text(), FULL);
    }

    #[test]
    fn every_key_is_in_the_full_document_and_says_something() {
        let written = crate::json::Members::write(&parse(FULL));
        let original: Object = serde_json::from_str(FULL).unwrap();
        let unknown: Vec<&str> =
            original.members().map(|(key, _)| key).filter(|key| written.get(key).is_none()).collect();
        assert_eq!(unknown, ["x_vendor", "future_number"]);
    }

    #[test]
    fn what_was_not_changed_stays_in_place_and_to_the_letter() {
        let text = r#"{"future": 18446744073709551616.10, "name": "a", "zz": {"x": [1, {"y": null}]}, "port": 1,
            "env_vars": {"B": "1", "A": "2"}, "volumes": [], "runtime_config": {"new": 1, "builder_image": "x"}}"#;
        let mut config = parse(text);
        config.port = 2;
        config.env_vars.insert("C".to_owned(), "3".to_owned());
        config.env_vars.remove("B");
        config.runtime_config.get_or_insert_default().builder_image = "y".to_owned();
        config.skep_mut().shared = true;
        let expect = r#"{
  "future": 18446744073709551616.10,
  "name": "a",
  "zz": {
    "x": [
      1,
      {
        "y": null
      }
    ]
  },
  "port": 2,
  "env_vars": {
    "A": "2",
    "C": "3"
  },
  "volumes": [],
  "runtime_config": {
    "new": 1,
    "builder_image": "y"
  },
  "schema_version": "v0.1.0",
  "image": "",
  "transport": "",
  "host": "",
  "permission_profile": null,
  "skep": {
    "shared": true
  }
}
"#;
        assert_eq!(config.to_text(), expect);
        assert_eq!(parse(expect).to_text(), expect);
    }

    #[test]
    fn a_new_document_has_the_keys_that_are_always_there() {
        let config = RunConfig::new(&WorkloadName::new("a").unwrap());
        let text = config.to_text();
        for key in ["schema_version", "image", "name", "transport", "host", "port", "permission_profile"] {
            assert!(text.contains(&format!("  \"{key}\": ")), "{key}: {text}");
        }
        assert_eq!(text.lines().count(), 11, "and the two other names: {text}");
    }

    #[test]
    fn nothing_and_null_are_the_default() {
        let config =
            parse(r#"{"name":"a","env_vars":null,"port":null,"ignore_config":null,"cmd_args":null}"#);
        assert_eq!((config.port, config.ignore_config.is_none(), config.cmd_args.len()), (0, true, 0));
        assert_eq!(config.schema_version, SCHEMA_VERSION);
    }

    #[test]
    fn legacy_keys_of_the_remote_auth_are_read_and_written_anew() {
        let config = parse(
            r#"{"remote_auth_config":{"ClientID":"me","Timeout":30000000000,"Extra":1,"UsePKCE":true,"AuthorizeURL":"https://a"}}"#,
        );
        let auth = config.remote_auth_config.as_ref().unwrap();
        assert_eq!((&*auth.client_id, auth.timeout, auth.use_pkce), ("me", 30_000_000_000, true));
        let text = config.to_text();
        assert!(text.contains("\"client_id\": \"me\"") && text.contains("\"Extra\": 1"), "{text}");
        assert!(!text.contains("ClientID"), "{text}");
        assert_eq!(parse(&text).to_text(), text);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expect) in [
            (r#"{"port":"x"}"#, r#"port: invalid type: string "x", expected u16"#),
            (
                r#"{"scaling_config":{"session_redis":{"db":-1.5}}}"#,
                "scaling_config: session_redis: db: invalid type: floating point `-1.5`, expected i64",
            ),
            (r#"{"secrets":{"a":1}}"#, "secrets: invalid type: map, expected a sequence"),
        ] {
            let error = RunConfig::parse(text).unwrap_err();
            assert!(matches!(error, NotADocument::Unfit(_)), "{text}");
            assert_eq!(error.to_string(), expect);
        }
        assert!(matches!(RunConfig::parse("[]"), Err(NotADocument::Broken(_))));
    }

    #[test]
    fn secrets_in_clear_are_found_and_do_not_print() {
        let config = parse(
            r#"{"env_vars":{"A":"hunter2"},"remote_auth_config":{"client_secret":"hunter2","bearer_token":"B,target=bearer_token"}}"#,
        );
        assert_eq!(config.secrets_in_clear(), ["remote_auth_config.client_secret"]);
        assert!(!format!("{config:?}{:?}", config.remote_auth_config).contains("hunter2"));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<u64>().prop_map(Into::into),
            ".{0,8}".prop_map(Into::into),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                proptest::collection::vec((".{0,6}", inner), 0..4)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn reading_and_writing_again_changes_nothing(
            unknown in proptest::collection::vec(("x[a-z]{0,5}", json()), 0..5),
            port: u16,
            opaque in json(),
            env in proptest::collection::btree_map("[A-Z]{1,3}", ".{0,5}", 0..4),
        ) {
            let mut object: serde_json::Map<_, _> = unknown.into_iter().collect();
            object.insert("port".into(), port.into());
            object.insert("oidc_config".into(), opaque);
            object.insert("env_vars".into(), serde_json::json!(env));
            let text = serde_json::Value::Object(object.clone()).to_string();
            let once = parse(&text).to_text();
            prop_assert_eq!(&parse(&once).to_text(), &once);
            let read: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&once).unwrap();
            let kept: Vec<_> = read.into_iter().take(object.len()).collect();
            prop_assert_eq!(kept, object.into_iter().collect::<Vec<_>>());
        }
    }

    proptest! {
        // Each is a whole document.
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_member_is_refused_or_kept(at in any::<proptest::sample::Index>(), value in json()) {
            let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(FULL).unwrap();
            let key = object.keys().nth(at.index(object.len())).unwrap().clone();
            object.insert(key.clone(), value.clone());
            match RunConfig::parse(&serde_json::Value::Object(object).to_string()) {
                Err(NotADocument::Unfit(unfit)) => prop_assert_eq!(unfit.member, key),
                Err(broken) => prop_assert!(false, "{}", broken),
                Ok(config) => {
                    let _ = (config.checked(), config.secrets_in_clear(), format!("{config:?}"));
                    let once = config.to_text();
                    prop_assert_eq!(&parse(&once).to_text(), &once);
                    let kept: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&once).unwrap();
                    // A version that is not there is written.
                    prop_assert!(kept[&key] == value || key == "schema_version", "{} in {}", key, once);
                }
            }
        }
    }
}
