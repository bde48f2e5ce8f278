//! What this process hands on to the servers that it runs.

use std::path::Path;

use anyhow::Context;
use manager::handed_on::is_handed_on;
use manager::packages::{PackageTools, TOOL_VARIABLES};
use manager::plan::Surroundings;
use manager::secrets::{self, SecretsSettings};
use workload::container::{Keychain, Runtimes, Sockets};

use crate::dirs;
use crate::face::Face;

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
    let env = whole_env.iter().filter(|(name, _)| is_handed_on(name)).cloned().collect();
    let folders = dirs::folders().ok();
    let settings = secrets_settings(&whole_env)?;
    let secrets = folders.as_ref().map(|folders| secrets::provider(settings, folders, &whole_env));
    let packages = packages(&whole_env);
    let build_network = Face::of_this_process().variable("BUILD_NETWORK");
    let build_network = whole_env.iter().find(|(name, _)| *name == build_network);
    let runtimes = Runtimes {
        sockets: Sockets::of(&whole_env),
        keychain: Keychain::of(&whole_env),
        build_network: build_network.map(|(_, network)| network.clone()),
    };
    Ok(Surroundings { folders, skep, env, whole_env: None, secrets, packages, runtimes })
}

/// What the user's package managers are told.
fn packages(whole_env: &[(String, String)]) -> PackageTools {
    let is_theirs = |(name, _): &&(String, String)| TOOL_VARIABLES.contains(&name.as_str());
    let home = whole_env.iter().find(|(name, _)| name == "HOME").map(|(_, home)| Path::new(home));
    let npmrc = home.and_then(|home| std::fs::read_to_string(home.join(".npmrc")).ok());
    PackageTools {
        folder: dirs::packages(),
        env: whole_env.iter().filter(is_theirs).cloned().collect(),
        npmrc: npmrc.unwrap_or_default(),
    }
}

/// What variables say of secrets: `SKEP_SECRETS_PROVIDER` who keeps them, `SKEP_DISABLE_ENV_FALLBACK` that no variable stands
/// in for one.
fn secrets_settings(variables: &[(String, String)]) -> anyhow::Result<SecretsSettings> {
    let face = Face::of_this_process();
    let said = |variable: &String| variables.iter().find(|(name, _)| name == variable).map(|(_, word)| word);
    let who = face.variable("SECRETS_PROVIDER");
    let keeper = said(&who).map(|word| word.parse()).transpose().context(who)?;
    let fallback = said(&face.variable("DISABLE_ENV_FALLBACK")).is_none_or(|word| word != "true");
    Ok(SecretsSettings { keeper, prefix: face.variables, keyring: face.folder, fallback })
}

pub(crate) fn whole_env() -> Vec<(String, String)> {
    let pairs = std::env::vars_os();
    pairs.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}
