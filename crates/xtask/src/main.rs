//! The project's commands: `cargo xtask help` lists them.
//!
//! In reading order: [`tools`] (programs that must be there), [`stage`] (steps with their time), [`mod@test`], [`fuzz`], [`sim`], [`man`],
//! [`package`], [`book`], [`mod@reference`], [`screens`], [`mod@bench`], [`instructions`] (what an event may cost), [`demo`], [`story`] (how the demo speaks).

mod bench;
mod book;
mod demo;
mod failovers;
mod faults;
mod fuzz;
mod instructions;
mod man;
mod package;
mod reference;
mod screens;
mod sim;
mod stage;
mod story;
mod test;
mod tools;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
cargo xtask demo [--without-sync] [--daemon PATH]
    A firewall pair in network namespaces: the active one is killed while connections run through it; watch them go on.
    --without-sync   the same without conntrackd: every connection must die, which proves that the demo can fail
    --daemon PATH    another daemon that reads conntrackd.conf, for instance /usr/sbin/conntrackd
    Exit status 0: what was to be shown has been shown.

cargo xtask demo --native [--flows N,N,...] [--daemon PATH]
    Three firewalls that speak the native dialect, encrypted, in hot standby: the active one is killed while connections run
    through it. How long it takes from promotion to readiness, for each number of connections (1,000, 100,000 and 1,000,000
    if not told: a few minutes and 3 GiB). Exit status 0: all connections went on, and that time does not grow.

cargo xtask test [FILTER]
    Everything that must hold: format, lints, build, all tests, simulation, documentation, dependencies.
    With FILTER only the tests whose name contains it.

cargo xtask fuzz [--minutes M | --smoke] [TARGET ...]
    Runs every reader of foreign bytes under libFuzzer, M minutes each (10 if not told; --smoke: two seconds), and says
    how many inputs were tried, how much of the program they reached, and what failed. Needs a C++ compiler.

cargo xtask faults [--full] [FILTER]
    Real faults against real daemons in network namespaces, one after the other: kills, stops, bad links, overruns, full
    tables and disks, floods. Prints how long each took to heal. --full: at full length, about half an hour.

cargo xtask soak [--minutes M] [--flows N]
    40,000 new flows a second for M minutes (10 if not told: 24 million): memory must stay flat, descriptors constant, the
    tables equal at the end.

cargo xtask bench [--full | --quick] [--rounds N] [--entries N] [--seconds N] [--json FILE [--resume]] [--markdown FILE]
                  [--plots DIR] [--report] [MEASURE ...]
    The daemon beside the original and beside what the kernel allows, taking turns. Prints a table of ratios; after every
    measure the tables of both nodes are compared. Needs root and a machine that has nothing else to do.
    native      the native dialect beside version 1: not part of a run that names no measure
    --full      five rounds, a million entries: about 50 minutes; docs/benchmarks.md has the measures, each below ten
    --json      numbers of earlier runs, which this one adds to; --resume leaves out what is there
    --report    measures nothing, only draws table and plots from the file

cargo xtask bench --instructions | --renew-instructions
    How many instructions an event costs, held against crates/micro/instructions.txt (`cargo xtask test` does it too),
    or written down there.

cargo xtask failovers [--rounds N]
    N failovers and fail-backs (20 if not told) with keepalived under TCP, UDP and translated load with flapping cables, of this daemon and
    of the original with its script. Prints how long connections stood still, and which were lost.

cargo xtask sim [--seeds A..B | --minutes M] [--mode ftfw|notrack|alarm]
cargo xtask sim --seed N [--mode MODE] [--keep ACTS]
cargo xtask sim --replay FILE [--trace]
    Runs the core under simulated kernels, links, clocks and processes, on all processors; what is promised is in
    docs/guarantees.md. A failure tells seed and step and is made smaller; --seed repeats one run and tells what happens.
    --fault NAME plants a deliberate fault first; `cargo xtask sim --help` tells more. --replay tells a core again what
    `conntrackd --record FILE` wrote down of a live one, and compares all that it answers.

cargo xtask man
    Writes the manual pages, from docs/man into the target folder; read one with `man -l target/man/conntrack.8`.

cargo xtask deb [--binaries DIR] [--out DIR]
cargo xtask rpm [--binaries DIR] [--out DIR]
    A package of the release binaries, or of those in DIR, with everything that belongs to them; prints its path.

cargo xtask book
    The documents as a book, after every link has been checked; prints the path of its first page.

cargo xtask reference
    Writes the references of the configuration and of the metrics; a test says when they are not current.

cargo xtask screens
    Pictures of the demo and of the live screen, taken from a real terminal into docs/screens.

cargo xtask root
    A clean Debian to try packages in, as an archive, made once; prints its path.

cargo xtask help
    This text.

demo and test install by apt-get and cargo install what they lack, and say so. Both need root: demo refuses to run
without it, test skips what needs network namespaces.
";

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<ExitCode> {
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["bench", "--renew-instructions"] => {
            instructions::renew()?;
            Ok(ExitCode::SUCCESS)
        }
        ["bench", "--instructions"] => {
            instructions::check()?;
            Ok(ExitCode::SUCCESS)
        }
        ["bench", options @ ..] => bench::run(options),
        ["demo", options @ ..] => demo::run(&demo::Options::parse(options)?),
        ["failovers", options @ ..] => failovers::run(options),
        ["faults", options @ ..] => faults::run(&faults::Options::parse(options)?),
        ["soak", options @ ..] => faults::soak(options),
        ["fuzz", options @ ..] => fuzz::run(&fuzz::Options::parse(options)?),
        ["man"] => man::run(),
        ["deb", options @ ..] => package::run(package::Format::Deb, options),
        ["rpm", options @ ..] => package::run(package::Format::Rpm, options),
        ["book"] => book::run(),
        ["reference"] => reference::run(),
        ["screens"] => screens::run(),
        ["root"] => package::root::run(),
        ["sim", options @ ..] => sim::run(options),
        ["test"] => test::run(None),
        ["test", filter] if !filter.starts_with('-') => test::run(Some(filter)),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        [command, ..] => bail!("cannot do `{command}` like that; see `cargo xtask help`"),
    }
}
