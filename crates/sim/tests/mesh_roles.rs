//! Owners of connections among three nodes: promotions, returns, and several that forward.

mod native;

use std::time::Duration;

use engine::role::RoleCause;
use engine::{Command, Role, Side};
use native::settings;
use sim::Rng;
use sim::mesh::{Mesh, peer_id};
use sim::told::Told;

const ROLE: RoleCause = RoleCause::Role;

/// Three nodes; those in `forwarding` have traffic.
fn mesh(seed: u64, inject: bool, forwarding: &[usize]) -> Mesh {
    let mut rng = Rng::new(seed);
    let mut settings = settings(inject);
    // What has been taken over comes back to nobody.
    settings.native.recover = true;
    let mut mesh = Mesh::new(&mut rng, &settings, 3, 150);
    if forwarding.len() > 1 {
        // Before the daemons run: the workload would go on with the other node's connections, too.
        for _ in 0..900 {
            forwarding
                .iter()
                .for_each(|&index| mesh.traffic_step(index));
        }
    }
    for index in 0..3 {
        mesh.start(index);
        let role = if forwarding.contains(&index) {
            Role::Primary
        } else {
            Role::Backup
        };
        command(&mut mesh, index, Command::Become(role, ROLE));
    }
    mesh.run_for(Duration::from_secs(1));
    if let [index] = forwarding {
        for step in 0..900 {
            mesh.traffic_step(*index);
            if step % 8 == 0 {
                mesh.run_for(Duration::from_millis(2));
            }
        }
    }
    assert!(mesh.settle(Duration::from_secs(30)));
    mesh
}

fn command(mesh: &mut Mesh, index: usize, command: Command) {
    let now = mesh.now();
    mesh.members[index].node.command(now, command);
}

fn told(mesh: &Mesh, index: usize) -> Told {
    let told = Told::of(&mesh.members[index].node.kernel, mesh.now());
    assert!(told.len() > 30, "{}", told.len());
    told
}

fn difference(mesh: &Mesh, told: &Told, index: usize) -> Option<String> {
    told.difference(&mesh.members[index].node.kernel, mesh.now())
}

fn own(mesh: &Mesh, index: usize) -> usize {
    mesh.members[index].node.flows(Side::Internal).len()
}

#[test]
fn one_of_two_standbys_takes_over_and_the_other_follows_it() {
    let mut mesh = mesh(3, true, &[0]);
    let before = told(&mesh, 0);
    assert_eq!(difference(&mesh, &before, 1), None);
    assert_eq!(difference(&mesh, &before, 2), None);
    mesh.crash(0);
    // Nobody waits for the silence to be noticed.
    mesh.run_for(Duration::from_secs(4));
    command(&mut mesh, 1, Command::Become(Role::Primary, ROLE));
    mesh.run_for(Duration::from_millis(1));
    assert_eq!(mesh.members[1].node.pending_commands(), 0, "ready at once");
    mesh.run_for(Duration::from_secs(5));
    assert_eq!(difference(&mesh, &before, 1), None);
    assert_eq!(own(&mesh, 1), mesh.members[1].node.kernel.len());
    let now_told = told(&mesh, 1);
    assert_eq!(difference(&mesh, &now_told, 2), None);
    assert_eq!(mesh.kept(2, 1).len(), own(&mesh, 1));
    assert_eq!(own(&mesh, 2), 0);

    // The dead one comes back with an empty kernel, stands by, and gets everything.
    let now = mesh.now();
    mesh.members[0].node.kernel.flush(now, 0);
    mesh.start(0);
    command(&mut mesh, 0, Command::Become(Role::Backup, ROLE));
    mesh.run_for(Duration::from_secs(3));
    assert!(mesh.settle(Duration::from_secs(30)));
    let now_told = told(&mesh, 1);
    assert_eq!(difference(&mesh, &now_told, 0), None);
    assert_eq!(difference(&mesh, &now_told, 2), None);
    assert!(mesh.kept(2, 0).is_empty() && mesh.kept(1, 0).is_empty());
}

#[test]
fn a_switch_back_and_forth_loses_nothing() {
    let mut mesh = mesh(5, true, &[0]);
    for (new, old) in [(1, 0), (0, 1), (2, 0)] {
        let before = told(&mesh, old);
        command(&mut mesh, old, Command::Become(Role::Backup, ROLE));
        mesh.run_for(Duration::from_millis(20));
        command(&mut mesh, new, Command::Become(Role::Primary, ROLE));
        mesh.run_for(Duration::from_secs(9));
        assert_eq!(difference(&mesh, &before, new), None);
        assert!(mesh.settle(Duration::from_secs(30)));
        for index in (0..3).filter(|&index| index != new) {
            assert_eq!(difference(&mesh, &before, index), None);
            assert_eq!(own(&mesh, index), 0, "{index}");
        }
        assert_eq!(own(&mesh, new), mesh.members[new].node.kernel.len());
    }
}

#[test]
fn of_two_promoted_within_a_moment_the_one_that_replaces_the_dead_has_its_connections() {
    for seed in 11..17 {
        let mut mesh = mesh(seed, seed % 2 == 0, &[0]);
        // One more that forwards, of its own; then the first one dies, and the other is promoted in its place. The one that
        // was promoted before misses it first.
        command(&mut mesh, 1, Command::Become(Role::Primary, ROLE));
        mesh.run_for(Duration::from_millis(1000));
        mesh.partition(0, 1, true);
        mesh.traffic_step(0);
        mesh.run_for(Duration::from_millis(50));
        let had = own(&mesh, 0);
        mesh.crash(0);
        mesh.run_for(Duration::from_millis(400 + 20 * seed));
        command(&mut mesh, 2, Command::Become(Role::Primary, ROLE));
        mesh.run_for(Duration::from_secs(9));
        assert!(mesh.settle(Duration::from_secs(30)), "seed {seed}");
        assert_eq!(own(&mesh, 1), 0, "seed {seed}");
        let taken = own(&mesh, 2);
        assert!(taken > had * 9 / 10, "seed {seed}: {taken} of {had}");
        assert_eq!(mesh.kept(1, 2).len(), taken, "seed {seed}");
    }
}

#[test]
fn of_several_that_forward_only_the_named_one_is_taken_over() {
    for inject in [true, false] {
        let mut mesh = mesh(7, inject, &[0, 1]);
        let (first, second) = (own(&mesh, 0), own(&mesh, 1));
        assert!(first > 30 && second > 30);
        let from = peer_id(2, 0);
        command(
            &mut mesh,
            2,
            Command::TakeOver([from].into_iter().collect(), ROLE),
        );
        mesh.run_for(Duration::from_secs(5));
        assert_eq!(mesh.members[2].node.pending_commands(), 0);
        assert!(mesh.settle(Duration::from_secs(30)));
        let taken = own(&mesh, 2);
        assert!(
            taken > first * 9 / 10 && taken <= first,
            "inject {inject}: {taken} of {first}"
        );
        assert_eq!(own(&mesh, 1), second, "inject {inject}");
        if inject {
            // The node whose connections they were still has them in its kernel, as the other's.
            assert_eq!(own(&mesh, 0), first - taken);
        } else {
            // Nothing is given up where the kernel does not follow the external caches: both have it.
            assert_eq!(own(&mesh, 0), first);
        }
    }
}

#[test]
fn what_came_from_a_dead_node_is_handed_on_whole() {
    for seed in 21..27 {
        let mut mesh = mesh(seed, true, &[0]);
        let before = told(&mesh, 0);
        mesh.crash(0);
        // The one that is promoted may notice the silence before the other one does, or after it.
        mesh.run_for(Duration::from_millis(700 * (seed - 21)));
        command(&mut mesh, 1, Command::Become(Role::Primary, ROLE));
        mesh.run_for(Duration::from_secs(8));
        let had = own(&mesh, 1);
        assert_eq!(had, mesh.members[1].node.kernel.len(), "seed {seed}");
        let now = mesh.now();
        let from = [peer_id(2, 1)].into_iter().collect();
        let (take, stand_by) = (
            Command::TakeOver(from, ROLE),
            Command::Become(Role::Backup, ROLE),
        );
        let orders = [(2, take), (1, stand_by)];
        let order = if seed % 2 == 0 { [0, 1] } else { [1, 0] };
        for which in order {
            let (index, wanted) = orders[which];
            command(&mut mesh, index, wanted);
            mesh.run_for(Duration::from_millis(20));
        }
        mesh.run_for(Duration::from_secs(12));
        assert!(mesh.settle(Duration::from_secs(30)), "seed {seed}");
        assert_eq!((own(&mesh, 1), own(&mesh, 2)), (0, had), "seed {seed}");
        for index in [1, 2] {
            let kernel = &mesh.members[index].node.kernel;
            assert_eq!(difference(&mesh, &before, index), None, "seed {seed}");
            let ended = kernel.keys().iter().any(|key| kernel.ended_since(key, now));
            assert!(!ended, "seed {seed}: {index} has lost some for a moment");
        }
        // And on it stays so when the dead one comes back.
        mesh.start(0);
        command(&mut mesh, 0, Command::Become(Role::Backup, ROLE));
        mesh.run_for(Duration::from_secs(12));
        assert_eq!((own(&mesh, 0), own(&mesh, 2)), (0, had), "seed {seed}");
    }
}
