//! As whom images are pulled: variables that name a registry, then Docker's own configuration with its helpers.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use serde::Deserialize;

/// What Docker calls its own registry.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";
const DOCKER_HUB_NAMES: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// Where credentials for registries are.
#[derive(Clone, Default)]
pub struct Keychain {
    env: Vec<(String, String)>,
    config: Option<PathBuf>,
}

/// Variables are secrets.
impl fmt::Debug for Keychain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keychain").field("config", &self.config).finish_non_exhaustive()
    }
}

/// `config.json`, as far as it is about credentials.
#[derive(Default, Deserialize)]
#[serde(default)]
struct DockerConfig {
    auths: BTreeMap<String, Entry>,
    #[serde(rename = "credsStore")]
    store: String,
    #[serde(rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

/// What a helper answers.
#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: String,
}

impl Keychain {
    /// That of somebody with these variables.
    #[must_use]
    pub fn of(env: &[(String, String)]) -> Self {
        let said =
            |name: &str| env.iter().find(|(known, _)| known == name).map(|(_, value)| PathBuf::from(value));
        let folder = said("DOCKER_CONFIG").or_else(|| said("HOME").map(|home| home.join(".docker")));
        let env = env.iter().filter(|(name, _)| name.starts_with("REGISTRY_")).cloned().collect();
        Self { env, config: folder.map(|folder| folder.join("config.json")) }
    }

    /// For the registry of an image. May start a helper and wait for it. What cannot be read counts as not there: the
    /// registry then says that it wants to know who asks.
    pub(super) fn look_up(&self, image: &str) -> Option<DockerCredentials> {
        let registry = registry(image);
        if let Some((username, password)) = self.of_env(registry) {
            return Some(plain(username, password));
        }
        let text = std::fs::read(self.config.as_ref()?).ok()?;
        let config: DockerConfig = serde_json::from_slice(&text)
            .inspect_err(|error| tracing::warn!(%error, "docker's configuration was not understood"))
            .ok()?;
        let names = names(registry);
        let helper = names.iter().find_map(|name| config.helpers.get(*name)).unwrap_or(&config.store);
        if !helper.is_empty()
            && let Some(found) = names.iter().find_map(|name| ask(helper, name))
        {
            return Some(found);
        }
        let entry = config
            .auths
            .iter()
            .find(|(server, _)| names.contains(&host(server)) || names.contains(&server.as_str()));
        entry.and_then(|(_, entry)| entry.credentials())
    }

    fn of_env(&self, registry: &str) -> Option<(String, String)> {
        let said = |name: &str| {
            self.env
                .iter()
                .find(|(known, value)| known == name && !value.is_empty())
                .map(|(_, value)| value.clone())
        };
        let host = registry.replace(['.', '-', ':'], "_").to_uppercase();
        [format!("REGISTRY_{host}"), "REGISTRY".to_owned()]
            .iter()
            .find_map(|prefix| said(&format!("{prefix}_USERNAME")).zip(said(&format!("{prefix}_PASSWORD"))))
    }
}

impl Entry {
    fn credentials(&self) -> Option<DockerCredentials> {
        if !self.identitytoken.is_empty() {
            let identitytoken = Some(self.identitytoken.clone());
            return Some(DockerCredentials { identitytoken, ..DockerCredentials::default() });
        }
        if !self.username.is_empty() {
            return Some(plain(self.username.clone(), self.password.clone()));
        }
        let text = String::from_utf8(STANDARD.decode(&self.auth).ok()?).ok()?;
        let (username, password) = text.split_once(':')?;
        Some(plain(username.to_owned(), password.trim_end_matches('\0').to_owned()))
    }
}

fn plain(username: String, password: String) -> DockerCredentials {
    DockerCredentials { username: Some(username), password: Some(password), ..DockerCredentials::default() }
}

/// The registry that an image is in.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => DOCKER_HUB_NAMES[0],
    }
}

/// All that it may stand under.
fn names(registry: &str) -> Vec<&str> {
    if DOCKER_HUB_NAMES.contains(&registry) {
        return std::iter::once(DOCKER_HUB).chain(DOCKER_HUB_NAMES).collect();
    }
    vec![registry]
}

fn host(server: &str) -> &str {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// Asks a credential helper, which is no workload: it is waited for right here.
fn ask(helper: &str, server: &str) -> Option<DockerCredentials> {
    let mut command = Command::new(format!("docker-credential-{helper}"));
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let asked = child.stdin.take().is_some_and(|mut stdin| stdin.write_all(server.as_bytes()).is_ok());
    let output = child.wait_with_output().ok().filter(|output| asked && output.status.success())?;
    let answer: Answer = serde_json::from_slice(&output.stdout).ok()?;
    if answer.username == "<token>" {
        return Some(DockerCredentials {
            identitytoken: Some(answer.secret),
            ..DockerCredentials::default()
        });
    }
    Some(plain(answer.username, answer.secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(image: &str, env: &[(&str, &str)], config: &str) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        let mut env: Vec<_> =
            env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        env.push(("DOCKER_CONFIG".to_owned(), folder.path().display().to_string()));
        let found = Keychain::of(&env).look_up(image)?;
        Some(
            found
                .identitytoken
                .unwrap_or_else(|| format!("{}:{}", found.username.unwrap(), found.password.unwrap())),
        )
    }

    #[test]
    fn the_registry_of_an_image_is_looked_up() {
        // a:b and c:d
        let config = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"YTpi"},"ghcr.io":{"auth":"Yzpk"},
            "token.example":{"identitytoken":"t"}}}"#;
        let named = [("REGISTRY_GHCR_IO_USERNAME", "u"), ("REGISTRY_GHCR_IO_PASSWORD", "p")];
        let any = [("REGISTRY_USERNAME", "u"), ("REGISTRY_PASSWORD", "p")];
        for (image, env, expect) in [
            ("alpine", &[][..], Some("a:b")),
            ("org/server:1", &[], Some("a:b")),
            ("ghcr.io/org/server", &[], Some("c:d")),
            ("token.example/x", &[], Some("t")),
            ("quay.io/x", &[], None),
            ("ghcr.io/org/server", &named, Some("u:p")),
            ("alpine", &named, Some("a:b")),
            ("quay.io/x", &any, Some("u:p")),
        ] {
            assert_eq!(found(image, env, config).as_deref(), expect, "{image} {env:?}");
        }
        assert_eq!(found("alpine", &[], "no json"), None);
    }
}
