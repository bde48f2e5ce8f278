//! Where a container runtime may listen. Pure but for directories that are listed.

use std::path::{Path, PathBuf};

/// Where runtimes are looked for, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// `Some` if somebody said which one it has to be.
    forced: Option<Result<PathBuf, BadSocket>>,
    usual: Vec<PathBuf>,
}

/// A variable that names no runtime that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSocket {
    /// What it names is not there.
    #[error("{variable} says {}, which does not exist", path.display())]
    Missing { variable: String, path: PathBuf },
    /// skep and its containers talk over a Unix socket, which has to be on the same machine.
    #[error("DOCKER_HOST says {0}: only a runtime on this machine can be used, at unix:///PATH")]
    NotHere(String),
}

/// Variables that say which runtime it is, without their prefix; the first that is set counts.
const FORCING: [&str; 3] = ["PODMAN_SOCKET", "DOCKER_SOCKET", "COLIMA_SOCKET"];

impl Sockets {
    /// Where they are for somebody with these variables.
    #[must_use]
    pub fn of(env: &[(String, String)]) -> Self {
        let said = |name: &str| {
            let found = env.iter().find(|(known, value)| known == name && !value.is_empty());
            found.map(|(_, value)| value.clone())
        };
        let names = ["SKEP_", "TOOLHIVE_"]
            .into_iter()
            .flat_map(|prefix| FORCING.map(|name| format!("{prefix}{name}")));
        let forced = names.filter_map(|name| said(&name).map(|value| there(name, value.into()))).next();
        let forced = forced.or_else(|| said("DOCKER_HOST").map(of_docker_host));
        let home = said("HOME").map(PathBuf::from);
        let home = |below: &str| home.as_ref().map(|home| home.join(below));
        let runtime_dir = said("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("podman/podman.sock"));
        let machines = said("TMPDIR").map(|dir| Path::new(&dir).join("podman"));
        let podman = [
            Some("/var/run/podman/podman.sock".into()),
            runtime_dir,
            home(".local/share/containers/podman/machine/podman.sock"),
        ];
        let docker = [
            Some("/var/run/docker.sock".into()),
            home(".docker/run/docker.sock"),
            home(".docker/desktop/docker.sock"),
            home(".rd/docker.sock"),
            home(".orbstack/run/docker.sock"),
            home(".colima/default/docker.sock"),
        ];
        let usual =
            podman.into_iter().flatten().chain(machines.into_iter().flat_map(|dir| of_machines(&dir)));
        Self { forced, usual: usual.chain(docker.into_iter().flatten()).collect() }
    }

    /// All that may be tried; the first that answers is it.
    pub(super) fn candidates(&self) -> Result<Vec<PathBuf>, BadSocket> {
        match &self.forced {
            Some(forced) => forced.clone().map(|path| vec![path]),
            None => Ok(self.usual.clone()),
        }
    }
}

fn there(variable: String, path: PathBuf) -> Result<PathBuf, BadSocket> {
    if path.exists() { Ok(path) } else { Err(BadSocket::Missing { variable, path }) }
}

fn of_docker_host(value: String) -> Result<PathBuf, BadSocket> {
    match value.strip_prefix("unix://") {
        Some(path) => there("DOCKER_HOST".to_owned(), path.into()),
        None => Err(BadSocket::NotHere(value)),
    }
}

/// The sockets of Podman's machines.
fn of_machines(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with("-api.sock")))
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets(env: &[(&str, &str)]) -> Sockets {
        let env: Vec<_> = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Sockets::of(&env)
    }

    #[test]
    fn who_is_named_is_the_only_one() {
        let missing = |variable: &str| {
            Err(BadSocket::Missing { variable: variable.to_owned(), path: "/no/such".into() })
        };
        let here = || Ok(vec![PathBuf::from("/dev/null")]);
        for (env, expect) in [
            (&[("SKEP_DOCKER_SOCKET", "/dev/null")][..], here()),
            (&[("TOOLHIVE_PODMAN_SOCKET", "/no/such"), ("SKEP_DOCKER_SOCKET", "/dev/null")], here()),
            (
                &[("SKEP_DOCKER_SOCKET", "/dev/null"), ("SKEP_PODMAN_SOCKET", "/no/such")],
                missing("SKEP_PODMAN_SOCKET"),
            ),
            (&[("TOOLHIVE_COLIMA_SOCKET", "/no/such")], missing("TOOLHIVE_COLIMA_SOCKET")),
            (&[("DOCKER_HOST", "unix:///dev/null")], here()),
            (&[("DOCKER_HOST", "unix:///no/such"), ("TOOLHIVE_DOCKER_SOCKET", "/dev/null")], here()),
            (
                &[("DOCKER_HOST", "tcp://10.0.0.1:2375")],
                Err(BadSocket::NotHere("tcp://10.0.0.1:2375".to_owned())),
            ),
        ] {
            assert_eq!(sockets(env).candidates(), expect, "{env:?}");
        }
    }

    #[test]
    fn podman_comes_before_docker_and_what_is_not_known_is_left_out() {
        let found =
            sockets(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/run/user/7"), ("DOCKER_HOST", "")]).candidates();
        let expect = [
            "/var/run/podman/podman.sock",
            "/run/user/7/podman/podman.sock",
            "/h/.local/share/containers/podman/machine/podman.sock",
            "/var/run/docker.sock",
            "/h/.docker/run/docker.sock",
            "/h/.docker/desktop/docker.sock",
            "/h/.rd/docker.sock",
            "/h/.orbstack/run/docker.sock",
            "/h/.colima/default/docker.sock",
        ];
        assert_eq!(found.unwrap(), expect.map(PathBuf::from));
        let bare = sockets(&[]).candidates().unwrap();
        assert_eq!(bare, ["/var/run/podman/podman.sock", "/var/run/docker.sock"].map(PathBuf::from));
    }
}
