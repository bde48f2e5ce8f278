//! The objects inside of a run config that are looked into.

use std::collections::BTreeMap;
use std::fmt;

use crate::Timestamp;
use crate::json::{Json, members};

members! {
    /// How a remote server is logged in to.
    #[derive(Clone, Default, PartialEq)]
    pub struct RemoteAuthConfig {
        client_id: String,
        /// A secret's reference; in old files the secret itself.
        client_secret: String,
        client_secret_file: String,
        scopes: Vec<String>,
        skip_browser: bool,
        /// In nanoseconds.
        timeout: i64,
        callback_port: u16,
        use_pkce: bool = always,
        resource: String,
        issuer: String,
        authorize_url: String,
        token_url: String,
        headers: Option<Json>,
        env_vars: Option<Json>,
        oauth_params: BTreeMap<String, String>,
        scope_param_name: String,
        /// A secret's reference; in old files the secret itself.
        bearer_token: String,
        bearer_token_file: String,
        /// The name of a secret of the workloads' scope, like each `…_ref`.
        cached_refresh_token_ref: String,
        cached_token_expiry: Timestamp = always,
        cached_client_id: String,
        cached_client_secret_ref: String,
        cached_secret_expiry: Timestamp = always,
        cached_reg_token_ref: String,
        cached_cimd_client_id: String,
        cached_reg_client_uri: String,
        cached_token_auth_method: String,
        cached_dcr_callback_port: u16,
    }
}

impl fmt::Debug for RemoteAuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client_id, issuer, scopes, .. } = self;
        let mut shown = f.debug_struct("RemoteAuthConfig");
        shown
            .field("client_id", client_id)
            .field("issuer", issuer)
            .field("scopes", scopes)
            .finish_non_exhaustive()
    }
}

/// What members of [`RemoteAuthConfig`] were called in files of early versions.
pub(super) const LEGACY_REMOTE_AUTH: [(&str, &str); 17] = [
    ("ClientID", "client_id"),
    ("ClientSecret", "client_secret"),
    ("ClientSecretFile", "client_secret_file"),
    ("Scopes", "scopes"),
    ("SkipBrowser", "skip_browser"),
    ("Timeout", "timeout"),
    ("CallbackPort", "callback_port"),
    ("UsePKCE", "use_pkce"),
    ("Resource", "resource"),
    ("Issuer", "issuer"),
    ("AuthorizeURL", "authorize_url"),
    ("TokenURL", "token_url"),
    ("Headers", "headers"),
    ("EnvVars", "env_vars"),
    ("OAuthParams", "oauth_params"),
    ("BearerToken", "bearer_token"),
    ("BearerTokenFile", "bearer_token_file"),
];

members! {
    /// Which files of mounted directories are hidden.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct IgnoreConfig {
        load_global as "LoadGlobal": bool = always,
        print_overlays as "PrintOverlays": bool = always,
    }
}

members! {
    /// What an image made of a package is built with.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct RuntimeConfig {
        builder_image: String,
        additional_packages: Vec<String>,
        build_with: Vec<String>,
        runtime_env: BTreeMap<String, String>,
    }
}

members! {
    /// Headers that are added to requests of a remote server.
    #[derive(Clone, Default, PartialEq)]
    pub struct HeaderForward {
        add_plaintext_headers: BTreeMap<String, String>,
        /// The secret of each header.
        add_headers_from_secret: BTreeMap<String, String>,
    }
}

/// Headers may hold tokens, whatever their key is called.
impl fmt::Debug for HeaderForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.add_plaintext_headers.keys())
            .entries(self.add_headers_from_secret.keys())
            .finish()
    }
}

members! {
    /// How many there are, and where their sessions are kept.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct ScalingConfig {
        backend_replicas: Option<i32>,
        session_redis: Option<SessionRedis>,
    }
}

members! {
    /// The Redis of the sessions. Its password is not here.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct SessionRedis {
        address: String,
        db: i64,
        key_prefix: String,
    }
}

members! {
    /// What skep knows of a workload and ToolHive does not: the one key `skep`. Durations are texts such as `10s`; what is
    /// not said is the default of the command line.
    #[derive(Clone, Default, PartialEq)]
    pub struct SkepConfig {
        /// `process`, `container`, `pod` or `none`.
        isolation: String,
        /// Parts of that isolation that may be missing where the kernel lacks them.
        accept_without: Vec<String>,
        /// The package that the server is, at the one version that is run: `npx://NAME@VERSION`.
        package: String,
        /// As it was asked for; what it is pinned anew from.
        package_asked: String,
        /// The program of a server that is a plain command; of a package, which of its programs it is.
        command: String,
        args: Vec<String>,
        /// The directory it runs in.
        cwd: String,
        /// Pass on the whole environment, not only the variables that hold no secrets.
        inherit_env: bool,
        /// What `PATH` is for it, where that is not the daemon's own.
        search_path: String,
        /// The path at which a server that serves HTTP has its endpoint.
        target_path: String,
        /// Where more instances of a remote server are.
        more_urls: Vec<String>,
        /// PEM certificates to verify a remote server with, instead of the system's.
        remote_ca_file: String,
        /// One process for all sessions.
        shared: bool,
        /// Processes kept ready.
        warm: Option<u32>,
        max_processes: Option<u32>,
        /// In MiB, of all processes together.
        max_memory: Option<u64>,
        /// A process is let go when its session was not used for this long.
        sleep_after: String,
        /// How long a process may take to leave.
        grace: String,
        session_max_age: String,
        max_sessions: Option<u32>,
        /// `rebuild` or `strict`.
        on_session_loss: String,
        /// Tools that may be called again when the outcome is unknown.
        resend_tools: Vec<String>,
        trust_annotations: bool,
        /// The file of the keys that seal session ids.
        session_key_file: String,
        /// Where sessions are kept, without a password.
        session_store: String,
        allowed_hosts: Vec<String>,
        /// PEM files of the endpoint's certificate chain and its key.
        tls_cert: String,
        tls_key: String,
        /// The address of `/metrics`.
        metrics: String,
        /// In bytes.
        max_body: Option<u64>,
        /// How long a client may take to send a request.
        read_timeout: String,
        /// How long requests under way may go on when it is stopped.
        drain: String,
    }
}

/// Arguments of a command may hold tokens.
impl fmt::Debug for SkepConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { isolation, command, shared, .. } = self;
        let mut shown = f.debug_struct("SkepConfig");
        shown
            .field("isolation", isolation)
            .field("command", command)
            .field("shared", shared)
            .finish_non_exhaustive()
    }
}
