//! Takeovers that meet others on their way, at one node that is told of them message by message.

mod common;
mod taker;

use std::time::Duration;

use common::flow;
use flow::Expectation;
use native::message::{RoleWord, Word};
use native::{Decoder, Message};
use taker::{DAY_S, FW2, FW3, FW4, Fw1, expected_by, takeover};

#[test]
fn what_one_former_owner_gives_up_to_the_other_is_taken_over_all_the_same() {
    let mut node = Fw1::new();
    node.tells(FW2, 1);
    node.takes_over(&[FW2, FW3]);
    // These two had met as well.
    node.tells(FW3, 1);
    node.has_no_more(FW2, 1);
    node.adopts();
    assert_eq!(node.gone, []);
    assert!(node.owns(1));
    assert!(node.timeout_s(1) < Some(DAY_S), "{:?}", node.timeout_s(1));
}

#[test]
fn what_a_former_owner_has_no_more_waits_for_whoever_tells_it() {
    let mut node = Fw1::new();
    node.tells(FW2, 1);
    node.tells(FW2, 2);
    node.takes_over(&[FW2]);
    // The one is given up to a third node, whose word takes longer; the other one has ended.
    node.has_no_more(FW2, 1);
    node.has_no_more(FW2, 2);
    node.adopts();
    assert!(!node.owns(1) && !node.owns(2));
    node.tells(FW3, 1);
    assert_eq!(node.gone, []);
    node.wait(Duration::from_secs(11));
    assert_eq!(node.gone, [flow(2).key()]);
}

#[test]
fn what_another_one_tells_with_a_better_claim_keeps_the_timeout_of_a_standby() {
    let mut node = Fw1::new();
    node.tells(FW2, 1);
    node.tells(FW3, 1);
    node.takes_over(&[FW2]);
    node.adopts();
    assert!(!node.owns(1));
    assert!(node.timeout_s(1) > Some(DAY_S), "{:?}", node.timeout_s(1));
}

#[test]
fn what_another_one_tells_with_a_worse_claim_is_taken_over() {
    let mut node = Fw1::new();
    node.tells(FW2, 1);
    node.tells(FW3, 1);
    node.takes_over(&[FW3]);
    node.adopts();
    assert!(node.owns(1));
    // Its word that it has given it up took longer than all that.
    node.has_no_more(FW2, 1);
    assert!(node.timeout_s(1) < Some(DAY_S), "{:?}", node.timeout_s(1));
    assert_eq!(node.gone, []);
}

#[test]
fn the_last_claim_beside_that_of_a_former_owner_ends_before_the_kernel_is_read() {
    // What it gives up stays for a while, or not.
    for is_held in [false, true] {
        let mut node = Fw1::new();
        node.tells(FW2, 1);
        node.tells(FW3, 1);
        node.takes_over(&[FW2]);
        if is_held {
            node.hear(FW3, |said, out| said.word(out, &takeover(5, "fw3")));
        }
        node.has_no_more(FW3, 1);
        node.adopts();
        assert_eq!(node.gone, []);
        assert!(node.owns(1));
        assert!(node.timeout_s(1) < Some(DAY_S), "{:?}", node.timeout_s(1));
    }
}

#[test]
fn of_nodes_that_take_over_at_once_the_one_that_gives_up_to_the_other_says_so_first() {
    let mut node = Fw1::new();
    node.tells(FW4, 1);
    node.takes_over(&[FW4]);
    node.adopts();
    assert!(node.owns(1));
    // It was taken over from the same node, not from this one.
    node.hear(FW2, |said, out| {
        said.word(out, &Word::Role(RoleWord::Primary, 9));
        said.word(out, &takeover(9, "fw4"));
    });
    node.tells(FW2, 1);
    assert!(!node.owns(1));
    let mut decoder = Decoder::new();
    decoder.push(&node.streams[usize::from(FW3.0)]);
    let mut said = Vec::new();
    while let Some(message) = decoder.next().unwrap() {
        match message.unwrap() {
            Message::Word(Word::Takeover(takeover)) => said.push(takeover.from.to_owned()),
            Message::GoneFlow { .. } => said.push("gone".to_owned()),
            _ => {}
        }
    }
    // Its own takeover, that it may have been taken over itself, and what comes of it.
    assert_eq!(said, ["fw4", "fw1", "gone"]);
}

#[test]
fn what_is_given_up_stays_though_its_handle_is_used_again() {
    let mut node = Fw1::new();
    node.tells(FW2, 1);
    node.hear(FW2, |said, out| {
        said.word(out, &takeover(4, "fw2"));
        said.new_flow(out, 1, &flow(2));
    });
    assert_eq!(node.kernel.len(), 2);
    node.tells(FW3, 1);
    node.wait(Duration::from_secs(11));
    assert_eq!(node.gone, []);
}

#[test]
fn what_is_given_up_to_two_at_once_stays_in_the_kernel_without_a_gap() {
    let mut node = Fw1::new();
    node.tells(FW4, 1);
    node.takes_over(&[FW4]);
    node.adopts();
    node.has_no_more(FW4, 1);
    assert!(node.owns(1));
    // Both are told before the first of it gets into a slow kernel.
    node.slow_down();
    for (peer, term) in [(FW2, 9), (FW3, 10)] {
        node.hear(peer, |said, out| {
            said.word(out, &Word::Role(RoleWord::Primary, term));
            said.word(out, &takeover(term, "fw1"));
            said.new_flow(out, 1, &flow(1));
        });
    }
    node.catch_up();
    assert!(!node.owns(1));
    // The one with the better claim ends it after all, and the other one has it.
    node.has_no_more(FW3, 1);
    node.wait(Duration::from_secs(11));
    assert_eq!(node.gone, [flow(2).key()]);
    node.has_no_more(FW2, 1);
    node.wait(Duration::from_secs(11));
    assert_eq!(node.gone, [flow(2).key(), flow(1).key()]);
}

#[test]
fn word_of_an_earlier_takeover_does_not_undo_a_later_one() {
    let mut node = Fw1::new();
    node.tells(FW2, 1);
    node.takes_over(&[FW2]);
    node.hear(FW2, |said, out| said.word(out, &takeover(1, "fw4")));
    node.adopts();
    assert!(node.owns(1));
}

#[test]
fn what_its_next_owner_tells_during_a_takeover_is_put_in_place_of_it_without_a_gap() {
    let mut node = Fw1::new();
    node.tells(FW2, 1);
    node.takes_over(&[FW2, FW3]);
    node.slow_down();
    node.tells(FW3, 1);
    node.hear(FW3, |said, out| {
        said.word(out, &Word::Role(RoleWord::Primary, 9));
    });
    node.adopts();
    node.catch_up();
    node.wait(Duration::from_secs(1));
    assert!(!node.owns(1));
    assert_eq!(node.gone, [flow(2).key()]);
    assert!(node.timeout_s(1) > Some(DAY_S), "{:?}", node.timeout_s(1));
}

#[test]
fn what_is_told_during_a_takeover_gets_its_timeout_from_a_slow_kernel_too() {
    for is_given_up in [false, true] {
        let mut node = Fw1::new();
        node.tells(FW2, 1);
        node.takes_over(&[FW3]);
        node.slow_down();
        node.tells(FW3, 1);
        node.adopts();
        if is_given_up {
            node.has_no_more(FW3, 1);
        }
        node.catch_up();
        node.wait(Duration::from_secs(1));
        assert!(node.owns(1));
        assert!(node.timeout_s(1) < Some(DAY_S), "{:?}", node.timeout_s(1));
    }
}

#[test]
fn a_claim_that_has_become_the_better_one_during_a_takeover_counts() {
    let mut node = Fw1::new();
    node.tells(FW2, 1);
    node.tells(FW3, 1);
    node.takes_over(&[FW3]);
    node.hear(FW2, |said, out| {
        said.word(out, &Word::Role(RoleWord::Primary, 9));
    });
    node.adopts();
    assert!(!node.owns(1));
    assert!(node.timeout_s(1) > Some(DAY_S), "{:?}", node.timeout_s(1));
}

#[test]
fn what_is_left_to_a_former_owner_after_a_takeover_gets_into_the_kernel_before_what_it_expects() {
    let mut node = Fw1::new();
    node.takes_over(&[FW2]);
    // Its own, since the takeover.
    node.tells(FW2, 1);
    node.expects(FW2, 1);
    node.adopts();
    node.wait(Duration::from_secs(1));
    assert_eq!(node.expectations_gone, []);
    assert_eq!(node.expectations.len(), 1);
    assert!(!node.owns(1) && node.own_expectations().is_empty());
}

#[test]
fn what_one_former_owner_gives_up_to_the_other_takes_what_it_expects_along() {
    let mut node = Fw1::new();
    node.tells(FW2, 1);
    node.expects(FW2, 1);
    node.takes_over(&[FW3]);
    // The two had met as well; the connection is this node's before its table is read, and so is what it expects.
    node.tells(FW3, 1);
    node.expects(FW3, 1);
    node.has_no_more(FW2, 1);
    node.expects_no_more(FW2, 1);
    node.adopts();
    assert_eq!(node.expectations_gone, []);
    assert_eq!(node.own_expectations(), [flow(1).key()]);
}

#[test]
fn an_expectation_that_is_given_up_stays_though_its_handle_is_used_again() {
    let mut node = Fw1::new();
    for n in [1, 2] {
        node.tells(FW2, n);
    }
    node.expects(FW2, 1);
    node.hear(FW2, |said, out| {
        said.word(out, &takeover(4, "fw2"));
        said.new_expectation(out, 1, &expected_by(2));
    });
    node.tells(FW3, 1);
    node.expects(FW3, 1);
    node.wait(Duration::from_secs(11));
    assert_eq!(node.expectations_gone, []);
    assert_eq!(node.expectations.len(), 2);
}

#[test]
fn an_expectation_that_is_claimed_better_by_another_is_not_taken_from_it() {
    let mut node = Fw1::new();
    // The one with the better claim has it with another class.
    for peer in [FW3, FW2] {
        node.tells(peer, 1);
        let class = Some(if peer == FW3 { 3 } else { 2 });
        node.hear(peer, |said, out| {
            let expected = Expectation {
                class,
                ..expected_by(1)
            };
            said.new_expectation(out, 1, &expected);
        });
    }
    let classes: Vec<_> = node.expectations.iter().map(|it| it.class).collect();
    assert_eq!(classes, [Some(3)]);
    // It goes, and the other one's takes its place.
    node.expects_no_more(FW3, 1);
    let classes: Vec<_> = node.expectations.iter().map(|it| it.class).collect();
    assert_eq!(classes, [Some(2)]);
}

#[test]
fn an_expectation_is_not_given_up_to_a_node_that_has_given_up_its_master() {
    let mut node = Fw1::new();
    node.tells(FW2, 1);
    node.expects(FW2, 1);
    node.takes_over(&[FW2]);
    node.adopts();
    assert_eq!(node.own_expectations(), [flow(1).key()]);
    // It has given up the one and not yet the other as it takes over from somebody else.
    node.has_no_more(FW2, 1);
    node.hear(FW2, |said, out| {
        said.word(out, &Word::Role(RoleWord::Primary, 9));
    });
    node.wait(Duration::from_millis(10));
    assert_eq!(node.own_expectations(), [flow(1).key()]);
    node.expects_no_more(FW2, 1);
    node.wait(Duration::from_millis(10));
    assert_eq!(node.own_expectations(), [flow(1).key()]);
    assert_eq!(node.expectations_gone, []);
}
