//! A program that knows a secret: it is asked, and has a bound of time and of size for its answer.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use zeroize::Zeroizing;

/// More is no secret that a variable holds.
const MAX: u64 = 1024 * 1024;
/// How much of what the program complains about is passed on.
const SHOWN: usize = 200;
/// Between two looks whether the program has ended, once it has said all.
const PAUSE: Duration = Duration::from_millis(10);
/// Looks, before it is ended.
const LOOKS: u32 = 100;

/// The program.
pub(super) struct Program {
    pub(super) path: PathBuf,
    /// All that it gets.
    pub(super) environment: Vec<(OsString, OsString)>,
    /// How long it may take.
    pub(super) limit: Duration,
}

/// What it said.
pub(super) struct Answer {
    pub(super) status: ExitStatus,
    pub(super) out: Said,
    err: Said,
}

/// Why it said nothing that counts.
#[derive(Debug, thiserror::Error)]
pub(super) enum Mute {
    #[error("it could not be started: {0}")]
    NotStarted(#[source] io::Error),
    #[error("it did not answer in {0:?}")]
    Late(Duration),
    #[error("it is larger than 1 MiB")]
    Large,
}

/// The environment may hold a token.
impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Answer {
    /// All that it complained about.
    pub(super) fn complaint(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.err)
    }

    /// The first words of it, to be passed on.
    pub(super) fn first_words(&self) -> String {
        self.complaint().lines().next().unwrap_or_default().chars().take(SHOWN).collect()
    }
}

impl Program {
    /// Asks it.
    pub(super) fn ask(&self, args: &[&str]) -> Result<Answer, Mute> {
        let mut child = self.start(args).map_err(Mute::NotStarted)?;
        let (out, err) = (listen(child.stdout.take()), listen(child.stderr.take()));
        let said = out.recv_timeout(self.limit).and_then(|out| Ok((out, err.recv_timeout(self.limit)?)));
        let ended = said.ok().and_then(|said| Some((wait(&mut child)?, said)));
        let Some((status, (out, err))) = ended else {
            // If it has ended by now there is nothing to kill; either way it is reaped.
            let _ = child.kill();
            let _ = child.wait();
            return Err(Mute::Late(self.limit));
        };
        // Whatever the status: a program whose pipe is closed fails of that.
        if out.len() as u64 > MAX { Err(Mute::Large) } else { Ok(Answer { status, out, err }) }
    }

    fn start(&self, args: &[&str]) -> io::Result<Child> {
        let mut command = Command::new(&self.path);
        command.args(args);
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn()
    }
}

pub(super) type Said = Zeroizing<Vec<u8>>;

/// Reads all that is said, in a thread that ends when nobody can say any more.
fn listen(from: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Said> {
    let (to, said) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut text = Zeroizing::new(Vec::new());
        if let Some(from) = from {
            // What could be read until then is what was said.
            let _ = from.take(MAX + 1).read_to_end(&mut text);
        }
        let _ = to.send(text);
    });
    said
}

/// How the program ended, if it has or does soon.
fn wait(child: &mut Child) -> Option<ExitStatus> {
    for _ in 0..LOOKS {
        if let Some(status) = child.try_wait().ok()? {
            return Some(status);
        }
        thread::sleep(PAUSE);
    }
    None
}
