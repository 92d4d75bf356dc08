//! The dedicated link goes, flaps, works one way only, or loses half of everything.

use std::thread;
use std::time::{Duration, Instant};

use netlab::{Feature, Namespace, require_feature_or_skip, require_root_or_skip};

use crate::rig::{Churn, Rig, report, scaled};

const LIMIT: Duration = Duration::from_secs(25);

/// Traffic, a fault of the link, its end, and the time until all is well.
fn under_load(rig: &mut Rig, fault: &str, cause: impl FnOnce(&Rig)) {
    rig.mark();
    let churn = Churn::start(&rig.a, 5000, 2000);
    thread::sleep(Duration::from_millis(200));
    cause(rig);
    let begun = Instant::now();
    thread::sleep(Duration::from_millis(100));
    churn.finish();
    rig.nothing_lost();
    rig.heals(LIMIT);
    report(fault, begun.elapsed(), "");
}

fn drop_in(namespace: &Namespace) {
    namespace
        .nft("table inet wire { chain c { type filter hook input priority -300; iifname \"sync\" counter drop; }; }")
        .unwrap();
}

fn open(namespace: &Namespace) {
    namespace.nft("delete table inet wire").unwrap();
}

#[test]
fn the_link_goes_down_and_flaps() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack);
    let mut rig = Rig::new(|_| {});
    let down = Duration::from_secs(scaled(3, 15));
    let fault = format!("link down for {} s under load", down.as_secs());
    under_load(&mut rig, &fault, |rig| {
        rig.a.namespace.set_link("sync", false).unwrap();
        thread::sleep(down);
        rig.a.namespace.set_link("sync", true).unwrap();
    });
    rig.a.says("no dedicated links available!", 4);
    let flaps = scaled(10, 100);
    let fault = format!("link that goes and comes {flaps} times in {} s", flaps / 5);
    under_load(&mut rig, &fault, |rig| {
        for flap in 0..flaps {
            rig.b.namespace.set_link("sync", flap % 2 == 1).unwrap();
            thread::sleep(Duration::from_millis(200));
        }
    });
    rig.b.says("no dedicated links available!", scaled(12, 120));
    rig.ends_well(LIMIT);
}

#[test]
fn the_link_works_one_way_only() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack);
    let mut rig = Rig::new(|_| {});
    let time = Duration::from_secs(scaled(3, 15));
    for to_standby in [true, false] {
        let name = if to_standby { "to" } else { "from" };
        let fault = format!(
            "nothing arrives {name} the standby for {} s",
            time.as_secs()
        );
        under_load(&mut rig, &fault, |rig| {
            let deaf = if to_standby { &rig.b } else { &rig.a };
            drop_in(&deaf.namespace);
            thread::sleep(time);
            open(&deaf.namespace);
        });
        rig.a.says_little(6);
        rig.b.says_little(6);
    }
    rig.ends_well(LIMIT);
}

#[test]
fn the_link_loses_half_of_all_datagrams() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack, Feature::Random);
    let mut rig = Rig::new(|_| {});
    let time = Duration::from_secs(scaled(4, 60));
    let fault = format!(
        "half of all datagrams lost, both ways, for {} s",
        time.as_secs()
    );
    under_load(&mut rig, &fault, |rig| {
        for node in [&rig.a, &rig.b] {
            node.namespace.lose("sync", 50).unwrap();
        }
        thread::sleep(time);
        for node in [&rig.a, &rig.b] {
            assert!(node.namespace.lost().unwrap() > 0);
            node.namespace.lose("sync", 0).unwrap();
        }
    });
    rig.a.says_little(8);
    rig.b.says_little(8);
    rig.ends_well(LIMIT);
}
