//! Nodes of the native dialect over real QUIC, under any trouble: what one has, the others have of it.

mod native;

use std::time::Duration;

use engine::api::ExpectationSync;
use engine::{Settings, Side};
use flow::Flow;
use sim::mesh::{Mesh, name};
use sim::{Faults, Rng};

fn settings() -> Settings {
    Settings {
        expectation_sync: ExpectationSync::All,
        ..native::settings(false)
    }
}

/// What every peer must have of an entry.
fn told(mut flows: Vec<Flow>) -> Vec<Flow> {
    for flow in &mut flows {
        (flow.timeout_s, flow.id) = (None, None);
    }
    flows.sort_by_key(Flow::key);
    flows
}

fn assert_agreement(mesh: &Mesh, seed: u64) {
    for origin in 0..mesh.members.len() {
        let ours = told(mesh.members[origin].node.flows(Side::Internal));
        for index in (0..mesh.members.len()).filter(|&index| index != origin) {
            let theirs = told(mesh.kept(index, origin));
            assert!(
                ours == theirs,
                "seed {seed}: {} has {}, {} keeps {} of them",
                name(origin),
                ours.len(),
                name(index),
                theirs.len()
            );
        }
        let mut expected = mesh.members[origin].node.expectations(Side::Internal);
        let others = mesh.members.iter().enumerate();
        let others = others.filter(|(index, _)| *index != origin);
        for (_, other) in others {
            let kept = other.node.expectations(Side::External);
            expected.retain(|e| {
                !kept
                    .iter()
                    .any(|k| k.tuple == e.tuple && k.master == e.master)
            });
        }
        assert!(expected.is_empty(), "seed {seed}: {expected:?}");
    }
}

/// What went wrong on the way.
#[derive(Debug, Default)]
struct Trouble {
    lost: u64,
    crashes: u32,
    partitions: u32,
    entries: usize,
    resumed: u64,
}

/// A mesh with traffic on every node, through losses, partitions and deaths. Returns what was said in it.
fn troubled(seed: u64, trouble: &mut Trouble) -> u64 {
    let mut rng = Rng::new(seed);
    let count = rng.between(2, 5) as usize;
    let mut mesh = Mesh::new(&mut rng, &settings(), count, 120);
    for index in 0..count {
        mesh.start(index);
    }
    for _ in 0..12 {
        for _ in 0..40 {
            mesh.traffic_step(rng.below(count as u64) as usize);
            if rng.chance(300) {
                mesh.run_for(rng.millis(0, 20));
            }
        }
        let (a, b) = (
            rng.below(count as u64) as usize,
            rng.below(count as u64) as usize,
        );
        match rng.below(6) {
            0 => mesh.set_faults(Faults {
                loss: *rng.pick(&[0, 20, 100]),
                duplication: *rng.pick(&[0, 50]),
                jitter_ms: *rng.pick(&[0, 2, 20]),
                partitioned: false,
                ..Faults::default()
            }),
            1 | 2 if a != b => {
                trouble.partitions += 1;
                mesh.partition(a, b, rng.chance(700));
            }
            3 if mesh.members[a].node.engine().is_some() => {
                trouble.crashes += 1;
                mesh.crash(a);
                if rng.chance(300) {
                    // The machine has died with its daemon.
                    let now = mesh.now();
                    mesh.members[a].node.kernel.flush(now, 0);
                }
            }
            4 if mesh.members[a].node.engine().is_none() => mesh.start(a),
            _ => mesh.run_for(rng.millis(0, 6000)),
        }
    }
    mesh.set_faults(Faults::default());
    for index in 0..count {
        if mesh.members[index].node.engine().is_none() {
            mesh.start(index);
        }
    }
    // Longer than the silence that ends a connection, than the pause before a reading, and than two rounds.
    mesh.run_for(Duration::from_secs(8));
    let is_proved = mesh.settle(Duration::from_secs(60));
    assert!(is_proved, "seed {seed}: {:#?}", mesh.states());
    assert_agreement(&mesh, seed);
    let links = mesh.links.iter().flatten();
    trouble.lost += links.map(|link| link.stats.lost).sum::<u64>();
    for peer in mesh.states().iter().flatten() {
        trouble.resumed += peer.resumed;
        // Streams lose nothing: whatever had to be repaired was told wrongly.
        assert_eq!(peer.received.repaired(), 0, "seed {seed}: {peer:?}");
        assert_eq!(peer.malformed, 0, "seed {seed}");
    }
    let nodes = mesh.members.iter();
    let entries = nodes.map(|member| member.node.flows(Side::Internal).len());
    trouble.entries += entries.sum::<usize>();
    mesh.trace()
}

#[test]
fn one_seed_decides_all_that_is_said_and_when() {
    let trace = |seed| troubled(seed, &mut Trouble::default());
    assert_eq!(trace(46), trace(46));
    assert_ne!(trace(46), trace(45));
}

#[test]
fn native_nodes_agree_after_any_trouble() {
    let mut trouble = Trouble::default();
    // More: `MESH_SEEDS=500 cargo test --release -p sim --test mesh`.
    let seeds = native::seeds(8);
    let are_many = seeds.end - seeds.start > 7;
    for seed in seeds {
        troubled(seed, &mut trouble);
    }
    let eventful = trouble.lost > 100
        && trouble.entries > 300
        && trouble.crashes > 3
        && trouble.partitions > 3
        && trouble.resumed > 0;
    assert!(eventful || !are_many, "{trouble:?}");
}

#[test]
fn planted_divergence_is_found_over_quic_too() {
    let mut rng = Rng::new(5);
    let mut mesh = Mesh::new(&mut rng, &settings(), 3, 200);
    for index in 0..3 {
        mesh.start(index);
    }
    for _ in 0..600 {
        mesh.traffic_step(0);
    }
    assert!(mesh.settle(Duration::from_secs(30)));
    let mut victims = mesh.members[0].node.flows(Side::Internal).into_iter();
    let (lost, wrong, gone) = (
        victims.next().unwrap(),
        victims.next().unwrap(),
        victims.next().unwrap(),
    );
    let damage = |mesh: &mut Mesh, index: usize, side, flow: &Flow, value: Option<&Flow>| {
        let engine = mesh.members[index].node.engine_mut().unwrap();
        assert!(engine.damage(side, &flow.key(), value));
    };
    damage(&mut mesh, 1, Side::External, &lost, None);
    let other = Flow {
        mark: Some(99),
        ..wrong
    };
    damage(&mut mesh, 2, Side::External, &wrong, Some(&other));
    // Its end is told to nobody; the kernel has it, and the next look at it tells it again.
    damage(&mut mesh, 0, Side::Internal, &gone, None);
    // Two rounds.
    mesh.run_for(Duration::from_secs(21));
    assert_agreement(&mesh, 5);
    let repaired = |index: usize| mesh.states()[index][0].received;
    assert_eq!((repaired(1).missing, repaired(1).extra), (1, 1));
    assert_eq!((repaired(2).different, repaired(2).extra), (1, 1));
}
