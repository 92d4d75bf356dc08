//! Scenarios recorded from a pair of the original, replayed with a pair of ours: the same text, and the same numbers
//! where the scenario determines them.
//!
//! A transcript shows the commands on the firewalls; the connections between them are made here, where they were made
//! then. `normal` masks what differs from run to run; whatever else may differ is named where it does, with the reason.

#[path = "transcripts/bench.rs"]
mod bench;
#[path = "transcripts/load.rs"]
mod load;
#[path = "transcripts/normal.rs"]
mod normal;
#[path = "transcripts/replay.rs"]
mod replay;
#[path = "transcripts/script.rs"]
mod script;
#[path = "transcripts/takeover.rs"]
mod takeover;

use std::time::Duration;

use flow::Flow;
use load::Load;
use netlab::{Table, sample};
use replay::Replay;
use script::Node::{Fw1, Fw2};

/// The peer is not there as far as its link goes ...
pub(crate) const UNREACHABLE: &str = "table inet sync {
        chain in { type filter hook input priority 0; tcp dport 3780 reject with tcp reset; }
    }";

/// ... or does not hear ...
const DEAF: &str = "table inet sync {
        chain in { type filter hook input priority 0; udp dport 3780 drop; }
    }";

/// ... until it does.
pub(crate) const REACHABLE: &str = "delete table inet sync";

/// After that the kernel takes datagrams there and back for a conversation.
const UDP_STREAM: Duration = Duration::from_millis(2100);

/// As the transcript's configuration says.
const PURGE_TIMEOUT: Duration = Duration::from_secs(2);

macro_rules! require_kernel_or_skip {
    () => {
        netlab::require_root_or_skip!("conntrack", "ping");
        netlab::require_feature_or_skip!(
            netlab::Feature::Conntrack,
            netlab::Feature::Nat,
            netlab::Feature::FtpHelper
        );
    };
}
use require_kernel_or_skip;

const TOLD_ANEW: &str = "what is told anew is another connection";

#[test]
fn the_command_line_answers_as_recorded() {
    require_kernel_or_skip!();
    let mut replay = Replay::new("cli-errors");
    replay.up_to("fw1# conntrackd -v");
    replay.leave_out("fw1# conntrackd -v", "another program, other authors");
    replay.rest();
}

#[test]
fn a_full_cache_counts_what_it_turns_away() {
    require_kernel_or_skip!();
    let mut replay = Replay::new("limit");
    replay.through("fw2# conntrackd -d");
    Load::new(&replay.bench).short();
    replay.coalesced();
    replay.rest();
}

#[test]
fn a_purge_is_scheduled_carried_out_and_cancelled() {
    require_kernel_or_skip!();
    let mut replay = Replay::new("purge");
    replay.through("fw2# conntrackd -d");
    let load = Load::new(&replay.bench);
    for from in 40000..40003 {
        load.udp(from, 53);
    }
    replay.through("fw1# conntrackd -s");
    replay.logged(Fw1, "flushing kernel conntrack table (scheduled)", 1);
    replay.through("fw1# conntrackd -c");
    // Nothing may happen, so there is nothing to wait for.
    std::thread::sleep(PURGE_TIMEOUT + Duration::from_millis(500));
    replay.rest();
}

#[test]
fn statistics_mode_counts_and_logs_what_ends() {
    require_kernel_or_skip!();
    let mut replay = Replay::new("stats");
    replay.through("fw2# conntrackd -d");
    let load = Load::new(&replay.bench);
    let _open = load.long();
    load.short();
    replay.rest();
}

#[test]
fn a_peer_that_comes_and_goes() {
    require_kernel_or_skip!();
    let mut replay = Replay::new("nopeer");
    // The transcript does not show it.
    for (node, step) in [Fw1, Fw2].into_iter().zip(script::read("ftfw-tcp")) {
        let config = step.stdout.replace("Mode FTFW", "Mode NOTRACK");
        replay.bench.configure(node, &config);
    }
    replay.bench.fw2.nft(UNREACHABLE).unwrap();
    replay.coalesced();
    replay.except(
        "several changes wait as one datagram",
        &[(
            "fw1# conntrackd -s queue",
            "queue errorq:/current elements",
            None,
        )],
    );
    replay.through("fw1# conntrackd -d");
    let load = Load::new(&replay.bench);
    load.tcp(40000, 80);
    load.tcp(40001, 80);
    load.udp(40002, 53);
    replay.up_to("fw2# conntrackd -s");
    replay.bench.fw2.nft(REACHABLE).unwrap();
    replay.through("fw2# conntrackd -k");
    let load = Load::new(&replay.bench);
    load.udp(40003, 53);
    load.udp(40004, 53);
    replay.rest();
}

#[test]
fn links_take_over_from_each_other() {
    require_kernel_or_skip!();
    let mut replay = Replay::new("link-failover");
    replay.coalesced();
    replay.except(
        TOLD_ANEW,
        &[
            (
                "fw2# conntrackd -s",
                "cache external:/connections created",
                None,
            ),
            (
                "fw2# conntrackd -s",
                "cache external:/connections destroyed",
                None,
            ),
        ],
    );
    replay.through("fw2# conntrackd -d");
    replay.greeted();
    Load::new(&replay.bench).short();
    replay.up_to_remark("ip link set eth2 down on fw1");
    replay.bench.fw1.set_link("eth2", false).unwrap();
    replay.logged(Fw1, "becomes dedicated link", 1);
    std::thread::sleep(UDP_STREAM);
    Load::new(&replay.bench).short();
    replay.acknowledged();
    replay.up_to_remark("link back up");
    replay.bench.fw1.set_link("eth2", true).unwrap();
    replay.up_to_remark("both links down");
    for link in ["eth2", "eth3"] {
        replay.bench.fw1.set_link(link, false).unwrap();
    }
    replay.logged(Fw1, "no dedicated links available!", 1);
    replay.through("fw1# conntrackd -s link");
    replay.except(
        "how often nothing could be sent depends on how long the link was down",
        &[("fw1# conntrackd -s link", "UDP traffic device=eth3/", None)],
    );
    replay.bench.fw1.set_link("eth2", true).unwrap();
    replay.logged(Fw1, "device `eth2' becomes dedicated link", 1);
    replay.bench.fw1.set_link("eth3", true).unwrap();
    replay.rest();
}

#[test]
fn what_is_lost_is_sent_again() {
    require_kernel_or_skip!();
    let mut replay = Replay::new("loss");
    replay.coalesced();
    replay.except(
        "how many messages there were depends on how many changes were sent as one",
        &[(
            "fw2# conntrackd -s network",
            "sequence tracking statistics:/Packets lost",
            None,
        )],
    );
    replay.through("fw2# conntrackd -d");
    replay.greeted();
    let load = Load::new(&replay.bench);
    load.tcp(40000, 80);
    load.tcp(40001, 80);
    load.udp(40002, 53);
    replay.acknowledged();
    replay.up_to_remark(
        "drop everything fw2 receives on the sync port, send traffic, then stop dropping",
    );
    replay.except(
        TOLD_ANEW,
        &[
            (
                "fw2# conntrackd -s cache",
                "cache:external/creation OK",
                None,
            ),
            ("fw2# conntrackd -s cache", "cache:external/deletion", None),
        ],
    );
    replay.bench.fw2.nft(DEAF).unwrap();
    let load = Load::new(&replay.bench);
    load.short();
    for from in 40010..40014 {
        load.tcp(from, 80);
    }
    load.udp(40020, 53);
    load.udp(40021, 53);
    for from in 40030..40033 {
        load.unanswered(from, 53);
    }
    replay.through("fw1# conntrackd -s network");
    replay.bench.fw2.nft(REACHABLE).unwrap();
    replay.rest();
}

#[test]
fn an_overrun_makes_the_buffer_grow_and_the_table_be_read() {
    require_kernel_or_skip!();
    let mut replay = Replay::new("overrun");
    replay.coalesced();
    replay.through("fw2# conntrackd -d");
    let mut table = Table::open(&replay.bench.fw1).unwrap();
    let mut flows = (0..).map(sample::nth).filter(is_plain);
    for _ in 0..3 {
        replay.stopped(Fw1, || {
            let some: Vec<_> = flows.by_ref().take(150).collect();
            assert_eq!(table.create(some).unwrap().refused, 0);
        });
        replay.through("fw1# conntrackd -s runtime");
    }
    let why = "a reading counts only what differs, and says so";
    replay.except(
        why,
        &[(
            "fw1# conntrackd -s",
            "cache internal:/connections updated",
            Some(0),
        )],
    );
    replay.edited("fw1# cat /var/log/conntrackd.log", why, |log| {
        let done = "resync with the kernel done: 342 entries were missing or outdated, 0 had gone";
        after(log, "clauses in conntrackd.conf", &[done])
    });
    replay.rest();
}

/// IPv4 and UDP, without anything special.
fn is_plain(flow: &Flow) -> bool {
    flow.orig.src().is_ipv4() && flow.orig.proto == 17
}

#[test]
fn listings_that_nobody_reads_do_no_harm() {
    require_kernel_or_skip!();
    let mut replay = Replay::new("children");
    replay.through("fw2# conntrackd -d");
    let mut table = Table::open(&replay.bench.fw1).unwrap();
    let flows = (0..).map(sample::nth).filter(is_plain).take(4000);
    assert_eq!(table.create(flows).unwrap().refused, 0);
    let _unread = [(); 3].map(|()| replay.bench.unread(Fw1, "conntrackd -i"));
    let why = "a listing needs no process of its own";
    replay.edited("fw1# conntrackd -s process", why, |_| String::new());
    replay.edited("fw1# conntrackd -s process", why, |_| String::new());
    replay.except(
        why,
        &[
            (
                "fw1# conntrackd -s runtime",
                "runtime stats:/child process failed",
                Some(0),
            ),
            (
                "fw1# conntrackd -s runtime",
                "runtime stats:/child process segfault",
                Some(0),
            ),
        ],
    );
    replay.edited("fw1# cat /var/log/conntrackd.log", why, |log| {
        let lines = log.split_inclusive('\n');
        lines
            .filter(|line| !line.contains("child process"))
            .collect()
    });
    replay.rest();
}

/// Puts notices behind the first line of a log that ends like this.
pub(crate) fn after(log: &str, end: &str, notices: &[&str]) -> String {
    let line = log.lines().find(|line| line.ends_with(end));
    let line = line.expect("no such line");
    let (begin, _) = line.split_once(") [").expect("no date and process");
    let more: String = notices
        .iter()
        .map(|text| format!("\n{begin}) [notice] {text}"))
        .collect();
    log.replacen(line, &format!("{line}{more}"), 1)
}
