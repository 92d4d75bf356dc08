//! What the transport must be told.

use std::net::SocketAddr;
use std::time::Duration;

use crate::keys::{PrivateKey, PublicKey};

/// A peer, by its position in the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u8);

/// A node that may speak with this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSettings {
    /// Where it listens: one address for each dedicated link, the first is tried first. Datagrams from any
    /// other address and port are dropped before any work.
    pub addresses: Vec<SocketAddr>,
    /// The keys it may have: more than one while its key is being changed.
    pub public_keys: Vec<PublicKey>,
}

impl PeerSettings {
    /// Whether a node with this key dials: the lower one does. Both do for a moment where one of the keys is changed.
    pub(super) fn dials(&self, own: PublicKey) -> bool {
        !self.addresses.is_empty() && self.public_keys.iter().any(|theirs| own < *theirs)
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A handshake that has not ended after this gives up: the next address is tried.
    pub dial: Duration,
    /// A connection is lost when nothing has been heard for so long.
    pub silence: Duration,
    /// With nothing else to say, this often something is.
    pub keep_alive: Duration,
    /// Pause after every address has been tried.
    pub pause: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            dial: Duration::from_millis(1500),
            silence: Duration::from_secs(3),
            keep_alive: Duration::from_millis(750),
            pause: Duration::from_millis(500),
        }
    }
}

/// Everything the transport must be told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who this node is.
    pub private_key: PrivateKey,
    /// Whom it speaks with; 255 at most.
    pub peers: Vec<PeerSettings>,
    /// How long things may take.
    pub timing: Timing,
}
