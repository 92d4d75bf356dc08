//! The kernel's connection-tracking table of a namespace.

use std::io;

use anyhow::{Context, Result, ensure};
use ctnetlink::request::{self, Ack, DumpFilter, Write};
use ctnetlink::socket::{DUMP_BUFFER_LEN, Received, RequestSocket};
use ctnetlink::{Reply, messages, parse};
use flow::{Flow, Key, ProtoInfo, Status, Tcp};

use crate::Namespace;

/// Bytes of a batch of requests; acknowledgements are not asked for, so nothing comes back but errors.
const BATCH_LEN: usize = 128 * 1024;

/// Access to the table of a namespace.
#[derive(Debug)]
pub struct Table {
    namespace: Namespace,
    socket: RequestSocket,
    buf: Vec<u8>,
}

/// What became of the entries that were written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Accepted by the kernel.
    pub accepted: u64,
    /// Refused.
    pub refused: u64,
    /// Error number of the last one that was refused.
    pub errno: i32,
}

impl Table {
    /// Opens the table.
    ///
    /// # Errors
    /// The kernel has none.
    pub fn open(namespace: &Namespace) -> Result<Self> {
        let socket = namespace
            .enter(RequestSocket::open)?
            .context("no connection tracking")?;
        Ok(Self {
            namespace: namespace.clone(),
            socket,
            buf: Vec::with_capacity(BATCH_LEN + 4096),
        })
    }

    /// Number of entries.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn len(&self) -> Result<usize> {
        let count = self
            .namespace
            .read_sysctl("net.netfilter.nf_conntrack_count")?;
        Ok(count.parse()?)
    }

    /// Whether there is no entry.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// All entries, in the kernel's order.
    ///
    /// # Errors
    /// The kernel's.
    pub fn dump(&self) -> Result<Vec<Flow>> {
        let mut request = Vec::new();
        request::dump_flows(&mut request, 1, &DumpFilter::default());
        let mut flows = Vec::new();
        self.socket.transact(&request, |message| {
            match parse::reply(message).map_err(|error| io::Error::other(error.to_string()))? {
                Reply::Flow(flow) => flows.push(flow),
                other => return Err(io::Error::other(format!("{other:?} in a dump"))),
            }
            Ok(())
        })?;
        Ok(flows)
    }

    /// All entries as [`lines`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn lines(&self) -> Result<Vec<String>> {
        Ok(lines(&self.dump()?))
    }

    /// Creates entries; the kernel refuses those that are there.
    ///
    /// # Errors
    /// The socket's; a refusal is counted, not an error.
    pub fn create(&mut self, flows: impl IntoIterator<Item = Flow>) -> Result<Written> {
        self.write(flows, |buf, flow| {
            request::write_flow(buf, 1, Ack::Silent, Write::Create, flow);
        })
    }

    /// Changes entries that are there.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn update(&mut self, flows: impl IntoIterator<Item = Flow>) -> Result<Written> {
        self.write(flows, |buf, flow| {
            request::write_flow(buf, 1, Ack::Silent, Write::Update, flow);
        })
    }

    /// Deletes entries.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn delete(&mut self, keys: impl IntoIterator<Item = Key>) -> Result<Written> {
        self.write(keys, |buf, key| {
            request::delete_flow(buf, 1, Ack::Silent, key, None);
        })
    }

    /// Deletes all entries.
    ///
    /// # Errors
    /// The kernel's.
    pub fn flush(&mut self) -> Result<()> {
        let mut request = Vec::new();
        request::flush_flows(&mut request, 1, &DumpFilter::default());
        self.socket.transact(&request, |_| Ok(()))?;
        Ok(())
    }

    fn write<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut emit: impl FnMut(&mut Vec<u8>, &T),
    ) -> Result<Written> {
        let mut written = Written::default();
        self.buf.clear();
        for item in items {
            emit(&mut self.buf, &item);
            written.accepted += 1;
            if self.buf.len() > BATCH_LEN {
                self.send(&mut written)?;
            }
        }
        self.send(&mut written)?;
        written.accepted -= written.refused;
        Ok(written)
    }

    fn send(&mut self, written: &mut Written) -> Result<()> {
        if self.buf.is_empty() {
            return Ok(());
        }
        self.socket.send(&self.buf)?;
        self.buf.clear();
        // Everything is done when the send returns, and the errors are queued.
        let mut answers = vec![0; DUMP_BUFFER_LEN];
        loop {
            let len = match self.socket.receive(&mut answers)? {
                Received::Data(len) => len,
                Received::WouldBlock => return Ok(()),
                Received::Overrun => anyhow::bail!("more errors than the socket can hold"),
            };
            for message in messages(&answers[..len]) {
                if let Reply::Verdict { errno } = parse::reply(&message?)? {
                    ensure!(errno != 0, "an acknowledgement nobody asked for");
                    written.refused += 1;
                    written.errno = errno;
                }
            }
        }
    }
}

/// Entries as sorted lines that are equal for equal connections on two nodes.
///
/// Left out is what belongs to one kernel (timeout, id, counters, times) and what the synchronisation does not carry:
/// TCP windows and flags, and status bits beyond seen-reply, assured and translation.
#[must_use]
pub fn lines(flows: &[Flow]) -> Vec<String> {
    let mut lines: Vec<_> = flows.iter().map(line).collect();
    lines.sort();
    lines
}

fn line(flow: &Flow) -> String {
    let shared = Status::SEEN_REPLY | Status::ASSURED | Status::SRC_NAT | Status::DST_NAT;
    let status = flow.status_bits().0 & shared.0;
    let state = match flow.proto {
        ProtoInfo::Tcp(Tcp { state, .. }) => state.map(flow::TcpState::name),
        _ => None,
    };
    let reply = flow.reply_direction();
    format!(
        "{} {:?} {}:{} > {}:{} / {}:{} > {}:{} status {status:#x} mark {} zone {:?} labels {:x?} helper {:?}",
        flow.orig.proto,
        state,
        flow.orig.src(),
        side(&flow.orig, true),
        flow.orig.dst(),
        side(&flow.orig, false),
        reply.src(),
        side(&reply, true),
        reply.dst(),
        side(&reply, false),
        flow.mark.unwrap_or(0),
        (flow.zone.orig, flow.zone.reply),
        flow.labels.unwrap_or_default().all_words(),
        flow.helper,
    )
}

fn side(tuple: &flow::Tuple, source: bool) -> String {
    match tuple.l4 {
        flow::L4::None => String::new(),
        flow::L4::Ports { src, dst } => (if source { src } else { dst }).to_string(),
        flow::L4::Icmp { id, .. } if source => id.to_string(),
        flow::L4::Icmp {
            icmp_type, code, ..
        } => format!("{icmp_type}.{code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Lab, sample};

    #[test]
    fn the_kernel_takes_every_sample_and_tells_it_back() {
        crate::require_root_or_skip!();
        let mut lab = Lab::new().unwrap();
        let namespace = lab.namespace("t").unwrap();
        sample::prepare(&namespace).unwrap();
        let mut table = Table::open(&namespace).unwrap();
        let samples = sample::every_kind();
        let written = table.create(samples.iter().copied()).unwrap();
        assert_eq!(written.refused, 0, "errno {}", written.errno);
        assert_eq!(table.len().unwrap(), samples.len());
        let told = table.lines().unwrap();
        let difference = crate::listing::difference(&lines(&samples), &told);
        assert!(difference.is_empty(), "{difference}");

        assert_eq!(table.create(samples.iter().copied()).unwrap().accepted, 0);
        let keys = samples.iter().map(Flow::key);
        assert_eq!(table.delete(keys).unwrap().refused, 0);
        assert!(table.is_empty().unwrap());
    }

    #[test]
    fn ten_thousand_entries_are_made_and_flushed() {
        crate::require_root_or_skip!();
        let mut lab = Lab::new().unwrap();
        let namespace = lab.namespace("t").unwrap();
        let mut table = Table::open(&namespace).unwrap();
        let written = table.create((0..10_000).map(sample::nth)).unwrap();
        assert_eq!((written.accepted, written.refused), (10_000, 0));
        assert_eq!(table.dump().unwrap().len(), 10_000);
        table.flush().unwrap();
        assert!(table.is_empty().unwrap());
    }
}
