//! What cannot be had is refused before anything is started, and what is kept in clear is said.

use crate::home::Home;

#[test]
fn what_would_be_passed_over_is_refused_by_name() {
    let home = Home::new();
    let file = home.path("open.json");
    let served = r#"{"name":"open","transport":"stdio","skep":{"command":"skep","args":["example"]},
        "oidc_config":{"Issuer":"https://a.example"},"authz_config":{"version":"1.0"}}"#;
    std::fs::write(&file, served).unwrap();
    let file = file.to_str().unwrap();
    for (args, parts) in [
        (&["--from-config", file][..], &["oidc_config, authz_config: not in this version"][..]),
        (&["--foreground", "--from-config", file], &["oidc_config, authz_config: not in this version"]),
        (&["--from-config", file, "--name", "a", "-e", "A=1"], &["--name, --env beside --from-config"]),
        (
            &["https://a.example/mcp", "--secret", "a,target=A", "--shared"],
            &["--secret", "--shared", "not for a server"],
        ),
        (&["--stateless", "example"], &["--stateless: not for a command"]),
        (
            &["https://a.example/mcp", "--remote-forward-headers", "Authorization=hunter2"],
            &["Authorization would be kept", "--remote-forward-headers-secret Authorization=SECRET"],
        ),
    ] {
        let error = home.skep(&[&["run"], args].concat()).error();
        assert!(parts.iter().all(|part| error.contains(part)), "{args:?}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let known = home.list(&["--all"]);
    assert!(known.iter().all(|view| view["status"] != "running"), "{known:?}");
}

#[test]
fn what_is_kept_in_clear_is_named() {
    let home = Home::new();
    let said = home.skep(&["run", "-e", "TEAM=red", "example"]);
    assert!(
        said.err.contains("kept in clear in") && said.err.contains("runconfigs/example.json: TEAM;"),
        "{said:?}"
    );
    assert!(!home.skep(&["run", "--name", "other", "example"]).err.contains("in clear"));
}
