//! Doing what a request asks for.

mod count;
mod create;
mod delete;
mod events;
mod expect;
mod flush;
mod list;
pub mod load;
mod stats;
mod update;

use std::io;

use crate::{
    command::{Command, Table},
    console::Console,
    error::Failure,
    kernel::{Asker, Batcher, Trouble},
    request::Request,
};

/// Exit status of a command that did what it should.
pub const SUCCESS: u8 = 0;
/// Exit status of a command that failed, or that touched nothing.
pub const NOTHING: u8 = 1;

/// Where a request's summary line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summary {
    /// It is said.
    Said,
    /// It is not: one of many requests.
    Omitted,
}

/// The kernel and the console, for one request after the other.
#[derive(Debug)]
pub struct Session<'a, 'b> {
    /// Where output goes.
    pub console: &'a mut Console<'b>,
    /// Whether summaries are said.
    pub summary: Summary,
    asker: Option<Asker>,
    batcher: Option<Batcher>,
}

impl<'a, 'b> Session<'a, 'b> {
    /// Begins.
    pub fn new(console: &'a mut Console<'b>, summary: Summary) -> Self {
        Self {
            console,
            summary,
            asker: None,
            batcher: None,
        }
    }

    /// Does what the request asks for and returns the exit status. Output may still be in the buffer.
    ///
    /// # Errors
    /// The kernel refuses, or standard output is gone.
    pub fn run(&mut self, request: &Request) -> Result<u8, Failure> {
        let is_expect = request.table == Table::Expect;
        match request.command {
            Command::List if is_expect => expect::list(self, request),
            Command::Get | Command::Create | Command::Delete if is_expect => {
                expect::one(self, request)
            }
            Command::List => list::list(self, request),
            Command::Get => list::get(self, request),
            Command::Delete => delete::delete(self, request),
            Command::Create | Command::Add => create::create(self, request),
            Command::Update => update::update(self, request),
            Command::Event => events::listen(self, request),
            Command::Flush => flush::flush(self, request),
            Command::Count => count::count(self, request),
            Command::Stats => stats::stats(self, request),
            Command::Version => {
                let line = format!("{}\n", crate::console::PROGRAM);
                self.console.buffer().extend_from_slice(line.as_bytes());
                Ok(SUCCESS)
            }
            Command::Help => {
                let text = crate::help::text(request.protocol);
                self.console.buffer().extend_from_slice(text.as_bytes());
                Ok(SUCCESS)
            }
        }
    }

    fn asker(&mut self, request: &Request) -> Result<&mut Asker, Failure> {
        if self.asker.is_none() {
            self.asker = Some(Asker::open().map_err(refused(request))?);
        }
        self.asker
            .as_mut()
            .ok_or_else(|| refused(request)(io::ErrorKind::NotConnected.into()))
    }

    /// Takes the batch writer out; give it back with [`Session::keep`].
    fn take_batcher(&mut self, request: &Request) -> Result<Batcher, Failure> {
        match self.batcher.take() {
            Some(batcher) => Ok(batcher),
            None => Batcher::open().map_err(refused(request)),
        }
    }

    fn keep(&mut self, batcher: Batcher) {
        self.batcher = Some(batcher);
    }

    /// Says how many entries something was done to.
    fn summarize(&mut self, count: u64, what: &str) -> Result<(), Failure> {
        match self.summary {
            Summary::Said => self.console.say(&format!("{count} {what}.")),
            Summary::Omitted => Ok(()),
        }
    }
}

/// Turns the kernel's error into the request's failure.
fn refused(request: &Request) -> impl FnOnce(io::Error) -> Failure {
    let (command, table) = (request.command, request.table);
    move |error| Failure::Operation {
        command,
        table,
        error,
    }
}

fn failed(request: &Request, trouble: Trouble) -> Failure {
    match trouble {
        Trouble::Kernel(error) => refused(request)(error),
        Trouble::Failure(failure) => failure,
    }
}

fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

/// The exit status of a command that should have touched something.
fn touched(count: u64) -> u8 {
    if count == 0 { NOTHING } else { SUCCESS }
}
