//! `cargo xtask demo --native`: three firewalls in step over an encrypted mesh, each standby with everything in its kernel
//! already. The active one is killed; promoting another takes as long with a million connections as with a thousand.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use control::Request;
use netlab::limits::TableLimits;
use netlab::mesh::{Firewall, Mesh, MeshOptions};
use netlab::process::wait_until;
use netlab::traffic::{self, Outcome, Pace, Traffic};
use netlab::{Daemon, Table, sample};
use serde_json::Value;

use super::{PATIENCE, way_back};
use crate::story::Story;

/// How long connections run before the cut, and after it.
const RUN: Duration = Duration::from_millis(1500);
/// A daemon may take so long to start, and a mesh to come together.
const START_LIMIT: Duration = Duration::from_secs(30);
/// A million connections take their time on two cores that three nodes share.
pub(super) const COPY_LIMIT: Duration = Duration::from_secs(240);
/// No answer to a promotion is one that came too late.
const PROMOTION_LIMIT: Duration = Duration::from_secs(60);

/// The longest promotion that counts as one.
const READY_WITHIN: Duration = Duration::from_millis(50);
/// The largest table's promotion may take so many times as long as the smallest one's ...
const GROWTH: u32 = 2;
/// ... but what takes less than this is not told apart: it is the time in which a scheduler wakes two processes up.
const RESOLUTION: Duration = Duration::from_millis(2);

/// One failover.
struct Shown {
    flows: u32,
    ready: Duration,
    outcomes: Vec<Outcome>,
    /// No kernel has lost anything on the way back.
    is_whole: bool,
}

/// Tells it for each number of connections; `true`: everything that is claimed was seen.
///
/// # Errors
/// It could not be shown at all.
pub(super) fn tell(story: &mut Story, program: &Path, sizes: &[u32]) -> Result<bool> {
    story.title(
        "client ── fw1 (active) / fw2, fw3 (hot standby) ── server     native dialect, over QUIC",
    );
    let largest = u64::from(sizes.iter().copied().max().unwrap_or(0));
    // Three nodes hold everything, and so does a table that is being taken down.
    let _limits = TableLimits::raise(largest * 4 + 100_000)?;
    let mut shown = Vec::new();
    for &flows in sizes {
        story.title(&format!("{} connections", thousands(flows)));
        shown.push(fail_over(story, program, flows)?);
    }
    conclude(story, &shown)
}

fn fail_over(story: &mut Story, program: &Path, flows: u32) -> Result<Shown> {
    let entries = usize::try_from(flows)? + 1000;
    let inject = true;
    let mut mesh = Mesh::new(program, 3, MeshOptions { inject, entries })?;
    mesh.start(START_LIMIT)?;
    story.say("built five namespaces; keys made by `conntrackd keygen`, each node knows the others by theirs");
    for firewall in &mesh.firewalls {
        for peer in firewall.peers()? {
            let cipher = peer["cipher"].as_str();
            ensure!(cipher.is_some(), "{} speaks in the clear", firewall.name);
        }
    }
    let peer = mesh.firewalls[1].peer("fw1")?;
    let cipher = peer["cipher"].as_str().unwrap_or_default().to_owned();
    story.say(&format!("all three are connected, {cipher}"));
    fill(story, &mesh, flows)?;

    let connections = open(&mesh)?;
    let names: Vec<_> = connections.iter().map(Traffic::name).collect();
    mesh.close()?;
    story.say(&format!(
        "opened through fw1: {}; no firewall accepts new ones from now on",
        names.join(", ")
    ));
    let least = usize::try_from(flows)? + connections.len();
    for connection in &connections {
        connection.mark();
    }
    story.count(&connections, "through fw1", RUN);
    for standby in &mesh.firewalls[1..] {
        let there = wait_until(COPY_LIMIT, || entries_of(standby).is_ok_and(|n| n >= least));
        ensure!(there, "{} lacks connections in its kernel", standby.name);
    }
    story.quote(
        "fw2# conntrackd peers",
        &mesh.firewalls[1].daemon.client(["peers"])?,
    );

    let ready = cut(story, &mut mesh, &connections)?;
    let held = entries_of(&mesh.firewalls[1])?;
    ensure!(
        held >= least,
        "fw2 has {held} of {least} connections in its kernel"
    );
    story.count(&connections, "through fw2", RUN);
    follow(story, &mesh, least)?;
    let gaps: Vec<_> = connections.iter().map(Traffic::longest_gap).collect();
    let is_whole = way_back::tell(story, &mesh, least, &connections)?;
    let mut outcomes = traffic::finish_all(connections, PATIENCE);
    for (outcome, gap) in outcomes.iter_mut().zip(gaps) {
        outcome.longest_gap = outcome.longest_gap.max(gap);
        story.outcome(outcome);
    }
    Ok(Shown {
        flows,
        ready,
        outcomes,
        is_whole,
    })
}

/// Makes connections in the kernel of the active node and waits until those of the standbys have them.
fn fill(story: &Story, mesh: &Mesh, flows: u32) -> Result<()> {
    let begun = Instant::now();
    let written = Table::open(&mesh.firewalls[0].namespace)?.create((0..flows).map(sample::nth))?;
    ensure!(
        written.accepted == u64::from(flows),
        "fw1's kernel took {} of {flows} connections, error {}",
        written.accepted,
        written.errno
    );
    let made = begun.elapsed();
    for standby in &mesh.firewalls[1..] {
        let mut held = 0;
        let there = wait_until(COPY_LIMIT, || {
            std::thread::sleep(Duration::from_millis(100));
            held = entries_of(standby).unwrap_or(0);
            held >= flows as usize
        });
        ensure!(
            there,
            "{} has {held} of {flows} connections in its kernel",
            standby.name
        );
    }
    story.say(&format!(
        "{} connections made in fw1's kernel in {:.1} s; those of fw2 and fw3 had them {:.1} s later",
        thousands(flows),
        made.as_secs_f64(),
        begun.elapsed().saturating_sub(made).as_secs_f64()
    ));
    for standby in &mesh.firewalls[1..] {
        let own = standby
            .daemon
            .counter("cache internal", "current active connections")?;
        ensure!(own == 0, "{} takes {own} of them for its own", standby.name);
    }
    Ok(())
}

fn open(mesh: &Mesh) -> Result<Vec<Traffic>> {
    let pace = Pace::default();
    let often = Duration::from_millis(20);
    Ok(vec![
        traffic::tcp(&mesh.translated("tcp4 translated", 5001), pace)?,
        traffic::tcp(&mesh.forwarded("tcp4 port forward"), pace)?,
        traffic::tcp(&mesh.over_v6("tcp6", 5002), pace)?,
        traffic::udp(&mesh.translated("udp4 translated", 5003), often)?,
        traffic::ping(&mesh.translated("ping translated", 0), often)?,
    ])
}

/// Kills fw1 and promotes fw2; how long that took.
fn cut(story: &Story, mesh: &mut Mesh, connections: &[Traffic]) -> Result<Duration> {
    let total: u64 = connections.iter().map(Traffic::bytes).sum();
    for connection in connections {
        connection.mark();
    }
    let cut = Instant::now();
    mesh.firewalls[0].daemon.kill()?;
    mesh.cut(0)?;
    story.cut(&format!(
        ">>>>>> CUT: fw1 is dead (SIGKILL to its conntrackd, all links down) after {total} bytes"
    ));
    let ready = promote(&mesh.firewalls[1].daemon)?;
    mesh.activate(1)?;
    story.say(&format!(
        "fw2: ready {} after `role primary`; it took the addresses, {} ms after the cut",
        milliseconds(ready),
        cut.elapsed().as_millis()
    ));
    Ok(ready)
}

/// Asks as `conntrackd role primary` does, without the time that the start of a program takes.
fn promote(daemon: &Daemon) -> Result<Duration> {
    let begun = Instant::now();
    let mut socket = daemon.connect()?;
    socket.set_read_timeout(Some(PROMOTION_LIMIT))?;
    socket.write_all(&Request::BecomePrimary.number().to_ne_bytes())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    let took = begun.elapsed();
    let report: Value = serde_json::from_str(&answer).context("no answer to `role primary`")?;
    ensure!(
        report["role"] == "primary" && report["settled"] == true && report["outcome"] == "done",
        "`role primary` ended with {answer}"
    );
    Ok(took)
}

/// The third node follows the new owner without losing anything meanwhile.
fn follow(story: &Story, mesh: &Mesh, least: usize) -> Result<()> {
    let (new, other) = (&mesh.firewalls[1], &mesh.firewalls[2]);
    let begun = Instant::now();
    let followed = wait_until(COPY_LIMIT, || {
        std::thread::sleep(Duration::from_millis(100));
        let of_new = other.peer("fw2").ok();
        let told = of_new.and_then(|peer| peer["entries"].as_u64());
        told.is_some_and(|told| told >= least as u64)
    });
    ensure!(followed, "fw3 does not follow fw2");
    for node in [new, other] {
        let there = wait_until(COPY_LIMIT, || entries_of(node).is_ok_and(|n| n >= least));
        ensure!(there, "{} lacks connections in its kernel", node.name);
    }
    story.say(&format!(
        "fw3 stands by for fw2 now: told of all its connections {:.1} s later, and has them in its kernel",
        begun.elapsed().as_secs_f64()
    ));
    Ok(())
}

pub(super) fn entries_of(firewall: &Firewall) -> Result<usize> {
    Table::open(&firewall.namespace)?.len()
}

fn conclude(story: &Story, shown: &[Shown]) -> Result<bool> {
    story.title("from `role primary` to readiness");
    for Shown { flows, ready, .. } in shown {
        story.verdict(
            *ready <= READY_WITHIN,
            &format!(
                "{:>12} connections  {:>9}",
                thousands(*flows),
                milliseconds(*ready)
            ),
        );
    }
    let first = shown.first().context("nothing to show")?.ready;
    let last = shown.last().context("nothing to show")?.ready;
    let quick = shown.iter().all(|shown| shown.ready <= READY_WITHIN);
    let flat = is_flat(first, last);
    story.verdict(
        quick && flat,
        &format!(
            "{}: {:.2} times as long with the largest table as with the smallest (at most {GROWTH}), at most {} ms",
            if quick && flat { "Flat" } else { "FAILED: not flat" },
            last.as_secs_f64() / first.as_secs_f64(),
            READY_WITHIN.as_millis()
        ),
    );
    let outcomes = || shown.iter().flat_map(|shown| &shown.outcomes);
    let all = outcomes().count();
    let alive = outcomes().filter(|outcome| outcome.survived()).count();
    let gap = outcomes()
        .map(|outcome| outcome.longest_gap.as_millis())
        .max();
    story.verdict(
        alive == all,
        &if alive == all {
            format!(
                "All {all} connections survived the death of their firewall and the way back; longest gap {} ms.",
                gap.unwrap_or(0)
            )
        } else {
            format!("FAILED: only {alive} of {all} connections survived.")
        },
    );
    let whole = shown.iter().all(|shown| shown.is_whole);
    Ok(quick && flat && alive == all && whole)
}

/// Whether a promotion takes no longer for being one of more connections.
fn is_flat(smallest: Duration, largest: Duration) -> bool {
    largest <= smallest.max(RESOLUTION) * GROWTH
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// A number with its thousands apart.
pub(super) fn thousands(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(thousands(7), "7");
        assert_eq!(thousands(1000), "1,000");
        assert_eq!(thousands(1_000_000), "1,000,000");
    }

    #[test]
    fn a_promotion_that_grows_with_the_table_is_not_flat() {
        let ms = Duration::from_millis;
        assert!(is_flat(ms(10), ms(20)));
        assert!(!is_flat(ms(10), ms(21)));
        assert!(is_flat(ms(1), ms(4)));
        assert!(!is_flat(ms(1), ms(5)));
    }
}
