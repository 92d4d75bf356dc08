//! The questions at the end of a run.

use std::time::Duration;

use engine::api::{Caches, ExpectationSync, ExternalMode, InternalMode, Mode};
use engine::{Command, Scope, Side};
use flow::{Flow, Key};

use super::{CALM, Excuses, Run};
use crate::plan::ModeName;
use crate::watch::Promise;
use crate::{A, B, check, image, world::name};

impl Run<'_> {
    pub(super) fn questions(&mut self) {
        for node in [A, B] {
            let queue = self.world.nodes[node].snapshot().resend_queue;
            if queue.is_some_and(|queue| queue.overflows > 0) {
                // What is given in place of forgotten messages, or asked for in place of forgotten
                // requests, deletes nothing.
                self.excuses[A].stale = true;
                self.excuses[B].stale = true;
            }
        }
        self.exact = !self.excuses[A].missing && !self.excuses[A].stale;
        for node in [A, B] {
            let pending = self.world.nodes[node].pending_commands();
            if pending > 0 {
                let words = format!("{pending} commands of {} never end", name(node));
                self.object(Promise::Commands, words);
            }
            self.ask_internal(node);
        }
        if self.plan.settings.external == ExternalMode::Inject {
            self.repair();
            return;
        }
        self.ask_peer(A, CALM);
        self.ask_peer(B, CALM);
        self.repair();
        self.ask_peer(A, "after repair");
        self.ask_commit();
    }

    /// The internal cache is the kernel's table.
    fn ask_internal(&mut self, node: usize) {
        if self.plan.settings.internal == InternalMode::Bypass {
            return;
        }
        let now = self.world.now();
        let it = &self.world.nodes[node];
        let mut flows = check::compare(
            &check::flows(it.kernel.flows(now)),
            &check::flows(it.flows(Side::Internal)),
        );
        flows.forgive_stale(|key| it.kernel.ended_unheard(key, now));
        if self.plan.tight {
            flows.missing.clear();
        }
        if self.plan.settings.external == ExternalMode::Inject {
            // Injected entries are no business of the internal cache.
            flows.missing.clear();
        }
        self.differ(node, "internal cache", flows.words(true, true));
        if self.expects() {
            let it = &self.world.nodes[node];
            let mut expectations = check::compare(
                &check::expectations(it.kernel.expectations(now)),
                &check::expectations(it.expectations(Side::Internal)),
            );
            if self.plan.tight {
                expectations.missing.clear();
            }
            if self.plan.settings.external == ExternalMode::Inject {
                expectations.missing.clear();
            }
            self.differ(
                node,
                "internal expectations",
                expectations.words(true, true),
            );
        }
    }

    /// Whether expectations can be asked for; without an internal cache nobody can.
    fn expects(&self) -> bool {
        self.plan.settings.expectation_sync != ExpectationSync::Off
            && self.plan.settings.internal == InternalMode::Cache
    }

    /// The peer's external cache is the node's internal cache.
    fn ask_peer(&mut self, node: usize, when: &str) {
        let now = self.world.now();
        let excuses = self.excuses[node];
        let (it, peer) = (&self.world.nodes[node], &self.world.nodes[1 - node]);
        let bypass = self.plan.settings.internal == InternalMode::Bypass;
        let known = if bypass {
            it.kernel.flows(now).collect()
        } else {
            it.flows(Side::Internal)
        };
        let found = peer.flows(Side::External);
        let invented = found
            .iter()
            .filter(|flow| !it.kernel.ever_had(&flow.key()))
            .count();
        let (mut known, mut found) = (check::flows(known), check::flows(found));
        let lossy = self.plan.severity > 0 && self.plan.mode != ModeName::Ftfw;
        if when == CALM && (lossy || excuses.stale || self.plan.crashes || self.plan.commands) {
            for flow in known.values_mut().chain(found.values_mut()) {
                *flow = image::firm(flow);
            }
        }
        let difference = check::compare(&known, &found);
        let words = difference.words(!excuses.missing, !excuses.stale);
        self.differ(1 - node, &format!("external cache {when}"), words);
        if invented > 0 && (self.plan.checksum || when != CALM) {
            let words = format!("{} invented {invented} entries", name(1 - node));
            self.object(Promise::Origin, words);
        }
        if self.expects() {
            let (it, peer) = (&self.world.nodes[node], &self.world.nodes[1 - node]);
            let difference = check::compare(
                &check::expectations(it.expectations(Side::Internal)),
                &check::expectations(peer.expectations(Side::External)),
            );
            let words = difference.words(!excuses.missing, !excuses.stale);
            self.differ(1 - node, &format!("external expectations {when}"), words);
        }
    }

    /// What an administrator does when in doubt: start over.
    fn repair(&mut self) {
        self.committed_at = self.world.now();
        let inject = self.plan.settings.external == ExternalMode::Inject;
        if inject {
            self.empty_kernel(B);
        } else {
            self.command(B, Command::FlushCaches(Caches::External));
        }
        self.pass(Duration::from_secs(2));
        self.command(A, Command::SendBulk);
        self.excuses[A] = Excuses {
            missing: self.plan.tight,
            ..Excuses::default()
        };
        let settle = match self.plan.settings.mode {
            Mode::Alarm { refresh, .. } => refresh + Duration::from_secs(4),
            _ => Duration::from_secs(5),
        };
        self.pass(settle);
        if inject {
            self.ask_kernels("after injection");
        }
    }

    /// The external cache becomes the kernel's table, and doing it twice changes nothing.
    fn ask_commit(&mut self) {
        self.committed_at = self.world.now();
        self.empty_kernel(B);
        self.pass(Duration::from_secs(2));
        for when in ["after commit", "after a second commit"] {
            self.command(B, Command::Commit(Scope::All));
            self.world.run_for(Duration::from_secs(2));
            if self.world.nodes[B].pending_commands() > 0 {
                self.object(Promise::Commands, "the commit never ends".to_owned());
            }
            self.ask_kernels(when);
            if self.lives.is_empty() {
                self.note_lives();
            }
        }
    }

    fn note_lives(&mut self) {
        let now = self.world.now();
        let committed = self.world.nodes[B].kernel.flows(now);
        self.lives = committed
            .filter_map(|flow| Some((flow.key(), flow.timeout_s?)))
            .collect();
    }

    /// Whether the peer has exactly what the node has.
    pub(super) fn agrees(&self, node: usize) -> bool {
        let (it, peer) = (&self.world.nodes[node], &self.world.nodes[1 - node]);
        let (known, found) = (it.flows(Side::Internal), peer.flows(Side::External));
        known.len() == found.len() && check::flows(known) == check::flows(found)
    }

    /// B's kernel has what A's has.
    pub(super) fn ask_kernels(&mut self, when: &str) {
        let now = self.world.now();
        let [a, b] = [&self.world.nodes[A], &self.world.nodes[B]];
        let mut expected = check::committed(a.kernel.flows(now));
        // Children of masters that have gone cannot be made again, nor what would end at once.
        expected.retain(|_, flow| {
            let has_master =
                master_of(Some(*flow)).is_none_or(|key| a.kernel.flow(&key, now).is_some());
            let needs_helper = flow.helper.is_some() || flow.master.is_some();
            has_master && !(needs_helper && self.plan.helpers_missing)
        });
        let mut found = check::committed(b.kernel.flows(now));
        if self.plan.settings.external == ExternalMode::Inject {
            let ending = |key: &Key| {
                let left = a.kernel.flow(key, now).and_then(|flow| flow.timeout_s);
                left.is_none_or(|left| left < 3)
            };
            expected.retain(|key, _| found.contains_key(key) || !ending(key));
            found.retain(|key, _| expected.contains_key(key) || !ending(key));
        }
        let mut flows = check::compare(&expected, &found);
        // What A told of its life was true when it told it; nobody ends it on B when it ends on A.
        let went = |key: &Key| {
            let since = self.committed_at;
            a.kernel.ended_since(key, since) || a.kernel.ended_unheard(key, since)
        };
        // And what was not expected to be possible may have been.
        flows.forgive_stale(|key| went(key) || a.kernel.flow(key, now).is_some());
        // Nor does it go on there for longer than was told last.
        if let Some(since) = self.roles_at {
            flows
                .missing
                .retain(|key| !b.kernel.ended_since(key, since));
        }
        let flows = flows.words(!self.plan.tight, true);
        let liberal = self.liberal();
        let can_expect = self.expects() && !self.plan.tight && !self.plan.helpers_missing;
        let expectations = can_expect.then(|| {
            let [a, b] = [&self.world.nodes[A], &self.world.nodes[B]];
            let mut expectations = check::compare(
                &check::expectations(a.kernel.expectations(now)),
                &check::expectations(b.kernel.expectations(now)),
            );
            expectations.forgive_stale(|(master, _, _)| {
                went(&Key {
                    tuple: *master,
                    zone: 0,
                })
            });
            expectations.words(true, true)
        });
        self.differ(B, &format!("kernel {when}"), flows);
        self.differ(B, &format!("windows {when}"), liberal);
        self.differ(
            B,
            &format!("kernel's expectations {when}"),
            expectations.flatten(),
        );
    }

    /// Windows of committed connections: not checked, or scaled as they were.
    fn liberal(&self) -> Option<String> {
        use flow::{ProtoInfo, TcpFlags};
        let now = self.world.now();
        let [a, b] = [&self.world.nodes[A], &self.world.nodes[B]];
        let wrong = b.kernel.flows(now).find(|flow| {
            let ProtoInfo::Tcp(tcp) = flow.proto else {
                return false;
            };
            let flags = tcp.flags_orig.unwrap_or_default().flags;
            if !self.plan.settings.tcp_window_tracking {
                return flags & TcpFlags::BE_LIBERAL == 0;
            }
            let original = a.kernel.flow(&flow.key(), now).map(|flow| flow.proto);
            match original {
                Some(ProtoInfo::Tcp(original)) => original.wscale_orig != tcp.wscale_orig,
                _ => false,
            }
        });
        wrong.map(|flow| format!("{flow:?}"))
    }

    fn differ(&mut self, node: usize, what: &str, words: Option<String>) {
        if let Some(words) = words {
            let words = format!("{what} of {}: {words}", name(node));
            self.object(Promise::Agreement, words);
        }
    }
}

/// The key of what announced a connection.
fn master_of(flow: Option<Flow>) -> Option<Key> {
    let flow = flow?;
    let tuple = flow.master?;
    let zone = flow.zone.orig;
    Some(Key { tuple, zone })
}
