//! Hot standby between real kernels: what the active node has is in the kernel of the others before it is needed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use flow::{Flow, Key, ProtoInfo, TcpState};
use netlab::mesh::{Firewall, Mesh, MeshOptions};
use netlab::process::wait_until;
use netlab::traffic::{self, Pace};
use netlab::{Feature, Peer, Table, listing, sample};
use netlab::{require_feature_or_skip, require_root_or_skip};

const LIMIT: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(6);

/// Timeouts of a standby are a day; no test takes half of one.
const LONG_S: u32 = 43_200;

fn started(count: usize) -> Mesh {
    let options = MeshOptions {
        inject: true,
        entries: 20_000,
    };
    let mut mesh = Mesh::new(&Peer::Ours.program().unwrap(), count, options).unwrap();
    mesh.start(LIMIT).unwrap();
    mesh
}

#[track_caller]
fn until(what: &str, mesh: &Mesh, done: impl FnMut() -> bool) {
    let logs = || {
        let log = |firewall: &Firewall| {
            let peers = firewall.daemon.client(["peers"]).unwrap_or_default();
            let dump = |letter| firewall.daemon.client([letter]).unwrap_or_default();
            let dump = |letter| dump(letter).lines().take(8).collect::<Vec<_>>().join("\n") + "\n";
            let listed = firewall.namespace.run("conntrack -L").unwrap_or_default();
            let listed = listed.lines().take(8).collect::<Vec<_>>().join("\n") + "\n";
            format!(
                "{}\n{}{peers}internal:\n{}external:\n{}kernel:\n{listed}",
                firewall.name,
                firewall.daemon.messages(),
                dump("-i"),
                dump("-e"),
            )
        };
        mesh.firewalls
            .iter()
            .map(log)
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert!(wait_until(LIMIT, done), "never: {what}\n{}", logs());
}

fn cached(firewall: &Firewall, cache: &str) -> u64 {
    let words = "current active connections";
    firewall.daemon.counter(cache, words).unwrap()
}

fn table(firewall: &Firewall) -> Table {
    Table::open(&firewall.namespace).unwrap()
}

fn timeouts(firewall: &Firewall) -> BTreeMap<Key, u32> {
    let flows = table(firewall).dump().unwrap();
    let timeout = |flow: Flow| (flow.key(), flow.timeout_s.unwrap_or_default());
    flows.into_iter().map(timeout).collect()
}

/// Waits until the kernels of all standbys have what that of the active node has.
#[track_caller]
fn until_equal(mesh: &Mesh, active: usize) {
    let mut difference = String::new();
    let equal = wait_until(LIMIT, || {
        let near = table(&mesh.firewalls[active]).lines().unwrap();
        let others = mesh.firewalls.iter().enumerate();
        difference = others
            .filter(|(index, _)| *index != active)
            .map(|(_, other)| listing::difference(&near, &table(other).lines().unwrap()))
            .collect();
        difference.is_empty()
    });
    assert!(
        equal,
        "{}",
        difference.lines().take(20).collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn the_kernel_of_a_standby_follows_without_an_echo_and_its_timeouts_are_set_right_on_promotion() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack);
    let mesh = started(3);
    let [fw1, fw2, fw3] = &mesh.firewalls[..] else {
        unreachable!()
    };
    for firewall in &mesh.firewalls {
        sample::prepare(&firewall.namespace).unwrap();
    }
    let mut near = table(fw1);
    let mut flows = sample::every_kind();
    flows.extend((0..5000).map(sample::nth));
    near.create(flows.iter().copied()).unwrap();
    until_equal(&mesh, 0);
    let count = flows.len() as u64;

    // What was injected is nobody's but the active node's.
    let has_no_echo = || {
        assert_eq!(cached(fw1, "cache internal"), count);
        assert_eq!(cached(fw1, "cache external"), 0);
        for standby in [fw2, fw3] {
            assert_eq!(cached(standby, "cache internal"), 0, "{}", standby.name);
            assert_eq!(cached(standby, "cache external"), count, "{}", standby.name);
            assert_eq!(standby.peer("fw1").unwrap()["state"], "in_sync");
        }
    };
    has_no_echo();
    // Nor is it after a reading of the kernel's table, which does not tell who made an entry.
    for standby in [fw2, fw3] {
        standby.daemon.client(["-R"]).unwrap();
    }
    has_no_echo();
    let shortest = timeouts(fw2).into_values().min();
    assert!(shortest > Some(LONG_S), "{shortest:?}");

    // Changes, ends, and beginnings.
    let closing = (0..500).map(sample::nth).filter_map(|mut flow| {
        let ProtoInfo::Tcp(tcp) = &mut flow.proto else {
            return None;
        };
        tcp.state = Some(TcpState::CloseWait);
        flow.timeout_s = Some(60);
        flow.status = None;
        Some(flow)
    });
    near.update(closing).unwrap();
    near.delete((500..1500).map(|number| sample::nth(number).key()))
        .unwrap();
    near.create((10_000..11_000).map(sample::nth)).unwrap();
    until_equal(&mesh, 0);
    has_no_echo();
    let shortest = timeouts(fw2).into_values().min();
    assert!(shortest > Some(LONG_S), "{shortest:?}");

    // What an administrator deletes on a standby is put back; what has ended on the active node is not.
    table(fw2)
        .delete((2000..2100).map(|number| sample::nth(number).key()))
        .unwrap();
    until_equal(&mesh, 0);
    has_no_echo();

    // The promotion: everything is there, and now counts down as it should.
    fw1.daemon.client(["role", "backup"]).unwrap();
    fw2.daemon.client(["role", "primary"]).unwrap();
    assert_eq!(table(fw2).len().unwrap() as u64, count);
    until("timeouts are set right on fw2", &mesh, || {
        timeouts(fw2).into_values().all(|timeout| timeout <= 3600)
    });
    let told = timeouts(fw1);
    let set = timeouts(fw2);
    let closing = sample::nth(2).key();
    assert!(set[&closing] <= 60, "{} s", set[&closing]);
    assert_eq!(told.len(), set.len());
    until("fw2 is the owner of everything", &mesh, || {
        cached(fw2, "cache internal") == count
            && cached(fw1, "cache internal") == 0
            && cached(fw1, "cache external") == count
            && cached(fw3, "cache external") == count
    });
    // The former owner keeps them as the new one's: long, and not flushed.
    until("timeouts are long on fw1", &mesh, || {
        let timeouts = timeouts(fw1);
        timeouts.len() as u64 == count && timeouts.into_values().all(|timeout| timeout > LONG_S)
    });
    until_equal(&mesh, 1);
}

#[test]
fn a_third_node_stands_by_for_whoever_takes_over_from_one_that_died() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack);
    let mut mesh = started(3);
    let count = 2000;
    let mut near = table(&mesh.firewalls[0]);
    near.create((0..count).map(sample::nth)).unwrap();
    until_equal(&mesh, 0);
    mesh.firewalls[0].daemon.kill().unwrap();
    mesh.cut(0).unwrap();
    let [_, fw2, fw3] = &mesh.firewalls[..] else {
        unreachable!()
    };
    fw2.daemon.client(["role", "primary"]).unwrap();
    assert_eq!(table(fw2).len().unwrap(), count as usize);
    until("fw3 is told by fw2", &mesh, || {
        fw3.peer("fw2").unwrap()["entries"] == u64::from(count)
    });
    until_equal(&mesh, 1);
    assert_eq!(cached(fw2, "cache internal"), u64::from(count));
    assert_eq!(cached(fw3, "cache internal"), 0);
}

#[test]
fn connections_survive_a_takeover_and_the_return() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack, Feature::Nat);
    let mesh = started(2);
    let [fw1, fw2] = &mesh.firewalls[..] else {
        unreachable!()
    };
    for firewall in &mesh.firewalls {
        // Refreshed by traffic, which raises no event, many times while this runs.
        for setting in ["udp_timeout", "udp_timeout_stream"] {
            let setting = format!("net.netfilter.nf_conntrack_{setting}");
            firewall.namespace.sysctl(&setting, "2").unwrap();
        }
    }
    let often = Duration::from_millis(20);
    let connections = vec![
        traffic::tcp(&mesh.translated("tcp4", 5001), Pace::default()).unwrap(),
        traffic::tcp(&mesh.forwarded("tcp4 port forward"), Pace::default()).unwrap(),
        traffic::tcp(&mesh.over_v6("tcp6", 5002), Pace::default()).unwrap(),
        traffic::udp(&mesh.translated("udp4", 5003), often).unwrap(),
    ];
    mesh.close().unwrap();
    until_equal(&mesh, 0);
    // Longer than an entry lives that nobody refreshes.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(table(fw2).len().unwrap(), table(fw1).len().unwrap());

    for (from, to) in [(0, 1), (1, 0)] {
        let (old, new) = (&mesh.firewalls[from], &mesh.firewalls[to]);
        let before = table(new).len().unwrap();
        assert!(before >= connections.len(), "{before}");
        mesh.deactivate(from).unwrap();
        old.daemon.client(["role", "backup"]).unwrap();
        let begun = Instant::now();
        new.daemon.client(["role", "primary"]).unwrap();
        let took = begun.elapsed();
        mesh.activate(to).unwrap();
        eprintln!("{} is primary after {took:?}", new.name);
        std::thread::sleep(Duration::from_secs(3));
        // Traffic passes here now: its own timeouts count again.
        until("entries are the new owner's", &mesh, || {
            cached(new, "cache internal") >= connections.len() as u64
                && cached(old, "cache internal") == 0
        });
        until_equal(&mesh, to);
        let timeouts = timeouts(new);
        let udp = timeouts
            .iter()
            .find(|(key, _)| key.tuple.proto == flow::protocol::UDP);
        assert!(udp.is_some_and(|(_, timeout)| *timeout <= 2), "{udp:?}");
    }
    for outcome in traffic::finish_all(connections, PATIENCE) {
        assert!(outcome.survived(), "{outcome:?}");
    }
}
