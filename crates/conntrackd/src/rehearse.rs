//! `conntrackd rehearse`: a takeover that touches no traffic.
//!
//! The daemon tells the external cache in the format of the link; a second core, in this process, takes it and commits it with
//! the very code of a takeover, into the kernel's table of a network namespace that nobody else is in and that ends with the
//! process.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use config::Config;
use control::rehearsal::{RehearsalReport, Room};
use control::report::Report;
use control::{Request, json};
use ctnetlink::socket::Received;
use engine::api::{ExternalMode, InternalMode, LinkSettings, Settings};
use engine::{ClientId, Command, Engine, KernelSocket, LinkId, Mode, Output, Scope, Start};
use nix::sched::{CloneFlags, unshare};

use crate::client::{self, ClientError};
use crate::kernel::Requests;
use crate::log::{Level, complain};
use crate::settings;

/// A kernel that answers nothing for so long will not.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
enum RehearsalError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("no namespace of its own: {0} (CAP_SYS_ADMIN is needed)")]
    Namespace(#[source] io::Error),
    #[error("can't open netlink handler: {0} (CAP_NET_ADMIN and nf_conntrack_netlink are needed)")]
    Netlink(#[source] io::Error),
    #[error("the kernel does not answer")]
    Silent,
}

/// Rehearses and tells. Success if all was taken, and there is room for it.
pub(crate) fn run(socket: &Path, config: &Config, json: bool) -> ExitCode {
    match rehearse(socket, config) {
        Ok(report) => {
            let text = if json {
                json::line(&report)
            } else {
                report.to_string().into_bytes()
            };
            // Whoever reads has seen enough if it goes away.
            let _ = io::stdout().write_all(&text);
            if report.would_succeed {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            complain(Level::Error, &error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn rehearse(socket: &Path, config: &Config) -> Result<RehearsalReport, RehearsalError> {
    let mut line = Vec::new();
    client::run(socket, Request::Report.number(), &mut line)?;
    let daemon: Report = serde_json::from_slice(&line).map_err(|_| ClientError::NotUnderstood)?;
    // The kernel's numbers of this namespace, before it is left.
    let room = room();
    let started = Instant::now();
    let mut actor = Actor {
        engine: engine(config, started),
    };
    client::run(socket, Request::Export.number(), &mut actor)?;
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| RehearsalError::Namespace(errno.into()))?;
    let requests = Requests::open().map_err(RehearsalError::Netlink)?;
    commit(&mut actor.engine, &requests)?;
    let operations = actor.engine.operations(Instant::now());
    Ok(RehearsalReport::new(&operations, &daemon, room))
}

/// A core with nothing but the external cache, by the rules of the configuration.
fn engine(config: &Config, now: Instant) -> Engine {
    let settings = Settings {
        mode: Mode::Notrack,
        internal: InternalMode::Bypass,
        external: ExternalMode::Cache,
        links: vec![LinkSettings {
            payload_len: 1400,
            default: true,
        }],
        startup_resync: false,
        poll: None,
        overrun_resync: None,
        ..settings::settings(config, &[], &[])
    };
    let start = Start {
        now,
        unix_time_s: 1,
        seed: std::process::id().into(),
        origins: engine::Origins::default(),
    };
    Engine::new(settings, start)
}

/// Takes what the daemon tells, as if a peer told it.
struct Actor {
    engine: Engine,
}

impl io::Write for Actor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.engine.handle_stream(Instant::now(), LinkId(0), bytes);
        // What it would say to a peer is for nobody.
        while self.engine.poll_output().is_some() {}
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Commits everything into this namespace's kernel.
fn commit(engine: &mut Engine, requests: &Requests) -> Result<(), RehearsalError> {
    let mut buffer = vec![0; 64 * 1024];
    engine.handle_command(Instant::now(), ClientId(0), Command::Commit(Scope::All));
    let mut heard = Instant::now();
    loop {
        let socket = match engine.poll_output() {
            Some(Output::Done { .. }) => return Ok(()),
            Some(Output::Kernel { socket, bytes }) => {
                requests
                    .socket(socket)
                    .send(bytes)
                    .map_err(RehearsalError::Netlink)?;
                socket
            }
            Some(_) => continue,
            None => KernelSocket::Commit,
        };
        // The kernel has answered before `send` returned, all or in part.
        loop {
            match requests
                .socket(socket)
                .receive(&mut buffer)
                .map_err(RehearsalError::Netlink)?
            {
                Received::Data(len) => {
                    heard = Instant::now();
                    let bytes = buffer.get(..len).unwrap_or_default();
                    engine.handle_kernel_reply(heard, socket, bytes);
                }
                Received::Overrun => engine.handle_kernel_overrun(Instant::now(), socket),
                Received::WouldBlock => break,
            }
        }
        if heard.elapsed() > PATIENCE {
            return Err(RehearsalError::Silent);
        }
    }
}

/// How full the kernel's table is; `None` where it does not tell.
fn room() -> Option<Room> {
    let number = |name: &str| {
        let path = format!("/proc/sys/net/netfilter/nf_conntrack_{name}");
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    Some(Room {
        entries: number("count")?,
        max: number("max")?,
    })
}
