//! What this process hands on to the servers that it runs.

use anyhow::Context;
use manager::plan::Surroundings;

use crate::dirs;

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

/// This process's own.
///
/// # Errors
/// It cannot find its own program file.
pub(crate) fn here() -> anyhow::Result<Surroundings> {
    let skep = std::env::current_exe().context("skep cannot find its own program file")?;
    let whole_env: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let env = whole_env.iter().filter(|(name, _)| is_passed_on(name)).cloned().collect();
    let folders = dirs::folders().ok();
    let variables = whole_env.iter().map(|(name, value)| (name.clone(), value.clone()));
    let secrets = folders.as_ref().map(|folders| manager::secrets::provider(folders, "SKEP", variables));
    Ok(Surroundings { folders, skep, env, whole_env, secrets })
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
