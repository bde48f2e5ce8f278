//! `skep run`: a server by name, by URL or by command.

use std::path::Path;

use anyhow::{Context, bail};
use manager::target::{HttpTarget, HttpTransport};
use manager::{ServeSettings, Target};
use model::WorkloadName;
use proxy::bridge::Mode;
use url::Url;
use workload::CommandSpec;

use super::serve::{self, Telling};
use crate::args::{ProxyMode, RunArgs, RunTransport};
use crate::dirs;
use crate::exit::Outcome;
use crate::printer::Printer;
use crate::{headers, names};

/// The one server that is built in.
const EXAMPLE: &str = "example";

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

const NOT_ISOLATED: &str = "the server runs with your own rights; isolation is not in this version yet.";

/// What is to be run, as the arguments say it.
enum Source {
    Example,
    Url(Url),
    Command,
}

pub(crate) fn run(args: &RunArgs, printer: &Printer) -> anyhow::Result<Outcome> {
    let source = Source::of(args)?;
    let name = match (&args.name, &source) {
        (Some(name), _) => WorkloadName::new(name)?,
        (None, Source::Example) => WorkloadName::new(EXAMPLE)?,
        (None, Source::Url(url)) => names::of_url(url),
        (None, Source::Command) => names::of_command(&args.command),
    };
    let target = target(args, &source)?;
    let mode =
        if matches!(target, Target::Stdio { .. }) { args.proxy_mode } else { ProxyMode::StreamableHttp };
    let notes = match source {
        Source::Command => vec![NOT_ISOLATED],
        Source::Example | Source::Url(_) => Vec::new(),
    };
    let telling = Telling { format: args.listen.format, mode, notes, printer };
    let settings = ServeSettings {
        name,
        target,
        listen: serve::listen(&args.listen, args.proxy_port),
        allowed_hosts: args.listen.allowed_hosts.clone(),
        allowed_origins: args.listen.allowed_origins.clone(),
        tools: serve::tools(&args.tools)?,
        keys: serve::keys(&args.sessions),
        store: serve::store(&args.sessions)?,
        body: serve::body_limits(&args.listen),
        sessions: serve::session_limits(&args.sessions),
        on_loss: args.sessions.on_session_loss.into(),
        resend: serve::resend(&args.sessions),
        control: dirs::control().ok(),
        sleep_after: Some(args.sleep_after).filter(|after| !after.is_zero()),
        memory: args.max_memory.map(|mebibytes| mebibytes.saturating_mul(1024 * 1024)),
        endpoint_prefix: endpoint_prefix(&args.endpoint_prefix)?,
        drain: args.listen.drain,
    };
    serve::serve(settings, args.listen.workers, &telling)
}

impl Source {
    fn of(args: &RunArgs) -> anyhow::Result<Self> {
        let Some(server) = &args.server else { return Ok(Self::Command) };
        if server == EXAMPLE {
            return Ok(Self::Example);
        }
        if let Some((scheme, package)) = server.split_once("://") {
            if let Some(command) = launcher(scheme) {
                bail!("{scheme}:// servers are not run by name yet; write: skep run -- {command} {package}");
            }
            let url = Url::parse(server).with_context(|| format!("{server:?} is not a URL"))?;
            if !matches!(url.scheme(), "http" | "https") {
                bail!("{server:?}: a server is reached by http or https");
            }
            if !args.command.is_empty() {
                bail!("a URL and a command are two servers: give one of them");
            }
            return Ok(Self::Url(url));
        }
        bail!(
            "there is no server named {server:?}: the built-in one is `{EXAMPLE}`; a command goes behind --, for \
             instance: skep run -- npx -y {server}"
        )
    }
}

fn launcher(scheme: &str) -> Option<&'static str> {
    match scheme {
        "npx" => Some("npx -y"),
        "uvx" => Some("uvx"),
        "go" => Some("go run"),
        _ => None,
    }
}

fn target(args: &RunArgs, source: &Source) -> anyhow::Result<Target> {
    let http = |urls: Vec<String>, transport: HttpTransport| -> anyhow::Result<HttpTarget> {
        Ok(HttpTarget {
            urls,
            transport,
            headers: headers::parse(&args.remote.remote_forward_headers)?,
            ca_file: args.remote.remote_ca_file.clone(),
            stateless: args.remote.stateless,
        })
    };
    if let Source::Url(url) = source {
        let transport = match args.transport {
            None | Some(RunTransport::StreamableHttp) => HttpTransport::StreamableHttp,
            Some(RunTransport::Sse) => HttpTransport::Sse,
            Some(RunTransport::Stdio) => bail!("a URL is not spoken to over stdio"),
        };
        return Ok(Target::Remote(http(vec![url.to_string()], transport)?));
    }
    let transport = match args.transport {
        None | Some(RunTransport::Stdio) => {
            let mode = match args.shared {
                true => Mode::Shared,
                false => Mode::PerSession { warm: args.warm, max_children: args.max_processes },
            };
            return Ok(Target::Stdio { command: command(args, source, &[])?, mode, grace: args.grace });
        }
        Some(RunTransport::StreamableHttp) => HttpTransport::StreamableHttp,
        Some(RunTransport::Sse) => HttpTransport::Sse,
    };
    let Some(port) = args.target_port.filter(|port| *port > 0) else {
        bail!(
            "--target-port says where a command that serves HTTP listens; it is required with this --transport"
        );
    };
    let (word, path) = match transport {
        HttpTransport::StreamableHttp => ("streamable-http", "/mcp"),
        HttpTransport::Sse => ("sse", "/sse"),
    };
    let path = args.target_path.as_deref().unwrap_or(path);
    let url = format!("http://{}{path}", std::net::SocketAddr::new(args.target_host, port));
    let told = [
        ("MCP_TRANSPORT", word.to_owned()),
        ("MCP_HOST", args.target_host.to_string()),
        ("MCP_PORT", port.to_string()),
        ("FASTMCP_PORT", port.to_string()),
    ];
    let mut command_args = Vec::new();
    if matches!(source, Source::Example) {
        command_args.push(format!("--http={}", std::net::SocketAddr::new(args.target_host, port)));
    }
    let command =
        command(args, source, &command_args)?.with_env(told.map(|(name, value)| (name.to_owned(), value)))?;
    Ok(Target::Server { command, http: http(vec![url], transport)?, grace: args.grace })
}

/// The command with its environment: what is passed on, then the file, then the flags.
fn command(args: &RunArgs, source: &Source, more: &[String]) -> anyhow::Result<CommandSpec> {
    let command = if matches!(source, Source::Example) {
        let skep = std::env::current_exe().context("skep cannot find its own program file")?;
        let words = std::iter::once(EXAMPLE.to_owned())
            .chain(args.command.iter().cloned())
            .chain(more.iter().cloned());
        CommandSpec::new(skep, words)?
    } else {
        let (program, words) = args.command.split_first().context("a command is required behind --")?;
        CommandSpec::new(program, words)?
    };
    let mut env: Vec<(String, String)> = Vec::new();
    if !args.inherit_env {
        env.extend(std::env::vars().filter(|(name, _)| is_passed_on(name)));
    }
    if let Some(path) = &args.env_file {
        env.extend(read_env_file(path)?);
    }
    for text in &args.env {
        env.push(read_variable(text)?);
    }
    let command = if args.inherit_env { command } else { command.with_clear_env() };
    let command = command.with_env(env)?;
    Ok(match &args.cwd {
        Some(cwd) => command.with_cwd(cwd)?,
        None => command,
    })
}

fn is_passed_on(name: &str) -> bool {
    PASSED_ON.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *pattern,
    })
}

fn read_variable(text: &str) -> anyhow::Result<(String, String)> {
    if let Some((name, value)) = text.split_once('=') {
        return Ok((name.to_owned(), value.to_owned()));
    }
    match std::env::var(text) {
        Ok(value) => Ok((text.to_owned(), value)),
        Err(_) => bail!("--env {text}: there is no such variable to pass on; write {text}=VALUE to set it"),
    }
}

/// Lines of `NAME=VALUE`; empty ones and those that begin with `#` are passed over, quotes around a value are not part
/// of it.
fn read_env_file(path: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("{} could not be read", path.display()))?;
    parse_env_file(&text).with_context(|| format!("{}", path.display()))
}

fn parse_env_file(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut variables = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        // The line is not quoted: it may be a secret.
        let (name, value) =
            line.split_once('=').with_context(|| format!("line {} is not NAME=VALUE", number + 1))?;
        variables.push((name.trim().to_owned(), unquoted(value.trim()).to_owned()));
    }
    Ok(variables)
}

fn unquoted(value: &str) -> &str {
    let inside = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}

fn endpoint_prefix(text: &str) -> anyhow::Result<String> {
    if text.is_empty() || text.starts_with('/') {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    bail!("--endpoint-prefix is a path: it begins with /")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_env_file_is_read_line_by_line() {
        let text = "# c\n\nA=1\nexport B = two words \nC=\"quoted # not a comment\"\nD='x'\nE=a=b\nF=\n";
        let expect = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "quoted # not a comment"),
            ("D", "x"),
            ("E", "a=b"),
            ("F", ""),
        ];
        let read = parse_env_file(text).unwrap();
        assert_eq!(read, expect.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let error = format!("{:#}", parse_env_file("A=1\nsk-secret\n").unwrap_err());
        assert!(error.contains("line 2") && !error.contains("secret"), "{error}");
    }

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
