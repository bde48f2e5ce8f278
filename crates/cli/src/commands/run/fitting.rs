//! Which flags fit together. One that would do nothing is refused.

use anyhow::bail;

/// What is run, as far as flags differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A server that runs elsewhere.
    Url,
    /// A command that is spoken to over stdin and stdout.
    Stdio,
    /// A command that serves HTTP.
    Http,
    /// The same, of an image.
    ImageOverStdio,
    ImageOverHttp,
}

/// What says how a file is run, and not what is run.
const BESIDE_A_FILE: [&str; 4] = ["from_config", "foreground", "format", "workers"];

/// For commands.
const NOT_FOR_A_URL: [&str; 21] = [
    "env",
    "env_file",
    "env_file_dir",
    "inherit_env",
    "secret",
    "volume",
    "isolation",
    "isolate_network",
    "ignore_globally",
    "permission_profile",
    "proxy_mode",
    "target_host",
    "target_port",
    "target_path",
    "shared",
    "warm",
    "max_processes",
    "max_memory",
    "sleep_after",
    "cwd",
    "grace",
];

/// For what is reached over HTTP.
const NOT_FOR_STDIO: [&str; 7] = [
    "remote_forward_headers",
    "remote_forward_headers_secret",
    "remote_ca_file",
    "stateless",
    "target_host",
    "target_port",
    "target_path",
];

/// For processes of sessions, and for what is reached over TLS.
const NOT_FOR_HTTP: [&str; 6] =
    ["shared", "warm", "max_processes", "sleep_after", "proxy_mode", "remote_ca_file"];

/// For packages.
const FOR_PACKAGES: [&str; 4] = ["program", "build_with", "runtime_image", "runtime_add_package"];

/// For commands of this machine.
const NOT_FOR_AN_IMAGE: [&str; 1] = ["inherit_env"];

/// For what is isolated.
const NOT_WITHOUT_ISOLATION: [&str; 4] =
    ["permission_profile", "volume", "isolate_network", "ignore_globally"];

/// Refuses what a file says itself.
pub(super) fn beside_a_file(given: &[String]) -> anyhow::Result<()> {
    let others: Vec<String> =
        given.iter().filter(|id| !BESIDE_A_FILE.contains(&id.as_str())).map(|id| flag(id)).collect();
    if !others.is_empty() {
        bail!("{} beside --from-config: the file says that; change it there", others.join(", "));
    }
    Ok(())
}

/// Refuses what does nothing for this kind of server.
pub(super) fn to_what_is_run(kind: Kind, given: &[String]) -> anyhow::Result<()> {
    let (unfit, what): (&[&str], _) = match kind {
        Kind::Url => (&NOT_FOR_A_URL, "a server that runs elsewhere"),
        Kind::Stdio | Kind::ImageOverStdio => (&NOT_FOR_STDIO, "a command that is spoken to over stdio"),
        Kind::Http | Kind::ImageOverHttp => (&NOT_FOR_HTTP, "a command that serves HTTP"),
    };
    if matches!(kind, Kind::ImageOverStdio | Kind::ImageOverHttp) {
        refuse(&NOT_FOR_AN_IMAGE, "an image, which runs in a container", given)?;
    }
    refuse(unfit, what, given)
}

/// Refuses what does nothing for what is no package.
pub(super) fn to_no_package(given: &[String]) -> anyhow::Result<()> {
    refuse(&FOR_PACKAGES, "what is no package", given)
}

/// Refuses what does nothing for a command with all rights.
pub(super) fn to_no_isolation(given: &[String]) -> anyhow::Result<()> {
    refuse(
        &NOT_WITHOUT_ISOLATION,
        "a command with --isolation none, which sees and reaches everything",
        given,
    )
}

fn refuse(unfit: &[&str], what: &str, given: &[String]) -> anyhow::Result<()> {
    let unfit: Vec<String> =
        given.iter().filter(|id| unfit.contains(&id.as_str())).map(|id| flag(id)).collect();
    if !unfit.is_empty() {
        bail!("{}: not for {what}", unfit.join(", "));
    }
    Ok(())
}

/// As it is written on the command line.
fn flag(id: &str) -> String {
    match id {
        "server" => "NAME|URL".to_owned(),
        "command" => "-- CMD".to_owned(),
        id => format!("--{}", id.replace('_', "-")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::{Args, Command};

    fn given(words: &[&str]) -> Vec<String> {
        let args = Args::parse_all(&[&["skep", "run"], words].concat()).unwrap();
        let Command::Run(run) = args.command else { panic!("not run") };
        run.given
    }

    #[test]
    fn flags_are_named_as_they_are_written() {
        let command = Args::command();
        let run = command.find_subcommand("run").unwrap();
        let lists: [&[&str]; 6] = [
            &FOR_PACKAGES,
            &BESIDE_A_FILE,
            &NOT_FOR_A_URL,
            &NOT_FOR_STDIO,
            &NOT_FOR_HTTP,
            &NOT_WITHOUT_ISOLATION,
        ];
        for id in lists.concat() {
            let arg = run.get_arguments().find(|arg| arg.get_id() == id).unwrap_or_else(|| panic!("{id}"));
            if let Some(long) = arg.get_long() {
                assert_eq!(format!("--{long}"), flag(id));
            }
        }
    }

    #[test]
    fn a_file_says_all_but_how_it_is_run() {
        let beside = |words: &[&str]| beside_a_file(&given(&[&["--from-config", "f"], words].concat()));
        beside(&["--foreground", "--format", "json", "--debug", "--workers", "1"]).unwrap();
        let error = beside(&["--name", "a", "-e", "A=1", "example"]).unwrap_err().to_string();
        for part in ["--name", "--env", "NAME|URL", "--from-config"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_command_with_all_rights_has_no_profile() {
        let error = to_no_isolation(&given(&["--isolation", "none", "-v", "/a", "--", "c"])).unwrap_err();
        assert!(error.to_string().starts_with("--volume: not for"), "{error}");
        to_no_isolation(&given(&["--isolation", "none", "--secret", "a,target=B", "--", "c"])).unwrap();
    }

    #[test]
    fn a_flag_that_does_nothing_is_refused() {
        for (kind, words, expect) in [
            (Kind::Url, &["https://a"][..], ""),
            (Kind::Url, &["https://a", "--remote-forward-headers", "a=b", "--stateless"], ""),
            (
                Kind::Url,
                &["https://a", "--secret", "a,target=B", "-e", "A=1"],
                "--env, --secret: not for a server",
            ),
            (Kind::Stdio, &["--shared", "-v", "/a", "--", "c"], ""),
            (
                Kind::Stdio,
                &["--stateless", "--target-port", "1", "--", "c"],
                "--target-port, --stateless: not for",
            ),
            (Kind::Http, &["--target-port", "1", "--", "c"], ""),
            (Kind::Http, &["--warm", "1", "--", "c"], "--warm: not for a command that serves HTTP"),
        ] {
            let said = to_what_is_run(kind, &given(words))
                .map_or_else(|error| error.to_string(), |()| String::new());
            assert!(said.starts_with(expect) && said.is_empty() == expect.is_empty(), "{words:?}: {said}");
        }
    }
}
