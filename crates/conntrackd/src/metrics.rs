//! What Prometheus is answered: HTTP/1.0, one request a connection, on this host only.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use config::MetricsAddress;
use control::metrics::{self, Exposition};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::driver::Shared;
use crate::report;

/// Scrapers served at once.
const CLIENTS_MAX: usize = 8;

/// A request whose head is longer is none.
const HEAD_MAX: usize = 8 * 1024;

/// A scraper that does not send its request, or does not take the answer, for so long is dropped.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers for ever.
///
/// # Errors
/// The address is taken, or the path cannot be bound.
pub(crate) async fn serve(shared: Shared, address: MetricsAddress) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(CLIENTS_MAX));
    match &address {
        MetricsAddress::Loopback(address) => {
            let listener = TcpListener::bind(address).await?;
            loop {
                let stream = listener.accept().await.map(|(stream, _)| stream);
                accepted(&shared, &slots, stream).await;
            }
        }
        MetricsAddress::Unix(path) => {
            let listener = bind(path)?;
            let _removed_at_the_end = SocketFile(path);
            loop {
                let stream = listener.accept().await.map(|(stream, _)| stream);
                accepted(&shared, &slots, stream).await;
            }
        }
    }
}

/// Binds over what a dead daemon may have left: the lock says that no other one lives.
fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(path)
}

struct SocketFile<'a>(&'a Path);

impl Drop for SocketFile<'_> {
    fn drop(&mut self) {
        // It may have gone already.
        let _ = std::fs::remove_file(self.0);
    }
}

async fn accepted<S>(shared: &Shared, slots: &Arc<Semaphore>, stream: io::Result<S>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (Ok(stream), Ok(slot)) = (stream, Arc::clone(slots).acquire_owned().await) else {
        // Out of descriptors, most likely: those in use will come back.
        return tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let shared = Rc::clone(shared);
    tokio::task::spawn_local(async move {
        // A scraper that goes away is its own affair.
        let _ = timeout(PATIENCE, answer(shared, stream)).await;
        drop(slot);
    });
}

async fn answer(shared: Shared, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let head = head(&mut stream).await?;
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let response = match (words.next(), words.next()) {
        (Some("GET"), Some("/metrics" | "/")) => {
            let accept = lines.filter_map(|line| line.split_once(':'));
            let accept = accept
                .filter(|(name, _)| name.eq_ignore_ascii_case("accept"))
                .map(|(_, value)| value)
                .next();
            let exposition = Exposition::accepted(accept.unwrap_or_default());
            let page = metrics::page(&report::report(&shared.borrow()), exposition);
            response("200 OK", exposition.content_type(), &page)
        }
        (Some("GET"), _) => response("404 Not Found", "text/plain", b"metrics are at /metrics\n"),
        _ => response("405 Method Not Allowed", "text/plain", b"only GET\n"),
    };
    stream.write_all(&response).await?;
    stream.shutdown().await
}

/// The request up to its empty line; what is cut short is answered as far as it goes.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while head.len() < HEAD_MAX && !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut piece).await? {
            0 => break,
            len => head.extend_from_slice(piece.get(..len).unwrap_or_default()),
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn response(status: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let mut response = format!(
        "HTTP/1.0 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    response.extend_from_slice(body);
    response
}
