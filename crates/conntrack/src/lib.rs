//! The `conntrack` command: lists, changes and watches the kernel's table of connections.
//!
//! The words on the command line, the text on both streams and the exit status are an interface that
//! scripts rely on: they are those of the original. What differs on purpose is listed in `DEVIATIONS.md`.
//! This crate knows nothing of netlink's format, which is `ctnetlink`'s.
//!
//! Reading order: [`getopt`], [`options`], [`protocol`], [`parse`], [`request`], [`filter`], [`mod@print`],
//! [`kernel`], [`exec`].

#![forbid(unsafe_code)]

pub mod address;
pub mod command;
pub mod completion;
pub mod console;
pub mod error;
pub mod exec;
pub mod filter;
pub mod getopt;
pub mod help;
pub mod kernel;
pub mod labels;
pub mod netns;
pub mod number;
pub mod options;
pub mod origin;
pub mod parse;
pub mod print;
pub mod protocol;
pub mod request;
mod sctp;
pub mod tuples;
pub mod words;

use std::{io, path::Path};

use console::Console;
use error::Failure;
use exec::{Session, Summary};
use parse::Parsed;
use request::Request;

/// Exit status when the command line is wrong.
const USAGE: u8 = 2;
/// Exit status when standard output was closed early: that of a process which SIGPIPE ended.
const BROKEN_PIPE: u8 = 141;

/// Runs a command line, the first word being the program's name, and returns the exit status.
pub fn run(words: Vec<String>, console: &mut Console<'_>) -> u8 {
    let outcome = match load_file(&words) {
        Some((file, netns)) => load(&file, netns.as_deref(), console),
        None => command(words, console),
    };
    let outcome = outcome.and_then(|status| console.flush().map(|()| status));
    match outcome {
        Ok(status) => status,
        Err(failure) => report(&failure, console),
    }
}

fn report(failure: &Failure, console: &mut Console<'_>) -> u8 {
    if let Failure::Output(error) = failure
        && error.kind() == io::ErrorKind::BrokenPipe
    {
        return BROKEN_PIPE;
    }
    // Standard output may be gone; the status tells it.
    let _ = console.say(&failure.to_string());
    match failure {
        Failure::Usage(error) if error.is_parameter_problem() => {
            let _ =
                console.remark("Try `conntrack -h' or 'conntrack --help' for more information.");
            USAGE
        }
        _ => exec::NOTHING,
    }
}

/// The load file and the namespace, when the command line is about a file.
fn load_file(words: &[String]) -> Option<(String, Option<String>)> {
    let words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
    match words[..] {
        ["--netns", netns, "-R" | "--load-file", file, ..] => {
            Some((file.to_owned(), Some(netns.to_owned())))
        }
        ["-R" | "--load-file", file, "--netns", netns, ..] => {
            Some((file.to_owned(), Some(netns.to_owned())))
        }
        // compat: what follows is ignored.
        ["-R" | "--load-file", file, ..] => Some((file.to_owned(), None)),
        _ => None,
    }
}

fn load(file: &str, netns: Option<&str>, console: &mut Console<'_>) -> Result<u8, Failure> {
    let content = exec::load::read(file)?;
    let mut remarks = Vec::new();
    let requests = exec::load::requests(&content, |remark| remarks.push(remark.to_owned()));
    for remark in remarks {
        console.remark(&remark)?;
    }
    let requests = requests?;
    if let Some(netns) = netns {
        netns::enter(Path::new(netns))?;
    }
    exec::load::run(&mut Session::new(console, Summary::Omitted), &requests)
}

fn command(words: Vec<String>, console: &mut Console<'_>) -> Result<u8, Failure> {
    let Parsed { request, remarks } = parse::parse(words);
    for remark in remarks {
        console.remark(&remark)?;
    }
    let request = request?.unwrap_or_else(help_request);
    if let Some(netns) = &request.netns {
        netns::enter(netns)?;
    }
    Session::new(console, Summary::Said).run(&request)
}

fn help_request() -> Request {
    Request::new(command::Command::Help, command::Table::Conntrack)
}
