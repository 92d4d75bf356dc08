//! A node whose kernel has lost its table gets it back from its peer.

mod native;

use std::net::Ipv4Addr;
use std::time::Duration;

use ctnetlink::socket::RequestSocket;
use ctnetlink::{Message, Reply, parse, request};
use flow::{Addrs, Expectation, Flow, HelperName, L4, Tuple};
use native::{LIMIT, Nodes};
use netlab::process::wait_until;
use netlab::{Namespace, Table, require_root_or_skip, sample};

const FLOWS: u32 = 2000;

/// The connection that expects another one.
const MASTER: u32 = 7;

fn opened(number: u32) -> Flow {
    let mut flow = sample::nth(number);
    flow.helper = (number == MASTER)
        .then(|| HelperName::new(b"ftp"))
        .flatten();
    flow
}

/// The master expects a connection from the server.
fn expect(namespace: &Namespace) {
    let master = opened(MASTER);
    let port = |src, dst| L4::Ports { src, dst };
    let tuple = Tuple {
        addrs: master.orig.addrs.swapped(),
        l4: port(0, 2000),
        ..master.orig
    };
    let all = Ipv4Addr::BROADCAST.into();
    let mask = Tuple {
        addrs: Addrs::new(all, all).unwrap(),
        l4: port(0, u16::MAX),
        ..tuple
    };
    let expected = Expectation {
        timeout_s: Some(300),
        ..Expectation::new(master.orig, tuple, mask)
    };
    let socket = namespace.enter(RequestSocket::open).unwrap().unwrap();
    let mut request = Vec::new();
    let ack = request::Ack::Wanted;
    request::write_expectation(&mut request, 1, ack, request::Write::Create, &expected);
    socket.transact(&request, |_| Ok(())).unwrap();
}

/// The kernel's expectations, without what is another on another node.
fn expectations(namespace: &Namespace) -> Vec<Expectation> {
    let socket = namespace.enter(RequestSocket::open).unwrap().unwrap();
    let mut request = Vec::new();
    request::dump_expectations(&mut request, 1, None);
    let mut all = Vec::new();
    let take = |message: &Message<'_>| {
        if let Ok(Reply::Expectation(expectation)) = parse::reply(message) {
            all.push(Expectation {
                id: None,
                timeout_s: None,
                ..expectation
            });
        }
        Ok(())
    };
    socket.transact(&request, take).unwrap();
    all
}

#[test]
fn a_restarted_node_gets_back_what_its_kernel_has_lost_and_nothing_else() {
    require_root_or_skip!();
    let mut nodes = Nodes::new();
    nodes.more_native = "recover = true\n[sync]\nexpectation_sync = true\n";
    nodes.start();
    let mut table = Table::open(&nodes.namespaces[0]).unwrap();
    table.create((0..FLOWS).map(opened)).unwrap();
    expect(&nodes.namespaces[0]);
    nodes.wait_for_entries(FLOWS.into());
    let expected = || nodes.daemons[1].client(["-e", "expect"]).unwrap();
    assert!(wait_until(LIMIT, || !expected().is_empty()));
    nodes.wait_for("in_sync");
    let before = table.dump().unwrap();
    let expected_before = expectations(&nodes.namespaces[0]);
    assert_eq!(expected_before.len(), 1);

    // The daemon dies, the kernel loses everything but a few that were opened anew, one of them otherwise than before.
    nodes.daemons[0].kill().unwrap();
    table.flush().unwrap();
    let mut changed = sample::nth(3);
    changed.mark = Some(0x77);
    table.create([changed, sample::nth(FLOWS)]).unwrap();
    nodes.daemons[0].launch().unwrap();
    let all = FLOWS as usize + 1;
    assert!(
        wait_until(LIMIT, || table.len().unwrap() == all),
        "{} of {all}\n{}\n{}",
        table.len().unwrap(),
        nodes.daemons[0].messages(),
        nodes.daemons[1].messages(),
    );
    nodes.wait_for_words(
        0,
        "own connections that the kernel lacks were given back by a peer",
    );
    let after = table.dump().unwrap();
    let find = |flows: &[Flow], number: u32| {
        let key = sample::nth(number).key();
        *flows.iter().find(|flow| flow.key() == key).unwrap()
    };
    for number in (0..FLOWS).filter(|number| *number != 3) {
        let (old, new) = (find(&before, number), find(&after, number));
        assert_eq!(
            (old.reply, old.mark, old.proto.tcp_state()),
            (new.reply, new.mark, new.proto.tcp_state())
        );
    }
    assert_eq!(expectations(&nodes.namespaces[0]), expected_before);
    // What the kernel had counts.
    assert_eq!(find(&after, 3).mark, Some(0x77));
    nodes.wait_for_entries(u64::from(FLOWS) + 1);
    nodes.wait_for("in_sync");
    let is_equal = || nodes.daemons[0].internal().unwrap() == nodes.daemons[1].external().unwrap();
    assert!(wait_until(LIMIT, is_equal));

    // With the table kept there is nothing to be given back, and what has ended meanwhile does not come again.
    let told = |nodes: &Nodes| {
        let messages = nodes.daemons[0].messages();
        messages.matches("given back by a peer").count()
    };
    let told_before = told(&nodes);
    nodes.daemons[0].kill().unwrap();
    table
        .delete((0..10).map(|number| sample::nth(number).key()))
        .unwrap();
    nodes.daemons[0].launch().unwrap();
    nodes.wait_for("in_sync");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(table.len().unwrap(), all - 10);
    assert_eq!(told(&nodes), told_before, "{}", nodes.daemons[0].messages());

    // Once, by the command line.
    nodes.daemons[0].kill().unwrap();
    table.flush().unwrap();
    nodes.more_native = "";
    let peer_key = nodes.keys[1].clone();
    nodes.configure(0, "key", &peer_key, "");
    nodes.daemons[0].set_arguments(["--recover"]);
    nodes.daemons[0].launch().unwrap();
    // The peer keeps for a while what it has given back, those that have ended meanwhile among them.
    assert!(
        wait_until(LIMIT, || table.len().unwrap() >= all - 10),
        "{} of {all}\n{}",
        table.len().unwrap(),
        nodes.daemons[0].messages()
    );
    for daemon in &mut nodes.daemons {
        daemon.stop().unwrap();
    }
}
