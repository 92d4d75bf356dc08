//! Digests of what a core answers.

use std::fmt::{self, Write as _};
use std::hash::Hasher as _;

use engine::{KernelSocket, Output};
use siphasher::sip::SipHasher13;

/// Of all outputs so far, in their order: the same for the same outputs, in any process.
#[derive(Clone, Debug, Default)]
pub struct Digest {
    hasher: SipHasher13,
    outputs: u64,
}

impl Digest {
    /// Takes one more.
    pub fn take(&mut self, output: &Output<'_>) {
        self.outputs += 1;
        let hasher = &mut self.hasher;
        match output {
            Output::Transmit { link, bytes } => piece(hasher, [0, link.0], bytes),
            Output::Stream { peer, bytes } => piece(hasher, [1, peer.0], bytes),
            Output::ClosePeer(peer) => piece(hasher, [2, peer.0], &[]),
            Output::Kernel { socket, bytes } => {
                let socket = match socket {
                    KernelSocket::Dump => 0,
                    KernelSocket::Query => 1,
                    KernelSocket::Commit => 2,
                    KernelSocket::Inject => 3,
                    KernelSocket::Flush => 4,
                };
                piece(hasher, [3, socket], bytes);
            }
            Output::Done { .. } | Output::Notice(_) | Output::FlowEnded(_) => {
                // Words of the program: rare, and without numbers that differ from process to process.
                let _ = write!(Words(hasher), "{output:?}");
            }
        }
    }

    /// How many were taken.
    #[must_use]
    pub fn outputs(&self) -> u64 {
        self.outputs
    }

    /// The digest of all of them.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.hasher.finish()
    }
}

fn piece(hasher: &mut SipHasher13, kind: [u8; 2], bytes: &[u8]) {
    hasher.write(&kind);
    hasher.write(&(bytes.len() as u64).to_le_bytes());
    hasher.write(bytes);
}

struct Words<'a>(&'a mut SipHasher13);

impl fmt::Write for Words<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}
