//! The native dialect beside version 1 and the original: processor, bytes, latency, rejoining, proof.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use netlab::{Namespace, sample};

use super::{Scale, cpu, latency, micros};
use crate::book::{Book, Whose};
use crate::load::Updates;
use crate::pair::{Pair, Setup};
use crate::{cpu as processor, load, node};

/// All three, alternately.
const ALL: [Whose; 3] = [Whose::Original, Whose::Ours, Whose::Native];

/// Flows a second while bytes are counted.
const RATE: u32 = 10_000;

/// How long the link is cut.
const PARTITION: Duration = Duration::from_secs(10);

/// How long a node at rest is watched.
const LONG: Duration = Duration::from_secs(12);

/// CPU per flow.
pub(crate) fn processor(book: &mut Book, scale: Scale, _: &[&str]) {
    for thousands in [10, 40] {
        book.each("native-cpu", &ALL, |book, whose| {
            let both = cpu::one_load(whose, Setup::Ftfw, thousands * 1000, scale.seconds)?;
            for (node, spent) in ["active", "standby"].into_iter().zip(both) {
                let name = format!("{node}_{thousands}k");
                book.note(("native-cpu", &name), whose, micros(spent));
            }
            let sum = micros(both[0] + both[1]);
            book.note(("native-cpu", &format!("both_{thousands}k")), whose, sum);
            Ok(())
        });
    }
}

/// Bytes on the link per flow, both directions, each datagram with its headers.
pub(crate) fn bytes(book: &mut Book, scale: Scale, _: &[&str]) {
    book.each("native-bytes", &ALL, |book, whose| {
        let pair = Pair::start(whose)?;
        let nodes = [pair.a.namespace(), pair.b.namespace()];
        for namespace in nodes {
            single_datagrams(namespace)?;
        }
        let before = sent(nodes)?;
        let done = load::run(nodes[0], RATE, scale.seconds)?;
        pair.until_b_has(done.left)?;
        let [forth, back] = sent_since(nodes, before)?;
        pair.must_be_equal()?;
        for (name, bytes) in [("flow", forth + back), ("forth", forth), ("back", back)] {
            let per_flow = bytes as f64 / f64::from(done.flows);
            book.note(("native-bytes", name), whose, per_flow);
        }
        Ok(())
    });
}

/// Has the kernel take datagrams apart before they reach the cable, so that the counters see what a cable would.
fn single_datagrams(namespace: &Namespace) -> Result<()> {
    namespace.run("ip link set dev sync gso_max_segs 1")?;
    Ok(())
}

fn sent(nodes: [&Namespace; 2]) -> Result<[u64; 2]> {
    Ok([node::sent_bytes(nodes[0])?, node::sent_bytes(nodes[1])?])
}

fn sent_since(nodes: [&Namespace; 2], before: [u64; 2]) -> Result<[u64; 2]> {
    let now = sent(nodes)?;
    Ok([now[0] - before[0], now[1] - before[1]])
}

/// Insert to the standby's first answer that counts the entry, at rest.
pub(crate) fn visible(book: &mut Book, _: Scale, _: &[&str]) {
    book.each("native-latency", &ALL, |book, whose| {
        let mut pair = Pair::start(whose)?;
        let times = latency::polled(&mut pair, crate::wire::FIRST_PROBE)?;
        latency::note_as(book, "native-latency", "visible", whose, times);
        pair.must_be_equal()
    });
}

/// A cut of ten seconds in which one of a hundred entries changes: bytes until both agree again, beside those of a
/// full copy; and what proving costs a node at rest.
pub(crate) fn rejoin(book: &mut Book, scale: Scale, _: &[&str]) {
    let entries = scale.part(1);
    let mut copy = 0;
    book.each("native-rejoin", &[Whose::Native], |book, whose| {
        let mut pair = Pair::start(whose)?;
        let (a, b) = (pair.a.namespace().clone(), pair.b.namespace().clone());
        let nodes = [&a, &b];
        for namespace in nodes {
            single_datagrams(namespace)?;
        }
        pair.fill((0..entries).map(sample::nth), entries)?;
        let before = sent(nodes)?;
        pair.b.stop()?;
        pair.b.launch()?;
        pair.until_b_has(entries)?;
        pair.until_proved()?;
        copy = sent_since(nodes, before)?.iter().sum();
        book.note(
            ("native-rejoin", "copy_bytes"),
            whose,
            copy as f64 / f64::from(entries),
        );

        upkeep(book, whose, &pair)?;

        let before = sent(nodes)?;
        a.set_link("sync", false)?;
        let cut = Instant::now();
        let changed = changes(&pair, entries)?;
        std::thread::sleep(PARTITION.saturating_sub(cut.elapsed()));
        a.set_link("sync", true)?;
        let joined = Instant::now();
        until_equal(&pair)?;
        let took = joined.elapsed();
        let rejoin: u64 = sent_since(nodes, before)?.iter().sum();
        pair.must_be_equal()?;
        book.note(("native-rejoin", "changed"), whose, changed as f64);
        book.note(("native-rejoin", "seconds"), whose, took.as_secs_f64());
        book.note(
            ("native-rejoin", "part"),
            whose,
            rejoin as f64 / copy as f64,
        );
        Ok(())
    });
}

/// Changes one of a hundred entries while nobody hears of it.
fn changes(pair: &Pair, entries: u32) -> Result<u64> {
    let wanted = u64::from(entries / 100);
    let updates = Updates::start(pair.a.namespace(), 2000, entries)?;
    std::thread::sleep(Duration::from_secs_f64(wanted as f64 / 2000.0));
    updates.finish()
}

/// Until a whole round of comparisons has shown, after the cut, that both hold the same.
fn until_equal(pair: &Pair) -> Result<()> {
    let begun = Instant::now();
    let resumed = |daemon| -> Result<bool> {
        let peer = node::peer(daemon)?;
        let proved = peer["proved_s"].as_f64();
        let is_new = proved.is_some_and(|ago| ago < begun.elapsed().as_secs_f64());
        Ok(peer["resumed"].as_u64() >= Some(1) && peer["state"] == "in_sync" && is_new)
    };
    while !(resumed(&pair.a)? && resumed(&pair.b)?) {
        ensure!(
            begun.elapsed() < Duration::from_secs(120),
            "the nodes do not agree again"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The part of a core that each node takes with a full table and nothing to tell but proofs.
fn upkeep(book: &mut Book, whose: Whose, pair: &Pair) -> Result<()> {
    // What came before is done with.
    std::thread::sleep(Duration::from_secs(1));
    let pids = pair.pids()?;
    let before = [
        processor::of_process(pids[0])?,
        processor::of_process(pids[1])?,
    ];
    let begun = Instant::now();
    std::thread::sleep(LONG);
    let passed = begun.elapsed().as_secs_f64();
    for (place, name) in ["upkeep_active", "upkeep_standby"].into_iter().enumerate() {
        let spent = processor::of_process(pids[place])? - before[place];
        let percent = spent.as_secs_f64() / passed * 100.0;
        book.note(("native-rejoin", name), whose, percent);
    }
    Ok(())
}
