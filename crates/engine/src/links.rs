//! The dedicated links of a session: one sends, all are heard.

use syncwire::{Frame, StreamBuffer};

use crate::api::{LinkId, LinkSettings, LinkState};

#[derive(Debug)]
struct Link {
    frame: Frame,
    stream: StreamBuffer,
    /// Unknown until told; an unknown link is taken for usable.
    state: Option<LinkState>,
}

/// What a change of a link's condition led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Switch {
    /// Nothing.
    Stays,
    /// Another link sends now.
    To(usize),
    /// No link is usable.
    NoneLeft,
}

/// The links of one session.
#[derive(Debug)]
pub(crate) struct Links {
    links: Vec<Link>,
    active: usize,
}

impl Links {
    pub(crate) fn new(settings: &[LinkSettings]) -> Self {
        let links = settings
            .iter()
            .map(|link| Link {
                frame: Frame::new(link.payload_len),
                stream: StreamBuffer::default(),
                state: None,
            })
            .collect();
        Self {
            links,
            active: settings.iter().rposition(|link| link.default).unwrap_or(0),
        }
    }

    pub(crate) fn active(&self) -> usize {
        self.active
    }

    pub(crate) fn active_id(&self) -> LinkId {
        LinkId(u8::try_from(self.active).unwrap_or(u8::MAX))
    }

    /// The frame of the link that sends.
    pub(crate) fn frame(&mut self) -> Option<&mut Frame> {
        self.links.get_mut(self.active).map(|link| &mut link.frame)
    }

    pub(crate) fn frame_of(&mut self, link: LinkId) -> Option<&mut Frame> {
        self.links
            .get_mut(usize::from(link.0))
            .map(|link| &mut link.frame)
    }

    /// What a stream left incomplete, taken out so that it can be fed.
    pub(crate) fn take_stream(&mut self, link: LinkId) -> StreamBuffer {
        self.links
            .get_mut(usize::from(link.0))
            .map(|link| std::mem::take(&mut link.stream))
            .unwrap_or_default()
    }

    pub(crate) fn put_stream(&mut self, link: LinkId, stream: StreamBuffer) {
        if let Some(link) = self.links.get_mut(usize::from(link.0)) {
            link.stream = stream;
        }
    }

    /// The peer was heard on this link: answer there.
    pub(crate) fn heard(&mut self, link: LinkId) -> Switch {
        let link = usize::from(link.0);
        if link == self.active || link >= self.links.len() {
            return Switch::Stays;
        }
        self.active = link;
        Switch::To(link)
    }

    /// Whether it is known of each link that nothing can pass.
    pub(crate) fn is_cut_off(&self) -> bool {
        let cut = |link: &Link| link.state.is_some_and(|s| !s.up || !s.running);
        self.links.iter().all(cut)
    }

    /// A link's condition has changed.
    pub(crate) fn set_state(&mut self, link: LinkId, state: LinkState) -> Switch {
        let position = usize::from(link.0);
        let Some(link) = self.links.get_mut(position) else {
            return Switch::Stays;
        };
        let before = link.state.replace(state);
        let usable = |state: Option<LinkState>| state.is_none_or(|s| s.up && s.running);
        if position != self.active || usable(Some(state)) || before == Some(state) {
            return Switch::Stays;
        }
        let spare = |link: &Link| link.state.is_some_and(|s| s.up || s.running);
        match (0..self.links.len()).find(|&i| i != position && self.links.get(i).is_some_and(spare))
        {
            Some(other) => {
                self.active = other;
                Switch::To(other)
            }
            None => Switch::NoneLeft,
        }
    }
}
