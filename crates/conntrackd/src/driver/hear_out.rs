//! What peers have said and nobody has looked for yet.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::rc::Rc;
use std::time::Instant;

use ctnetlink::socket::Batch;
use nix::sys::socket::{MsgFlags, recv};
use socket2::SockRef;
use tokio::net::TcpStream;

use super::{DATAGRAM_LEN, Driver, Open};
use crate::{native, pace};

impl Driver {
    /// Takes what the peers' sockets hold now; not what comes meanwhile for ever.
    pub(super) fn hear_out(&mut self) {
        let mut batch = Batch::new(DATAGRAM_LEN);
        for link in 0..self.links.len() {
            let Some(it) = self.links.get(link) else {
                continue;
            };
            if let Some(stream) = it.incoming.clone() {
                self.hear_stream_out(link, &stream);
                continue;
            }
            let Open::Datagram(open) = &it.open else {
                continue;
            };
            let receiver = Rc::clone(&open.receiver);
            let mut left = open.buffer_len / pace::queued_len(0);
            while left > 0 && !self.engine.is_congested() {
                // Errors are for the task that receives.
                let Ok(count) = batch.read(receiver.as_fd(), Batch::LEN) else {
                    break;
                };
                self.datagrams(link, batch.datagrams());
                left = left.saturating_sub(count);
                if count < Batch::LEN {
                    break;
                }
            }
        }
        if let Some(native) = &mut self.native {
            let mut left = native.buffer_len() / pace::queued_len(0);
            while left > 0 && !native.receive(Instant::now(), &self.pace) {
                left = left.saturating_sub(native::DATAGRAMS_PER_TURN);
                native.tell(&mut self.engine, Instant::now());
            }
            native.tell(&mut self.engine, Instant::now());
        }
    }

    /// Takes what has come over a connection. The runtime may not know of it yet, so it is not asked.
    fn hear_stream_out(&mut self, link: usize, stream: &TcpStream) {
        let mut left = SockRef::from(stream).recv_buffer_size().unwrap_or(0);
        let mut buffer = vec![0; DATAGRAM_LEN];
        while left > 0 && !self.engine.is_congested() {
            // Its end, and errors, are for the task that receives.
            let read = recv(stream.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT);
            let Ok(len @ 1..) = read else {
                break;
            };
            self.stream(link, buffer.get(..len).unwrap_or_default());
            left = left.saturating_sub(len);
        }
    }
}
