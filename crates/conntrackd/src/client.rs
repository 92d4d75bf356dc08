//! The client side of the control socket.

use std::io::{self, Read as _, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::access;

/// A request could not be made, or its answer not be passed on. Either is exit status 1.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nobody listens, or this user may not ask.
    #[error("can't connect: is conntrackd running? appropriate permissions?")]
    Connect(#[source] io::Error),
    /// The daemon went away before it was asked.
    #[error("can't send the request: {0}")]
    Send(#[source] io::Error),
    /// The answer has not come in time.
    #[error("no answer in time")]
    TimedOut,
    /// The daemon closed without a word, or with one that means nothing here.
    #[error("the daemon does not know this command: is it another program, or an older one?")]
    NotUnderstood,
    /// This user may only look.
    #[error("permission denied: only root and the user that the daemon runs as may do that")]
    Refused,
    /// Standard output takes nothing.
    #[error("can't write the answer: {0}")]
    Output(#[source] io::Error),
}

/// Sends a request and copies the answer until its end.
///
/// # Errors
/// See [`ClientError`]. An answer that ends in the middle is none: a daemon that is told to end may close
/// the connection that way.
pub(crate) fn run(path: &Path, request: u32, out: &mut impl Write) -> Result<(), ClientError> {
    run_for(path, request, None, out)
}

/// Like [`run`], but an answer that pauses for longer than `timeout` is given up.
///
/// # Errors
/// See [`ClientError`].
pub(crate) fn run_for(
    path: &Path,
    request: u32,
    timeout: Option<Duration>,
    out: &mut impl Write,
) -> Result<(), ClientError> {
    run_with(path, request, &[], timeout, out)
}

/// Like [`run_for`], of a request that needs more than its number.
///
/// # Errors
/// See [`ClientError`].
pub(crate) fn run_with(
    path: &Path,
    request: u32,
    more: &[u8],
    timeout: Option<Duration>,
    out: &mut impl Write,
) -> Result<(), ClientError> {
    let mut stream = UnixStream::connect(path).map_err(ClientError::Connect)?;
    stream
        .set_read_timeout(timeout)
        .map_err(ClientError::Send)?;
    // In one write: the original waits for the rest of a short one and does nothing else meanwhile.
    stream
        .write_all(&[&request.to_ne_bytes(), more].concat())
        .map_err(ClientError::Send)?;
    match copy(&mut stream, out) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(ClientError::Refused),
        // Whoever reads our output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(ClientError::TimedOut),
        outcome => outcome.map_err(ClientError::Output),
    }
}

fn copy(stream: &mut UnixStream, out: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return out.flush(),
            Ok(len) if buffer.get(..len) == Some(access::REFUSED.as_bytes()) => {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            Ok(len) => out.write_all(buffer.get(..len).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            Err(_) => return out.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;
    use std::thread;

    use super::*;

    fn socket_path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("client-{name}-{}", std::process::id()))
    }

    fn ask(name: &str, answer: &'static [u8], out: &mut impl Write) -> u32 {
        let path = socket_path(name);
        let listener = UnixListener::bind(&path).unwrap();
        let daemon = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(answer).unwrap();
            u32::from_ne_bytes(request)
        });
        let outcome = run(&path, 21, out);
        std::fs::remove_file(path).unwrap();
        outcome.unwrap();
        daemon.join().unwrap()
    }

    #[test]
    fn an_answer_is_copied_unchanged() {
        for (name, answer) in [("copy", b"a\0b\xff\n".as_slice()), ("empty", b"")] {
            let mut out = Vec::new();
            assert_eq!(ask(name, answer, &mut out), 21);
            assert_eq!(out, answer);
        }
    }

    #[test]
    fn a_refusal_is_an_error_and_not_an_answer() {
        let path = socket_path("refused");
        let listener = UnixListener::bind(&path).unwrap();
        let daemon = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 4]).unwrap();
            stream.write_all(access::REFUSED.as_bytes()).unwrap();
        });
        let mut out = Vec::new();
        let outcome = run(&path, 20, &mut out);
        std::fs::remove_file(path).unwrap();
        assert!(matches!(outcome, Err(ClientError::Refused)));
        assert!(out.is_empty());
        daemon.join().unwrap();
    }

    #[test]
    fn nobody_listening_is_told_in_the_words_of_the_original() {
        let path = socket_path("nobody");
        let error = run(&path, 21, &mut Vec::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "can't connect: is conntrackd running? appropriate permissions?"
        );
        // A socket that a crash left behind.
        drop(UnixListener::bind(&path).unwrap());
        let error = run(&path, 21, &mut Vec::new()).unwrap_err();
        std::fs::remove_file(path).unwrap();
        assert!(matches!(error, ClientError::Connect(_)));
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_error() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        ask("gone", b"text", &mut Gone);
    }
}
