//! FT-FW over multicast between our daemon and the original, each in either role, on real kernels.
//!
//! The same cases run with two originals as well: what fails there too is the test's fault, not ours.

use std::time::Duration;

use flow::{Flow, ProtoInfo, TcpState};
use netlab::process::wait_until;
use netlab::{Daemon, Feature, Lab, Namespace, NodeConfig, Peer, Table, listing, sample};
use netlab::{require_feature_or_skip, require_root_or_skip};

/// How long the peer may take to hold what it should hold.
const SYNC_LIMIT: Duration = Duration::from_secs(20);

/// A pair on a cable, and the kernel tables of both.
struct Nodes {
    active: Daemon,
    standby: Daemon,
    active_table: Table,
    standby_table: Table,
    standby_is: Peer,
    active_is: Peer,
    // Last, so that everything inside ends before the namespaces go.
    _lab: Lab,
}

impl Nodes {
    fn start(active_is: Peer, standby_is: Peer) -> Self {
        let mut lab = Lab::new().unwrap();
        let a = lab.namespace("active").unwrap();
        let b = lab.namespace("standby").unwrap();
        lab.cable((&a, "sync"), (&b, "sync")).unwrap();
        let node = |peer, namespace: &Namespace, addr: &str| {
            namespace.add_addr("sync", &format!("{addr}/24")).unwrap();
            sample::prepare(namespace).unwrap();
            namespace.untrack("sync").unwrap();
            let mut config = NodeConfig::ftfw_multicast("sync", addr);
            config.ignore.push("192.168.100.0/24".to_owned());
            let table = Table::open(namespace).unwrap();
            (
                Daemon::start(peer, &lab, namespace, &config).unwrap(),
                table,
            )
        };
        let (active, active_table) = node(active_is, &a, "192.168.100.1");
        let (standby, standby_table) = node(standby_is, &b, "192.168.100.2");
        Self {
            active,
            standby,
            active_table,
            standby_table,
            standby_is,
            active_is,
            _lab: lab,
        }
    }

    /// Waits until the active node's internal cache equals its kernel table and the standby's external cache.
    #[track_caller]
    fn in_step(&self, when: &str) {
        let entries = self.active_table.len().unwrap();
        let (mut internal, mut external) = (Vec::new(), Vec::new());
        let equal = wait_until(SYNC_LIMIT, || {
            internal = self.active.internal().unwrap();
            external = self.standby.external().unwrap();
            internal.len() == entries && internal == external
        });
        assert!(
            equal,
            "{when}: {entries} in the kernel, {} internal, {} external\n{}{}{}",
            internal.len(),
            external.len(),
            listing::difference(&internal, &external),
            self.active.messages(),
            self.standby.messages(),
        );
    }

    /// Commits on the standby, and compares the kernels.
    #[track_caller]
    fn commit(&mut self, when: &str) {
        self.standby_table.flush().unwrap();
        self.standby.client(["-c"]).unwrap();
        let difference = listing::difference(
            &self.active_table.lines().unwrap(),
            &self.standby_table.lines().unwrap(),
        );
        assert!(
            difference.is_empty(),
            "{when}: the kernels differ\n{difference}{}",
            self.standby.messages()
        );
    }

    #[track_caller]
    fn create(&mut self, flows: &[Flow]) {
        let written = self.active_table.create(flows.iter().copied()).unwrap();
        assert_eq!(written.refused, 0, "errno {}", written.errno);
    }

    #[track_caller]
    fn delete(&mut self, flows: &[Flow]) {
        let written = self
            .active_table
            .delete(flows.iter().map(Flow::key))
            .unwrap();
        assert_eq!(written.refused, 0, "errno {}", written.errno);
    }

    #[track_caller]
    fn update(&mut self, flows: impl Iterator<Item = Flow>) {
        let written = self.active_table.update(flows).unwrap();
        assert_eq!(written.refused, 0, "errno {}", written.errno);
    }
}

/// The original takes a lock file for a living daemon, which ours does not.
fn forget_crash(peer: Peer, daemon: &Daemon) {
    if peer == Peer::Original {
        std::fs::remove_file(daemon.path("lock")).unwrap();
    }
}

/// The next thing that happens to an entry: TCP goes on closing, the mark changes.
fn changed(flow: &Flow) -> Flow {
    let mut update = Flow::new(flow.orig);
    update.reply = flow.reply;
    update.zone = flow.zone;
    update.timeout_s = Some(1800);
    update.mark = Some(99);
    if let ProtoInfo::Tcp(mut tcp) = flow.proto {
        tcp.state = Some(TcpState::TimeWait);
        update.proto = ProtoInfo::Tcp(tcp);
    }
    update
}

fn every_kind_is_created_changed_deleted_and_committed(active: Peer, standby: Peer) {
    let mut nodes = Nodes::start(active, standby);
    let samples = sample::every_kind();
    nodes.create(&samples);
    nodes.in_step("after create");
    nodes.commit("after create");

    nodes.update(samples.iter().step_by(2).map(changed));
    nodes.in_step("after update");
    nodes.commit("after update");

    let (gone, _) = samples.split_at(samples.len() / 2);
    nodes.delete(gone);
    nodes.in_step("after delete");
    nodes.commit("after delete");
}

fn lost_datagrams_are_made_good(active: Peer, standby: Peer) {
    let mut nodes = Nodes::start(active, standby);
    let flows: Vec<_> = (0..3000).map(sample::nth).collect();
    nodes.create(&flows[..1]);
    nodes.in_step("before any loss");
    // The greeting takes a second each way; what is lost before it is over, the original never sends again.
    std::thread::sleep(Duration::from_secs(3));
    nodes.delete(&flows[..1]);
    for daemon in [&nodes.active, &nodes.standby] {
        daemon.namespace().lose("sync", 5).unwrap();
    }
    for some in flows.chunks(100) {
        nodes.create(some);
        nodes.update(some.iter().step_by(3).map(changed));
        nodes.delete(&some[..20]);
        // Many datagrams instead of few full ones.
        std::thread::sleep(Duration::from_millis(5));
    }
    nodes.in_step("with 5 % loss");
    // In the other direction there are few datagrams, acknowledgements only.
    let lost = nodes.standby.namespace().lost().unwrap();
    assert!(lost > 0, "no datagram was lost");
    nodes.commit("after 5 % loss");
}

fn a_standby_that_crashed_asks_and_is_told(active: Peer, standby: Peer) {
    let mut nodes = Nodes::start(active, standby);
    let flows: Vec<_> = (0..500).map(sample::nth).collect();
    nodes.create(&flows[..250]);
    nodes.in_step("before the crash");
    nodes.standby.kill().unwrap();
    nodes.create(&flows[250..]);
    nodes.delete(&flows[..50]);
    forget_crash(nodes.standby_is, &nodes.standby);
    nodes.standby.launch().unwrap();
    assert!(nodes.standby.external().unwrap().len() < 450);
    nodes.standby.client(["-n"]).unwrap();
    nodes.in_step("after -n");

    nodes.update(flows[100..400].iter().map(changed));
    nodes.delete(&flows[400..]);
    nodes.in_step("going on after the restart");
    nodes.commit("after the restart");
}

fn an_active_node_that_crashed_reads_its_kernel_and_goes_on(active: Peer, standby: Peer) {
    let mut nodes = Nodes::start(active, standby);
    let flows: Vec<_> = (0..500).map(sample::nth).collect();
    nodes.create(&flows[..250]);
    nodes.in_step("before the crash");
    nodes.active.kill().unwrap();
    // Nothing is deleted meanwhile: version 1 of the protocol cannot say what a peer should have forgotten.
    nodes.create(&flows[250..400]);
    forget_crash(nodes.active_is, &nodes.active);
    nodes.active.launch().unwrap();
    nodes.active.client(["-B"]).unwrap();
    nodes.in_step("after -B");

    nodes.create(&flows[400..]);
    nodes.delete(&flows[..100]);
    nodes.in_step("going on after the restart");
    nodes.commit("after the restart");
}

fn a_full_copy_is_sent_on_request_and_on_command(active: Peer, standby: Peer) {
    let mut nodes = Nodes::start(active, standby);
    let flows: Vec<_> = (0..2000).map(sample::nth).collect();
    nodes.create(&flows);
    nodes.in_step("before");
    for (who, command) in [(&nodes.standby, "-n"), (&nodes.active, "-B")] {
        nodes.standby.client(["-f", "external"]).unwrap();
        assert!(nodes.standby.external().unwrap().is_empty());
        who.client([command]).unwrap();
        nodes.in_step(command);
    }
    nodes.commit("after -n and -B");
}

/// A test of each pair for each case.
macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        mod ours_to_original {
            $(#[test] fn $case() { super::guarded(|| super::$case(super::Peer::Ours, super::Peer::Original)); })*
        }
        mod original_to_ours {
            $(#[test] fn $case() { super::guarded(|| super::$case(super::Peer::Original, super::Peer::Ours)); })*
        }
        mod ours_to_ours {
            $(#[test] fn $case() { super::guarded(|| super::$case(super::Peer::Ours, super::Peer::Ours)); })*
        }
        mod original_to_original {
            $(#[test] fn $case() { super::guarded(|| super::$case(super::Peer::Original, super::Peer::Original)); })*
        }
    };
}

cases!(
    every_kind_is_created_changed_deleted_and_committed,
    lost_datagrams_are_made_good,
    a_standby_that_crashed_asks_and_is_told,
    an_active_node_that_crashed_reads_its_kernel_and_goes_on,
    a_full_copy_is_sent_on_request_and_on_command,
);

fn guarded(case: impl FnOnce()) {
    require_root_or_skip!("conntrackd");
    require_feature_or_skip!(
        Feature::Conntrack,
        Feature::Nat,
        Feature::Labels,
        Feature::Zones,
        Feature::Random
    );
    case();
}
