//! Takes events of a real kernel for the measures of single steps.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use ctnetlink::socket::{EventSocket, Group, Received, RequestSocket};
use netlab::Lab;

use crate::load::{Stage, write};
use crate::pair::nodes;

/// Connections whose lives are recorded.
const FLOWS: u32 = 256;

/// When a connection enters each stage, in steps after its beginning; one begins in each step.
const STEPS: [(u32, Stage); 4] = [
    (0, Stage::Begin),
    (5, Stage::Replied),
    (10, Stage::Established),
    (100, Stage::End),
];

/// Writes the events of some lives, through each other, one message after the other.
pub(crate) fn events(path: &Path) -> Result<()> {
    let mut lab = Lab::new()?;
    let [namespace, _] = nodes(&mut lab)?;
    let requests = namespace.enter(RequestSocket::open)??;
    let socket = namespace.enter(EventSocket::open)??;
    socket.set_receive_buffer(16 << 20)?;
    for group in Group::FLOWS {
        socket.join(group)?;
    }
    let (mut recorded, mut count) = (Vec::new(), 0);
    let mut buffer = vec![0; 64 * 1024];
    for step in 0..FLOWS + 100 {
        let mut batch = Vec::new();
        for (delay, stage) in STEPS {
            if let Some(number) = step.checked_sub(delay).filter(|number| *number < FLOWS) {
                write(&mut batch, number, stage);
            }
        }
        requests.send(&batch)?;
        loop {
            match socket.receive(&mut buffer)? {
                Received::Data(len) => {
                    ensure!(len % 4 == 0, "an event of {len} bytes");
                    recorded.extend_from_slice(buffer.get(..len).unwrap_or_default());
                    count += 1;
                }
                Received::WouldBlock => break,
                Received::Overrun => bail!("events were lost"),
            }
        }
    }
    ensure!(count == 4 * FLOWS, "{count} events of {}", 4 * FLOWS);
    fs::write(path, recorded)?;
    Ok(())
}
