//! What every sandbox shows of the host's system, read-only, and the files of `/etc` that are made for it.
//!
//! Nothing here may hold a secret, even one that only root can read: where skep runs as root, so does the command as
//! far as files are concerned. That is why `/etc/ssl` is not shown as a whole (it has `private`).

use std::fs;
use std::path::{Path, PathBuf};

use super::{HOME, Network};

/// Directories of programs and libraries. Where one is a link (`/bin` to `usr/bin`), so it is inside.
const PROGRAMS: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// Settings below them, which may hold secrets that only root can read.
const HIDDEN: [&str; 1] = ["/usr/local/etc"];

/// What programs need of `/etc`.
const SETTINGS: [&str; 21] = [
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/fonts",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/java-11-openjdk",
    "/etc/java-17-openjdk",
    "/etc/java-21-openjdk",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
];

/// Where a command that shares the host's network finds names.
const NAMES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

/// What is not shown of the system although it is in one of its directories.
pub(super) fn hidden() -> impl Iterator<Item = &'static Path> {
    HIDDEN.iter().map(Path::new)
}

/// What is there of the host.
pub(super) struct System {
    /// Paths that are shown where they are.
    pub(super) shown: Vec<PathBuf>,
    /// Links that are made anew: where, and what they say.
    pub(super) links: Vec<(PathBuf, PathBuf)>,
}

/// Looks at the host.
pub(super) fn of_host(network: Network) -> System {
    let mut system = System { shown: Vec::new(), links: Vec::new() };
    let names: &[&str] = if network == Network::Host { &NAMES } else { &[] };
    for path in PROGRAMS.iter().chain(&SETTINGS).chain(names).map(Path::new) {
        let leads_to = fs::read_link(path).ok().filter(|_| {
            // Elsewhere it would lead to nothing inside.
            path.canonicalize().is_ok_and(|real| real.starts_with("/usr"))
        });
        match leads_to {
            Some(text) => system.links.push((path.to_owned(), text)),
            None if path.exists() => system.shown.push(path.to_owned()),
            None => {}
        }
    }
    system
}

/// The files of `/etc` that every sandbox has of its own.
pub(super) fn own_settings(user: u32, group: u32, network: Network) -> Vec<(&'static str, String)> {
    let mut files = vec![
        (
            "/etc/passwd",
            format!(
                "sandbox:x:{user}:{group}:sandbox:{HOME}:/bin/sh\n\
                 nobody:x:65534:65534:nobody:/:/bin/false\n"
            ),
        ),
        ("/etc/group", format!("sandbox:x:{group}:\nnogroup:x:65534:\n")),
        ("/etc/hostname", "sandbox\n".to_owned()),
        ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".to_owned()),
    ];
    if network != Network::Host {
        files.push(("/etc/hosts", "127.0.0.1 localhost sandbox\n::1 localhost\n".to_owned()));
        let resolver = match network {
            Network::Egress => format!("nameserver {}\n", super::DNS_SERVER.ip()),
            Network::None | Network::Host => String::new(),
        };
        files.push(("/etc/resolv.conf", resolver));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_programs_and_none_of_its_secrets_is_shown() {
        let system = of_host(Network::None);
        assert!(system.shown.iter().any(|path| path == Path::new("/usr")));
        let all = system.shown.iter().chain(system.links.iter().map(|(path, _)| path));
        for path in all {
            for secret in ["/etc/shadow", "/etc/ssl/private", "/etc/pki/tls/private", "/etc/hosts"] {
                assert!(!Path::new(secret).starts_with(path), "{} shows {secret}", path.display());
            }
        }
    }

    #[test]
    fn names_are_asked_where_somebody_answers() {
        let resolver =
            |network| own_settings(1, 1, network).into_iter().find(|(path, _)| path.ends_with("resolv.conf"));
        assert_eq!(resolver(Network::Egress).unwrap().1, "nameserver 198.18.0.1\n");
        assert_eq!(resolver(Network::None).unwrap().1, "");
        assert!(resolver(Network::Host).is_none());
    }
}
