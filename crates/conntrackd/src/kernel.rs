//! The kernel sockets of the daemon.

use std::io;
use std::sync::Arc;

use ctnetlink::socket::{EventSocket, RequestSocket};
use engine::{KernelSocket, Origins};

/// The socket that events arrive on, and how far its buffer may grow.
#[derive(Debug)]
pub(crate) struct Events {
    socket: EventSocket,
    buffer_len: usize,
    buffer_max: usize,
    warned: bool,
}

impl Events {
    /// Wraps an open socket; `buffer_len` is what the kernel reports.
    pub(crate) fn new(socket: EventSocket, buffer_len: usize, buffer_max: usize) -> Self {
        Self {
            socket,
            buffer_len,
            buffer_max,
            warned: false,
        }
    }

    /// The socket.
    pub(crate) fn socket(&self) -> &EventSocket {
        &self.socket
    }

    /// Bytes of the receive buffer.
    pub(crate) fn buffer_len(&self) -> usize {
        self.buffer_len
    }

    /// Doubles the buffer after an overrun, unless that exceeds the limit.
    pub(crate) fn grow(&mut self) {
        let wanted = self.buffer_len.saturating_mul(2);
        if wanted > self.buffer_max {
            if !self.warned {
                self.warned = true;
                tracing::warn!(
                    "netlink event socket buffer size cannot be doubled further since it will \
                     exceed NetlinkBufferSizeMaxGrowth. We are likely to be losing events, this \
                     may lead to unsynchronized replicas. Please, consider increasing netlink \
                     socket buffer size via NetlinkBufferSize and NetlinkBufferSizeMaxGrowth \
                     clauses in conntrackd.conf"
                );
            }
            return;
        }
        match self.socket.set_receive_buffer(wanted / 2) {
            Ok(len) => {
                self.buffer_len = len;
                tracing::info!("netlink event socket buffer size has been doubled to {len} bytes");
            }
            Err(error) => tracing::error!(%error, "netlink event socket buffer cannot grow"),
        }
    }
}

/// One socket for each kind of request, so that answers and origins do not mix.
#[derive(Debug)]
pub(crate) struct Requests {
    dump: Arc<RequestSocket>,
    query: RequestSocket,
    commit: RequestSocket,
    inject: RequestSocket,
    flush: RequestSocket,
}

impl Requests {
    /// Opens all of them.
    ///
    /// # Errors
    /// No `CAP_NET_ADMIN`, or no ctnetlink in the kernel.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self {
            dump: Arc::new(RequestSocket::open()?),
            query: RequestSocket::open()?,
            commit: RequestSocket::open()?,
            inject: RequestSocket::open()?,
            flush: RequestSocket::open()?,
        })
    }

    /// The socket for one kind of request.
    pub(crate) fn socket(&self, socket: KernelSocket) -> &RequestSocket {
        match socket {
            KernelSocket::Dump => &self.dump,
            KernelSocket::Query => &self.query,
            KernelSocket::Commit => &self.commit,
            KernelSocket::Inject => &self.inject,
            KernelSocket::Flush => &self.flush,
        }
    }

    /// The socket that tables are read from, for whoever reads them.
    pub(crate) fn dump(&self) -> Arc<RequestSocket> {
        Arc::clone(&self.dump)
    }

    /// What tells our own changes from those of others.
    pub(crate) fn origins(&self) -> Origins {
        Origins {
            commit: self.commit.port_id(),
            inject: self.inject.port_id(),
            flush: self.flush.port_id(),
        }
    }
}
