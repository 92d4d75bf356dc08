//! Hot standby: the peer's entries are in the kernel before they are needed, and belong to whoever forwards.

mod native;

use std::time::Duration;

use engine::api::LinkSettings;
use engine::role::RoleCause;
use engine::{Command, Role, Settings, Side};
use sim::told::Told;
use sim::world::Outfit;
use sim::{A, B, Rng, World};

fn settings() -> Settings {
    Settings {
        links: vec![LinkSettings {
            payload_len: 1472,
            default: true,
        }],
        startup_resync: true,
        ..native::settings(true)
    }
}

const ROLE: RoleCause = RoleCause::Role;

fn become_role(world: &mut World, node: usize, role: Role) {
    let now = world.now();
    world.nodes[node].command(now, Command::Become(role, ROLE));
}

/// A pair of which the first forwards, after some traffic.
fn pair(seed: u64) -> World {
    let mut rng = Rng::new(seed);
    let outfit = Outfit {
        settings: settings(),
        table_max: 100_000,
        sizes: vec![300, 0],
        epoch_s: 1_800_000_000,
        checksum: true,
    };
    let mut world = World::new(&mut rng, &outfit);
    for node in &mut world.nodes {
        node.batch_us = *rng.pick(&[0, 100, 3000, 20_000]);
    }
    world.start(A);
    world.start(B);
    become_role(&mut world, A, Role::Primary);
    become_role(&mut world, B, Role::Backup);
    traffic(&mut world, A, 2000);
    world
}

fn traffic(world: &mut World, node: usize, steps: usize) {
    for step in 0..steps {
        world.traffic_step(node, step as u64);
        if step % 8 == 0 {
            world.run_for(Duration::from_millis(2));
        }
    }
    world.run_for(Duration::from_secs(1));
}

fn told(world: &World, node: usize) -> Told {
    let told = Told::of(&world.nodes[node].kernel, world.now());
    assert!(told.len() > 50, "{}", told.len());
    told
}

fn difference(world: &World, told: &Told, node: usize) -> Option<String> {
    told.difference(&world.nodes[node].kernel, world.now())
}

#[test]
fn the_kernel_of_a_standby_follows_and_its_caches_stay_apart() {
    for seed in 1..=5 {
        let world = pair(seed);
        let told = told(&world, A);
        assert_eq!(difference(&world, &told, B), None, "seed {seed}");
        assert!(world.nodes[B].flows(Side::Internal).is_empty());
        assert!(world.nodes[A].flows(Side::External).is_empty());
        for flow in world.nodes[B].kernel.flows(world.now()) {
            assert!((80_000..=86_400).contains(&flow.timeout_s.unwrap_or_default()));
        }
    }
}

#[test]
fn a_promotion_finds_the_kernel_ready_and_sets_owner_and_timeouts_afterwards() {
    let mut world = pair(7);
    let told = told(&world, A);
    world.crash(A);
    become_role(&mut world, B, Role::Primary);
    world.run_for(Duration::from_millis(1));
    assert_eq!(world.nodes[B].pending_commands(), 0, "ready at once");
    assert_eq!(difference(&world, &told, B), None);
    world.run_for(Duration::from_secs(5));
    assert_eq!(difference(&world, &told, B), None);
    let own = world.nodes[B].flows(Side::Internal).len();
    assert_eq!(own, world.nodes[B].kernel.len());
    assert!(world.nodes[B].flows(Side::External).is_empty());
    for flow in world.nodes[B].kernel.flows(world.now()) {
        // None of the workload's own lies there.
        let is_standbys = (80_000..=86_400).contains(&flow.timeout_s.unwrap_or_default());
        assert!(!is_standbys, "{flow:?}");
    }
}

#[test]
fn a_former_primary_gives_its_entries_to_the_new_one_without_a_gap() {
    let mut world = pair(9);
    become_role(&mut world, B, Role::Primary);
    become_role(&mut world, A, Role::Backup);
    world.run_for(Duration::from_secs(3));
    let told_now = told(&world, B);
    // A child that B could not make stays A's own until the purge.
    let lack = told_now.lack(&world.nodes[A].kernel, world.now());
    assert_eq!(lack, None);
    // Beyond the purge.
    world.run_for(Duration::from_secs(10));
    assert_eq!(difference(&world, &told_now, A), None);
    assert!(world.nodes[A].flows(Side::Internal).is_empty());
    let own = world.nodes[B].flows(Side::Internal).len();
    assert_eq!(own, told_now.len());
    // And the new one's traffic is followed.
    traffic(&mut world, B, 500);
    let told_now = told(&world, B);
    assert_eq!(difference(&world, &told_now, A), None);
}

#[test]
fn what_goes_from_the_kernel_of_a_standby_is_put_back() {
    let mut world = pair(11);
    let told = told(&world, A);
    let now = world.now();
    for key in world.nodes[B].kernel.keys().into_iter().step_by(3) {
        world.nodes[B]
            .kernel
            .destroy(now, &key, sim::kernel::OTHER_TOOL);
    }
    world.run_for(Duration::from_secs(1));
    assert_eq!(difference(&world, &told, B), None);
}
