//! Each page as it looks, without a daemon.

use std::time::{Duration, Instant};

use control::Side;
use control::report::Report;
use control::talkers::{Talker, TalkersReport};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use serde_json::{Value, json};
use top::app::{App, News, Page};
use top::draw::{Surroundings, draw};

/// A primary in good order, a while after its start.
fn report(tick: u64) -> Value {
    json!({
        "role": {"role": "primary", "for_s": 754, "since_s": 1_700_000_000, "cause": "keepalived", "generation": 3,
            "settled": true},
        "ready": {"ready": true, "reason": "this node forwards"},
        "replication": {"at_risk": 5, "lag_s": 0.004, "p50_s": 0.002, "p99_s": 0.041},
        "peer": {"state": "alive", "heard_s": 0.4},
        "bulks": {"sent": {"entries": 120_400, "took_s": 1.25, "ago_s": 700.0}},
        "commits": {"count": 1, "entries": 120_000, "last": {"committed": 120_000, "refused": 3,
            "interrupted": false, "took_s": 0.81, "ago_s": 753.0},
            "refused": [{"errno": 28, "reason": "No space left on device", "count": 3,
                "samples": ["tcp      6 src=10.0.0.7 dst=203.0.113.9 sport=4000 dport=443"]}]},
        "work": {},
        "internal": {"kind": "cache", "active": 123_456 + tick, "total": 123_500, "created": 900_000, "create_failed": 0,
            "no_space": 0, "updated": 2_000_000, "update_failed": 0, "destroyed": 776_544, "destroy_failed": 0},
        "external": {"kind": "cache", "active": 0, "total": 0, "created": 120_003, "create_failed": 0,
            "no_space": 0, "updated": 40, "update_failed": 0, "destroyed": 120_003, "destroy_failed": 0},
        "kernel": {"events": 3_000_000 + 600 * tick * tick, "filtered": 6, "malformed": 0, "overruns": 1, "flushes": 2,
            "resyncs": 3, "ended_flows_bytes": 4096, "ended_flows_packets": 40, "event_buffer_bytes": 8_388_608},
        "receive": {"wrong_version": 0, "malformed_header": 0, "malformed_payload": 0, "bad_type": 0, "truncated": 0,
            "bad_size": 0, "lost": 7, "before": 0},
        "queues": {"send": {"len": 1, "max": 2_147_483_647, "overflows": 0},
            "resend": {"len": 4, "max": 131_072, "overflows": 0}, "error": {"len": 0, "max": 128, "overflows": 0}},
        "links": [
            {"transport": "udp", "interface": "eth2", "active": true, "up": true, "running": true,
                "sent_bytes": 900_000_000 + tick, "sent_packets": 700_000 + 40 * tick, "send_errors": 0,
                "received_bytes": 2_000_000, "received_packets": 20_000 + tick, "receive_errors": 0},
            {"transport": "udp", "interface": "eth3", "active": false, "up": true, "running": false,
                "sent_bytes": 0, "sent_packets": 0, "send_errors": 2, "received_bytes": 0, "received_packets": 0,
                "receive_errors": 0}],
        "process": {"uptime_s": 90_000, "clients_failed": 0}
    })
}

fn app(change: impl Fn(&mut Value)) -> (App, Instant) {
    let mut app = App::default();
    let start = Instant::now();
    for tick in 0..30 {
        let mut report = report(tick);
        change(&mut report);
        let report: Report = serde_json::from_value(report).unwrap();
        let at = start + Duration::from_secs(tick);
        app.take(at, News::Own(Ok(Box::new(report))));
    }
    (app, start + Duration::from_secs(30))
}

fn terminal(app: &App, now: Instant) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    let surroundings = Surroundings {
        host: "fw1".to_owned(),
        clock: "12:00:30 UTC".to_owned(),
    };
    terminal
        .draw(|frame| draw(frame, app, now, &surroundings))
        .unwrap();
    terminal
}

fn screen(app: &App, now: Instant) -> String {
    terminal(app, now).backend().to_string()
}

fn talkers(name: &str) -> TalkersReport {
    let list = |beginning: &str| {
        (1..=20)
            .map(|number| Talker {
                name: format!("{beginning}{number}"),
                entries: 1000 / number,
            })
            .collect()
    };
    TalkersReport {
        entries: 4000,
        sources: list(name),
        destinations: list("2001:db8:2222:3333:4444::"),
        services: list("tcp/44"),
    }
}

#[test]
fn each_page_fits_80_columns_and_24_lines() {
    let (mut app, now) = app(|_| ());
    app.take(now, News::Talkers(Side::Internal, Ok(talkers("10.0.1."))));
    app.take(now, News::Talkers(Side::External, Ok(talkers("10.0.2."))));
    for page in Page::ALL {
        app.page = page;
        insta::assert_snapshot!(page.name(), screen(&app, now));
    }
}

#[test]
fn the_nodes_of_the_native_dialect() {
    let peer = |name: &str, state: &str| {
        json!({"name": name, "state": state, "role": "backup", "entries": 41,
            "replication": {"at_risk": 4, "lag_s": 0.125, "p50_s": 0.002, "p99_s": 0.5},
            "repaired_here": {"checks": 9, "doubts": 1, "missing": 2, "extra": 1, "different": 0},
            "repaired_there": {"checks": 8, "doubts": 0, "missing": 0, "extra": 0, "different": 0},
            "refused": 6, "malformed": 0, "resumed": 1, "messages_sent": 100, "messages_received": 50,
            "sent_bytes": 7_000_000, "received_bytes": 3000, "sent_packets": 70_000, "lost_packets": 3,
            "connections": 2, "failures": 0})
    };
    let (mut app, now) = app(|report| {
        let mut second = peer("fw2", "in_sync");
        for (key, value) in [
            ("proved_s", json!(0.4)),
            ("address", json!("[2001:db8::2]:3780")),
            ("cipher", json!("TLS13_AES_256_GCM_SHA384")),
            ("round_trip_s", json!(0.002)),
        ] {
            second[key] = value;
        }
        let mut third = peer("fw3", "syncing");
        third["percent"] = 43.into();
        report["peers"] = json!([second, third, peer("fw4", "connecting")]);
    });
    app.page = Page::Peers;
    insta::assert_snapshot!("peers_of_the_native_dialect", screen(&app, now));
}

#[test]
fn a_node_in_trouble_with_the_view_of_the_other_one() {
    let (mut app, now) = app(|report| {
        report["role"]["role"] = "backup".into();
        report["ready"] = json!({"ready": false,
            "reason": "receiving the peer's entries, 40000 so far"});
        report["peer"]["state"] = "silent".into();
        report["links"][0]["running"] = false.into();
        report["work"]["bulk"] = json!({"done": 40_000, "total": 123_000, "running_s": 0.5});
    });
    app.has_peer = true;
    let peer: Report = serde_json::from_value(report(0)).unwrap();
    app.take(now, News::Peer(Ok(Box::new(peer))));
    app.is_paused = true;
    app.take(now, News::Own(Err("not taken".to_owned())));
    insta::assert_snapshot!("trouble", screen(&app, now));
    app.is_paused = false;
    app.take(now, News::Own(Err("is conntrackd running?".to_owned())));
    let screen = screen(&app, now + Duration::from_secs(9));
    assert!(
        screen.contains("no answer for 10 s: is conntrackd running?"),
        "{screen}"
    );
}

#[test]
fn the_filter_leaves_what_contains_it() {
    let (mut app, now) = app(|_| ());
    app.page = Page::Errors;
    app.filter = "LOST".to_owned();
    let screen = screen(&app, now);
    assert!(
        screen.contains("messages lost") && screen.contains("only: LOST"),
        "{screen}"
    );
    assert!(!screen.contains("late"), "{screen}");
}

#[test]
fn nothing_is_told_by_red_and_green() {
    let (mut app, now) = app(|report| report["ready"]["ready"] = false.into());
    let confused = [Color::Red, Color::LightRed, Color::Green, Color::LightGreen];
    for page in Page::ALL {
        app.page = page;
        let terminal = terminal(&app, now);
        let cells = &terminal.backend().buffer().content;
        assert!(
            cells
                .iter()
                .all(|cell| !confused.contains(&cell.fg) && !confused.contains(&cell.bg))
        );
    }
}

#[test]
fn a_small_window_is_no_reason_to_fail() {
    let (mut app, now) = app(|_| ());
    for (width, height) in [(1, 1), (10, 3), (79, 10), (300, 100)] {
        for page in Page::ALL {
            app.page = page;
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal
                .draw(|frame| draw(frame, &app, now, &Surroundings::default()))
                .unwrap();
        }
    }
}
