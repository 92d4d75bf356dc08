//! The kernel tells too little: its buffer overruns, or it raises no events at all. Beside it, the original.

use std::thread;
use std::time::{Duration, Instant};

use ctnetlink::socket::{EventSocket, Group, Received};
use netlab::process::wait_until;
use netlab::skip::skip;
use netlab::{Feature, NodeConfig, Peer, require_feature_or_skip, require_root_or_skip, sample};
use nix::sys::signal::Signal;

use crate::rig::{Churn, Rig, report, scaled};

const LIMIT: Duration = Duration::from_secs(40);

/// A buffer of 8 KB that must not grow.
fn tiny_buffer(config: &mut NodeConfig) {
    config.general.retain(|line| !line.starts_with("Netlink"));
    config.general.extend(
        [
            "NetlinkBufferSize 8192",
            "NetlinkBufferSizeMaxGrowth 8192",
            "NetlinkOverrunResync 1",
        ]
        .map(str::to_owned),
    );
}

#[test]
fn a_buffer_of_8_kb_under_100_000_events_a_second() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack);
    let mut rig = Rig::new(tiny_buffer);
    // Each entry comes, half of them change, and each goes: 40 thousand make 100 thousand events.
    let churn = Churn::start(&rig.a, 40_000, 20_000);
    let begun = Instant::now();
    thread::sleep(Duration::from_secs(scaled(4, 60)));
    let events = churn.made() * 5 / 2;
    let rate = events as f64 / begun.elapsed().as_secs_f64();
    churn.finish();
    let begun = Instant::now();
    rig.nothing_lost();
    rig.heals(LIMIT);
    let healed = begun.elapsed();
    let (overruns, readings) = (
        rig.a.stat("/kernel/overruns"),
        rig.a.stat("/kernel/resyncs"),
    );
    let differences = rig.a.stat("/kernel/missed_changed") + rig.a.stat("/kernel/missed_gone");
    assert!(overruns > 0, "the buffer never overran");
    assert!(differences > 0, "nothing was missed");
    // Beside the readings, what was looked up: every ten seconds or so.
    let looked_up = scaled(0, 12);
    rig.a.says(
        "resync with the kernel done",
        4 + looked_up + readings as usize,
    );
    rig.ends_well(LIMIT);
    report(
        "netlink buffer of 8 KB under load",
        healed,
        &format!(
            "{rate:.0} events/s: {overruns} overruns, {readings} readings, {differences} differences sent"
        ),
    );
}

/// What a recovery took.
#[derive(Debug)]
struct Recovery {
    messages: u64,
    bytes: u64,
    cpu: Duration,
    equal_after: Duration,
}

/// Entries that are there and known on both nodes before events are lost.
const KNOWN: u32 = 30_000;

/// Has a daemon miss the end of some entries and the beginning of others, and watches how it finds out.
fn recover(peer: Peer) -> Recovery {
    let mut rig = Rig::of(peer, tiny_buffer);
    for from in (0..KNOWN).step_by(100) {
        let flows = (100_000 + from..100_100 + from).map(sample::nth);
        assert_eq!(rig.a.table.create(flows).unwrap().refused, 0);
        thread::sleep(Duration::from_millis(2));
    }
    rig.heals(LIMIT);
    // Stopped, it cannot help but lose what comes.
    rig.a.signal(Signal::SIGSTOP);
    let gone = (100_000..101_000).map(|number| sample::nth(number).key());
    assert_eq!(rig.a.table.delete(gone).unwrap().refused, 0);
    // More than have gone: as long as it does not know, the numbers tell, and its caches need not be listed, which takes time.
    let new = (200_000..202_000).map(sample::nth);
    assert_eq!(rig.a.table.create(new).unwrap().refused, 0);
    let before = sent(&rig);
    let cpu = cpu(&rig);
    rig.a.signal(Signal::SIGCONT);
    let begun = Instant::now();
    rig.heals(LIMIT);
    let equal_after = begun.elapsed();
    // What it goes on to send without need counts, too.
    thread::sleep(Duration::from_secs(2));
    let after = sent(&rig);
    Recovery {
        messages: after.0 - before.0,
        bytes: after.1 - before.1,
        cpu: self::cpu(&rig) - cpu,
        equal_after,
    }
}

/// Messages and bytes that A has sent, as B has received them: counted in B's kernel, for any daemon.
fn sent(rig: &Rig) -> (u64, u64) {
    let stats = rig
        .b
        .namespace
        .run("cat /sys/class/net/sync/statistics/rx_bytes")
        .unwrap();
    let packets = rig
        .b
        .namespace
        .run("cat /sys/class/net/sync/statistics/rx_packets")
        .unwrap();
    (
        packets.trim().parse().unwrap(),
        stats.trim().parse().unwrap(),
    )
}

/// Processor time that A has used.
fn cpu(rig: &Rig) -> Duration {
    let pid = rig.a.daemon.pid().unwrap();
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    let run_ns = text.split(' ').next().unwrap().parse().unwrap();
    Duration::from_nanos(run_ns)
}

#[test]
fn recovery_from_an_overrun_beside_the_original() {
    require_root_or_skip!("conntrackd");
    require_feature_or_skip!(Feature::Conntrack);
    let [ours, original] = [Peer::Ours, Peer::Original].map(recover);
    for (name, recovery) in [("ours", &ours), ("original", &original)] {
        report(
            &format!("overrun that hid 3000 of 32000 entries, {name}"),
            recovery.equal_after,
            &format!(
                "{} datagrams, {} KiB, {:.0} ms CPU",
                recovery.messages,
                recovery.bytes / 1024,
                recovery.cpu.as_secs_f64() * 1000.0
            ),
        );
    }
    assert!(ours.bytes * 4 < original.bytes, "{ours:?} {original:?}");
    assert!(ours.cpu < original.cpu, "{ours:?} {original:?}");
}

/// A pair on which nobody listens to the kernel's events while A is down: B asks its kernel now and then instead.
/// On one machine that matters, as a listener in any namespace makes the kernel raise events in all of them.
fn half_deaf(peer: Peer) -> Rig {
    let mut rig = Rig::of(peer, |_| {});
    rig.b
        .reconfigure(|config| config.general.push("PollSecs 3600".to_owned()));
    rig.b.daemon.client(["-n"]).unwrap();
    rig.heals(LIMIT);
    rig.a
        .namespace
        .sysctl("net.netfilter.nf_conntrack_events", "2")
        .unwrap();
    rig
}

/// Entries of the time without a listener.
const DEAF: u32 = 500;

/// The number of an entry that shows whether there was a listener.
const PROBE: u32 = 900_000;

/// Whether the end of the probe raises no event, so that nobody listened when it was made.
fn is_deaf(rig: &mut Rig) -> bool {
    let listener = rig.a.namespace.enter(EventSocket::open).unwrap().unwrap();
    listener.join(Group::FlowDestroy).unwrap();
    let key = sample::nth(PROBE).key();
    assert_eq!(rig.a.table.delete([key]).unwrap().refused, 0);
    thread::sleep(Duration::from_millis(100));
    matches!(
        listener.receive(&mut [0; 8192]).unwrap(),
        Received::WouldBlock
    )
}

#[test]
fn a_restart_under_load_with_the_default_sysctl_leaves_nothing_on_the_peer() {
    require_root_or_skip!("conntrackd");
    require_feature_or_skip!(Feature::Conntrack);
    let mut rigs = [Peer::Ours, Peer::Original].map(half_deaf);
    // Traffic goes on over the restart.
    let loads = rigs
        .each_ref()
        .map(|rig| Churn::start(&rig.a, 500, 1_000_000));
    thread::sleep(Duration::from_millis(300));
    for rig in &mut rigs {
        rig.a.daemon.stop().unwrap();
    }
    for rig in &mut rigs {
        let unheard = (PROBE..=PROBE + DEAF).map(sample::nth);
        assert_eq!(rig.a.table.create(unheard).unwrap().refused, 0);
    }
    thread::sleep(Duration::from_millis(300));
    for rig in &mut rigs {
        rig.a.daemon.launch().unwrap();
    }
    thread::sleep(Duration::from_millis(300));
    loads.into_iter().for_each(|load| {
        load.finish();
    });
    if !rigs.each_mut().map(is_deaf).iter().all(|deaf| *deaf) {
        skip(
            "another program on this machine listens to connection-tracking events, so that none are missing",
        );
        return;
    }
    for (rig, limit) in rigs.iter().zip([LIMIT, Duration::from_secs(3)]) {
        rig.b.daemon.client(["-n"]).unwrap();
        let (mut known, mut there) = (0, 0);
        wait_until(limit, || {
            let external = rig.b.daemon.counter("cache external", "current active");
            (known, there) = (external.unwrap(), rig.a.table.len().unwrap() as u64);
            known >= there
        });
        // A restarted original leaves out a few.
        let enough = if limit == LIMIT {
            there
        } else {
            there - there / 20
        };
        assert!(
            known >= enough,
            "B knows {known} of {there}\n{}",
            rig.messages()
        );
    }
    // All connections end.
    for rig in &mut rigs {
        let flows = rig.a.table.dump().unwrap();
        let keys = flows.iter().map(flow::Flow::key);
        assert_eq!(rig.a.table.delete(keys).unwrap().refused, 0);
    }
    let [ours, original] = &rigs;
    let healed = ours.heals(LIMIT);
    assert!(ours.b.daemon.external().unwrap().is_empty());
    ours.a.says("had gone without an event", 30);
    let found = ours.a.stat("/kernel/unheard_gone");
    assert!(found >= DEAF.into(), "{found}");
    // As long again, and some more: the original does not find out.
    thread::sleep(healed + Duration::from_secs(3));
    let left = original.b.daemon.external().unwrap().len();
    report(
        "restart under load, nf_conntrack_events=2",
        healed,
        &format!("{found} deaf entries found; the original leaves {left} on the peer for ever"),
    );
    assert!(left >= DEAF as usize / 2, "the original left only {left}");
}
