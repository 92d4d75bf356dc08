//! The control socket: a task for each client, so that a slow or silent one delays nobody.

mod places;

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use control::json;
use control::request::{Answer, Dump, Request, Table};
use control::takeover;
use control::talkers::Talkers;
use ctnetlink::socket::{Received, RequestSocket};
use engine::{Command, Engine, PeerSet, RoleCause};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::access::{self, Access};
use crate::driver::Shared;
use crate::report;
use crate::tasks::readable;
use places::{Place, Places};

/// A client that says nothing for so long is dropped.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A client that takes nothing for so long is dropped.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// A client and its place.
#[derive(Debug)]
struct Client<'a> {
    stream: UnixStream,
    place: &'a Place,
}

/// The control socket's file; removed when dropped.
#[derive(Debug)]
pub(crate) struct ControlSocket(PathBuf);

impl ControlSocket {
    /// Binds the socket over what a dead daemon may have left. Whether a live one answers there has
    /// been found out before.
    ///
    /// # Errors
    /// The directory is missing or not writable.
    pub(crate) fn bind(
        path: &Path,
        access: &Access<'_>,
    ) -> io::Result<(Self, std::os::unix::net::UnixListener)> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = std::os::unix::net::UnixListener::bind(path)?;
        // From here on it is removed if anything fails.
        let socket = Self(path.to_owned());
        access.apply(path)?;
        listener.set_nonblocking(true)?;
        Ok((socket, listener))
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // It may have gone already; nobody can be told of anything else.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Accepts clients for ever.
///
/// # Errors
/// The listener cannot be handed to the runtime.
pub(crate) async fn serve(
    shared: Shared,
    listener: std::os::unix::net::UnixListener,
) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let places = Places::default();
    let mut fails = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                fails = false;
                let place = places.take().await;
                let shared = Rc::clone(&shared);
                tokio::task::spawn_local(async move {
                    tokio::select! {
                        // A client that goes away in the middle is its own affair.
                        _ = client(&shared, stream, &place) => {}
                        () = place.is_wanted() => shared.borrow_mut().local_read_failed += 1,
                    }
                });
            }
            // Out of descriptors, most likely: those in use will come back.
            Err(error) => {
                if !std::mem::replace(&mut fails, true) {
                    tracing::warn!("can't accept clients of the control socket for now: {error}");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn client(shared: &Shared, stream: UnixStream, place: &Place) -> io::Result<()> {
    let mut stream = Client { stream, place };
    let mut bytes = [0; 4];
    let read = timeout(REQUEST_TIMEOUT, stream.stream.read_exact(&mut bytes)).await;
    place.client_waits();
    if !matches!(read, Ok(Ok(_))) {
        shared.borrow_mut().local_read_failed += 1;
        return Ok(());
    }
    let Some(request) = Request::from_bytes(bytes) else {
        return Ok(());
    };
    let credentials = stream.stream.peer_cred()?;
    if !access::may(&credentials, request) {
        let user = credentials.uid();
        tracing::warn!("user {user} may not ask for request {}", request.number());
        shared.borrow_mut().local_refused += 1;
        write(&mut stream, access::REFUSED.as_bytes()).await?;
        return stream.stream.shutdown().await;
    }
    match request.answer() {
        Answer::None => {}
        Answer::Command(command) => {
            let ended = shared.borrow_mut().command(command);
            // The sender goes only with the daemon.
            let _ = ended.await;
        }
        Answer::Become(role) => {
            change_role(shared, &mut stream, Command::Become(role, RoleCause::Role)).await?;
        }
        Answer::TakeOver => {
            let Some(list) = names(&mut stream).await? else {
                shared.borrow_mut().local_read_failed += 1;
                return Ok(());
            };
            let peers = takeover::decode(&list)
                .ok_or_else(|| "no names were given".to_owned())
                .and_then(|names| peers_named(&shared.borrow().engine, &names));
            match peers {
                Ok(peers) => {
                    let command = Command::TakeOver(peers, RoleCause::Role);
                    change_role(shared, &mut stream, command).await?;
                }
                Err(error) => {
                    let report = report::role_refused(&shared.borrow(), error);
                    write(&mut stream, &report).await?;
                }
            }
        }
        Answer::Role => {
            let report = report::role(&shared.borrow(), None);
            write(&mut stream, &report).await?;
        }
        Answer::Ready => {
            let report = report::ready(&shared.borrow());
            write(&mut stream, &report).await?;
        }
        Answer::Report => {
            let report = json::line(&report::report(&shared.borrow()));
            write(&mut stream, &report).await?;
        }
        Answer::Peers => {
            let peers = json::line(&report::peers(&shared.borrow()));
            write(&mut stream, &peers).await?;
        }
        Answer::Statistics(page) => {
            let text = report::page(&shared.borrow(), page);
            write(&mut stream, &text).await?;
        }
        Answer::Dump(dump) if report::is_of_kernel(&shared.borrow(), dump) => {
            kernel_table(&mut stream, dump).await?;
        }
        Answer::Dump(dump) => {
            let mut cursor = Some(0);
            let mut text = Vec::with_capacity(2 * report::DUMP_PIECE_LEN);
            while let Some(from) = cursor {
                text.clear();
                cursor = report::dump(&shared.borrow(), dump, from, &mut text);
                write(&mut stream, &text).await?;
                give_way(shared).await;
            }
        }
        Answer::Talkers(side) => {
            let (mut talkers, mut cursor) = (Talkers::default(), Some(0));
            while let Some(from) = cursor {
                cursor = report::talkers(&shared.borrow(), side, from, &mut talkers);
                give_way(shared).await;
            }
            write(&mut stream, &json::line(&talkers.report())).await?;
        }
        Answer::Export => {
            let mut bytes = Vec::with_capacity(2 * report::DUMP_PIECE_LEN);
            for table in [Table::Flows, Table::Expectations] {
                let mut cursor = Some(0);
                while let Some(from) = cursor {
                    bytes.clear();
                    cursor = report::export(&shared.borrow(), table, from, &mut bytes);
                    write(&mut stream, &bytes).await?;
                    give_way(shared).await;
                }
            }
        }
        Answer::Kill => {
            let signals = Rc::clone(&shared.borrow().signals);
            signals.shutdown.notify_one();
            // The client may go on only when socket and lock are gone: the end of the process closes
            // the connection.
            std::future::pending::<()>().await;
        }
    }
    stream.stream.shutdown().await
}

/// Lets everything else have a turn between two pieces of an answer.
async fn give_way(shared: &Shared) {
    shared.borrow_mut().take_rest();
    yield_now().await;
}

/// Carries out a change of roles and tells how it has ended.
async fn change_role(shared: &Shared, stream: &mut Client<'_>, command: Command) -> io::Result<()> {
    let ended = shared.borrow_mut().command(command);
    // The sender goes only with the daemon.
    let Ok(outcome) = ended.await else {
        return Ok(());
    };
    let report = report::role(&shared.borrow(), Some(outcome));
    write(stream, &report).await
}

/// The names that follow a request; `None` if they do not come in time, or are too many.
async fn names(stream: &mut Client<'_>) -> io::Result<Option<Vec<u8>>> {
    let read = async {
        let mut len = [0; 4];
        stream.stream.read_exact(&mut len).await?;
        let Some(len) = takeover::len(len) else {
            return Ok(None);
        };
        let mut list = vec![0; len];
        stream.stream.read_exact(&mut list).await?;
        Ok(Some(list))
    };
    timeout(REQUEST_TIMEOUT, read).await.unwrap_or(Ok(None))
}

/// The peers of these names.
///
/// # Errors
/// There are none of the native dialect, or none of a name.
fn peers_named(engine: &Engine, names: &[&str]) -> Result<PeerSet, String> {
    let known: Vec<_> = engine.peer_names().collect();
    if known.is_empty() {
        return Err(
            "nodes have names in the native dialect only, which is not configured here".to_owned(),
        );
    }
    let find = |&name: &&str| {
        engine.peer_named(name).ok_or_else(|| {
            let known = known.join("', `");
            format!("there is no peer `{name}' here; there is: `{known}'")
        })
    };
    names.iter().map(find).collect()
}

/// Lists the kernel's table through a socket of its own; the kernel waits for us, and we for the client.
async fn kernel_table(stream: &mut Client<'_>, dump: Dump) -> io::Result<()> {
    let socket = RequestSocket::open()?;
    socket.send(&report::kernel_request(dump.table))?;
    let fd = readable(socket.as_fd())?;
    let (mut buffer, mut text) = (vec![0; report::DUMP_PIECE_LEN], Vec::new());
    let mut more = true;
    while more {
        let mut guard = fd.readable().await?;
        match socket.receive(&mut buffer)? {
            Received::Data(len) => {
                text.clear();
                let datagram = buffer.get(..len).unwrap_or_default();
                more = report::kernel_entries(datagram, dump.format, &mut text);
                write(stream, &text).await?;
            }
            Received::Overrun => return Err(io::ErrorKind::Interrupted.into()),
            Received::WouldBlock => guard.clear_ready(),
        }
    }
    Ok(())
}

async fn write(stream: &mut Client<'_>, text: &[u8]) -> io::Result<()> {
    let mut rest = text;
    while !rest.is_empty() {
        stream.place.waits_for_client();
        let taken = timeout(WRITE_TIMEOUT, stream.stream.write(rest)).await??;
        rest = rest.get(taken..).unwrap_or_default();
    }
    stream.place.client_waits();
    Ok(())
}
