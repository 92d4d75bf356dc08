//! Runs seeds: `sim --seed N [--mode ftfw|notrack|alarm] [--trace]`, `sim --seeds COUNT [--from N]`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use sim::plan::ModeName;
use sim::scenario;

const USAGE: &str =
    "usage: sim [--seed N | --seeds COUNT [--from N]] [--mode ftfw|notrack|alarm] [--trace]";

struct Arguments {
    from: u64,
    count: u64,
    mode: Option<ModeName>,
    trace: bool,
}

fn arguments() -> Option<Arguments> {
    let mut arguments = Arguments {
        from: 1,
        count: 1,
        mode: None,
        trace: false,
    };
    let mut given = std::env::args().skip(1);
    while let Some(option) = given.next() {
        match option.as_str() {
            "--seed" | "--from" => arguments.from = given.next()?.parse().ok()?,
            "--seeds" => arguments.count = given.next()?.parse().ok()?,
            "--mode" => arguments.mode = Some(ModeName::from_name(&given.next()?)?),
            "--trace" => arguments.trace = true,
            _ => return None,
        }
    }
    Some(arguments)
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut failed = 0;
    let mut exact = 0;
    for seed in arguments.from..arguments.from.saturating_add(arguments.count) {
        let run = || scenario::run(seed, arguments.mode, arguments.trace);
        match std::panic::catch_unwind(run) {
            Ok(report) => {
                exact += u64::from(report.exact);
                if arguments.count == 1 {
                    println!("{report:#?}");
                }
                if !report.violations.is_empty() {
                    failed += 1;
                    println!("seed {seed} ({:?}):", report.plan.mode);
                    for violation in &report.violations {
                        println!("  {violation}");
                    }
                }
            }
            Err(_) => {
                failed += 1;
                println!("seed {seed}: panic");
            }
        }
    }
    println!(
        "{} seeds, {failed} failed, {exact} compared exactly",
        arguments.count
    );
    ExitCode::from(u8::from(failed > 0))
}
