//! Keys that change while connections stand.

use std::sync::Arc;
use std::time::Instant;

use quinn_proto::ConnectionHandle;

use super::{StartError, Transport, client_config, tls};
use crate::keys::{PrivateKey, PublicKey};

impl Transport {
    /// Takes over a key for this node, and the keys that each peer may have from now on, in the order of the settings.
    ///
    /// A connection stays as long as its peer may have the key that it has shown, and is made anew at once where it may not.
    /// The new key of this node is shown in handshakes from now on.
    ///
    /// # Errors
    /// When the library refuses a key; then nothing has changed.
    pub fn set_keys(
        &mut self,
        now: Instant,
        private_key: &PrivateKey,
        accepted: Vec<Vec<PublicKey>>,
    ) -> Result<(), StartError> {
        let server = tls::server(private_key, accepted.concat())?;
        let clients = accepted
            .iter()
            .map(|keys| tls::client(private_key, keys.clone()))
            .collect::<Result<Vec<_>, _>>()?;
        self.key = private_key.public();
        self.server.crypto = server;
        self.endpoint
            .set_server_config(Some(Arc::new(self.server.clone())));
        for ((peer, keys), client) in self.peers.iter_mut().zip(accepted).zip(clients) {
            peer.settings.public_keys = keys;
            peer.client = client_config(client, &self.common);
            peer.dials = peer.settings.dials(self.key);
        }
        self.drop_unaccepted(now);
        self.dial_all(now);
        Ok(())
    }

    /// Ends every connection whose peer has shown a key that it may not have any more. One that is still being made is looked
    /// at when both have shown their keys.
    fn drop_unaccepted(&mut self, now: Instant) {
        let current = self.peers.iter().filter_map(|peer| {
            let handle = peer.current?;
            let shown = self.connections.get(&handle.0)?.key()?;
            (!peer.settings.public_keys.contains(&shown)).then_some(handle)
        });
        for handle in current.collect::<Vec<ConnectionHandle>>() {
            if let Some(connection) = self.connections.get_mut(&handle.0) {
                connection.strike_key(now);
                self.after(now, handle);
            }
        }
    }
}
