//! What the daemon keeps of a server in a file, in clear: said, or refused where it is a secret.

use anyhow::bail;
use manager::sessions::StoreSource;
use model::RunConfig;

use crate::args::RunArgs;
use crate::dirs;

/// Headers that hold nothing but secrets.
const SECRET_HEADERS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

/// Refuses what the daemon cannot do, and what may not stand in a file.
pub(super) fn refuse(args: &RunArgs, config: &RunConfig) -> anyhow::Result<()> {
    if args.listen.workers.is_some() {
        bail!("--workers is for --foreground: the daemon's threads serve all servers");
    }
    if args.inherit_env {
        bail!(
            "--inherit-env is for --foreground: the daemon's environment is not this one; name variables with --env"
        );
    }
    let store = config.skep.as_ref().map_or("", |skep| &*skep.session_store);
    if let Ok(StoreSource::Redis { url, .. }) = StoreSource::parse(store)
        && url.split_once("://").is_some_and(|(_, rest)| rest.contains('@'))
    {
        bail!(
            "--store has a password in it, which would be kept in a file in clear: use --foreground for such a store"
        );
    }
    refuse_headers(config)
}

fn refuse_headers(config: &RunConfig) -> anyhow::Result<()> {
    let secret = |name: &&String| SECRET_HEADERS.iter().any(|secret| name.eq_ignore_ascii_case(secret));
    if let Some(name) = headers(config).find(secret) {
        bail!(
            "{name} would be kept in a file in clear: keep its value with `skep secret set SECRET` and write \
             --remote-forward-headers-secret {name}=SECRET, or use --foreground"
        );
    }
    Ok(())
}

fn headers(config: &RunConfig) -> impl Iterator<Item = &String> {
    config.header_forward.iter().flat_map(|forward| forward.add_plaintext_headers.keys())
}

/// Which of the values that were given are kept in clear, and where. What a file says was in clear before.
pub(super) fn note(args: &RunArgs, config: &RunConfig) -> anyhow::Result<Option<String>> {
    if args.from_config.is_some() {
        return Ok(None);
    }
    let names: Vec<&str> = config.env_vars.keys().chain(headers(config)).map(String::as_str).collect();
    if names.is_empty() {
        return Ok(None);
    }
    let file = dirs::folders()?.state.join("runconfigs").join(format!("{}.json", config.name));
    Ok(Some(format!(
        "kept in clear in {}: {}; what is secret is kept encrypted by `skep secret set`, and given with --secret or \
         --remote-forward-headers-secret",
        file.display(),
        names.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use model::Document;

    use super::*;

    #[test]
    fn headers_that_are_secrets_are_not_kept_in_clear() {
        let with = |kind: &str, name: &str| {
            RunConfig::parse(&format!(r#"{{"header_forward":{{"{kind}":{{"{name}":"hunter2"}}}}}}"#)).unwrap()
        };
        for name in ["Authorization", "cookie", "PROXY-AUTHORIZATION"] {
            let error = refuse_headers(&with("add_plaintext_headers", name)).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains("hunter2"), "{error}");
            refuse_headers(&with("add_headers_from_secret", name)).unwrap();
        }
        refuse_headers(&with("add_plaintext_headers", "X-Team")).unwrap();
    }
}
