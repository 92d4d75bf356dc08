//! A million entries: replicated and committed without loss or error.

use std::time::{Duration, Instant};

use netlab::limits::TableLimits;
use netlab::process::wait_until;
use netlab::{Daemon, Feature, Lab, Namespace, NodeConfig, Peer, Table, listing, sample};
use netlab::{require_feature_or_skip, require_root_or_skip};

const ENTRIES: u32 = 1_000_000;
const COPY_LIMIT: Duration = Duration::from_secs(120);

fn start(lab: &Lab, namespace: &Namespace, addr: &str) -> Daemon {
    namespace.add_addr("sync", &format!("{addr}/24")).unwrap();
    let mut config = NodeConfig::ftfw_multicast("sync", addr).sized_for(ENTRIES as usize);
    config
        .general
        .retain(|line| !line.starts_with("NetlinkBuffer"));
    // Entries come as fast as the kernel can make them, at times on a machine that has other things to do.
    config.general.push("NetlinkBufferSize 67108864".to_owned());
    config
        .general
        .push("NetlinkBufferSizeMaxGrowth 268435456".to_owned());
    Daemon::start(Peer::Ours, lab, namespace, &config).unwrap()
}

fn report(what: &str, since: Instant) {
    let took = since.elapsed();
    let rate = f64::from(ENTRIES) / took.as_secs_f64() / 1000.0;
    println!(
        "{what:<44} {:>7.2} s  {rate:>6.0} thousand/s",
        took.as_secs_f64()
    );
}

#[test]
fn a_million_entries_are_replicated_and_committed() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack);
    let _limits = TableLimits::raise(u64::from(ENTRIES) * 3).unwrap();
    let mut lab = Lab::new().unwrap();
    let a = lab.namespace("a").unwrap();
    let b = lab.namespace("b").unwrap();
    lab.cable((&a, "sync"), (&b, "sync")).unwrap();
    for namespace in [&a, &b] {
        namespace
            .sysctl("net.netfilter.nf_conntrack_events", "1")
            .unwrap();
    }
    let near = start(&lab, &a, "192.168.100.1");
    let far = start(&lab, &b, "192.168.100.2");
    let empty = (near.memory_kib().unwrap(), far.memory_kib().unwrap());
    let mut table = Table::open(&a).unwrap();

    let begun = Instant::now();
    let written = table.create((0..ENTRIES).map(sample::nth)).unwrap();
    assert_eq!((written.accepted, written.refused), (u64::from(ENTRIES), 0));
    report("created in A's kernel", begun);
    let held =
        |daemon: &Daemon, cache: &str| daemon.counter(cache, "current active connections").unwrap();
    let copied = wait_until(COPY_LIMIT, || {
        held(&far, "cache external") == u64::from(ENTRIES)
    });
    assert!(
        copied,
        "A holds {}, B {}\n{}{}",
        held(&near, "cache internal"),
        held(&far, "cache external"),
        near.client(["-s"]).unwrap(),
        near.client(["-s", "runtime"]).unwrap()
    );
    report("in B's external cache (from the first create)", begun);

    let begun = Instant::now();
    far.client(["-c"]).unwrap();
    report("committed to B's kernel", begun);
    let difference = listing::difference(
        &table.lines().unwrap(),
        &Table::open(&b).unwrap().lines().unwrap(),
    );
    let shown: Vec<_> = difference.lines().take(10).collect();
    assert!(shown.is_empty(), "the kernels differ: {shown:#?}");

    for (name, daemon, empty) in [("A", &near, empty.0), ("B", &far, empty.1)] {
        let now = daemon.memory_kib().unwrap();
        println!(
            "memory of {name}: {} MiB, {} B per entry",
            now / 1024,
            (now - empty) * 1024 / u64::from(ENTRIES)
        );
        for cache in ["cache internal", "cache external"] {
            for what in ["created", "updated", "destroyed"] {
                let failed = failures(&daemon.client(["-s"]).unwrap(), cache, what);
                assert_eq!(failed, 0, "{name}: {cache}, {what}");
            }
        }
        let runtime = daemon.client(["-s", "runtime"]).unwrap();
        // What an overrun loses, a later reading of the kernel's table makes good; here nothing may be lost at all.
        assert_eq!(sum_of(&runtime, "netlink overrun"), 0, "{name}: {runtime}");
        let network = daemon.client(["-s", "network"]).unwrap();
        assert_eq!(
            sum_of(&network, "Malformed messages"),
            0,
            "{name}: {network}"
        );
        assert_eq!(sum_of(&network, "Packets lost"), 0, "{name}: {network}");
    }
    assert!(
        !far.messages().contains("can't be committed"),
        "{}",
        far.messages()
    );
}

/// The number behind `failed:` in a block of `-s`.
fn failures(text: &str, block: &str, what: &str) -> u64 {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(block));
    let line = lines
        .find(|line| line.starts_with(&format!("connections {what}")))
        .unwrap();
    line.rsplit(':').next().unwrap().trim().parse().unwrap()
}

fn sum_of(text: &str, words: &str) -> u64 {
    text.lines()
        .filter(|line| line.contains(words))
        .map(|line| {
            line.rsplit(':')
                .next()
                .unwrap()
                .trim()
                .parse::<u64>()
                .unwrap()
        })
        .sum()
}
