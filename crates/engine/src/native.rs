//! A session with a peer in the native dialect.
//!
//! Everything goes over one ordered stream in each direction. How the stream is carried, encrypted and
//! repeated is the driver's business; here it is bytes, and room for bytes.

use crate::api::PeerSettings;

/// One peer of the native dialect.
#[derive(Debug)]
pub(crate) struct Native {
    /// Where its entries are kept: a position among the external caches.
    pub(crate) origin: usize,
    pub(crate) name: String,
    is_open: bool,
    /// Bytes that may be written to the stream now.
    room: usize,
}

impl Native {
    pub(crate) fn new(settings: &PeerSettings, origin: usize) -> Self {
        Self {
            origin,
            name: settings.name.clone(),
            is_open: false,
            room: 0,
        }
    }

    /// A stream to the peer has been opened, and one from it.
    pub(crate) fn open(&mut self) {
        self.is_open = true;
    }

    /// Both streams are gone.
    pub(crate) fn close(&mut self) {
        self.is_open = false;
        self.room = 0;
    }

    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    pub(crate) fn set_room(&mut self, room: usize) {
        self.room = room;
    }
}
