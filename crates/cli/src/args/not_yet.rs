//! Flags of ToolHive's `run` that this version does not have. They are read, so that they can be refused by name: a server
//! that is run without what was asked for is mostly less guarded.

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::dress::switch;

/// What a flag is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Value,
    /// `=false` asks for nothing.
    Switch,
}

use Kind::{Switch, Value};

const FLAGS: [(&str, Kind); 59] = [
    ("publish", Value),
    ("network", Value),
    ("allow-docker-gateway", Switch),
    ("trust-proxy-headers", Switch),
    ("strict-protocol-validation", Switch),
    ("authz-config", Value),
    ("audit-config", Value),
    ("enable-audit", Switch),
    ("webhook-config", Value),
    ("oidc-issuer", Value),
    ("oidc-audience", Value),
    ("oidc-jwks-url", Value),
    ("oidc-introspection-url", Value),
    ("oidc-client-id", Value),
    ("oidc-client-secret", Value),
    ("oidc-scopes", Value),
    ("oidc-insecure-allow-http", Switch),
    ("jwks-allow-private-ip", Switch),
    ("jwks-auth-token-file", Value),
    ("thv-ca-bundle", Value),
    ("resource-url", Value),
    ("token-exchange-url", Value),
    ("token-exchange-client-id", Value),
    ("token-exchange-client-secret", Value),
    ("token-exchange-client-secret-file", Value),
    ("token-exchange-audience", Value),
    ("token-exchange-scopes", Value),
    ("token-exchange-subject-token-type", Value),
    ("token-exchange-header-name", Value),
    ("remote-auth", Switch),
    ("remote-auth-issuer", Value),
    ("remote-auth-client-id", Value),
    ("remote-auth-client-secret", Value),
    ("remote-auth-client-secret-file", Value),
    ("remote-auth-authorize-url", Value),
    ("remote-auth-token-url", Value),
    ("remote-auth-resource", Value),
    ("remote-auth-scope-param-name", Value),
    ("remote-auth-bearer-token", Value),
    ("remote-auth-bearer-token-file", Value),
    ("remote-auth-scopes", Value),
    ("remote-auth-skip-browser", Switch),
    ("remote-auth-timeout", Value),
    ("remote-auth-callback-port", Value),
    ("otel-endpoint", Value),
    ("otel-service-name", Value),
    ("otel-headers", Value),
    ("otel-env-vars", Value),
    ("otel-custom-attributes", Value),
    ("otel-sampling-rate", Value),
    ("otel-tracing-enabled", Switch),
    ("otel-metrics-enabled", Switch),
    ("otel-insecure", Switch),
    ("otel-enable-prometheus-metrics-path", Switch),
    ("otel-use-legacy-attributes", Switch),
    ("image-verification", Value),
    ("ca-cert", Value),
    ("print-resolved-overlays", Switch),
    ("k8s-pod-patch", Value),
];

/// The command with them, out of sight.
pub(super) fn added(command: Command) -> Command {
    let made = |(name, kind): (&'static str, Kind)| {
        let arg = Arg::new(name).long(name).hide(true);
        let arg = if name == "publish" { arg.short('p') } else { arg };
        match kind {
            Value => arg.action(ArgAction::Append),
            Switch => switch(arg),
        }
    };
    command.args(FLAGS.map(made))
}

/// Those that ask for something.
pub(super) fn asked(matches: &ArgMatches) -> Vec<String> {
    let asks = |(name, kind): &(&'static str, Kind)| {
        let said = matches.get_raw(name).and_then(|mut values| values.next_back());
        said.is_some_and(|value| *kind == Value || value != "false")
    };
    FLAGS.iter().filter(|flag| asks(flag)).map(|(name, _)| format!("--{name}")).collect()
}

#[cfg(test)]
mod tests {
    use crate::args::{Args, Command};
    use crate::face::{SKEP, TOOLHIVE};

    #[test]
    fn what_is_not_there_is_named_and_what_asks_for_nothing_is_not() {
        for face in [&SKEP, &TOOLHIVE] {
            let asked = |words: &[&str]| {
                let words = [&[face.command, "run"], words, &["example"]].concat();
                match Args::parse_as(face, &words).unwrap().command {
                    Command::Run(args) => args.not_yet.join(" "),
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!(asked(&[]), "");
            assert_eq!(asked(&["--enable-audit=false", "--remote-auth=false"]), "");
            assert_eq!(asked(&["--enable-audit", "-p", "80:80"]), "--publish --enable-audit");
            assert_eq!(
                asked(&["--oidc-issuer=https://a", "--oidc-scopes", "a"]),
                "--oidc-issuer --oidc-scopes"
            );
        }
    }
}
