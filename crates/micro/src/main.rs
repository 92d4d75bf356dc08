//! Takes the captured events so many times: `micro active PASSES`, or `micro both PASSES`, where a peer takes what is sent.
//!
//! Run under an instruction counter with two numbers of passes, the difference is what the events cost without the
//! start; what the peer costs is the difference of `both` and `active`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::{Result, bail};
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
        bail!("micro active|both PASSES");
    };
    let both = match who.as_str() {
        "active" => false,
        "both" => true,
        other => bail!("nobody is called `{other}`"),
    };
    let events = captured();
    let (mut node, mut peer) = (Node::new(FTFW), Node::new(FTFW));
    let passes: usize = passes.parse()?;
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
