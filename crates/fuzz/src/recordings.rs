//! Recordings of cores: whoever replays one may have got it from anybody.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::{ClientId, Command, Engine, KernelSocket, LinkId, LinkState, Output, Scope};
use record::{End, Recorded, Replay, Sink};

use crate::node::{LINK, Node, Sync, settings};
use crate::seeds;

/// Replays any bytes up to where they cannot be read, or to the first answer that differs.
pub fn replay(bytes: &[u8]) {
    let Ok(mut replay) = Replay::new(bytes) else {
        return;
    };
    while let Ok(Some(_)) = replay.step(&mut |_| ()) {}
    let (now, engine): (_, &Engine) = (replay.now(), replay.engine());
    // What is shown at the end.
    let _ = (engine.snapshot(), engine.operations(now));
}

/// Keeps what is recorded.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Sink for Memory {
    fn append(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memory.extend_from_slice(bytes);
        ControlFlow::Continue(())
    }

    fn end(&mut self, _: End) {}
}

/// Recordings of what real kernels and peers said, a part of it each.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let (kernel, streams) = (seeds::kernel(), seeds::stream());
    let kernel = kernel.chunks(4);
    let parts = kernel.zip(streams.iter().cycle()).enumerate();
    parts
        .map(|(number, (events, stream))| {
            let sync = Sync::from(u8::try_from(number % 3).unwrap_or(0));
            recording(sync, events, stream.get(2..).unwrap_or_default())
        })
        .collect()
}

fn recording(sync: Sync, events: &[Vec<u8>], stream: &[u8]) -> Vec<u8> {
    let memory = Memory::default();
    let start = Node::start();
    let sink = Box::new(memory.clone());
    let mut core = Recorded::on(settings(sync, 64), start, "fuzz", 1 << 16, sink);
    let mut now = start.now;
    let state = LinkState {
        up: true,
        running: true,
    };
    core.handle_link(now, LINK, state);
    core.begin(now);
    let pieces = stream.chunks(500).map(Some).chain(std::iter::repeat(None));
    for (events, piece) in events.iter().zip(pieces) {
        now += Duration::from_millis(300);
        core.handle_events(now, events);
        core.handle_kernel_reply(now, KernelSocket::Dump, events);
        if let Some(piece) = piece {
            core.handle_stream(now, LINK, piece);
        }
        core.handle_command(now, ClientId(1), Command::Commit(Scope::All));
        answer(&mut core, now);
        core.handle_timeout(now);
        core.handle_stream_closed(LinkId(0));
        answer(&mut core, now);
    }
    core.stop();
    let bytes = memory.0.lock().unwrap_or_else(PoisonError::into_inner);
    bytes.clone()
}

/// The kernel takes no request, so that whatever waits for it comes to an end.
fn answer(core: &mut Recorded, now: std::time::Instant) {
    for _ in 0..64 {
        let refused = match core.poll_output() {
            Some(Output::Kernel { socket, .. }) => socket,
            Some(_) => continue,
            None => return,
        };
        core.handle_kernel_overrun(now, refused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_replayed_to_their_ends() {
        for seed in seeds() {
            let mut replay = Replay::new(&seed).unwrap();
            assert_eq!(replay.finish().unwrap().end, Some(End::Stopped));
        }
    }
}
