//! Runs seeds of the simulator; `cargo xtask sim --help` says how.

#![forbid(unsafe_code)]

mod replay;
mod run;

use std::process::ExitCode;

use run::Options;

const USAGE: &str = "\
usage: sim [--seeds A..B | --minutes M] [--mode MODE] [--jobs N] [--first] [--quiet]
       sim --seed N [--mode MODE] [--keep ACTS] [--quiet]
       sim --replay FILE [--trace]
MODE is ftfw, notrack or alarm; all of them if not told. Of ranges of seeds the first counts and the last too.
--seed repeats one run and tells what happens; --keep leaves only these of its acts (3,17-20).
--first ends with the first failure; --quiet makes none smaller, and tells less.
--fault NAME plants a fault, if the simulator was built with the feature `planted-faults`.
--replay tells a core what `conntrackd --record FILE' wrote down, and compares what it answers; --trace says each step.
Exit status 0: no promise was broken.
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(options) = replay::Options::parse(&words) {
        return match options {
            Ok(options) => replay::run(&options),
            Err(error) => refuse(&error),
        };
    }
    match Options::parse(&words) {
        Ok(options) => run::run(&options),
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &str) -> ExitCode {
    eprintln!("{error}\n{USAGE}");
    ExitCode::from(2)
}
