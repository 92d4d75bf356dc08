//! `conntrackd`: keeps a pair of firewalls in step.
//!
//! This crate holds sockets, tasks and files, and takes no decision of the protocol: the core does, in
//! `engine`. Reading order: `cli`, `daemon`, `tasks`, `driver`, `kernel`, `link`, `server`, `report`.

#![forbid(unsafe_code)]

mod access;
mod check;
mod cli;
mod client;
mod daemon;
mod detach;
mod driver;
mod interfaces;
mod keepalived;
mod kernel;
mod keys;
mod link;
mod load;
mod lock;
mod log;
mod metrics;
mod native;
mod pace;
mod progress;
mod reader;
mod recording;
mod rehearse;
mod reload;
mod report;
mod rest;
mod sandbox;
mod scheduler;
mod server;
mod service;
mod settings;
mod tasks;
mod top;
mod verbs;
mod writer;

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use control::Request;

use cli::{Call, Invocation, Verb};
use log::{Level, complain};

// What is installed holds no deliberate faults.
const _: () = assert!(cfg!(debug_assertions) || !engine::fault::CAN_BE_PLANTED);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments
        .next()
        .unwrap_or_else(|| OsString::from("conntrackd"));
    let line = cli::parse(arguments);
    // A closed standard output is no reason not to do what was asked.
    let _ = cli::tell(&line.says, &program, &mut io::stdout());
    match line.invocation {
        Invocation::Daemon { detach: true, .. } if !detach::is_child() => match detach::start() {
            Ok(code) => code,
            Err(error) => fail(&format!("can't start in the background: {error}")),
        },
        Invocation::Daemon {
            config,
            record,
            recover,
            ..
        } => daemon::run(&config, record, recover),
        Invocation::Client { request, config } => ask(request, &config),
        Invocation::Verb(call) => carry_out(&call),
        Invocation::Exit(code) => ExitCode::from(code),
    }
}

fn carry_out(call: &Call) -> ExitCode {
    let (config, json) = (&call.config, call.json);
    match &call.verb {
        Verb::Check => check::check(config),
        Verb::Convert => check::convert(config),
        Verb::Sweep => lock::sweep(config),
        Verb::Role => with_socket(config, |socket| verbs::role(socket, json)),
        Verb::Become {
            role,
            from,
            timeout,
        } => with_socket(config, |socket| {
            verbs::become_role(socket, *role, from, *timeout, json)
        }),
        Verb::Peers => with_socket(config, |socket| verbs::peers(socket, json)),
        Verb::Keygen(file) => verbs::keygen(file.as_deref()),
        Verb::Ready => with_socket(config, |socket| verbs::ready(socket, json)),
        Verb::Dump(dump) => match dump {
            Some(dump) => ask(Request::dump(*dump).number(), config),
            None => ExitCode::FAILURE,
        },
        Verb::Stats(page) => with_socket(config, |socket| verbs::stats(socket, *page, json)),
        Verb::Rehearse => match load::load(config) {
            Ok((config, warnings)) => {
                load::tell_warnings(&warnings);
                let socket = config.general.unix_path.clone().unwrap_or_default();
                rehearse::run(&socket, &config, json)
            }
            Err(error) => {
                load::tell_warnings(error.warnings());
                fail(&error.to_string())
            }
        },
        Verb::Top(words) => with_socket(config, |socket| fail(&top::run(socket, words))),
    }
}

/// Asks the daemon that the configuration names.
fn ask(request: u32, config: &Path) -> ExitCode {
    with_socket(config, |socket| {
        let run = || {
            let mut out = progress::Counting(io::stdout());
            client::run(socket, request, &mut out)
        };
        let outcome = match Request::from_number(request) {
            Some(known) => progress::during(socket, known, run),
            None => run(),
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error.to_string()),
        }
    })
}

/// Does something with the control socket that the configuration names.
fn with_socket(config: &Path, ask: impl FnOnce(&Path) -> ExitCode) -> ExitCode {
    match load::load(config) {
        Ok((config, warnings)) => {
            load::tell_warnings(&warnings);
            // Without a path no client can connect; the original says so in the same words.
            ask(&config.general.unix_path.unwrap_or_default())
        }
        Err(error) => {
            load::tell_warnings(error.warnings());
            fail(&error.to_string())
        }
    }
}

fn fail(text: &str) -> ExitCode {
    complain(Level::Error, text);
    ExitCode::FAILURE
}
