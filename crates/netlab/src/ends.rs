//! Connections that a kernel ends.

use anyhow::{Context, Result, bail};
use ctnetlink::socket::{Batch, EventSocket, Group, Received};

use crate::Namespace;

/// Room for the events of some hundred thousand ends, bytes.
const BUFFER_LEN: usize = 256 << 20;

/// Hears of every connection that ends in a namespace.
#[derive(Debug)]
pub struct Ends {
    socket: EventSocket,
    batch: Batch,
}

impl Ends {
    /// Listens from now on.
    ///
    /// # Errors
    /// The kernel has no connection tracking.
    pub fn listen(namespace: &Namespace) -> Result<Self> {
        let socket = namespace
            .enter(EventSocket::open)?
            .context("no connection tracking")?;
        socket.set_receive_buffer(BUFFER_LEN)?;
        socket.join(Group::FlowDestroy)?;
        let batch = Batch::new(16 * 1024);
        Ok(Self { socket, batch })
    }

    /// How many have ended since the last call.
    ///
    /// # Errors
    /// More than there was room for.
    pub fn count(&mut self) -> Result<usize> {
        let mut ended = 0;
        loop {
            match self.socket.receive_batch(&mut self.batch, Batch::LEN)? {
                Received::Data(_) => {
                    let datagrams = self.batch.datagrams();
                    ended += datagrams.flat_map(ctnetlink::messages).count();
                }
                Received::WouldBlock => return Ok(ended),
                Received::Overrun => bail!("more connections have ended than can be counted"),
            }
        }
    }
}
