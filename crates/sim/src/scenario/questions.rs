//! The questions at the end of a run.

use std::time::Duration;

use engine::api::{Caches, ExpectationSync, ExternalMode, InternalMode, Mode};
use engine::{Command, Scope, Side};

use super::{CALM, Excuses, Run};
use crate::plan::ModeName;
use crate::{A, B, check, image, world::name};

impl Run {
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
                self.violations
                    .push(format!("{pending} commands of {} never end", name(node)));
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
        if self.plan.settings.external == ExternalMode::Inject {
            // Injected entries are no business of the internal cache.
            flows.missing.clear();
        }
        self.report(node, "internal cache", flows.words(true, true));
        if self.expects() {
            let it = &self.world.nodes[node];
            let mut expectations = check::compare(
                &check::expectations(it.kernel.expectations(now)),
                &check::expectations(it.expectations(Side::Internal)),
            );
            if self.plan.settings.external == ExternalMode::Inject {
                expectations.missing.clear();
            }
            self.report(
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
        if when == CALM && (lossy || excuses.stale || self.plan.crashes) {
            for flow in known.values_mut().chain(found.values_mut()) {
                *flow = image::firm(flow);
            }
        }
        let difference = check::compare(&known, &found);
        let words = difference.words(!excuses.missing, !excuses.stale);
        self.report(1 - node, &format!("external cache {when}"), words);
        if invented > 0 {
            self.violations
                .push(format!("{} invented {invented} entries", name(1 - node)));
        }
        if self.expects() {
            let (it, peer) = (&self.world.nodes[node], &self.world.nodes[1 - node]);
            let difference = check::compare(
                &check::expectations(it.expectations(Side::Internal)),
                &check::expectations(peer.expectations(Side::External)),
            );
            let words = difference.words(!excuses.missing, !excuses.stale);
            self.report(1 - node, &format!("external expectations {when}"), words);
        }
    }

    /// What an administrator does when in doubt: start over.
    fn repair(&mut self) {
        let inject = self.plan.settings.external == ExternalMode::Inject;
        if inject {
            let now = self.world.now();
            self.world.nodes[B]
                .kernel
                .flush(now, crate::kernel::OTHER_TOOL);
        } else {
            self.command(B, Command::FlushCaches(Caches::External));
        }
        self.pass(Duration::from_secs(2));
        self.command(A, Command::SendBulk);
        self.excuses[A] = Excuses::default();
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
        let now = self.world.now();
        self.world.nodes[B]
            .kernel
            .flush(now, crate::kernel::OTHER_TOOL);
        self.pass(Duration::from_secs(2));
        for when in ["after commit", "after a second commit"] {
            self.command(B, Command::Commit(Scope::All));
            self.world.run_for(Duration::from_secs(2));
            if self.world.nodes[B].pending_commands() > 0 {
                self.violations.push("the commit never ends".to_owned());
            }
            self.ask_kernels(when);
        }
    }

    /// B's kernel has what A's has.
    fn ask_kernels(&mut self, when: &str) {
        let now = self.world.now();
        let [a, b] = &self.world.nodes;
        let mut expected = check::committed(a.kernel.flows(now));
        // Children of masters that have gone cannot be made again, nor what would end at once.
        expected.retain(|key, flow| {
            let master = flow.master.map(|tuple| flow::Key {
                tuple,
                zone: key.zone,
            });
            master.is_none_or(|key| a.kernel.flow(&key, now).is_some())
        });
        let mut found = check::committed(b.kernel.flows(now));
        if self.plan.settings.external == ExternalMode::Inject {
            let ending = |key: &flow::Key| {
                let left = a.kernel.flow(key, now).and_then(|flow| flow.timeout_s);
                left.is_none_or(|left| left < 3)
            };
            expected.retain(|key, _| found.contains_key(key) || !ending(key));
            found.retain(|key, _| expected.contains_key(key) || !ending(key));
        }
        let flows = check::compare(&expected, &found).words(true, true);
        let liberal = self.liberal();
        let expectations = self.expects().then(|| {
            let [a, b] = &self.world.nodes;
            check::compare(
                &check::expectations(a.kernel.expectations(now)),
                &check::expectations(b.kernel.expectations(now)),
            )
            .words(true, true)
        });
        self.report(B, &format!("kernel {when}"), flows);
        self.report(B, &format!("windows {when}"), liberal);
        self.report(
            B,
            &format!("kernel's expectations {when}"),
            expectations.flatten(),
        );
    }

    /// Windows of committed connections: not checked, or scaled as they were.
    fn liberal(&self) -> Option<String> {
        use flow::{ProtoInfo, TcpFlags};
        let now = self.world.now();
        let [a, b] = &self.world.nodes;
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

    fn report(&mut self, node: usize, what: &str, words: Option<String>) {
        if let Some(words) = words {
            self.violations
                .push(format!("{what} of {}: {words}", name(node)));
        }
    }
}
