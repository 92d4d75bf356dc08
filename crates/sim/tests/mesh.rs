//! Nodes of the native dialect over real QUIC, under any trouble: what one has, the others have of it.

mod native;

use std::collections::BTreeSet;
use std::time::Duration;

use engine::api::ExpectationSync;
use engine::{NativeSettings, Settings, Side};
use flow::{Expectation, Flow, Tuple};
use sim::mesh::{Mesh, name};
use sim::told::Told;
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

/// What identifies the expectations of a node's kernel.
fn expectations(mesh: &Mesh, index: usize) -> BTreeSet<(Tuple, Tuple)> {
    let kernel = &mesh.members[index].node.kernel;
    let name = |it: Expectation| (it.master, it.tuple);
    kernel.expectations(mesh.now()).map(name).collect()
}

/// A node loses its table, as one of its peers knew it lately, and another one knows it as it was, in part, or not at all.
fn lost(seed: u64) -> usize {
    let mut rng = Rng::new(seed);
    let native = NativeSettings {
        recover: true,
        ..NativeSettings::default()
    };
    let settings = Settings {
        native,
        ..settings()
    };
    let mut mesh = Mesh::new(&mut rng, &settings, 3, 300);
    for member in &mut mesh.members {
        member.node.batch_us = *rng.pick(&[0, 100, 3000]);
    }
    mesh.set_faults(Faults {
        loss: *rng.pick(&[0, 0, 20]),
        jitter_ms: *rng.pick(&[0, 2, 20]),
        ..Faults::default()
    });
    for index in 0..3 {
        mesh.start(index);
    }
    let other = rng.between(1, 2) as usize;
    // Cut off from the beginning, or from somewhere in the middle; or not at all.
    let cut_at = rng.below(1200);
    for step in 0..800 {
        if step == cut_at {
            mesh.partition(0, other, true);
        }
        mesh.traffic_step(0);
        if step % 8 == 0 {
            mesh.run_for(Duration::from_millis(40));
        }
    }
    mesh.run_for(Duration::from_secs(4));
    let now = mesh.now();
    let before = Told::of(&mesh.members[0].node.kernel, now);
    let expected = expectations(&mesh, 0);
    mesh.crash(0);
    mesh.members[0].node.kernel.flush(now, 0);
    if rng.chance(300) {
        // Away for good.
        mesh.crash(other);
    }
    mesh.partition(0, other, false);
    mesh.run_for(rng.millis(0, 5000));
    mesh.start(0);
    mesh.run_for(Duration::from_secs(8));
    assert!(mesh.settle(Duration::from_secs(60)), "seed {seed}");
    let kernel = &mesh.members[0].node.kernel;
    assert_eq!(before.difference(kernel, mesh.now()), None, "seed {seed}");
    assert_eq!(expectations(&mesh, 0), expected, "seed {seed}");
    if mesh.members.iter().all(|it| it.node.engine().is_some()) {
        // What has ended is kept a while longer by those who gave the rest back.
        mesh.run_for(Duration::from_secs(30));
        assert_agreement(&mesh, seed);
    }
    expected.len()
}

#[test]
fn a_lost_table_comes_back_as_it_was_whatever_an_outdated_peer_has() {
    let seeds = native::seeds(6);
    let are_many = seeds.end - seeds.start > 5;
    let expectations: usize = seeds.map(lost).sum();
    assert!(expectations > 0 || !are_many);
}
