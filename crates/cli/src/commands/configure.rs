//! Flags become a RunConfig: what `run` and `proxy` have in common. What nobody said is left out.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use manager::headers;
use manager::plan::DEFAULT_PROFILE;
use model::permissions::Mount;
use model::run_config::{HeaderForward, IgnoreConfig, Isolation};
use model::{Json, Profile, RunConfig, SecretRef};
use serde::Deserialize;

use crate::args::{IsolationArgs, IsolationLevel, ListenArgs, LossPolicy, RemoteArgs, SessionArgs, ToolArgs};

pub(super) fn listen(config: &mut RunConfig, args: &ListenArgs, port: u16) -> anyhow::Result<()> {
    config.host.clone_from(&args.host);
    config.port = port;
    config.allowed_origins.clone_from(&args.allowed_origins);
    let skep = config.skep_mut();
    skep.allowed_hosts.clone_from(&args.allowed_hosts);
    if let Some((chain, key)) = args.tls_cert.as_deref().zip(args.tls_key.as_deref()) {
        (skep.tls_cert, skep.tls_key) = (whole_path(chain)?, whole_path(key)?);
    }
    skep.metrics = args.metrics.map(|address| address.to_string()).unwrap_or_default();
    skep.max_body = args.max_body;
    skep.read_timeout = written(args.read_timeout);
    skep.drain = written(args.drain);
    Ok(())
}

pub(super) fn sessions(config: &mut RunConfig, args: &SessionArgs) -> anyhow::Result<()> {
    config.session_ttl = written(args.session_ttl);
    let skep = config.skep_mut();
    skep.session_max_age = written(args.session_max_age);
    skep.max_sessions = args.max_sessions;
    if let Some(file) = &args.session_key_file {
        skep.session_key_file = whole_path(file)?;
    }
    skep.session_store = match args.store.as_deref() {
        Some(text) => match text.strip_prefix("file:") {
            Some(path) if !path.is_empty() => format!("file:{}", whole_path(Path::new(path))?),
            _ => text.to_owned(),
        },
        None => String::new(),
    };
    if args.on_session_loss == LossPolicy::Strict {
        "strict".clone_into(&mut skep.on_session_loss);
    }
    skep.resend_tools.clone_from(&args.resend_tool);
    skep.trust_annotations = args.trust_annotations;
    Ok(())
}

pub(super) fn tools(config: &mut RunConfig, args: &ToolArgs) -> anyhow::Result<()> {
    config.tools_filter.clone_from(&args.tools);
    if let Some(path) = &args.tools_override {
        config.tools_override = Some(read_overrides(path)?);
    }
    Ok(())
}

pub(super) fn remote(config: &mut RunConfig, args: &RemoteArgs) -> anyhow::Result<()> {
    if !args.remote_forward_headers.is_empty() || !args.remote_forward_headers_secret.is_empty() {
        let read = |texts: &[String]| -> anyhow::Result<BTreeMap<String, String>> {
            let pairs = texts.iter().map(|text| headers::pair(text)).collect::<Result<Vec<_>, _>>()?;
            // Whether they can be headers is known now, not when a request needs them.
            headers::of(pairs.iter().copied())?;
            Ok(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
        };
        config.header_forward = Some(HeaderForward {
            add_plaintext_headers: read(&args.remote_forward_headers)?,
            add_headers_from_secret: read(&args.remote_forward_headers_secret)?,
        });
    }
    if let Some(file) = &args.remote_ca_file {
        config.skep_mut().remote_ca_file = whole_path(file)?;
    }
    config.stateless = args.stateless;
    Ok(())
}

pub(super) fn isolation(config: &mut RunConfig, args: &IsolationArgs) -> anyhow::Result<()> {
    config.isolate_network = args.isolate_network;
    let level = args.isolation.map(|level| match level {
        IsolationLevel::Process => Isolation::Process,
        IsolationLevel::Container => Isolation::Container,
        IsolationLevel::None => Isolation::None,
    });
    config.skep_mut().isolation = level.map(|level| level.as_str().to_owned()).unwrap_or_default();
    let mut profile = match args.permission_profile.as_deref() {
        None => Profile::builtin(DEFAULT_PROFILE).unwrap_or_default(),
        Some("stdio") => Profile::builtin("none").unwrap_or_default(),
        Some(name) => match Profile::builtin(name) {
            Some(profile) => profile,
            None => read_profile(Path::new(name))?,
        },
    };
    config.permission_profile_name_or_path = args.permission_profile.clone().unwrap_or_default();
    for text in &args.volume {
        let (mount, is_read_only) = volume(text)?;
        config.volumes.push(format!("{mount}{}", if is_read_only { ":ro" } else { "" }));
        if is_read_only { profile.read.push(mount) } else { profile.write.push(mount) }
    }
    config.set_profile(&profile);
    for text in &args.secret {
        SecretRef::parse(text)?;
    }
    config.secrets.clone_from(&args.secret);
    if !args.ignore_globally {
        config.ignore_config = Some(IgnoreConfig { load_global: false, ..IgnoreConfig::default() });
    }
    Ok(())
}

/// `HOST:INSIDE[:ro]`, or a path that is the same inside.
fn volume(text: &str) -> anyhow::Result<(Mount, bool)> {
    let (path, is_read_only) = match text.strip_suffix(":ro") {
        Some(path) => (path, true),
        None => (text, false),
    };
    let (host, inside) = path.split_once(':').unwrap_or((path, ""));
    let host = whole_path(Path::new(host))?;
    if !Path::new(&host).exists() {
        bail!("--volume {text}: {host} does not exist");
    }
    let mount = if inside.is_empty() { host } else { format!("{host}:{inside}") };
    let mount = Mount::parse(&mount).map_err(|help| anyhow::anyhow!("--volume {text}: it {help}"))?;
    Ok((mount, is_read_only))
}

fn read_profile(path: &Path) -> anyhow::Result<Profile> {
    let text = std::fs::read_to_string(path).with_context(|| {
        format!("{} is neither a profile (none, network) nor a file that can be read", path.display())
    })?;
    Profile::parse(&text).with_context(|| format!("{} is not a permission profile", path.display()))
}

/// The file of `--tools-override`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OverrideFile {
    #[serde(rename = "toolsOverride")]
    tools_override: Json,
}

fn read_overrides(path: &Path) -> anyhow::Result<Json> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("{} could not be read", path.display()))?;
    let file: OverrideFile = serde_json::from_str(&text)
        .with_context(|| format!("{} is not a tool override file", path.display()))?;
    Ok(file.tools_override)
}

/// The path from the root: whoever reads it is elsewhere.
pub(super) fn whole_path(path: &Path) -> anyhow::Result<String> {
    let whole = std::path::absolute(path).with_context(|| format!("{} is no path", path.display()))?;
    match whole.into_os_string().into_string() {
        Ok(text) => Ok(text),
        Err(_) => bail!("{} is not UTF-8, as what is kept in a file must be", path.display()),
    }
}

/// A duration as a configuration has it; nothing for none.
pub(super) fn written(duration: Option<Duration>) -> String {
    match duration {
        Some(Duration::ZERO) => "0".to_owned(),
        Some(duration) => humantime::format_duration(duration).to_string().replace(' ', ""),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_so_that_it_is_read_again() {
        for text in ["0", "90s", "1h30m", "250ms", "7days", "2h", "1day2h3m4s5ms"] {
            let duration = manager::plan::duration(text).unwrap();
            let written = written(Some(duration));
            assert_eq!(manager::plan::duration(&written), Ok(duration), "{text}: {written}");
            assert!(!written.contains(' '), "{written}");
        }
        assert_eq!(written(None), "");
    }
}
