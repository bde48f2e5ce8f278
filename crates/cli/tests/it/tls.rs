//! TLS on both sides: the listener, and a server by name whose certificate is verified.

use std::process::Stdio;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use testkit::Program;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::harness::{command, initialize, output, proxy};

/// A certificate authority and a certificate for `localhost`, as files.
struct Certificates {
    folder: tempfile::TempDir,
    authority: CertificateDer<'static>,
}

impl Certificates {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        std::fs::write(folder.path().join("cert.pem"), certificate.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
        Self { folder, authority: authority.der().clone() }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// `skep run example` behind TLS.
    fn server(&self) -> (Program, String) {
        let (cert, key) = (self.path("cert.pem"), self.path("key.pem"));
        let mut command = command(&[
            "run",
            "--foreground",
            "example",
            "--format",
            "json",
            "--tls-cert",
            &cert,
            "--tls-key",
            &key,
        ]);
        command.stdin(Stdio::null());
        let mut program = Program::start(command).unwrap();
        let url = program.url().unwrap();
        assert!(url.starts_with("https://127.0.0.1:"), "{url}");
        (program, url.replace("127.0.0.1", "localhost"))
    }
}

/// One HTTP/1.1 request over TLS to `localhost`; the whole answer.
async fn ask(certificates: &Certificates, url: &str, alpn: &[u8], body: &str) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(certificates.authority.clone()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let (address, path) = url.strip_prefix("https://").unwrap().split_once('/').unwrap();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn));
    let request = testkit::mcp::post(address, &format!("/{path}"), "Connection: close\r\n", body);
    stream.write_all(&request).await.unwrap();
    let mut answer = Vec::new();
    // The server may close without saying so in TLS.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_listener_speaks_tls() {
    let certificates = Certificates::new();
    let (_skep, url) = certificates.server();
    let answer = ask(&certificates, &url, b"http/1.1", &initialize(1)).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("serverInfo"), "{answer}");
}

#[tokio::test]
async fn a_server_behind_tls_is_verified_by_its_name() {
    let certificates = Certificates::new();
    let (_server, target) = certificates.server();
    let ca = certificates.path("ca.pem");
    let (_skep, url) = proxy(&[&target], &["--remote-ca-file", &ca]);
    let mut session = testkit::mcp::Session::open(&url).await.unwrap();
    assert_eq!(session.call("add", json!({"a": 20, "b": 22})).await.unwrap(), "42");
    // By its address it has no certificate, and by the system's roots nobody signed it.
    let by_address = target.replace("localhost", "127.0.0.1");
    for (target, args) in [(&by_address, &["--remote-ca-file", ca.as_str()][..]), (&target, &[])] {
        let (_skep, url) = proxy(&[target], args);
        let refused = testkit::mcp::Session::open(&url).await.unwrap_err().to_string();
        assert!(refused.contains("502") && refused.contains("TLS"), "{refused}");
    }
}

#[test]
fn certificates_that_are_none_are_refused_at_start() {
    let certificates = Certificates::new();
    let (cert, key) = (certificates.path("cert.pem"), certificates.path("key.pem"));
    for (cert, key, part) in [
        (&key, &key, "no PEM certificate"),
        (&cert, &cert, "no PEM private key"),
        (&"/no/such/file".to_owned(), &key, "could not be read"),
    ] {
        let (_, err, code) =
            output(&["run", "--foreground", "example", "--tls-cert", cert, "--tls-key", key]);
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains(part), "{part:?} is not in {err}");
    }
}
