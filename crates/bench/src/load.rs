//! Real kernel entries at a rate: a flow is made, changed twice and deleted.
//!
//! New; 50 ms later the reply is seen; 50 ms later it is established; a second after the first it ends. One of ten
//! stays, so that a table remains to be compared. The generator does not wait for anybody: like packets, it comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ctnetlink::request::{self, Ack, Write};
use ctnetlink::socket::{Received, RequestSocket};
use flow::{Flow, ProtoInfo, Status, TcpState};
use netlab::{Namespace, sample};
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

use crate::wire::{self, Moment};

/// Distance of two batches.
pub(crate) const TICK: Duration = Duration::from_millis(1);
const STEP: Duration = Duration::from_millis(50);
const LIFE: Duration = Duration::from_secs(1);

/// What was done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) flows: u32,
    /// Flows that are still there.
    pub(crate) left: u32,
    /// Part of the wanted rate that was reached.
    pub(crate) achieved: f64,
}

/// What happens to a flow, and how long after its beginning.
pub(crate) const STAGES: [(Duration, Stage); 4] = [
    (Duration::ZERO, Stage::Begin),
    (STEP, Stage::Replied),
    (STEP.saturating_mul(2), Stage::Established),
    (LIFE, Stage::End),
];

#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    Begin,
    Replied,
    Established,
    End,
}

/// Whether a flow stays.
pub(crate) fn stays(number: u32) -> bool {
    number.is_multiple_of(10)
}

/// How many of `flows` have come to a stage, which is reached `delay` after the beginning of a flow.
pub(crate) fn due(now: Duration, delay: Duration, rate: u32, flows: u32) -> u32 {
    // A stage whose time has not come has nothing due.
    let Some(passed) = now.checked_sub(delay) else {
        return 0;
    };
    let due = passed.as_secs_f64() * f64::from(rate);
    (due as u32 + 1).min(flows)
}

/// Makes `rate` flows a second for `seconds`, in a namespace, above everything else on the machine.
pub(crate) fn run(namespace: &Namespace, rate: u32, seconds: u32) -> Result<Done> {
    let namespace = namespace.clone();
    let worker = std::thread::spawn(move || {
        let socket = namespace.enter(RequestSocket::open)??;
        above_everything()?;
        generate(&socket, rate, rate * seconds)
    });
    worker
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

pub(crate) fn above_everything() -> Result<()> {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let priority = ThreadPriority::Crossplatform(99_u8.try_into().map_err(anyhow::Error::msg)?);
    set_thread_priority_and_policy(thread_native_id(), priority, policy)
        .map_err(|error| anyhow::anyhow!("{error:?}"))
        .context("scheduling of the generator")
}

fn generate(socket: &RequestSocket, rate: u32, flows: u32) -> Result<Done> {
    let mut next = [0; STAGES.len()];
    let mut batch = Vec::with_capacity(256 * 1024);
    let begun = Instant::now();
    let mut made_in = Duration::ZERO;
    while next.last() != Some(&flows) {
        let now = begun.elapsed();
        batch.clear();
        for (next, (delay, stage)) in next.iter_mut().zip(STAGES) {
            let due = due(now, delay, rate, flows);
            while *next < due && batch.len() < 128 * 1024 {
                if !(matches!(stage, Stage::End) && stays(*next)) {
                    write(&mut batch, *next, stage);
                }
                *next += 1;
            }
        }
        if next.first() == Some(&flows) && made_in == Duration::ZERO {
            made_in = begun.elapsed();
        }
        if batch.is_empty() {
            std::thread::sleep(TICK);
        } else {
            socket.send(&batch)?;
            errors(socket)?;
            if let Some(rest) = TICK.checked_sub(begun.elapsed() - now) {
                std::thread::sleep(rest);
            }
        }
    }
    Ok(Done {
        flows,
        left: flows.div_ceil(10),
        achieved: f64::from(flows) / made_in.as_secs_f64() / f64::from(rate),
    })
}

/// Changes of entries that are there, `rate` in a second, until the end of its handle: TCP states to and fro.
pub(crate) struct Updates {
    ended: Arc<AtomicBool>,
    worker: JoinHandle<Result<u64>>,
}

impl Updates {
    /// Begins; the entries are the samples below `entries`.
    pub(crate) fn start(namespace: &Namespace, rate: u32, entries: u32) -> Result<Self> {
        let socket = namespace.enter(RequestSocket::open)??;
        let ended = Arc::new(AtomicBool::new(false));
        let worker = std::thread::spawn({
            let ended = Arc::clone(&ended);
            move || {
                above_everything()?;
                update(&socket, rate, entries, &ended)
            }
        });
        Ok(Self { ended, worker })
    }

    /// Ends; returns how many there were.
    pub(crate) fn finish(self) -> Result<u64> {
        self.ended.store(true, Ordering::Relaxed);
        self.worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn update(socket: &RequestSocket, rate: u32, entries: u32, ended: &AtomicBool) -> Result<u64> {
    let mut batch = Vec::new();
    let mut done = 0;
    let begun = Instant::now();
    while !ended.load(Ordering::Relaxed) {
        let now = begun.elapsed();
        let due = (now.as_secs_f64() * f64::from(rate)) as u64;
        batch.clear();
        while done < due && batch.len() < 128 * 1024 {
            write_update(&mut batch, done, entries);
            done += 1;
        }
        if !batch.is_empty() {
            socket.send(&batch)?;
            errors(socket)?;
        }
        if let Some(rest) = TICK.checked_sub(begun.elapsed() - now) {
            std::thread::sleep(rest);
        }
    }
    Ok(done)
}

/// The `turn`th change: all over the table, each entry now this and now that.
fn write_update(batch: &mut Vec<u8>, turn: u64, entries: u32) {
    // Without a common factor with sizes that are powers of ten, all are met.
    const STRIDE: u64 = 7_777_777;
    let place = turn.wrapping_mul(STRIDE) % u64::from(entries);
    // One of four is UDP; its neighbour is TCP.
    let number = place as u32 | 2;
    let flow = sample::nth(number.min(entries - 2) | 2);
    let mut update = Flow::new(flow.orig);
    update.reply = flow.reply;
    update.proto = flow.proto;
    if let ProtoInfo::Tcp(tcp) = &mut update.proto {
        let is_odd = turn / u64::from(entries) % 2 == 1;
        tcp.state = Some(if is_odd {
            TcpState::Established
        } else {
            TcpState::CloseWait
        });
    }
    request::write_flow(batch, 1, Ack::Silent, Write::Update, &update);
}

/// Single entries at a steady or random pace, each noted with the time just before and just after it was made.
pub(crate) struct Probes {
    ended: Arc<AtomicBool>,
    worker: JoinHandle<Result<Vec<Probe>>>,
}

/// One entry that was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    pub(crate) number: u32,
    pub(crate) before: Moment,
    pub(crate) after: Moment,
}

/// The distance of probes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Every millisecond.
    Steady,
    /// 1 to 5 ms, in step with nothing.
    Random,
}

impl Probes {
    /// Begins with the sample of a number; ends by itself after `most`.
    pub(crate) fn start(namespace: &Namespace, first: u32, pace: Pace, most: u32) -> Result<Self> {
        let socket = namespace.enter(RequestSocket::open)??;
        let ended = Arc::new(AtomicBool::new(false));
        let worker = std::thread::spawn({
            let ended = Arc::clone(&ended);
            move || {
                above_everything()?;
                probe(&socket, first, pace, most, &ended)
            }
        });
        Ok(Self { ended, worker })
    }

    /// Waits until all are made.
    pub(crate) fn wait(self) -> Result<Vec<Probe>> {
        self.worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Ends.
    pub(crate) fn finish(self) -> Result<Vec<Probe>> {
        self.ended.store(true, Ordering::Relaxed);
        self.wait()
    }
}

fn probe(
    socket: &RequestSocket,
    first: u32,
    pace: Pace,
    most: u32,
    ended: &AtomicBool,
) -> Result<Vec<Probe>> {
    let mut probes = Vec::new();
    let mut noise = u64::from(first) | 1;
    let mut batch = Vec::new();
    for number in first..first + most {
        if ended.load(Ordering::Relaxed) {
            break;
        }
        batch.clear();
        request::write_flow(
            &mut batch,
            1,
            Ack::Silent,
            Write::Create,
            &sample::nth(number),
        );
        let before = wire::now();
        socket.send(&batch)?;
        probes.push(Probe {
            number,
            before,
            after: wire::now(),
        });
        errors(socket)?;
        std::thread::sleep(match pace {
            Pace::Steady => Duration::from_millis(1),
            Pace::Random => {
                noise = noise
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                Duration::from_micros(1000 + (noise >> 33) % 4000)
            }
        });
    }
    Ok(probes)
}

/// Only what went wrong is answered.
fn errors(socket: &RequestSocket) -> Result<()> {
    let mut buffer = [0; 4096];
    match socket.receive(&mut buffer)? {
        Received::WouldBlock => Ok(()),
        Received::Overrun => bail!("answers were lost"),
        Received::Data(len) => bail!("the kernel refused: {:?}", buffer.get(..len.min(64))),
    }
}

/// Appends the request that brings a flow to a stage.
pub(crate) fn write(batch: &mut Vec<u8>, number: u32, stage: Stage) {
    let mut flow = sample::nth(number);
    let is_tcp = matches!(flow.proto, ProtoInfo::Tcp(_));
    let state = |flow: &mut Flow, state| {
        if let ProtoInfo::Tcp(tcp) = &mut flow.proto {
            tcp.state = Some(state);
        }
    };
    match stage {
        Stage::Begin => {
            flow.status = Some(Status::CONFIRMED);
            state(&mut flow, TcpState::SynSent);
            request::write_flow(batch, number, Ack::Silent, Write::Create, &flow);
        }
        Stage::Replied | Stage::Established => {
            let seen = Status(Status::CONFIRMED.0 | Status::SEEN_REPLY.0);
            let mut update = Flow::new(flow.orig);
            update.reply = flow.reply;
            if matches!(stage, Stage::Established) {
                update.status = Some(Status(seen.0 | Status::ASSURED.0));
                update.timeout_s = Some(3600);
            } else {
                update.status = Some(seen);
            }
            if is_tcp {
                update.proto = flow.proto;
                let next = match stage {
                    Stage::Replied => TcpState::SynRecv,
                    _ => TcpState::Established,
                };
                state(&mut update, next);
            }
            request::write_flow(batch, number, Ack::Silent, Write::Update, &update);
        }
        Stage::End => request::delete_flow(batch, number, Ack::Silent, &flow.key(), None),
    }
}
