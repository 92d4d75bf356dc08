//! What was recorded is replayed; what cannot be read is said, and nothing is believed of it.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use engine::api::{
    ExpectationSync, ExternalMode, InternalMode, LinkSettings, NativeSettings, PolicySettings,
    Settings, StandbySettings,
};
use engine::{ClientId, Command, Engine, KernelSocket, LinkId, LinkState, Mode, Origins, Start};
use record::{End, Recorded, Replay, ReplayError, Sink, Step};

/// Keeps everything, and how it ended.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<(Vec<u8>, Option<End>)>>);

impl Sink for Memory {
    fn append(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        self.0.lock().unwrap().0.extend(bytes);
        ControlFlow::Continue(())
    }

    fn end(&mut self, end: End) {
        self.0.lock().unwrap().1 = Some(end);
    }
}

fn settings() -> Settings {
    Settings {
        mode: Mode::Ftfw {
            resend_queue_len: 64,
            ack_window: 8,
        },
        internal: InternalMode::Cache,
        external: ExternalMode::Cache,
        links: vec![LinkSettings {
            payload_len: 1472,
            default: true,
        }],
        native: NativeSettings::default(),
        standby: StandbySettings::default(),
        commit_timeout_s: None,
        purge_timeout: Duration::from_secs(60),
        startup_resync: true,
        tcp_window_tracking: true,
        expectation_sync: ExpectationSync::All,
        cache_limit: 1000,
        policy: PolicySettings::default(),
        filter: flow::FlowFilter::default(),
        overrun_resync: Some(Duration::from_secs(30)),
        poll: None,
    }
}

fn captures() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ctnetlink/tests/captures");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "bin"))
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Two cores talk; the first is recorded, and is told what kernels once said. Returns its last snapshot too.
fn conversation(limit: u64) -> (Memory, engine::Snapshot) {
    let memory = Memory::default();
    let base = Instant::now();
    let start = Start {
        now: base,
        unix_time_s: 1_000_000,
        seed: 42,
        origins: Origins::default(),
    };
    let link = LinkId(0);
    let up = LinkState {
        up: true,
        running: true,
    };
    let sink = Box::new(memory.clone());
    let mut a = Recorded::on(settings(), start, "a test", limit, sink);
    let mut b = Engine::new(settings(), Start { seed: 43, ..start });
    let mut now = base;
    a.handle_link(now, link, up);
    b.handle_link(now, link, up);
    a.begin(now);
    b.begin(now);
    for (turn, events) in captures().iter().enumerate() {
        now += Duration::from_millis(130);
        a.handle_events(now, events);
        b.handle_events(now, events);
        if turn % 7 == 0 {
            let command = Command::Commit(engine::Scope::All);
            a.handle_command(now, ClientId(turn as u64), command);
        }
        if turn % 5 == 0 {
            a.handle_kernel_overrun(now, KernelSocket::Dump);
        }
        a.handle_timeout(now);
        b.handle_timeout(now);
        let mut to_b = Vec::new();
        while let Some(output) = a.poll_output() {
            if let engine::Output::Transmit { bytes, .. } = output {
                to_b.push(bytes.to_vec());
            }
        }
        for bytes in to_b {
            b.handle_datagram(now, link, &bytes);
        }
        while let Some(output) = b.poll_output() {
            if let engine::Output::Transmit { bytes, .. } = output {
                a.handle_datagram(now, link, bytes);
            }
        }
    }
    a.stop();
    let snapshot = a.snapshot();
    (memory, snapshot)
}

fn bytes_of(memory: &Memory) -> Vec<u8> {
    memory.0.lock().unwrap().0.clone()
}

#[test]
fn a_replay_gives_the_same_outputs_and_ends_in_the_same_state_each_time() {
    let (memory, snapshot) = conversation(u64::MAX);
    assert_eq!(memory.0.lock().unwrap().1, Some(End::Stopped));
    let bytes = bytes_of(&memory);
    let mut digests = Vec::new();
    for _ in 0..2 {
        let mut replay = Replay::new(&bytes).unwrap();
        assert_eq!(replay.header().program, "a test");
        let summary = replay.finish().unwrap().clone();
        assert_eq!(summary.end, Some(End::Stopped));
        assert!(summary.checks > 0 && summary.transmitted > 5, "{summary:?}");
        digests.push((summary.digest.outputs(), summary.digest.value()));
        assert_eq!(replay.engine().snapshot(), snapshot);
    }
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn another_byte_of_the_kernel_makes_another_digest() {
    let (memory, _) = conversation(u64::MAX);
    let bytes = bytes_of(&memory);
    // The first byte of an address behind the head of an IPv4 source: the length stays, so that all else is read as
    // before.
    let head = [8, 0, 1, 0];
    let at = bytes.windows(4).position(|window| window == head).unwrap() + 4;
    let mut changed = bytes.clone();
    changed[at] ^= 0x40;
    let outcome = Replay::new(&changed).unwrap().finish().cloned();
    assert!(
        matches!(outcome, Err(ReplayError::Differs { .. })),
        "{outcome:?}"
    );
}

#[test]
fn a_recording_has_its_length_and_says_that_it_is_full() {
    let (whole, _) = conversation(u64::MAX);
    let limit = bytes_of(&whole).len() as u64 / 2;
    let (memory, _) = conversation(limit);
    let bytes = bytes_of(&memory);
    assert!(
        bytes.len() as u64 <= limit + 64,
        "{} of {limit}",
        bytes.len()
    );
    assert_eq!(memory.0.lock().unwrap().1, Some(End::Full));
    let mut replay = Replay::new(&bytes).unwrap();
    assert_eq!(replay.finish().unwrap().end, Some(End::Full));
}

#[test]
fn what_a_killed_daemon_left_is_replayed_up_to_its_last_whole_step() {
    let (memory, _) = conversation(u64::MAX);
    let bytes = bytes_of(&memory);
    let mut cut = bytes.len();
    for _ in 0..40 {
        cut -= 97;
        let mut replay = Replay::new(&bytes[..cut]).unwrap();
        let last = loop {
            match replay.step(&mut |_| ()) {
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        assert!(
            matches!(last, None | Some(ReplayError::Broken { .. })),
            "{last:?}"
        );
        assert_eq!(replay.summary().end, None);
    }
}

#[test]
fn what_is_no_recording_is_refused() {
    let refusal = |bytes: &[u8]| Replay::new(bytes).unwrap_err().to_string();
    assert_eq!(refusal(b""), "this is no recording of conntrackd");
    assert_eq!(refusal(b"\x7fELF"), "this is no recording of conntrackd");
    let (memory, _) = conversation(u64::MAX);
    let text = String::from_utf8_lossy(&bytes_of(&memory)).into_owned();
    let line = text.lines().next().unwrap();
    let with = |from: &str, to: &str| format!("{}\n", line.replacen(from, to, 1)).into_bytes();
    assert_eq!(
        refusal(&with("\"version\":2", "\"version\":9")),
        "the recording has format 9, this program reads format 2"
    );
    assert_eq!(
        refusal(&with("\"ack_window\":8", "\"ack_window\":0")),
        "no daemon can have these settings: ack_window"
    );
    assert!(refusal(&with("\"seed\":42,", "")).starts_with("the header cannot be read"));
}

#[test]
fn a_sink_that_takes_no_more_is_left_alone() {
    struct Broken(usize);
    impl Sink for Broken {
        fn append(&mut self, _: &[u8]) -> ControlFlow<()> {
            assert!(self.0 > 0, "it had said that it takes no more");
            self.0 -= 1;
            match self.0 {
                0 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }

        fn end(&mut self, _: End) {
            panic!("it did not end by its own will");
        }
    }
    let start = Start {
        now: Instant::now(),
        unix_time_s: 1,
        seed: 1,
        origins: Origins::default(),
    };
    let mut core = Recorded::on(settings(), start, "a test", 1 << 20, Box::new(Broken(2)));
    for _ in 0..5 {
        core.handle_timeout(start.now);
    }
    core.stop();
    assert_eq!(Step::KINDS.len(), Step::End(End::Full).kind() + 1);
}
