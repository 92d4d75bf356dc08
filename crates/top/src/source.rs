//! Where the numbers come from.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use control::report::Report;
use control::talkers::TalkersReport;
use control::{Request, Side};
use serde::de::DeserializeOwned;

/// A daemon that says nothing for so long is not there.
const PATIENCE: Duration = Duration::from_secs(10);

/// No answer is longer.
const ANSWER_MAX: u64 = 4 << 20;

/// A daemon that can be asked.
#[derive(Clone, Debug)]
pub enum Source {
    /// Through its control socket.
    Socket(PathBuf),
    /// Through a command that prints what `conntrackd stats --json` prints, such as `ssh fw2 conntrackd stats --json`.
    Command(String),
}

impl Source {
    /// All statistics.
    ///
    /// # Errors
    /// Nobody answers, or with something else.
    pub fn report(&self) -> Result<Report> {
        match self {
            Self::Socket(path) => ask(path, Request::Report),
            Self::Command(line) => run(line),
        }
    }

    /// Who has the most entries. A command is not asked for that.
    ///
    /// # Errors
    /// As [`report`](Self::report).
    pub fn talkers(&self, side: Side) -> Result<TalkersReport> {
        let request = match side {
            Side::Internal => Request::TalkersInternal,
            Side::External => Request::TalkersExternal,
        };
        match self {
            Self::Socket(path) => ask(path, request),
            Self::Command(_) => Ok(TalkersReport::default()),
        }
    }
}

fn ask<T: DeserializeOwned>(path: &Path, request: Request) -> Result<T> {
    let mut stream = UnixStream::connect(path)
        .with_context(|| format!("{}: is conntrackd running?", path.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&request.number().to_ne_bytes())?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_MAX)
        .read_to_end(&mut answer)
        .context("no answer in time")?;
    ensure!(!answer.is_empty(), "the daemon does not know the question");
    serde_json::from_slice(&answer).context("the answer is not understood")
}

fn run<T: DeserializeOwned>(line: &str) -> Result<T> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", line])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut answer = Vec::new();
    let read = child
        .stdout
        .take()
        .map(|out| out.take(ANSWER_MAX).read_to_end(&mut answer));
    let status = child.wait()?;
    read.transpose()?;
    ensure!(status.success(), "`{line}' failed: {status}");
    serde_json::from_slice(&answer).with_context(|| format!("`{line}' prints something else"))
}
