//! What this process hands on to the servers that it runs.

use anyhow::Context;
use manager::plan::Surroundings;
use manager::secrets;
use workload::container::{Keychain, Runtimes, Sockets};

use crate::dirs;

/// Says who keeps secrets.
const SECRETS_PROVIDER: &str = "SKEP_SECRETS_PROVIDER";

/// Variables that a command gets without being asked to: what programs need to find their way, and no secrets. The last
/// letters may be left open with `*`.
const PASSED_ON: [&str; 22] = [
    "HOME",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TERM",
    "TMPDIR",
    "TZ",
    "USER",
    "XDG_*",
    // Without these nothing is reached from behind a company's proxy, or trusted.
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
];

/// This process's own, for servers of whoever started it.
///
/// # Errors
/// As [`here`].
pub(crate) fn in_the_foreground() -> anyhow::Result<Surroundings> {
    Ok(Surroundings { whole_env: Some(whole_env()), ..here()? })
}

/// This process's own, for servers of anybody.
///
/// # Errors
/// It cannot find its own program file, or who keeps secrets.
pub(crate) fn here() -> anyhow::Result<Surroundings> {
    let skep = std::env::current_exe().context("skep cannot find its own program file")?;
    let whole_env = whole_env();
    let env = whole_env.iter().filter(|(name, _)| is_passed_on(name)).cloned().collect();
    let folders = dirs::folders().ok();
    let keeper = whole_env.iter().find(|(name, _)| name == SECRETS_PROVIDER);
    let keeper =
        keeper.map(|(_, word)| word.parse()).transpose().context(SECRETS_PROVIDER)?.unwrap_or_default();
    let secrets = folders.as_ref().map(|folders| secrets::provider(keeper, folders, "SKEP", &whole_env));
    let secrets = secrets.transpose().context(SECRETS_PROVIDER)?;
    let runtimes = Runtimes { sockets: Sockets::of(&whole_env), keychain: Keychain::of(&whole_env) };
    Ok(Surroundings { folders, skep, env, whole_env: None, secrets, runtimes })
}

fn whole_env() -> Vec<(String, String)> {
    let pairs = std::env::vars_os();
    pairs.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

fn is_passed_on(name: &str) -> bool {
    PASSED_ON.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *pattern,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_passed_on_unasked() {
        for (name, expect) in [
            ("PATH", true),
            ("LC_ALL", true),
            ("XDG_CACHE_HOME", true),
            ("AWS_SECRET_ACCESS_KEY", false),
            ("GITHUB_TOKEN", false),
            ("PATHS", false),
        ] {
            assert_eq!(is_passed_on(name), expect, "{name}");
        }
    }
}
