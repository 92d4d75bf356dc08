//! The longest pause of replication while a node does something large.
//!
//! An entry is made every millisecond; the pause is the longest time from there to the datagram that tells of one, by the
//! kernel's timestamp on the peer's side.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use netlab::{Daemon, Namespace, sample};

use super::table::copy;
use crate::book::{Book, Whose};
use crate::load::{Pace, Probe, Probes};
use crate::pair::{Pair, programs, time_of_listing, until_held};
use crate::wire::{Capture, FIRST_PROBE};
use crate::{node, wire};

/// More than half a minute of them is needed by nobody.
const MOST: u32 = 60_000;

/// Before and after what is done.
const MARGIN: Duration = Duration::from_millis(400);

/// Something large that a pair is made to do.
type Way<'a> = &'a dyn Fn(&Pair) -> Result<()>;

/// A listing, a reading and a full sending on the active node.
pub(super) fn of_active(
    book: &mut Book,
    whose: Whose,
    pair: &mut Pair,
    entries: u32,
) -> Result<()> {
    let program = programs(whose)[0].program().context("no program")?;
    let nodes = [pair.a.namespace().clone(), pair.b.namespace().clone()];
    let ways: [(&str, Way<'_>); 4] = [
        ("nothing", &|_| {
            std::thread::sleep(Duration::from_secs(1));
            Ok(())
        }),
        ("list", &|pair| {
            // Probes come on top while it lists.
            let listed = time_of_listing(&pair.a, &program, "-i", 0);
            listed
                .map(|_| ())
                .or_else(|error| match error.to_string().contains("lines of") {
                    true => Ok(()),
                    false => Err(error),
                })
        }),
        ("reading", &|pair| pair.a.client(["-R"]).map(|_| ())),
        ("bulk", &|pair| {
            pair.a.client(["-B"])?;
            until_quiet(pair.a.namespace())
        }),
    ];
    for (name, way) in ways {
        let pauses = longest(&nodes, || way(pair))?;
        pauses.note(book, name, whose);
        let keys = pauses
            .probes
            .iter()
            .map(|probe| sample::nth(probe.number).key());
        pair.a_table.delete(keys)?;
        until_held(&pair.a, "internal", entries)?;
        pair.until_b_has(entries)?;
    }
    pair.must_be_equal()
}

/// A commit on the standby, which has flows of its own meanwhile.
pub(super) fn of_commit(
    book: &mut Book,
    whose: Whose,
    pair: &mut Pair,
    entries: u32,
) -> Result<()> {
    copy(pair, entries)?;
    let nodes = [pair.b.namespace().clone(), pair.a.namespace().clone()];
    let pauses = longest(&nodes, || pair.b.client(["-c"]).map(|_| ()))?;
    pauses.note(book, "commit", whose);
    let probes = pauses.probes.len();
    let (there, wanted) = (pair.b_table.len()?, entries as usize + probes);
    ensure!(
        there == wanted,
        "{there} of {wanted} entries after the commit"
    );
    // What was lost is told by the reading that follows, if at all; that is no matter of pauses.
    match pauses.untold {
        0 => must_tell(&pair.a, probes),
        _ => Ok(()),
    }
}

/// The peer has the flows of its own that the committing node had.
fn must_tell(peer: &Daemon, probes: usize) -> Result<()> {
    let told = netlab::process::wait_until(Duration::from_secs(5), || {
        node::held(peer, "external").is_ok_and(|held| held >= probes as u64)
    });
    ensure!(told, "the peer was not told of all {probes} probes");
    Ok(())
}

/// What became of the probes.
struct Pauses {
    probes: Vec<Probe>,
    longest: Duration,
    /// Probes that the peer was never told of.
    untold: usize,
}

impl Pauses {
    fn note(&self, book: &mut Book, name: &str, whose: Whose) {
        book.note(("pause", name), whose, self.longest.as_secs_f64() * 1e3);
        let untold = format!("{name}_untold");
        book.note(("pause", &untold), whose, self.untold as f64);
    }
}

/// Makes entries while something is done.
fn longest(nodes: &[Namespace; 2], work: impl FnOnce() -> Result<()>) -> Result<Pauses> {
    let capture = Capture::start(&nodes[1], false)?;
    let probes = Probes::start(&nodes[0], FIRST_PROBE, Pace::Steady, MOST)?;
    std::thread::sleep(MARGIN);
    let done = work();
    std::thread::sleep(MARGIN);
    let probes = probes.finish()?;
    std::thread::sleep(MARGIN);
    let arrivals = capture.finish()?;
    let ended = wire::now();
    done?;
    let mut pauses = Pauses {
        probes,
        longest: Duration::ZERO,
        untold: 0,
    };
    for probe in &pauses.probes {
        let told = arrivals.probes.get(&probe.number);
        pauses.untold += usize::from(told.is_none());
        // One that is never told of has waited until now, at least.
        let delay = told.unwrap_or(&ended).saturating_sub(probe.after);
        pauses.longest = pauses.longest.max(delay);
    }
    ensure!(pauses.untold < pauses.probes.len(), "no probe was told of");
    Ok(pauses)
}

/// Waits until a node sends no more than probes.
fn until_quiet(namespace: &Namespace) -> Result<()> {
    const PROBES_LEN: u64 = 100_000;
    let begun = Instant::now();
    let mut before = node::sent_bytes(namespace)?;
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let now = node::sent_bytes(namespace)?;
        if now - before < PROBES_LEN {
            return Ok(());
        }
        ensure!(begun.elapsed() < Duration::from_secs(60), "it never ends");
        before = now;
    }
}
