//! What an image comes to: a container of its own, with the permission profile held by the same means as a process's.

use std::collections::BTreeMap;

use model::RunConfig;
use model::run_config::{Isolation, Run, SkepConfig};
use workload::CommandSpec;
use workload::container::{Container, ContainerConfig};

use super::isolation::{self, Isolated};
use super::{Placed, PlanError, Surroundings, said_env, told};

/// The image's command in its container.
pub(super) fn placed(
    image: &str,
    config: &RunConfig,
    run: &Run,
    skep: &SkepConfig,
    around: &Surroundings,
) -> Result<Placed, PlanError> {
    if run.isolation != Isolation::Container {
        return Err(PlanError::ImageIsolation(run.isolation.as_str()));
    }
    if !config.publish.is_empty() {
        return Err(PlanError::Publish);
    }
    let folders = around.folders.as_ref().ok_or(PlanError::NoScratch)?;
    let Isolated { sandbox, egress, network, cwd } = isolation::isolated(config, run, skep, around, None)?;
    let container = Container::new(ContainerConfig {
        name: run.name.as_str().to_owned(),
        owner: folders.state.display().to_string(),
        labels: labels(config, run),
        image: image.to_owned(),
        sandbox,
        egress,
        network,
        scratch: folders.containers(),
        runtimes: around.runtimes.clone(),
    });
    let command = CommandSpec::of_image(container, config.cmd_args.clone())?
        .with_env(told(config, run)?)?
        .with_env(said_env(config, run, around)?)?;
    let command = match cwd {
        Some(cwd) => command.with_cwd(cwd)?,
        None => command,
    };
    // The container serves its own network.
    Ok(Placed { command, egress: None })
}

/// Labels by which ToolHive's tools know a workload; the user's own do not take their place.
fn labels(config: &RunConfig, run: &Run) -> BTreeMap<String, String> {
    let name = run.name.as_str();
    let base = if config.base_name.is_empty() { name } else { &config.base_name };
    let isolated = if run.isolate_network { "true" } else { "false" };
    let standard = [
        ("toolhive", "true"),
        ("toolhive-name", name),
        ("toolhive-basename", base),
        ("toolhive-transport", run.transport.as_str()),
        ("toolhive-port", &config.port.to_string()),
        ("toolhive-network-isolation", isolated),
    ];
    let own = run.labels.iter().map(|label| (label.key().to_owned(), label.value().to_owned()));
    own.chain(standard.map(|(key, value)| (key.to_owned(), value.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::Folders;
    use crate::target::Target;

    fn around() -> Surroundings {
        let [run, state, data, config] = ["/r", "/s", "/d", "/c"].map(Into::into);
        Surroundings {
            folders: Some(Folders { run, state, data, config }),
            skep: "/skep".into(),
            env: vec![("LANG".to_owned(), "of the host".to_owned())],
            whole_env: None,
            secrets: None,
            packages: Default::default(),
            runtimes: Default::default(),
        }
    }

    fn target(members: &str) -> Result<Target, PlanError> {
        let text = format!(r#"{{"name":"a","image":"org/server:1"{members}}}"#);
        let config: RunConfig = model::Document::parse(&text).unwrap();
        let run = config.checked().unwrap();
        super::super::target(&config, &run, &config.skep.clone().unwrap_or_default(), &around())
    }

    #[test]
    fn an_image_runs_in_a_container() {
        let Ok(Target::Stdio { command, egress: None, .. }) =
            target(r#","transport":"stdio","cmd_args":["-x"]"#)
        else {
            panic!("no stdio server");
        };
        assert_eq!(command.container().unwrap().image(), "org/server:1");
        let shown = format!("{command:?}");
        assert!(!shown.contains("LANG"), "nothing of the host is told: {shown}");
    }

    #[test]
    fn a_server_is_told_where_to_listen() {
        for (port, expect) in
            [("", "http://127.0.0.1:8080/mcp"), (r#","target_port":3000"#, "http://127.0.0.1:3000/mcp")]
        {
            let Ok(Target::Server { command, http, .. }) =
                target(&format!(r#","transport":"streamable-http"{port}"#))
            else {
                panic!("no HTTP server");
            };
            assert_eq!(http.urls, [expect]);
            assert!(format!("{command:?}").contains("MCP_PORT"));
        }
    }

    #[test]
    fn what_a_container_does_not_do_is_refused() {
        for (members, expect) in [
            (r#","transport":"stdio","publish":["80:80"]"#, "publish: nothing of a container is published"),
            (r#","transport":"stdio","skep":{"isolation":"none"}"#, "isolation \"none\" is not for an image"),
            (
                r#","transport":"stdio","skep":{"isolation":"process"}"#,
                "isolation \"process\" is not for an image",
            ),
            (r#","transport":"stdio","permission_profile":{"privileged":true}"#, "a privileged container"),
            (r#","transport":"stdio","permission_profile":{"network":{"mode":"mine"}}"#, "is not filtered"),
            (
                r#","transport":"stdio","permission_profile":{"network":{"inbound":{"allow_host":["x"]}}}"#,
                "inbound",
            ),
        ] {
            let error = target(members).unwrap_err().to_string();
            assert!(error.contains(expect), "{members}: {error}");
        }
        let named = r#","transport":"stdio","permission_profile":{"network":{"mode":"mine","outbound":{"insecure_allow_all":true}}}"#;
        assert!(target(named).is_ok());
    }
}
