//! Sections `native` and `peer`, which only TOML has: the dialect that our nodes speak with each other.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Most peers of the native dialect.
pub const MAX_PEERS: usize = 16;

/// Port of the native dialect.
pub const NATIVE_PORT: u16 = 3781;

/// Default of `listen`: every address of both families.
pub(crate) const NATIVE_LISTEN: SocketAddr =
    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), NATIVE_PORT);

/// The native dialect: encrypted, with one connection to each peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Native {
    /// Name of this node, as the peers call it. `name`, 1 to 64 bytes.
    pub name: String,
    /// Address and port that peers reach this node at. `listen`, default `[::]:3781`: every address of the
    /// host, of both families.
    pub listen: SocketAddr,
    /// File that holds the private key, as `conntrackd keygen` writes it. `private_key_file`.
    pub private_key_file: PathBuf,
    /// Speak version 1 as well, over the links of the section `sync`. `version_1`, default off.
    pub version_1: bool,
    /// Ask the peers at the start for own entries that the kernel has lost. `recover`, default off.
    pub recover: bool,
    /// The other nodes in file order, 1 to [`MAX_PEERS`]. `[[peer]]`.
    pub peers: Vec<Peer>,
}

impl Native {
    /// Whether the peers are those of another configuration: the same names in the same order. Then keys can be taken over by
    /// a running daemon.
    #[must_use]
    pub fn has_peers_of(&self, other: &Self) -> bool {
        let others = other.peers.iter().map(|peer| &peer.name);
        self.peers.iter().map(|peer| &peer.name).eq(others)
    }
}

/// A node that this one speaks with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name. `name`, 1 to 64 bytes, of no other node.
    pub name: String,
    /// Where it listens: one address for each dedicated link, in the order in which they are tried.
    /// `addresses`, at least one; without a port, [`NATIVE_PORT`].
    pub addresses: Vec<SocketAddr>,
    /// The keys it may have: more than one while its key is being changed. `public_keys`, at least one.
    pub public_keys: Vec<PublicKey>,
    /// What it may make this node keep. `[peer.policy]`.
    pub policy: PeerPolicy,
}

/// What a peer of the native dialect may make this node keep. What is left out is as the section `policy` has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerPolicy {
    /// Which entries. `addresses`, `protocols`, `tcp_states`, `zones`.
    pub entries: flow::Policy,
    /// Bits that may be set in marks. `mark_mask`, default all.
    pub mark_mask: Option<u32>,
    /// Most entries. `max_entries`.
    pub max_entries: Option<NonZeroU32>,
    /// Most new entries in a second. `max_new_per_s`, default any number.
    pub max_new_per_s: Option<NonZeroU32>,
}

/// A public key of 32 bytes; in base64 in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// The key of 44 characters of base64.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}
