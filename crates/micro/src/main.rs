//! Takes the captured events so many times: `micro active PASSES`, or `micro both PASSES`, where a peer takes what is sent.
//!
//! Run under an instruction counter with two numbers of passes, the difference is what the events cost without the
//! start; what the peer costs is the difference of `both` and `active`.
//!
//! `micro native PASSES` is the same in the native dialect. What the standby costs of it is what its turns cost
//! (callgrind: `--toggle-collect=micro::native::Pair::standby_turn`).

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::{Result, bail};
use micro::native::Pair;
use micro::{FTFW, Node, captured};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the number of events.
fn run() -> Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let [who, passes] = words.as_slice() else {
        bail!("micro active|both|native PASSES");
    };
    let both = match who.as_str() {
        "active" | "native" => false,
        "both" => true,
        other => bail!("nobody is called `{other}`"),
    };
    let events = captured();
    let passes: usize = passes.parse()?;
    if who == "native" {
        let mut pair = Pair::new();
        for _ in 0..passes {
            pair.pass(&events);
        }
        println!("{}", events.len() * passes);
        return Ok(());
    }
    let (mut node, mut peer) = (Node::new(FTFW), Node::new(FTFW));
    for _ in 0..passes {
        node.pass(&events, |datagram| {
            if both {
                peer.receive(datagram);
            }
        });
    }
    println!("{}", events.len() * passes);
    Ok(())
}
