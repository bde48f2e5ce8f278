//! What becomes of each item. Nothing here reads or writes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::SystemTime;

use model::group::Group;
use model::workload::{Status, StatusRecord};
use model::{GroupName, RunConfig, Timestamp, WorkloadName};
use store::config::Config;

use super::found::Found;
use super::{Action, Item, Kind, Step, Verdict};
use crate::daemon::{Folders, foreign};
use crate::plan;

/// Everything, in the order in which it is done: what others need comes before them.
pub(super) fn steps(theirs: &Found, ours: &Found, to: &Folders, secrets: Vec<Step>) -> Vec<Step> {
    let mut steps = groups(theirs, ours);
    steps.extend(secrets);
    steps.extend(theirs.settings.as_ref().map(|text| settings(text, ours.settings.as_deref(), to)));
    steps.extend(
        theirs.ignore.as_ref().map(|text| {
            file(Kind::Ignore, "thvignore", text, ours.ignore.as_deref(), to.global_ignore(), "")
        }),
    );
    steps.extend(theirs.configs.iter().map(|(name, config)| match config {
        Ok(config) => workload(name, config, theirs, ours),
        Err(why) => refused(Kind::Workload, name, why.clone()),
    }));
    if theirs.has_database {
        let why = "skills and plugins are not in this version".to_owned();
        steps.push(refused(Kind::Other, "toolhive.db", why));
    }
    steps
}

pub(super) fn carried(kind: Kind, name: &str, why: impl Into<String>, action: Action) -> Step {
    let item = Item { kind, name: name.to_owned(), verdict: Verdict::Carried, why: why.into() };
    Step { item, action: Some(action) }
}

pub(super) fn kept(kind: Kind, name: &str, why: &str) -> Step {
    let item = Item { kind, name: name.to_owned(), verdict: Verdict::Kept, why: why.to_owned() };
    Step { item, action: None }
}

pub(super) fn refused(kind: Kind, name: &str, why: String) -> Step {
    Step { item: Item { kind, name: name.to_owned(), verdict: Verdict::Refused, why }, action: None }
}

/// Those that there are, and those that a workload names.
fn groups(theirs: &Found, ours: &Found) -> Vec<Step> {
    let named =
        theirs.configs.values().flatten().map(|config| &config.group).filter(|group| !group.is_empty());
    let names: BTreeSet<&String> = theirs.groups.keys().chain(named).collect();
    let step = |name: &String| {
        let Ok(group_name) = GroupName::new(name) else {
            return refused(Kind::Group, name, "it is no name of a group".to_owned());
        };
        let group = match theirs.groups.get(name) {
            Some(Ok(group)) => group.clone(),
            Some(Err(why)) => return refused(Kind::Group, name, why.clone()),
            None => Group::new(&group_name),
        };
        let gains = match ours.groups.get(name) {
            Some(Ok(there)) => there.clone().absorb(&group),
            Some(Err(why)) => return kept(Kind::Group, name, why),
            None => return carried(Kind::Group, name, "", Action::Group(group_name, group)),
        };
        match gains {
            false => kept(Kind::Group, name, ""),
            true => carried(
                Kind::Group,
                name,
                "what is there gets its clients too",
                Action::Group(group_name, group),
            ),
        }
    };
    names.into_iter().map(step).collect()
}

fn settings(text: &str, there: Option<&str>, to: &Folders) -> Step {
    let name = "config.yaml";
    if let Err(why) = Config::parse(text) {
        return refused(Kind::Settings, name, why);
    }
    let why = "of it, secrets.provider_type is used; the rest is kept for later versions";
    file(Kind::Settings, name, text, there, to.config_file(), why)
}

fn file(kind: Kind, name: &str, text: &str, there: Option<&str>, path: PathBuf, why: &str) -> Step {
    match there {
        None => carried(kind, name, why, Action::File(path, text.to_owned())),
        Some(there) if there == text => kept(kind, name, ""),
        Some(_) => kept(kind, name, "another one is there"),
    }
}

fn workload(file: &str, config: &RunConfig, theirs: &Found, ours: &Found) -> Step {
    let refused = |why: String| refused(Kind::Workload, file, why);
    let Ok(name) = WorkloadName::new(file) else {
        return refused("a name begins with a letter or digit here".to_owned());
    };
    let mut config = config.clone();
    if config.name.is_empty() {
        file.clone_into(&mut config.name);
    }
    if config.name != file {
        return refused(format!("it calls itself {:?}", config.name));
    }
    let in_clear = config.secrets_in_clear();
    if !in_clear.is_empty() {
        return refused(format!(
            "{} is a secret in clear: start it once with ToolHive, which moves it to its secrets",
            in_clear.join(", ")
        ));
    }
    if ours.configs.contains_key(file) {
        return kept(Kind::Workload, file, "");
    }
    let status = theirs.statuses.get(file).and_then(|status| status.as_ref().ok());
    let (status, why) = wanted(&name, &config, status);
    carried(Kind::Workload, file, why, Action::Workload(name, Box::new(config), status))
}

/// What it is to do here: what runs in ToolHive goes on there.
fn wanted(name: &WorkloadName, config: &RunConfig, theirs: Option<&StatusRecord>) -> (StatusRecord, String) {
    let now = Timestamp::from(SystemTime::now());
    let mut record = StatusRecord::new(Status::Stopped, now);
    let Some(theirs) = theirs else { return (record, cannot(config).unwrap_or_default()) };
    record.created_at = theirs.created_at.clone();
    if let Some(process) = foreign::serves(name, theirs) {
        let why = format!(
            "it runs in ToolHive (process {process}) and is stopped here: stop it there, then `skep start {name}`"
        );
        return (record, why);
    }
    match cannot(config) {
        Some(why) => (record, why),
        None if theirs.status.is_wanted() => {
            record.status = Status::Starting;
            (record, "it is to run".to_owned())
        }
        None => (record, String::new()),
    }
}

/// What keeps it from being run.
fn cannot(config: &RunConfig) -> Option<String> {
    plan::look(config).err().map(|error| format!("it is stopped, and cannot be run as it is: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Document;

    fn config(text: &str) -> Result<RunConfig, String> {
        RunConfig::parse(text).map_err(|error| error.to_string())
    }

    fn found(configs: &[(&str, &str)], groups: &[&str]) -> Found {
        let group = |text: &&str| {
            let group = Group::parse(text).unwrap();
            (group.name.clone(), Ok(group))
        };
        Found {
            configs: configs.iter().map(|(name, text)| ((*name).to_owned(), config(text))).collect(),
            groups: groups.iter().map(group).collect(),
            ..Found::default()
        }
    }

    fn folders() -> Folders {
        let at = |below: &str| PathBuf::from("/to").join(below);
        Folders { run: at("run"), state: at("state"), data: at("data"), config: at("config") }
    }

    fn told(theirs: &Found, ours: &Found) -> Vec<(String, Verdict, String)> {
        let steps = steps(theirs, ours, &folders(), Vec::new()).into_iter();
        steps.map(|step| (step.item.name, step.item.verdict, step.item.why)).collect()
    }

    #[test]
    fn each_workload_is_carried_kept_or_refused() {
        const COMMAND: &str = r#"{"name":"a","transport":"stdio","skep":{"command":"c"}}"#;
        for (file, text, verdict, why) in [
            ("a", COMMAND, Verdict::Carried, ""),
            ("a", r#"{"transport":"stdio","skep":{"command":"c"}}"#, Verdict::Carried, ""),
            (
                "a",
                r#"{"name":"a","transport":"stdio","oidc_config":{"Issuer":"x"},"skep":{"command":"c"}}"#,
                Verdict::Carried,
                "oidc_config",
            ),
            ("b", COMMAND, Verdict::Refused, "calls itself \"a\""),
            ("_a", COMMAND, Verdict::Refused, "begins with a letter"),
            ("a", "{", Verdict::Refused, "EOF"),
            (
                "a",
                r#"{"name":"a","remote_url":"https://x","remote_auth_config":{"bearer_token":"hunter2"}}"#,
                Verdict::Refused,
                "bearer_token is a secret in clear",
            ),
        ] {
            let theirs = found(&[(file, text)], &[]);
            let told = told(&theirs, &Found::default());
            assert_eq!((told.len(), told[0].1), (1, verdict), "{file} {text}: {told:?}");
            assert!(told[0].2.contains(why) && (told[0].2.is_empty() == why.is_empty()), "{text}: {told:?}");
            assert!(!told[0].2.contains("hunter2"), "{told:?}");
        }
        let theirs = found(&[("a", COMMAND)], &[]);
        assert_eq!(told(&theirs, &theirs)[0].1, Verdict::Kept);
    }

    #[test]
    fn what_was_to_run_is_to_run_and_what_was_stopped_is_not() {
        let mut theirs = found(&[("a", r#"{"name":"a","transport":"stdio","skep":{"command":"c"}}"#)], &[]);
        for (status, expect) in [(Status::Running, Status::Starting), (Status::Stopped, Status::Stopped)] {
            let mut record = StatusRecord::new(status, Timestamp::default());
            record.process_id = i64::from(u32::MAX);
            theirs.statuses.insert("a".to_owned(), Ok(record));
            let steps = steps(&theirs, &Found::default(), &folders(), Vec::new());
            let Some(Action::Workload(_, _, record)) = &steps[0].action else { panic!("{steps:?}") };
            assert_eq!((record.status, record.process_id, record.created_at.is_never()), (expect, 0, true));
        }
    }

    #[test]
    fn groups_come_with_their_clients_and_those_that_are_only_named_too() {
        let theirs = found(
            &[("a", r#"{"name":"a","group":"team","transport":"stdio","skep":{"command":"c"}}"#)],
            &[r#"{"name":"default","registered_clients":["cursor"]}"#],
        );
        let ours = found(&[], &[r#"{"name":"default","registered_clients":["vscode"]}"#]);
        let all = told(&theirs, &ours);
        assert_eq!(
            all.iter().map(|told| (&*told.0, told.1)).collect::<Vec<_>>(),
            [("default", Verdict::Carried), ("team", Verdict::Carried), ("a", Verdict::Carried)]
        );
        let both = found(&[], &[r#"{"name":"default","registered_clients":["vscode","cursor"]}"#]);
        assert_eq!(told(&theirs, &both)[0].1, Verdict::Kept);
    }

    #[test]
    fn a_file_that_is_there_stays() {
        let with = |settings: &str| Found { settings: Some(settings.to_owned()), ..Found::default() };
        for (theirs, ours, verdict) in [
            ("a: 1\n", Found::default(), Verdict::Carried),
            ("a: 1\n", with("a: 1\n"), Verdict::Kept),
            ("a: 1\n", with("b: 2\n"), Verdict::Kept),
            ("a: [\n", Found::default(), Verdict::Refused),
        ] {
            assert_eq!(told(&with(theirs), &ours)[0].1, verdict, "{theirs}");
        }
    }
}
