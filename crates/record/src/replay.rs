//! A core that is told what a recording holds.

use std::time::{Duration, Instant};

use engine::snapshot::ExternalStats;
use engine::{Engine, Mode, Output, Settings, Start};

use crate::digest::Digest;
use crate::step::{End, Header, MAGIC, POLLED_MAX, Passed, Step, VERSION};

/// Longest recording, in time. No firewall runs longer without its daemon being replaced.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// Why a recording cannot be replayed, or not further.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It does not begin like one.
    #[error("this is no recording of conntrackd")]
    NoRecording,
    /// What the core was made with cannot be read.
    #[error("the header cannot be read: {0}")]
    Header(#[from] serde_json::Error),
    /// Of another version of the format.
    #[error("the recording has format {0}, this program reads format {VERSION}")]
    Version(u8),
    /// No configuration makes such settings.
    #[error("no daemon can have these settings: {0}")]
    Settings(&'static str),
    /// A step is none, or is cut off.
    #[error("step {step}, byte {at}: the recording cannot be read further")]
    Broken {
        /// Its number, from 1.
        step: u64,
        /// Where it begins.
        at: usize,
    },
    /// The core answers otherwise than it did.
    #[error(
        "step {step}: this core has given {outputs} outputs with digest {digest:016x}, the recorded one {recorded}"
    )]
    Differs {
        /// Number of the step, from 1.
        step: u64,
        /// Outputs until then.
        outputs: u64,
        /// Digest of them.
        digest: u64,
        /// What the recording says.
        recorded: String,
    },
    /// A table or queue holds more than it may.
    #[error("step {step}: {what} holds {held} elements, more than {bound}")]
    Bound {
        /// Number of the step, from 1.
        step: u64,
        /// Which.
        what: &'static str,
        /// How many.
        held: u64,
        /// How many there may be.
        bound: u64,
    },
}

/// What has been replayed.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Steps of each kind, by [`Step::kind`].
    pub steps: [u64; Step::KINDS.len()],
    /// Bytes of kernel and peers.
    pub bytes: u64,
    /// Time from start to the last step.
    pub time: Duration,
    /// Outputs, and their digest.
    pub digest: Digest,
    /// Messages to send among the outputs.
    pub transmitted: u64,
    /// Checks of the digest that were equal.
    pub checks: u64,
    /// How it ended. `None`: in the middle.
    pub end: Option<End>,
}

/// A recording, and the core that is told it.
#[derive(Debug)]
pub struct Replay<'a> {
    header: Header,
    engine: Engine,
    bytes: &'a [u8],
    at: usize,
    start: Instant,
    now: Instant,
    number: u64,
    summary: Summary,
}

/// What one step was, and when.
pub type Told<'a> = (Duration, Step<'a>);

impl<'a> Replay<'a> {
    /// Reads the header and makes the core.
    ///
    /// # Errors
    /// This is no recording, or none that this program reads.
    pub fn new(bytes: &'a [u8]) -> Result<Self, ReplayError> {
        let rest = bytes
            .strip_prefix(MAGIC.as_bytes())
            .ok_or(ReplayError::NoRecording)?;
        let end = rest
            .iter()
            .position(|&byte| byte == b'\n')
            .ok_or(ReplayError::NoRecording)?;
        let (header, _) = rest.split_at(end);
        let version: OnlyVersion = serde_json::from_slice(header)?;
        if version.version != VERSION {
            return Err(ReplayError::Version(version.version));
        }
        let header: Header = serde_json::from_slice(header)?;
        plausible(&header.settings).map_err(ReplayError::Settings)?;
        let now = Instant::now();
        let start = Start {
            now,
            unix_time_s: header.unix_time_s,
            seed: header.seed,
            origins: header.origins,
        };
        Ok(Self {
            engine: Engine::new(header.settings.clone(), start),
            header,
            bytes,
            at: MAGIC.len() + end + 1,
            start: now,
            now,
            number: 0,
            summary: Summary::default(),
        })
    }

    /// What the core was made with.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The core as it is now.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Time of the recording, as the core has it.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// What has been done so far.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Tells the core the next step; each output goes to `see`. `None`: there are no more.
    ///
    /// # Errors
    /// The step cannot be read, the core answers otherwise than it did, or holds more than it may.
    pub fn step(
        &mut self,
        see: &mut dyn FnMut(&Output<'_>),
    ) -> Result<Option<Told<'a>>, ReplayError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if rest.is_empty() || self.summary.end.is_some() {
            return Ok(None);
        }
        self.number += 1;
        let broken = ReplayError::Broken {
            step: self.number,
            at: self.at,
        };
        let Ok(((passed, step), rest)) = postcard::take_from_bytes::<(Passed, Step<'a>)>(rest)
        else {
            return Err(broken);
        };
        let Some(time) = self.time_after(passed) else {
            return Err(broken);
        };
        if matches!(step, Step::Polled(times) if times > POLLED_MAX) {
            return Err(broken);
        }
        self.at = self.bytes.len() - rest.len();
        self.now = self.start + time;
        self.summary.time = time;
        self.summary.bytes += step.carried().len() as u64;
        if let Some(count) = self.summary.steps.get_mut(step.kind()) {
            *count += 1;
        }
        self.apply(&step, see)?;
        Ok(Some((time, step)))
    }

    /// Tells everything that is left.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn finish(&mut self) -> Result<&Summary, ReplayError> {
        while self.step(&mut |_| ())?.is_some() {}
        Ok(&self.summary)
    }

    fn time_after(&self, passed: Passed) -> Option<Duration> {
        let by = Duration::from_nanos(passed.unsigned_abs());
        let time = match passed {
            0.. => self.summary.time.checked_add(by)?,
            _ => self.summary.time.checked_sub(by)?,
        };
        (time <= LONGEST).then_some(time)
    }

    fn apply(
        &mut self,
        step: &Step<'_>,
        see: &mut dyn FnMut(&Output<'_>),
    ) -> Result<(), ReplayError> {
        let (engine, now) = (&mut self.engine, self.now);
        match step {
            Step::Polled(times) => self.poll(*times, see),
            Step::Check { outputs, digest } => self.check(*outputs, *digest)?,
            Step::Begin => engine.begin(now),
            Step::Timeout => engine.handle_timeout(now),
            Step::Events(bytes) => engine.handle_events(now, bytes),
            Step::Overrun => engine.handle_overrun(now),
            Step::KernelReply(socket, bytes) => engine.handle_kernel_reply(now, *socket, bytes),
            Step::KernelOverrun(socket) => engine.handle_kernel_overrun(now, *socket),
            Step::Datagram(link, bytes) => engine.handle_datagram(now, *link, bytes),
            Step::Stream(link, bytes) => engine.handle_stream(now, *link, bytes),
            Step::StreamClosed(link) => engine.handle_stream_closed(*link),
            Step::Link(link, state) => engine.handle_link(now, *link, *state),
            Step::Command(client, command) => engine.handle_command(now, *client, *command),
            Step::Reconfigure(live) => engine.reconfigure(now, live.clone()),
            Step::PeerOpen(peer) => engine.handle_peer_open(now, *peer),
            Step::PeerBytes(peer, bytes) => {
                engine.handle_peer_bytes(now, *peer, bytes);
            }
            Step::PeerClosed(peer, silent_ns) => {
                let silent = Duration::from_nanos(*silent_ns);
                let heard_at = now.checked_sub(silent).unwrap_or(now);
                engine.handle_peer_closed(now, *peer, heard_at);
            }
            Step::PeerRoom(peer, room) => {
                engine.set_peer_room(*peer, usize::try_from(*room).unwrap_or(usize::MAX));
            }
            Step::End(end) => self.summary.end = Some(*end),
        }
        Ok(())
    }

    fn poll(&mut self, times: u64, see: &mut dyn FnMut(&Output<'_>)) {
        for _ in 0..times {
            // A recording holds the times without an answer too.
            let Some(output) = self.engine.poll_output() else {
                continue;
            };
            self.summary.transmitted += u64::from(matches!(output, Output::Transmit { .. }));
            self.summary.digest.take(&output);
            see(&output);
        }
    }

    fn check(&mut self, outputs: u64, digest: u64) -> Result<(), ReplayError> {
        let own = &self.summary.digest;
        if (own.outputs(), own.value()) != (outputs, digest) {
            return Err(ReplayError::Differs {
                step: self.number,
                outputs: own.outputs(),
                digest: own.value(),
                recorded: format!("{outputs} with {digest:016x}"),
            });
        }
        self.summary.checks += 1;
        self.check_bounds()
    }

    fn check_bounds(&self) -> Result<(), ReplayError> {
        let (settings, snapshot) = (&self.header.settings, self.engine.snapshot());
        let resend_max = match settings.mode {
            Mode::Ftfw {
                resend_queue_len, ..
            } => resend_queue_len as u64,
            _ => 0,
        };
        let resend = snapshot.resend_queue.map_or(0, |queue| queue.len);
        let external = match snapshot.external {
            Some(ExternalStats::Cache(stats)) => stats.active,
            _ => 0,
        };
        let origins = settings.native.peers.len() as u64 + 1;
        for (what, held, bound) in [
            ("the resend queue", resend, resend_max),
            (
                "the external cache",
                external,
                origins * settings.cache_limit as u64,
            ),
        ] {
            if held > bound {
                return Err(ReplayError::Bound {
                    step: self.number,
                    what,
                    held,
                    bound,
                });
            }
        }
        Ok(())
    }
}

#[derive(serde::Deserialize)]
struct OnlyVersion {
    version: u8,
}

/// What a configuration cannot say is refused before a core is made with it.
fn plausible(settings: &Settings) -> Result<(), &'static str> {
    let mut durations = vec![settings.purge_timeout, settings.policy.resync_interval];
    durations.extend(settings.overrun_resync);
    durations.extend(settings.poll);
    match settings.mode {
        Mode::Ftfw { ack_window: 0, .. } => return Err("ack_window"),
        Mode::Alarm {
            refresh,
            cache_timeout,
        } => durations.extend([refresh, cache_timeout]),
        _ => {}
    }
    if durations.iter().any(|&d| d > LONGEST) || settings.poll == Some(Duration::ZERO) {
        return Err("durations");
    }
    let payloads = settings.links.iter().map(|link| link.payload_len);
    if settings.links.len() > usize::from(u8::MAX)
        || !payloads.into_iter().all(|len| (256..=65535).contains(&len))
    {
        return Err("links");
    }
    if settings.native.peers.len() > usize::from(u8::MAX) {
        return Err("native.peers");
    }
    Ok(())
}
