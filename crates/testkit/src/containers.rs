//! Container runtimes to test with, images for them, and what they say that they run.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// A runtime that the tests were given.
#[derive(Clone, Debug)]
pub struct TestRuntime {
    /// The variable by which skep is told of it.
    pub variable: &'static str,
    /// Where it listens.
    pub socket: String,
}

/// The runtimes that are there, by `SKEP_TEST_DOCKER` and `SKEP_TEST_PODMAN`; with `CI=true` both have to be.
///
/// # Panics
/// In CI, when one is not there.
#[must_use]
pub fn runtimes() -> Vec<TestRuntime> {
    let must = std::env::var("CI").is_ok_and(|ci| ci == "true");
    let known = [("SKEP_TEST_DOCKER", "SKEP_DOCKER_SOCKET"), ("SKEP_TEST_PODMAN", "SKEP_PODMAN_SOCKET")];
    let mut found = Vec::new();
    for (given, variable) in known {
        match std::env::var(given) {
            Ok(socket) if Path::new(&socket).exists() => found.push(TestRuntime { variable, socket }),
            _ => assert!(!must, "{given} is not set: run the tests with `cargo xtask test`"),
        }
    }
    found
}

impl TestRuntime {
    /// Asks it something, as `curl --unix-socket` would.
    ///
    /// # Errors
    /// It does not answer.
    pub fn ask(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> anyhow::Result<String> {
        let mut stream = UnixStream::connect(&self.socket)?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            // It answered, and did not care for the end of what it was sent.
            Err(error) if error.kind() == ErrorKind::ConnectionReset && !answer.is_empty() => {}
            read => drop(read?),
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// What it says of all containers with this label, as text.
    ///
    /// # Panics
    /// It does not answer.
    #[must_use]
    pub fn containers(&self, label: &str) -> String {
        let filter = label.replace('=', "%3D").replace('/', "%2F");
        let path =
            format!("/v1.41/containers/json?all=true&filters=%7B%22label%22%3A%5B%22{filter}%22%5D%7D");
        self.ask("GET", &path, "text/plain", &[]).expect("the runtime answers")
    }

    /// Whether it has a container of this name.
    ///
    /// # Panics
    /// It does not answer.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.containers(&format!("toolhive-name={name}")).contains(&format!("\"/{name}\""))
    }

    /// The process that is pid 1 in a container.
    ///
    /// # Errors
    /// There is no such container, or none that runs.
    pub fn pid(&self, name: &str) -> anyhow::Result<u32> {
        let said = self.ask("GET", &format!("/v1.41/containers/{name}/json"), "text/plain", &[])?;
        let pid = said.split_once("\"Pid\":").map(|(_, rest)| rest.trim_start());
        let pid = pid.and_then(|rest| rest.split(|letter: char| !letter.is_ascii_digit()).next());
        pid.and_then(|pid| pid.parse().ok()).filter(|pid| *pid != 0).with_context(|| said.clone())
    }

    /// Removes a container as `docker rm -f` does.
    ///
    /// # Panics
    /// It does not answer.
    pub fn remove(&self, name: &str) {
        self.ask("DELETE", &format!("/v1.41/containers/{name}?force=true"), "text/plain", &[])
            .expect("it answers");
    }

    /// Runs a script in a container that nothing holds but having a network of its own, with a folder at `/results`; the
    /// container removes itself.
    ///
    /// # Errors
    /// It could not be run.
    pub fn run_without_walls(
        &self,
        name: &str,
        image: &str,
        script: &str,
        results: &Path,
    ) -> anyhow::Result<()> {
        let body = serde_json::json!({
            "Image": image,
            "User": "0:0",
            "Entrypoint": ["/bin/busybox", "sh", "-c"],
            "Cmd": [script],
            "HostConfig": {
                // Not "privileged", which asks for rights that a machine that is a container itself does not have.
                "CapAdd": ["MKNOD", "NET_ADMIN", "SYS_ADMIN", "SYS_CHROOT", "SYS_PTRACE", "SYSLOG"],
                "SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined"],
                "AutoRemove": true,
                "NetworkMode": "none",
                "Binds": [format!("{}:/results", results.display())],
            },
        });
        let path = format!("/v1.41/containers/create?name={name}");
        let made = self.ask("POST", &path, "application/json", body.to_string().as_bytes())?;
        ensure!(made.contains("201 Created"), "{made}");
        let begun = self.ask("POST", &format!("/v1.41/containers/{name}/start"), "application/json", &[])?;
        ensure!(begun.contains("204 No Content"), "{begun}");
        Ok(())
    }

    /// Builds an image under a name, unless there is one.
    ///
    /// # Errors
    /// It could not be built.
    pub fn build(&self, name: &str, context: &[u8]) -> anyhow::Result<()> {
        if self.ask("GET", &format!("/v1.41/images/{name}/json"), "text/plain", &[])?.contains("200 OK") {
            return Ok(());
        }
        let said = self.ask("POST", &format!("/v1.41/build?t={name}"), "application/x-tar", context)?;
        ensure!(said.contains("Successfully"), "{said}");
        Ok(())
    }
}

/// A context for building an image: files of this machine at places in it, and its `Dockerfile`, which may copy `root`.
///
/// # Errors
/// A file is not there, or there is no `tar`.
pub fn context(scratch: &Path, dockerfile: &str, files: &[(PathBuf, PathBuf)]) -> anyhow::Result<Vec<u8>> {
    let root = scratch.join("root");
    std::fs::create_dir_all(root.join("home/app"))?;
    for (from, to) in files {
        let to = root.join(to.strip_prefix("/").unwrap_or(to));
        std::fs::create_dir_all(to.parent().context("a place has a folder")?)?;
        std::fs::copy(from, &to).with_context(|| from.display().to_string())?;
    }
    let etc = root.join("etc");
    std::fs::create_dir_all(&etc)?;
    std::fs::write(etc.join("passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n")?;
    std::fs::write(etc.join("group"), "root:x:0:\napp:x:1000:\nextra:x:20:app\n")?;
    std::fs::write(scratch.join("Dockerfile"), dockerfile)?;
    let archive = Command::new("tar").arg("-C").arg(scratch).args(["-cf", "-", "."]).output()?;
    ensure!(archive.status.success(), "{archive:?}");
    Ok(archive.stdout)
}

/// A program of this machine with the libraries that it is linked with, each at its own place but for the program.
///
/// # Errors
/// There is no `ldd`.
pub fn with_libraries(program: &Path, place: &str) -> anyhow::Result<Vec<(PathBuf, PathBuf)>> {
    let said = Command::new("ldd").arg(program).output()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let libraries = said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
    let libraries = libraries.map(|library| (library.clone(), library));
    Ok(std::iter::once((program.to_owned(), PathBuf::from(place))).chain(libraries).collect())
}
