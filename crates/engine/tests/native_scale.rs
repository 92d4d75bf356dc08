//! What the native dialect costs with many flows. `NATIVE_FLOWS=1000000`, in a release build, for the figures
//! that count: `NATIVE_FLOWS=1000000 cargo test --release -p engine --test native_scale -- --nocapture`.
#![allow(clippy::disallowed_methods, reason = "a test may start anywhere")]

mod common;
mod mesh;

use std::time::{Duration, Instant};

use common::{FTFW, settings};
use ctnetlink::EventKind;
use engine::api::Settings;
use flow::{Addrs, Flow, L4, ProtoInfo, Status, Tcp, TcpState, Tuple};
use mesh::Mesh;

fn flows() -> u32 {
    let asked = std::env::var("NATIVE_FLOWS").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(20_000)
}

/// A TCP connection, as different from its neighbours as those of a busy firewall.
fn flow(n: u32, state: TcpState) -> Flow {
    let mixed = n.wrapping_mul(0x9e37_79b1);
    let src = std::net::Ipv4Addr::from(0x0a00_0000 | (mixed >> 12));
    let dst = std::net::Ipv4Addr::from(0xc0a8_0000 | (n & 0xffff));
    let mut flow = Flow::new(Tuple {
        addrs: Addrs::new(src.into(), dst.into()).unwrap(),
        proto: 6,
        l4: L4::Ports {
            src: 1024 + u16::try_from(n / 0x1_0000 * 64 + (mixed & 0x3f)).unwrap(),
            dst: if n.is_multiple_of(3) { 80 } else { 443 },
        },
    });
    flow.reply = Some(flow.orig.mirrored());
    flow.status = Some(match state {
        TcpState::SynSent => Status::CONFIRMED,
        _ => Status::CONFIRMED | Status::SEEN_REPLY | Status::ASSURED,
    });
    flow.timeout_s = Some(if state == TcpState::Established {
        432_000
    } else {
        120
    });
    flow.id = Some(n.wrapping_add(1));
    flow.proto = ProtoInfo::Tcp(Tcp {
        state: Some(state),
        ..Tcp::default()
    });
    flow
}

fn filled(count: u32) -> Mesh {
    let settings = Settings {
        cache_limit: 2_000_000,
        ..settings(FTFW)
    };
    let mut mesh = Mesh::new(2, &settings);
    for n in 0..count {
        mesh.event(0, EventKind::New, 0, &flow(n, TcpState::Established));
        if n % 1000 == 0 {
            mesh.run(Duration::from_micros(20));
        }
    }
    mesh
}

/// The streams carry so much more than what changed only if something is told again.
#[test]
fn a_rejoin_costs_what_changed_and_a_proof_next_to_nothing() {
    let count = flows();
    let mut mesh = filled(count);
    let start = Instant::now();
    mesh.join(0, 1);
    while mesh.peer(1, 0).entries < u64::from(count) {
        mesh.run(Duration::from_millis(5));
    }
    let bulk_time = start.elapsed();
    mesh.settle();
    let bulk = mesh.bytes(0, 1) + mesh.bytes(1, 0);
    let per_flow = bulk as f64 / f64::from(count);
    let mut version_1 = Vec::new();
    for n in 0..1000 {
        let (change, flags) = (syncwire::Change::New, syncwire::Flags::default());
        let flow = flow(n, TcpState::Established);
        let options = syncwire::EncodeOptions::default();
        syncwire::encode::flow(&mut version_1, change, flags, n, &flow, options);
    }
    let of_version_1 = per_flow / (version_1.len() as f64 / 1000.0);

    mesh.cut(0, 1);
    for n in (0..count).step_by(100) {
        mesh.event(0, EventKind::Destroy, 0, &flow(n, TcpState::Established));
        mesh.event(0, EventKind::New, 0, &flow(count + n, TcpState::SynSent));
    }
    mesh.run(Duration::from_secs(10));
    let before = mesh.bytes(0, 1) + mesh.bytes(1, 0);
    mesh.join(0, 1);
    // Until the changes are there, and then until all is proved again.
    mesh.run(Duration::from_secs(1));
    let told = mesh.bytes(0, 1) + mesh.bytes(1, 0) - before;
    mesh.settle();
    let rejoin = mesh.bytes(0, 1) + mesh.bytes(1, 0) - before;
    let ratio = rejoin as f64 / bulk as f64;

    // A round without any traffic: all that time is the proof's.
    let checks = mesh.peer(0, 1).sent.checks;
    let simulated = Duration::from_secs(20);
    let start = Instant::now();
    mesh.run(simulated);
    let upkeep = start.elapsed().as_secs_f64() / simulated.as_secs_f64() / 2.0;
    let checks = mesh.peer(0, 1).sent.checks - checks;

    eprintln!(
        "{count} flows: bulk {bulk} bytes ({per_flow:.1} a flow, {of_version_1:.2} of version 1) in {bulk_time:?} for both nodes; rejoin with 1 % \
         changed {rejoin} bytes ({told} in the first second), {:.4} of a bulk; proof {:.2} % of a processor for each \
         node ({checks} checks in {simulated:?})",
        ratio,
        upkeep * 100.0
    );
    assert!(ratio <= 0.1, "{ratio}");
    assert!(of_version_1 <= 0.45, "{of_version_1}");
    assert_eq!(mesh.peer(1, 0).received.repaired(), 0);
    if !cfg!(debug_assertions) {
        assert!(upkeep <= 0.05, "{upkeep}");
    }
}
