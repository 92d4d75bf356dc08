use std::collections::BTreeMap;

use flow::{Addrs, L4, Tcp, TcpFlags, TcpState, Tuple};
use proptest::prelude::*;

use super::*;

const LIMIT: usize = 8;

fn entry(n: u16, mark: u32) -> Flow {
    let addrs = Addrs::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into()).unwrap();
    let l4 = L4::Ports { src: n, dst: 80 };
    let mut flow = Flow::new(Tuple {
        addrs,
        proto: 6,
        l4,
    });
    flow.mark = Some(mark);
    flow
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u16, u32),
    Update(u16, u32),
    Remove(u16),
    Kill(u16),
    Clear,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let n = 0u16..12;
    let step = prop_oneof![
        4 => (n.clone(), any::<u32>()).prop_map(|(n, mark)| Step::Insert(n, mark)),
        3 => (n.clone(), any::<u32>()).prop_map(|(n, mark)| Step::Update(n, mark)),
        3 => n.clone().prop_map(Step::Remove),
        1 => n.prop_map(Step::Kill),
        1 => Just(Step::Clear),
    ];
    proptest::collection::vec(step, 0..200)
}

#[test]
fn room_for_what_is_to_come_is_made_at_once_and_no_more_than_the_limit_allows() {
    let mut cache: Cache<PackedFlow> = Cache::new(100, 1);
    cache.expect(5000);
    let room = cache.index.capacity();
    assert!((100..400).contains(&room), "{room}");
    for n in 0..100 {
        cache.insert(&entry(n, 0), 0).unwrap();
    }
    assert_eq!(cache.index.capacity(), room);
    // What is there already may be what is to come.
    cache.expect(5000);
    assert_eq!(cache.index.capacity(), room);
    assert!(cache.is_consistent());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_cache_behaves_as_a_bounded_map(steps in steps(), seed in any::<u64>()) {
        let mut cache = Cache::<PackedFlow>::new(LIMIT, seed);
        let mut model = BTreeMap::<u16, u32>::new();
        for step in steps {
            let find = |cache: &Cache<PackedFlow>, n| cache.find(&entry(n, 0).key());
            match step {
                Step::Insert(n, mark) => match find(&cache, n) {
                    Some(id) => {
                        cache.replace(id, &entry(n, mark), 0);
                        model.insert(n, mark);
                    }
                    None => {
                        let added = cache.insert(&entry(n, mark), 0);
                        prop_assert_eq!(added.is_err(), model.len() == LIMIT);
                        if added.is_ok() {
                            model.insert(n, mark);
                        }
                    }
                },
                Step::Update(n, mark) => {
                    if let Some(id) = find(&cache, n) {
                        cache.update(id, &entry(n, mark), 0);
                        model.insert(n, mark);
                    }
                }
                Step::Remove(n) => {
                    if let Some(id) = find(&cache, n) {
                        cache.remove(id);
                    }
                    model.remove(&n);
                }
                Step::Kill(n) => {
                    if let Some(id) = find(&cache, n) {
                        cache.kill(id);
                        cache.remove(id);
                    }
                    model.remove(&n);
                }
                Step::Clear => {
                    cache.clear();
                    model.clear();
                }
            }
            prop_assert!(cache.is_consistent());
            let stats = cache.stats();
            prop_assert_eq!(stats.active, model.len() as u64);
            prop_assert_eq!(stats.created - stats.destroyed, model.len() as u64);
            for n in 0..12 {
                let mark = find(&cache, n).and_then(|id| cache.get(id)?.value().mark);
                prop_assert_eq!(mark, model.get(&n).copied());
            }
        }
    }
}

#[test]
fn flags_that_a_kernel_tells_are_no_news_and_window_scales_are() {
    let with = |tcp: Tcp| {
        let mut flow = entry(1, 0);
        flow.proto = ProtoInfo::Tcp(tcp);
        flow
    };
    let known = Tcp {
        state: Some(TcpState::SynSent),
        wscale_orig: Some(7),
        ..Tcp::default()
    };
    let flags = Some(TcpFlags { flags: 1, mask: 1 });
    let next = Tcp {
        state: Some(TcpState::SynRecv),
        flags_orig: flags,
        ..known
    };
    let scaled = Tcp {
        wscale_reply: Some(7),
        ..next
    };
    for (new, expected) in [
        (with(next), Fields::TCP_STATE),
        (with(scaled), Fields::TCP_STATE | Fields::TCP_OPTIONS),
        (entry(1, 0), Fields::TCP_STATE | Fields::TCP_OPTIONS),
    ] {
        let changes = PackedFlow::changes(&PackedFlow::pack(&with(known)).unpack(), &new);
        assert_eq!(changes, Marks::fields(expected));
    }
}
