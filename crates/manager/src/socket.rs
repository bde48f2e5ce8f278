//! Unix sockets between processes of one user: in a folder that only this user can enter, and each end looks who is at the
//! other.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

/// Why there is no talking over a socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("{}: {source}", path.display())]
    Socket { path: PathBuf, source: io::Error },
    #[error("{} belongs to another user", path.display())]
    Foreign { path: PathBuf },
    #[error("{name} did not answer: {reason}")]
    Silent { name: String, reason: String },
    /// What was asked may have been done.
    #[error("{} ended the connection before it had answered", path.display())]
    Ended { path: PathBuf },
}

impl SocketError {
    pub(crate) fn silent(socket: &Path, reason: &impl ToString) -> Self {
        Self::Silent { name: socket.display().to_string(), reason: reason.to_string() }
    }

    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Socket { path, source }
    }
}

/// Makes a folder that only this user can enter.
///
/// # Errors
/// It cannot be made, or is somebody else's.
pub(crate) fn private_folder(folder: &Path) -> Result<(), SocketError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(SocketError::at(folder))?;
    let found = std::fs::metadata(folder).map_err(SocketError::at(folder))?;
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(SocketError::Foreign { path: folder.to_owned() });
    }
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).map_err(SocketError::at(folder))
}

/// A socket that is listened on; it is removed when dropped.
#[derive(Debug)]
pub(crate) struct OwnListener {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for OwnListener {
    fn drop(&mut self) {
        // Whoever looks passes over what nobody listens on.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl OwnListener {
    /// Listens at a path that is this process's alone; what a killed one left there is replaced.
    ///
    /// # Errors
    /// [`SocketError`].
    pub(crate) fn bind(path: PathBuf) -> Result<Self, SocketError> {
        private_folder(path.parent().unwrap_or_else(|| Path::new("/")))?;
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).map_err(SocketError::at(&path))?;
        Ok(Self { listener, path })
    }

    /// The next connection of a process of this user. Cancel-safe.
    pub(crate) async fn accept(&self) -> UnixStream {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors: the socket itself is sound.
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            if is_own(&stream) {
                return stream;
            }
            tracing::warn!(path = %self.path.display(), "a process of another user asked, and was not answered");
        }
    }
}

fn is_own(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw())
}

/// A connection to a process of this user; `None` where nobody listens.
///
/// # Errors
/// [`SocketError`].
pub(crate) async fn connect(path: &Path) -> Result<Option<UnixStream>, SocketError> {
    let stream = match UnixStream::connect(path).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
            return Ok(None);
        }
        Err(error) => return Err(SocketError::at(path)(error)),
    };
    if !is_own(&stream) {
        return Err(SocketError::Foreign { path: path.to_owned() });
    }
    Ok(Some(stream))
}

/// One request over a socket, and the answer piece by piece for as long as it goes on and is taken. `None`: nobody listens there.
///
/// # Errors
/// [`SocketError`].
pub(crate) async fn follow(
    path: &Path,
    request: Request<Full<Bytes>>,
    mut takes: impl FnMut(&[u8]) -> bool,
) -> Result<Option<StatusCode>, SocketError> {
    let Some(stream) = connect(path).await? else { return Ok(None) };
    let following = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let answered = async {
            let (head, mut body) = sender.send_request(request).await?.into_parts();
            while let Some(frame) = body.frame().await {
                if frame?.data_ref().is_some_and(|piece| !takes(piece)) {
                    break;
                }
            }
            Ok::<_, hyper::Error>(head.status)
        };
        tokio::select! {
            answered = answered => answered,
            ended = connection => ended.map(|()| StatusCode::OK),
        }
    };
    following.await.map(Some).map_err(|_| SocketError::Ended { path: path.to_owned() })
}

/// One request over a socket, and the whole answer, within this time. `None`: nobody listens there.
///
/// # Errors
/// [`SocketError`].
pub(crate) async fn ask(
    path: &Path,
    request: Request<Full<Bytes>>,
    patience: Duration,
) -> Result<Option<(StatusCode, Bytes)>, SocketError> {
    let Some(stream) = connect(path).await? else { return Ok(None) };
    let asking = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let answered = async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let text = body.collect().await?.to_bytes();
            drop(sender);
            Ok::<_, hyper::Error>((head.status, text))
        };
        let (answered, _) = tokio::join!(answered, connection);
        answered
    };
    match timeout(patience, asking).await {
        Ok(Ok(answered)) => Ok(Some(answered)),
        Ok(Err(_)) => Err(SocketError::Ended { path: path.to_owned() }),
        Err(_) => Err(SocketError::silent(path, &"it took too long")),
    }
}
