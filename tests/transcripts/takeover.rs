//! Takeovers: fw1 has the traffic, fw2 becomes primary, fw1 becomes its backup; in all modes and over all links.

use crate::load::{Load, Open};
use crate::replay::Replay;
use crate::script::{self, Node::Fw1};
use crate::{REACHABLE, UNREACHABLE, after, require_kernel_or_skip};

#[test]
fn a_takeover_in_ftfw_over_udp() {
    require_kernel_or_skip!();
    let mut replay = Replay::new("ftfw-udp");
    replay.coalesced();
    replay.through("fw1# conntrackd -d");
    replay.through("fw2# conntrackd -d");
    replay.logged(Fw1, "resync requested by other node", 1);
    let load = Load::new(&replay.bench);
    let open = load.long();
    load.short();
    replay.through("fw2# conntrack -L");
    for connection in open {
        connection.close();
    }
    replay.through("fw1# conntrackd -R expect");
    replay.except(COMMITTED_IN_PLACE, &committed_in_place(15, 81, 15, 100));
    replay.edited(
        "fw2# cat /var/log/conntrackd.log",
        "a request that came before its peer was there is made again",
        |log| {
            after(
                log,
                "resync requested",
                &["resync requested by other node", "sending bulk update"],
            )
        },
    );
    replay.rest();
}

#[test]
fn a_takeover_in_notrack_over_udp() {
    require_kernel_or_skip!();
    let mut replay = Replay::new("notrack-udp");
    replay.coalesced();
    let _open = load_after_start(&mut replay);
    replay.through("fw1# conntrackd -R expect");
    replay.except(COMMITTED_IN_PLACE, &committed_in_place(15, 69, 15, 84));
    replay.rest();
}

#[test]
fn a_takeover_without_any_cache() {
    require_kernel_or_skip!();
    let mut replay = Replay::new("notrack-bypass");
    replay.except(
        "expectations are replicated without internal cache too",
        &[
            (
                "fw1# conntrackd -s expect",
                "internal bypass:/connections new",
                Some(1),
            ),
            (
                "conntrackd -s expect",
                "external inject:/connections created",
                None,
            ),
            (
                "fw2# conntrackd -s runtime",
                "netlink stats:/events received",
                Some(55),
            ),
        ],
    );
    let _open = load_after_start(&mut replay);
    for node in ["fw1", "fw2"] {
        for options in ["", " -x"] {
            let prompt = format!("{node}# conntrackd -i expect{options}");
            let why = "the kernel has an expectation";
            replay.edited(&prompt, why, |_| EXPECTATION.to_owned());
        }
    }
    replay.edited(
        "fw1# cat /var/log/conntrackd.log",
        "expectations of the kernel can be read",
        |log| {
            let lines = log.split_inclusive('\n');
            lines
                .filter(|line| !line.contains("missing IPv4 address"))
                .collect()
        },
    );
    replay.rest();
}

/// Of the FTP session.
const EXPECTATION: &str = "299 proto=6 src=192.168.0.10 dst=192.168.1.10 sport=0 dport=51218 \
    mask-src=255.255.255.255 mask-dst=255.255.255.255 sport=0 dport=65535 \
    master-src=192.168.0.10 master-dst=192.168.1.10 sport=40502 dport=21 class=0 helper=ftp\n";

#[test]
fn a_takeover_in_ftfw_over_tcp() {
    require_kernel_or_skip!();
    let mut replay = Replay::new("ftfw-tcp");
    takeover(&mut replay, Long::Open { data_port: 51218 }, Some([69, 84]));
}
#[test]
fn a_takeover_in_alarm_mode() {
    require_kernel_or_skip!();
    let mut replay = Replay::new("alarm-mcast");
    let long = Long::Open { data_port: 51223 };
    let open = begin(&mut replay, long);
    replay.up_to_remark("failover: fw2 becomes primary");
    replay.except(
        "each entry is repeated at a random moment",
        &[
            ("fw2# conntrackd -s", "cache external:/", None),
            ("fw2# conntrackd -s cache", "cache:external/", None),
            ("fw1# conntrackd -s", "cache external:/", None),
            ("fw1# conntrackd -s cache", "cache:external/", None),
        ],
    );
    let all = script::read("alarm-mcast")
        .into_iter()
        .find(|step| step.prompt() == "fw2# conntrackd -e")
        .expect("a listing of everything");
    replay.through("fw1# conntrackd -n");
    let why = "a moment later the peer has repeated everything";
    replay.edited("fw1# conntrackd -e", why, |_| as_read(&all.stdout));
    replay.replaced(why, "Committed 4 new entries", "Committed 15 new entries");
    replay.replaced(why, "Committed 0 new exp", "Committed 1 new exp");
    end(&mut replay, open, long, Some([69, 88]));
}

#[test]
fn a_takeover_in_notrack_over_tcp_and_ipv6_with_a_peer_that_is_not_reached() {
    require_kernel_or_skip!();
    let mut replay = Replay::new("notrack-tcp6");
    replay.bench.fw2.nft(UNREACHABLE).unwrap();
    replay.except(
        "several changes wait as one datagram",
        &[(
            "fw1# conntrackd -s queue",
            "queue errorq:/current elements",
            None,
        )],
    );
    replay.replaced(
        "the peer has not seen a connection either",
        "server=connected client=connected",
        "server=disconnected client=connected",
    );
    let open = begin(&mut replay, Long::Deaf);
    replay.through("fw2# conntrack -L");
    replay.as_recorded();
    replay.bench.fw2.nft(REACHABLE).unwrap();
    end(&mut replay, open, Long::Deaf, None);
}

#[test]
fn a_takeover_in_ftfw_without_external_cache() {
    require_kernel_or_skip!();
    let mut replay = Replay::new("ftfw-noext");
    replay.except(
        "changes that follow closely are sent as one",
        &[
            (
                "conntrackd -s",
                "external inject:/connections created",
                None,
            ),
            (
                "conntrackd -s",
                "external inject:/connections updated",
                None,
            ),
            (
                "fw2# conntrackd -s runtime",
                "netlink stats:/events received",
                None,
            ),
        ],
    );
    let open = begin(&mut replay, Long::Deaf);
    replay.through("fw1# conntrackd -R ct");
    replay.except(
        "what the peer has told of is the peer's, a reading leaves it alone",
        &[
            (
                "fw1# conntrackd -s",
                "cache internal:/connections updated",
                Some(31),
            ),
            (
                "fw1# conntrackd -s cache",
                "cache:internal/update OK",
                Some(31),
            ),
        ],
    );
    end(&mut replay, open, Long::Deaf, None);
}

#[test]
fn a_takeover_in_polling_mode() {
    require_kernel_or_skip!();
    let mut replay = Replay::new("ftfw-poll");
    replay.except(
        "each reading counts, and there are as many as there is time",
        &[
            ("conntrackd -s", "cache internal:/connections updated", None),
            ("conntrackd -s", "cache:internal/update OK/failed", None),
        ],
    );
    let open = begin(&mut replay, Long::Deaf);
    replay.up_to_remark("other commands");
    // fw2 has flushed what it had of fw1: the next reading tells everything once more.
    replay.polled(Fw1);
    end(&mut replay, open, Long::Deaf, None);
}

#[test]
fn a_takeover_in_notrack_over_two_tcp_links() {
    require_kernel_or_skip!();
    let mut replay = Replay::new("notrack-tcp-2links");
    takeover(&mut replay, Long::Deaf, Some([61, 76]));
}

#[test]
fn a_takeover_in_ftfw_over_two_multicast_links() {
    require_kernel_or_skip!();
    let mut replay = Replay::new("ftfw-mcast-2links");
    takeover(
        &mut replay,
        Long::Closed { data_port: 51219 },
        Some([81, 100]),
    );
}

/// The connections that stay open.
#[derive(Clone, Copy)]
enum Long {
    /// With the port that the FTP server names.
    Open { data_port: u16 },
    /// The same, closed after the takeover.
    Closed { data_port: u16 },
    /// The firewall sees only something that the client says and nobody hears.
    Deaf,
}

/// Replays all of a takeover; see [`end`].
fn takeover(replay: &mut Replay, long: Long, after_commit: Option<[u64; 2]>) {
    let open = begin(replay, long);
    end(replay, open, long, after_commit);
}

/// Starts both daemons and makes the connections.
fn begin(replay: &mut Replay, long: Long) -> Vec<Open> {
    replay.coalesced();
    match long {
        Long::Open { data_port } | Long::Closed { data_port } => {
            replay.through("fw2# conntrackd -d");
            if replay.is_reliable() {
                replay.greeted();
            }
            let load = Load::new(&replay.bench).with_data_port(data_port);
            let open = load.long();
            load.short();
            replay.acknowledged();
            open
        }
        Long::Deaf => {
            let mut open = {
                let load = Load::new(&replay.bench);
                let open = load.long();
                load.deafen(&replay.bench);
                open
            };
            replay.through("fw2# conntrackd -d");
            if replay.is_reliable() {
                replay.greeted();
            }
            let load = Load::new(&replay.bench);
            load.short();
            for connection in &mut open {
                connection.speak();
            }
            load.silence();
            replay.acknowledged();
            open
        }
    }
}

/// Takes over, and goes on to the end. If fw1 commits what it has, it counts so many updates and events after that.
fn end(replay: &mut Replay, open: Vec<Open>, long: Long, after_commit: Option<[u64; 2]>) {
    if let Long::Closed { .. } = long {
        replay.through("fw2# conntrack -L");
        open.into_iter().for_each(Open::close);
    }
    if let Some([updates, events]) = after_commit {
        replay.through("fw1# conntrackd -R expect");
        replay.except(
            COMMITTED_IN_PLACE,
            &committed_in_place(15, updates, 15, events),
        );
    }
    replay.rest();
}

const COMMITTED_IN_PLACE: &str =
    "a commit changes a connection that is there, the original deletes it and creates it again";

/// Numbers of fw1 after a commit of what it has: created, updated, destroyed, events received.
fn committed_in_place(
    created: u64,
    updated: u64,
    destroyed: u64,
    events: u64,
) -> [(&'static str, &'static str, Option<u64>); 9] {
    [
        (
            "fw1# conntrackd -s",
            "cache internal:/connections created",
            Some(created),
        ),
        (
            "fw1# conntrackd -s",
            "cache internal:/connections updated",
            Some(updated),
        ),
        (
            "fw1# conntrackd -s",
            "cache internal:/connections destroyed",
            Some(destroyed),
        ),
        (
            "fw1# conntrackd -s cache",
            "cache:internal/creation OK/failed",
            Some(created),
        ),
        (
            "fw1# conntrackd -s cache",
            "cache:internal/update OK/failed",
            Some(updated),
        ),
        (
            "fw1# conntrackd -s cache",
            "cache:internal/deletion created",
            Some(destroyed),
        ),
        (
            "fw1# conntrackd -s runtime",
            "netlink stats:/events received",
            Some(events),
        ),
        // Bytes and packets are counted when a connection is deleted.
        ("fw1# conntrackd -s", "traffic processed:/", None),
        ("fw1# conntrackd -s", "traffic processed:/", None),
    ]
}

/// Entries as a node tells of them that has read them from its kernel.
fn as_read(listing: &str) -> String {
    let with_mark = |line: &str| match line.split_once(" mark=") {
        Some(_) => format!("{line}\n"),
        None => {
            let place = line.find(" helper=").or(line.find(" [expires"));
            let (entry, rest) = line.split_at(place.expect("an entry"));
            format!("{entry} mark=0{rest}\n")
        }
    };
    listing.lines().map(with_mark).collect()
}

/// Starts both daemons and makes the connections of most transcripts; four of them stay open.
fn load_after_start(replay: &mut Replay) -> Vec<Open> {
    replay.through("fw2# conntrackd -d");
    let load = Load::new(&replay.bench);
    let open = load.long();
    load.short();
    open
}
