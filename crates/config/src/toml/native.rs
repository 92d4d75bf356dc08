//! `[native]`, `[[peer]]` and `[standby]`.

use std::net::{IpAddr, SocketAddr};

use toml::Spanned;

use super::schema::{self, File};
use super::{Read, Reader, place};
use crate::error::{ErrorKind, ParseError};
use crate::native::{MAX_PEERS, NATIVE_LISTEN, NATIVE_PORT, Native, Peer, PeerPolicy, PublicKey};
use crate::statement::Clause;

/// Longest name of a node, bytes.
const NAME_LEN_MAX: usize = 64;

impl Reader<'_> {
    pub(super) fn native(&mut self, file: &File) -> Read<()> {
        if let Some(native) = &file.native {
            self.own(native)?;
        } else if let Some(peer) = file.peer.first() {
            return Err(self.lacking(peer, "peer", "a section", "a section [native] beside it"));
        }
        for (at, peer) in file.peer.iter().enumerate() {
            if at >= MAX_PEERS {
                return Err(self.lacking(peer, "peer", "one more", "at most 16 sections [[peer]]"));
            }
            let before = file.peer.get(..at).unwrap_or_default();
            let own = file.native.iter().map(|native| &native.get_ref().name);
            let others = before.iter().map(|peer| &peer.get_ref().name);
            let name = &peer.get_ref().name;
            if own
                .chain(others)
                .any(|other| other.get_ref() == name.get_ref())
            {
                return Err(self.value("name", name, "a name that no other node has"));
            }
            self.peer(peer)?;
        }
        if let Some(standby) = &file.standby {
            if file.sync.is_none() && file.native.is_none() {
                let expected = "a section [sync] or [native] beside it";
                return Err(self.lacking(standby, "standby", "a section", expected));
            }
            self.each(&standby.get_ref().inject, |&on| Clause::StandbyInject(on));
        }
        Ok(())
    }

    fn own(&mut self, spanned: &Spanned<schema::Native>) -> Read<()> {
        let native = spanned.get_ref();
        let listen = match &native.listen {
            None => NATIVE_LISTEN,
            Some(text) => {
                let expected = "an address, with or without a port";
                address(text.get_ref()).ok_or_else(|| self.value("listen", text, expected))?
            }
        };
        let file = &native.private_key_file;
        if !file.get_ref().starts_with('/') {
            return Err(self.value("private_key_file", file, "an absolute path"));
        }
        let clause = Clause::Native(Native {
            name: self.name(&native.name)?,
            listen,
            private_key_file: file.get_ref().into(),
            version_1: native.version_1.as_ref().is_some_and(|on| *on.get_ref()),
            recover: native.recover.as_ref().is_some_and(|on| *on.get_ref()),
            peers: Vec::new(),
        });
        self.push(spanned, clause);
        Ok(())
    }

    fn peer(&mut self, spanned: &Spanned<schema::Peer>) -> Read<()> {
        let peer = spanned.get_ref();
        let mut addresses = Vec::new();
        for text in peer.addresses.get_ref() {
            let expected = "an address of the peer, with or without a port";
            let address = address(text.get_ref())
                .filter(|address| !address.ip().is_unspecified() && address.port() != 0);
            addresses.push(address.ok_or_else(|| self.value("addresses", text, expected))?);
        }
        let mut public_keys = Vec::new();
        for text in peer.public_keys.get_ref() {
            let expected = "a key of 44 characters as `conntrackd keygen' prints it";
            let key = PublicKey::from_text(text.get_ref());
            public_keys.push(key.ok_or_else(|| self.value("public_keys", text, expected))?);
        }
        if addresses.is_empty() {
            return Err(self.lacking(&peer.addresses, "addresses", "none", "at least one"));
        }
        if public_keys.is_empty() {
            return Err(self.lacking(&peer.public_keys, "public_keys", "none", "at least one"));
        }
        let name = self.name(&peer.name)?;
        let policy = match &peer.policy {
            Some(policy) => self.peer_policy(policy.get_ref())?,
            None => PeerPolicy::default(),
        };
        self.push(
            spanned,
            Clause::Peer(Peer {
                name,
                addresses,
                public_keys,
                policy,
            }),
        );
        Ok(())
    }

    fn name(&self, name: &Spanned<String>) -> Read<String> {
        let text = name.get_ref();
        let is_plain = |c: char| !c.is_control() && !c.is_whitespace();
        if text.is_empty() || text.len() > NAME_LEN_MAX || !text.chars().all(is_plain) {
            return Err(self.value("name", name, "a word of at most 64 bytes"));
        }
        Ok(text.clone())
    }

    fn lacking<T>(
        &self,
        at: &Spanned<T>,
        key: &'static str,
        found: &str,
        expected: &'static str,
    ) -> ParseError {
        ParseError {
            place: place(self.bytes, at.span().start),
            kind: ErrorKind::Value {
                key,
                found: found.to_owned(),
                expected,
            },
        }
    }
}

/// An address with the usual port where none is written.
fn address(text: &str) -> Option<SocketAddr> {
    match text.parse() {
        Ok(address) => Some(address),
        Err(_) => {
            let ip: IpAddr = text.parse().ok()?;
            Some(SocketAddr::new(ip, NATIVE_PORT))
        }
    }
}
