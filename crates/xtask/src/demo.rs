//! `cargo xtask demo`: the active firewall of a pair is killed, and the connections through it go on.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use netlab::process::wait_until;
use netlab::traffic::{self, Outcome, Pace, Traffic};
use netlab::{Daemon, Pair, listing};

mod native;
mod way_back;

use crate::story::Story;
use crate::tools::{cargo, ensure_tools, is_root, run as run_command, target, workspace};

/// How long connections run before the cut, and after it.
const BEFORE: Duration = Duration::from_secs(4);
const AFTER: Duration = Duration::from_secs(4);
/// How long a connection may take to end properly before it counts as dead.
const PATIENCE: Duration = Duration::from_secs(6);
const SYNC_LIMIT: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Debug, Default)]
pub(crate) struct Options {
    without_sync: bool,
    /// The sizes of table of the native demo.
    native: Option<Vec<u32>>,
    daemon: Option<PathBuf>,
}

/// Connections in the tables of the native demo, smallest first.
const FLOWS: [u32; 3] = [1000, 100_000, 1_000_000];

/// Most connections that a table of the native demo may have.
const FLOWS_MAX: u32 = 2_000_000;

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            match (word, words.as_slice()) {
                ("--without-sync", _) if options.native.is_none() => options.without_sync = true,
                ("--native", _) if !options.without_sync => {
                    options.native.get_or_insert_with(|| FLOWS.to_vec());
                }
                ("--flows", [list, ..]) if options.native.is_some() => {
                    options.native = Some(sizes(list)?);
                    words.next();
                }
                ("--daemon", [path, ..]) => {
                    options.daemon = Some(std::path::absolute(path)?);
                    words.next();
                }
                _ => bail!("demo does not know `{word}`; see `cargo xtask help`"),
            }
        }
        Ok(options)
    }
}

/// Numbers of connections, smallest first.
fn sizes(list: &str) -> Result<Vec<u32>> {
    let sizes: Vec<u32> = list.split(',').map(str::parse).collect::<Result<_, _>>()?;
    ensure!(
        sizes.is_sorted() && sizes.iter().all(|size| (1..=FLOWS_MAX).contains(size)),
        "--flows takes numbers up to {FLOWS_MAX}, smallest first, with commas between them"
    );
    Ok(sizes)
}

/// Runs the demo; success means that what was to be shown has been shown.
///
/// # Errors
/// It could not be run at all.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    ensure!(
        is_root(),
        "the demo makes network namespaces and needs root"
    );
    ensure_tools(&["ip", "nft"])?;
    let program = match &options.daemon {
        _ if options.without_sync => None,
        Some(path) => Some(path.clone()),
        None => Some(build()?),
    };
    let mut story = Story::new();
    let shown = match (&options.native, program) {
        (Some(sizes), Some(program)) => native::tell(&mut story, &program, sizes)?,
        (_, program) => tell(&mut story, program)?,
    };
    Ok(if shown {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn build() -> Result<PathBuf> {
    println!("Building conntrackd");
    run_command(
        Command::new(cargo())
            .args(["build", "--quiet", "--release", "--package", "conntrackd"])
            .current_dir(workspace()),
    )?;
    Ok(target().join("release/conntrackd"))
}

/// Two daemons at work; A's counters are taken just before it is killed.
struct Daemons {
    a: Daemon,
    b: Daemon,
}

fn tell(story: &mut Story, program: Option<PathBuf>) -> Result<bool> {
    story.title("client ── firewall A (active) / firewall B (standby) ── server");
    let pair = Pair::new()?;
    story.say(
        "built four namespaces; A and B forward with masquerade, a port forward, and strict rules",
    );
    story.say("    ct state invalid drop, nf_conntrack_tcp_loose=0: who does not know a connection kills it");
    let daemons = match &program {
        Some(program) => Some(start(story, &pair, program)?),
        None => {
            story.say("no conntrackd: B will know nothing");
            None
        }
    };

    let connections = open(&pair)?;
    let names: Vec<_> = connections.iter().map(Traffic::name).collect();
    story.say(&format!("opened through A: {}", names.join(", ")));
    pair.close()?;
    story.say("from now on neither A nor B accepts new connections: what goes on through B is one of these");
    for connection in &connections {
        connection.mark();
    }
    story.count(&connections, "through A", BEFORE);
    let last_words = match &daemons {
        Some(daemons) => Some(in_step(story, daemons)?),
        None => None,
    };

    let (kept, last_words) = fail_over(story, &pair, daemons, &connections)?
        .zip(last_words)
        .unzip();
    story.count(&connections, "through B", AFTER);
    story.say("closing each connection from both ends; every byte is compared");
    let outcomes = traffic::finish_all(connections, PATIENCE);
    conclude(
        story,
        &outcomes,
        program.is_some(),
        last_words.as_deref(),
        kept.as_ref(),
    )
}

fn start(story: &Story, pair: &Pair, program: &std::path::Path) -> Result<Daemons> {
    let a = Daemon::start_program(program, &pair.lab, &pair.a, &pair.config(true))?;
    let b = Daemon::start_program(program, &pair.lab, &pair.b, &pair.config(false))?;
    story.say(&format!(
        "started {} on A and B: FT-FW, multicast 225.0.0.50 port 3780, on a cable of its own",
        program.file_name().unwrap_or_default().to_string_lossy()
    ));
    Ok(Daemons { a, b })
}

fn open(pair: &Pair) -> Result<Vec<Traffic>> {
    let pace = Pace::default();
    let often = Duration::from_millis(20);
    Ok(vec![
        traffic::tcp(&pair.masqueraded("tcp4 masqueraded", 5001), pace)?,
        traffic::tcp(&pair.forwarded("tcp4 port forward"), pace)?,
        traffic::tcp(&pair.over_v6("tcp6", 5002), pace)?,
        traffic::udp(&pair.masqueraded("udp4 masqueraded", 5003), often)?,
        traffic::ping(&pair.masqueraded("ping masqueraded", 0), often)?,
    ])
}

/// Waits until B holds what A holds; A's `-s`.
fn in_step(story: &Story, daemons: &Daemons) -> Result<String> {
    let (mut internal, mut external) = (Vec::new(), Vec::new());
    let equal = wait_until(SYNC_LIMIT, || {
        internal = daemons.a.internal().unwrap_or_default();
        external = daemons.b.external().unwrap_or_default();
        !internal.is_empty() && internal == external
    });
    ensure!(
        equal,
        "B's external cache differs from A's internal cache:\n{}",
        listing::difference(&internal, &external)
    );
    story.say(&format!(
        "B's external cache equals A's internal cache: {} entries",
        external.len()
    ));
    daemons.a.client(["-s"])
}

/// Kills A, and lets B take over. B's daemon, if there is one.
fn fail_over(
    story: &Story,
    pair: &Pair,
    daemons: Option<Daemons>,
    connections: &[Traffic],
) -> Result<Option<Daemon>> {
    let total: u64 = connections.iter().map(Traffic::bytes).sum();
    for connection in connections {
        connection.mark();
    }
    let cut = Instant::now();
    let standby = match daemons {
        Some(mut daemons) => {
            daemons.a.kill()?;
            Some(daemons.b)
        }
        None => None,
    };
    pair.cut(&pair.a)?;
    let killed = if standby.is_some() {
        "SIGKILL to its conntrackd, "
    } else {
        ""
    };
    story.cut(&format!(
        ">>>>>> CUT: A is dead ({killed}all links down) after {total} bytes"
    ));
    if let Some(daemon) = &standby {
        let begun = Instant::now();
        daemon.client(["-c"])?;
        story.say(&format!(
            "B: conntrackd -c put the external cache into B's kernel, {} ms",
            begun.elapsed().as_millis()
        ));
    }
    pair.activate(&pair.b)?;
    story.say(&format!(
        "B took the addresses and told the neighbours (ARP, ND), {} ms after the cut",
        cut.elapsed().as_millis()
    ));
    Ok(standby)
}

fn conclude(
    story: &Story,
    outcomes: &[Outcome],
    synced: bool,
    last_words: Option<&str>,
    standby: Option<&Daemon>,
) -> Result<bool> {
    for outcome in outcomes {
        story.outcome(outcome);
    }
    if let (Some(last_words), Some(standby)) = (last_words, standby) {
        story.quote(
            "A# conntrackd -s     (taken just before it was killed)",
            last_words,
        );
        story.quote("B# conntrackd -s", &standby.client(["-s"])?);
    }
    let alive = outcomes.iter().filter(|outcome| outcome.survived()).count();
    let all = outcomes.len();
    let gap = outcomes
        .iter()
        .map(|outcome| outcome.longest_gap.as_millis())
        .max()
        .unwrap_or(0);
    let good = if synced { alive == all } else { alive == 0 };
    story.verdict(
        good,
        &match (synced, good) {
            (true, true) => format!("All {all} connections survived the death of their firewall; longest gap {gap} ms."),
            (true, false) => format!("FAILED: only {alive} of {all} connections survived."),
            (false, true) => format!("Without conntrackd all {all} connections died, as they must: the demo can fail."),
            (false, false) => format!("FAILED: {alive} of {all} connections live without conntrackd; the demo proves nothing."),
        },
    );
    Ok(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_taken_in_any_order() {
        let options =
            Options::parse(&["--daemon", "/usr/sbin/conntrackd", "--without-sync"]).unwrap();
        assert!(options.without_sync);
        assert_eq!(
            options.daemon.unwrap().to_str(),
            Some("/usr/sbin/conntrackd")
        );
        assert!(Options::parse(&["--daemon"]).is_err());
        assert!(Options::parse(&["--fast"]).is_err());
        let options = Options::parse(&["--native"]).unwrap();
        assert_eq!(options.native.unwrap(), FLOWS);
        let options = Options::parse(&["--native", "--flows", "10,200"]).unwrap();
        assert_eq!(options.native.unwrap(), [10, 200]);
        for words in [
            &["--flows", "10"][..],
            &["--native", "--flows"],
            &["--native", "--flows", "20,10"],
            &["--native", "--flows", "0"],
            &["--native", "--without-sync"],
        ] {
            assert!(Options::parse(words).is_err(), "{words:?}");
        }
    }
}
