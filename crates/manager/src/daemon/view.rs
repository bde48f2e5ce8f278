//! A workload as it is told: in the shape that ToolHive lists it.

use model::run_config::{Run, Source, Transport};
use model::workload::StatusRecord;
use model::{RunConfig, Timestamp, WorkloadName};

use super::wire::WorkloadView;

/// What is told of a workload.
pub(super) fn view(
    name: &WorkloadName,
    config: &RunConfig,
    record: &StatusRecord,
    started_at: Timestamp,
) -> WorkloadView {
    let checked = config.checked();
    let run = checked.as_ref().ok();
    let proxy_mode = run.map_or(Transport::StreamableHttp, |run| run.proxy_mode);
    let user_labels = run.into_iter().flat_map(|run| &run.labels);
    WorkloadView {
        name: name.as_str().to_owned(),
        package: of_package(config).or_else(|| run.map(package)).unwrap_or_else(|| config.image.clone()),
        url: url(name, config, proxy_mode),
        port: config.port,
        transport_type: config.transport.clone(),
        proxy_mode: proxy_mode.as_str().to_owned(),
        status: record.status,
        status_context: record.status_context.clone(),
        created_at: record.created_at.clone(),
        labels: user_labels.map(|label| (label.key().to_owned(), label.value().to_owned())).collect(),
        group: run.map_or_else(|| config.group.clone(), |run| run.group.as_str().to_owned()),
        tools: config.tools_filter.clone(),
        remote: !config.remote_url.is_empty(),
        started_at,
        metrics_url: String::new(),
    }
}

/// The package that an image was made of says more than the image's name.
fn of_package(config: &RunConfig) -> Option<String> {
    config.skep.as_ref().map(|skep| skep.package.clone()).filter(|package| !package.is_empty())
}

/// What is run, in a few words.
fn package(run: &Run) -> String {
    match &run.source {
        Source::Image(image) => image.clone(),
        Source::Remote(_) => "remote".to_owned(),
        Source::Package { package, .. } => package.to_string(),
        // What launches it and what that launches; arguments behind may be private.
        Source::Command { program, args } => {
            let words = args.iter().take_while(|word| !word.contains('=')).take(2).cloned();
            std::iter::once(program.clone()).chain(words).collect::<Vec<_>>().join(" ")
        }
    }
}

/// The endpoint for clients on this machine; nothing as long as there is no port.
fn url(name: &WorkloadName, config: &RunConfig, proxy_mode: Transport) -> String {
    if config.port == 0 {
        return String::new();
    }
    let host = match &*config.host {
        "" | "0.0.0.0" | "::" | "localhost" => "127.0.0.1",
        host => host,
    };
    let tls = config.skep.as_ref().is_some_and(|skep| !skep.tls_cert.is_empty());
    let scheme = if tls { "https" } else { "http" };
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    match proxy_mode {
        Transport::Sse => format!("{scheme}://{host}:{}/sse#{name}", config.port),
        Transport::Stdio | Transport::StreamableHttp => format!("{scheme}://{host}:{}/mcp", config.port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Document;
    use model::workload::Status;

    fn told(text: &str) -> WorkloadView {
        let config = RunConfig::parse(text).unwrap();
        let record = StatusRecord::new(Status::Running, Timestamp::default());
        view(&WorkloadName::new("a").unwrap(), &config, &record, Timestamp::default())
    }

    #[test]
    fn what_a_client_connects_to_and_what_is_run() {
        for (text, package, url) in [
            (
                r#"{"name":"a","transport":"stdio","port":5,"skep":{"command":"npx","args":["-y","pkg","--token=1"]}}"#,
                "npx -y pkg",
                "http://127.0.0.1:5/mcp",
            ),
            (
                r#"{"name":"a","transport":"stdio","port":5,"skep":{"command":"c","args":["KEY=secret","x"]}}"#,
                "c",
                "http://127.0.0.1:5/mcp",
            ),
            (
                r#"{"name":"a","transport":"sse","port":5,"host":"0.0.0.0","remote_url":"https://x/?key=1"}"#,
                "remote",
                "http://127.0.0.1:5/sse#a",
            ),
            (
                r#"{"name":"a","image":"i","port":5,"host":"::1","skep":{"tls_cert":"c"}}"#,
                "i",
                "https://[::1]:5/mcp",
            ),
            (r#"{"name":"a","image":"i"}"#, "i", ""),
        ] {
            let view = told(text);
            assert_eq!((&*view.package, &*view.url), (package, url), "{text}");
        }
    }
}
