//! What an image says of itself that a plan needs: the port on which its server listens.
//!
//! Absent on purpose: how images are fetched and run (`workload::container`), and how they are made of packages
//! ([`crate::packages`]).

use model::RunConfig;
use model::run_config::{Problems, Source, Transport};
use workload::container::{NoRuntime, Progress, Runtime, RuntimeError};

use crate::packages::Tell;
use crate::plan::Surroundings;

/// Why an image cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error(transparent)]
    Problems(#[from] Problems),
    #[error(transparent)]
    NoRuntime(#[from] NoRuntime),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

/// The configuration with what its image says: where its server listens, if that was left to it. The image is fetched for
/// that if it is not here.
///
/// # Errors
/// [`ImageError`].
pub async fn ready(
    config: &RunConfig,
    around: &Surroundings,
    tell: Tell<'_>,
) -> Result<RunConfig, ImageError> {
    let run = config.checked()?;
    let mut config = config.clone();
    if let Source::Image(image) = &run.source
        && run.transport != Transport::Stdio
        && config.target_port == 0
    {
        config.target_port = only_one(&ports(image, around, tell).await?).unwrap_or_default();
    }
    Ok(config)
}

async fn ports(image: &str, around: &Surroundings, tell: Tell<'_>) -> Result<Vec<u16>, ImageError> {
    let runtime = Runtime::find(&around.runtimes.sockets).await?;
    if let Some(found) = runtime.inspect_image(image).await? {
        return Ok(found.ports);
    }
    fetch(&runtime, image, around, tell).await?;
    Ok(runtime.inspect_image(image).await?.map(|found| found.ports).unwrap_or_default())
}

/// Fetches an image, and tells how far it is.
pub(crate) async fn fetch(
    runtime: &Runtime,
    image: &str,
    around: &Surroundings,
    tell: Tell<'_>,
) -> Result<(), RuntimeError> {
    let mut told = String::new();
    let words = |done, known| {
        let words = Progress::Pulling { done, known }.words(image);
        if words != told {
            tell(&words);
            told = words;
        }
    };
    tell(&Progress::Pulling { done: 0, known: 0 }.words(image));
    runtime.pull(image, &around.runtimes.keychain, words).await
}

/// Of several nobody knows which one it is.
fn only_one(ports: &[u16]) -> Option<u16> {
    match ports {
        [port] => Some(*port),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_port_is_the_server_s_and_of_several_none() {
        for (ports, expect) in [(&[][..], None), (&[3000], Some(3000)), (&[80, 3000], None)] {
            assert_eq!(only_one(ports), expect, "{ports:?}");
        }
    }
}
