//! Every page that the original printed comes out again from its numbers.

use std::time::Duration;

use control::Page;
use control::stats::{
    LinkStats, ProcessKind, ProcessRow, RuntimeStats, Shell, Transport, page as render,
};
use engine::snapshot::{
    BypassStats, CacheStats, ExternalStats, InjectStats, InternalStats, KernelStats, QueueStats,
    ReceiveStats, ResendElement,
};
use engine::{LinkState, Snapshot};

const PAGES: &str = include_str!("data/pages.txt");

/// What a page was made from, read back from its text.
#[derive(Default)]
struct Origin<'a> {
    snapshot: Snapshot,
    resend: Vec<ResendElement>,
    links: Vec<LinkStats<'a>>,
    processes: Vec<ProcessRow>,
    runtime: RuntimeStats,
    queue_nodes: u64,
    error_queue: QueueStats,
}

impl Origin<'_> {
    fn render(&self, page: Page) -> String {
        let shell = Shell {
            links: &self.links,
            runtime: self.runtime,
            processes: &self.processes,
            queue_nodes: self.queue_nodes,
            error_queue: self.error_queue,
        };
        let mut out = Vec::new();
        render(
            &mut out,
            page,
            &self.snapshot,
            &mut self.resend.iter().copied(),
            &shell,
        );
        String::from_utf8(out).unwrap()
    }
}

fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .filter_map(|word| word.parse().ok())
        .collect()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    text.split_once(before)
        .unwrap()
        .1
        .split_once(after)
        .unwrap()
        .0
}

/// Pieces that end in an empty line.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive("\n\n")
}

fn cache(n: &[u64]) -> CacheStats {
    let [
        active,
        created,
        create_failed,
        updated,
        update_failed,
        destroyed,
        destroy_failed,
    ] = *n
    else {
        panic!("{n:?}")
    };
    CacheStats {
        active,
        created,
        create_failed,
        updated,
        update_failed,
        destroyed,
        destroy_failed,
        ..CacheStats::default()
    }
}

fn extended_cache(n: &[u64]) -> CacheStats {
    let [
        objects,
        active,
        total,
        created,
        create_failed,
        memory,
        no_space,
        updated,
        ref rest @ ..,
    ] = *n
    else {
        panic!("{n:?}")
    };
    let [update_failed, _, destroyed, destroy_failed, _] = *rest else {
        panic!("{n:?}")
    };
    assert_eq!(memory + no_space, create_failed);
    CacheStats {
        active,
        total,
        objects,
        created,
        create_failed,
        no_space,
        updated,
        update_failed,
        destroyed,
        destroy_failed,
    }
}

fn bypass(n: &[u64]) -> BypassStats {
    let [new, updated, destroyed] = *n else {
        panic!("{n:?}")
    };
    BypassStats {
        new,
        updated,
        destroyed,
    }
}

fn inject(n: &[u64]) -> InjectStats {
    let [
        created,
        create_failed,
        updated,
        update_failed,
        destroyed,
        destroy_failed,
    ] = *n
    else {
        panic!("{n:?}")
    };
    InjectStats {
        created,
        create_failed,
        updated,
        update_failed,
        destroyed,
        destroy_failed,
    }
}

fn link(block: &str) -> LinkStats<'_> {
    let (title, counters) = block.split_once('\n').unwrap();
    let transport = match title.split_once(' ').unwrap().0 {
        "UDP" => Transport::Udp,
        "multicast" => Transport::Multicast,
        "TCP" => Transport::Tcp {
            server_connected: title.contains("server=connected"),
            client_connected: title.contains("client=connected"),
        },
        other => panic!("{other}"),
    };
    let device = title.split_once("device=").unwrap().1;
    let [
        sent_bytes,
        received_bytes,
        sent_packets,
        received_packets,
        send_errors,
        receive_errors,
    ] = numbers(counters)[..]
    else {
        panic!("{counters}")
    };
    LinkStats {
        transport,
        interface: device.split([')', ' ']).next().unwrap(),
        state: LinkState {
            up: !title.contains("status=DOWN"),
            running: !title.contains("status=DOWN") && !title.contains("status=NO-CARRIER"),
        },
        sent_bytes,
        received_bytes,
        sent_packets,
        received_packets,
        send_errors,
        receive_errors,
    }
}

fn synchronisation(text: &str, expectations: bool) -> Origin<'_> {
    let mut origin = Origin::default();
    let (mut internal, mut external) = (None, None);
    for block in blocks(text) {
        let n = numbers(block);
        match block.split_once('\n').unwrap().0 {
            "cache internal:" | "cache stats:" => internal = Some(InternalStats::Cache(cache(&n))),
            "cache external:" => external = Some(ExternalStats::Cache(cache(&n))),
            "internal bypass:" => internal = Some(InternalStats::Bypass(bypass(&n))),
            "external inject:" => external = Some(ExternalStats::Inject(inject(&n))),
            "traffic processed:" => {
                origin.snapshot.kernel.traffic_bytes = n[0];
                origin.snapshot.kernel.traffic_packets = n[1];
            }
            "message tracking:" => {
                origin.snapshot.receive.bad_type = n[0];
                origin.snapshot.receive.lost = n[1];
            }
            _ => origin.links.push(link(block)),
        }
    }
    if expectations {
        origin.snapshot.internal_expectations = internal;
        origin.snapshot.external_expectations = external;
    } else {
        origin.snapshot.internal = internal;
        origin.snapshot.external = external;
    }
    origin
}

/// An origin in a synchronisation mode of which nothing is known.
fn synchronising<'a>() -> Origin<'a> {
    let mut origin = Origin::default();
    origin.snapshot.internal = Some(InternalStats::Cache(CacheStats::default()));
    origin.snapshot.external = Some(ExternalStats::Cache(CacheStats::default()));
    origin
}

fn network(text: &str) -> Origin<'_> {
    let mut origin = synchronising();
    let mut blocks = blocks(text);
    let n = numbers(blocks.next().unwrap());
    let sequence = numbers(blocks.next().unwrap());
    origin.snapshot.receive = ReceiveStats {
        wrong_version: n[1],
        malformed_header: n[2],
        malformed_payload: n[3],
        bad_type: n[4],
        truncated: n[5],
        bad_size: n[6],
        lost: sequence[0],
        before: sequence[1],
    };
    origin.links.push(link(blocks.next().unwrap()));
    origin
}

fn caches(text: &str) -> Origin<'_> {
    let mut origin = Origin::default();
    for block in blocks(text) {
        let n = numbers(block);
        match block.split(['\n', '\t']).next().unwrap() {
            "cache:internal" | "cache:stats" => {
                origin.snapshot.internal = Some(InternalStats::Cache(extended_cache(&n)));
            }
            "cache:external" => {
                origin.snapshot.external = Some(ExternalStats::Cache(extended_cache(&n)));
            }
            "internal bypass:" => {
                origin.snapshot.internal = Some(InternalStats::Bypass(bypass(&n)));
            }
            "external inject:" => {
                origin.snapshot.external = Some(ExternalStats::Inject(inject(&n)));
            }
            other => panic!("{other}"),
        }
    }
    origin
}

fn runtime(text: &str) -> Origin<'_> {
    let [
        minutes,
        events,
        filtered,
        malformed,
        catch_failed,
        0,
        overruns,
        flushes,
        resyncs,
        event_buffer_len,
        child_failed,
        child_segfault,
        child_terminated,
        select_failed,
        wait_failed,
        local_read_failed,
        local_unknown_request,
    ] = numbers(text)[..]
    else {
        panic!("{text}")
    };
    assert_eq!(catch_failed, overruns);
    let mut origin = Origin::default();
    origin.snapshot.kernel = KernelStats {
        events,
        filtered,
        malformed,
        overruns,
        flushes,
        resyncs,
        ..KernelStats::default()
    };
    origin.runtime = RuntimeStats {
        uptime: Duration::from_secs(60 * minutes),
        event_buffer_len,
        child_failed,
        child_segfault,
        child_terminated,
        select_failed,
        wait_failed,
        local_read_failed,
        local_refused: 0,
        local_unknown_request,
    };
    origin
}

fn links(text: &str) -> Origin<'_> {
    let mut origin = synchronising();
    for (index, block) in blocks(text).enumerate() {
        origin.links.push(link(block));
        if block.contains("role=ACTIVE") {
            origin.snapshot.active_link = index;
        }
    }
    origin
}

fn resend_queue(text: &str) -> Origin<'_> {
    let mut origin = synchronising();
    let (title, lines) = text.split_once('\n').unwrap();
    let len = numbers(title)[0];
    origin.snapshot.resend_queue = Some(QueueStats {
        len,
        max: 1,
        overflows: 0,
    });
    for line in lines.lines() {
        let n = numbers(line);
        let seq = u32::try_from(n[0]).unwrap();
        origin.resend.push(match line.split(' ').next().unwrap() {
            "object" => ResendElement::Object { seq },
            "control" => ResendElement::Control {
                seq,
                flags: u8::try_from(n[1]).unwrap(),
            },
            other => panic!("{other}"),
        });
    }
    origin
}

fn processes(text: &str) -> Origin<'_> {
    let mut origin = Origin::default();
    for line in text.lines() {
        let kind = match line.split_once("type=").unwrap().1 {
            "any" => ProcessKind::Any,
            "flush" => ProcessKind::Flush,
            other => panic!("{other}"),
        };
        let pid = between(line, "PID=", " ").parse().unwrap();
        origin.processes.push(ProcessRow { pid, kind });
    }
    origin
}

fn queues(text: &str) -> Origin<'_> {
    let mut origin = synchronising();
    for block in blocks(text) {
        let n = numbers(block);
        let queue = |n: &[u64]| QueueStats {
            len: n[0],
            max: n[1],
            overflows: n[2],
        };
        match block.split(['\n', '\t']).next().unwrap() {
            "allocated queue nodes:" => origin.queue_nodes = n[0],
            // The core knows no limit of it.
            "queue txqueue:" => {
                origin.snapshot.tx_queue = QueueStats {
                    max: 0,
                    ..queue(&n)
                }
            }
            "queue errorq:" => origin.error_queue = queue(&n),
            "queue rsqueue:" => origin.snapshot.resend_queue = Some(queue(&n)),
            other => panic!("{other}"),
        }
    }
    origin
}

#[test]
fn every_page_of_the_original_comes_out_again() {
    let mut seen = std::collections::BTreeMap::new();
    for piece in PAGES.split("@ ").skip(1) {
        let (name, text) = piece.split_once('\n').unwrap();
        let (page, origin) = match name {
            "general" => (Page::General, synchronisation(text, false)),
            "expect" => (Page::Expectations, synchronisation(text, true)),
            "network" => (Page::Network, network(text)),
            "cache" => (Page::Cache, caches(text)),
            "runtime" => (Page::Runtime, runtime(text)),
            "link" => (Page::Link, links(text)),
            "rsqueue" => (Page::ResendQueue, resend_queue(text)),
            "process" => (Page::Process, processes(text)),
            "queue" => (Page::Queue, queues(text)),
            other => panic!("{other}"),
        };
        assert_eq!(origin.render(page), text, "{name}");
        *seen.entry(name).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 9, "a kind of page is missing: {seen:?}");
}

#[test]
fn statistics_mode_has_only_the_pages_of_the_original() {
    let mut origin = synchronising();
    origin.snapshot.external = None;
    for page in [
        Page::Network,
        Page::Link,
        Page::ResendQueue,
        Page::Queue,
        Page::Expectations,
    ] {
        assert_eq!(origin.render(page), "", "{page:?}");
    }
    assert!(origin.render(Page::General).starts_with("cache stats:\n"));
    assert!(origin.render(Page::Cache).starts_with("cache:stats\t"));
    assert!(
        origin
            .render(Page::Runtime)
            .starts_with("daemon uptime: 0 min\n")
    );
}

#[test]
fn a_daemon_without_synchronisation_and_statistics_tells_of_itself_only() {
    let origin = Origin::default();
    for page in [
        Page::General,
        Page::Network,
        Page::Cache,
        Page::Link,
        Page::ResendQueue,
        Page::Process,
        Page::Queue,
        Page::Expectations,
    ] {
        assert_eq!(origin.render(page), "", "{page:?}");
    }
    assert!(
        origin
            .render(Page::Runtime)
            .ends_with("local unknown request:\t\t           0\n\n")
    );
}

#[test]
fn expectations_have_no_page_unless_they_are_replicated() {
    assert_eq!(synchronising().render(Page::Expectations), "");
}

#[test]
fn numbers_wider_than_their_column_push_the_rest_to_the_right() {
    let mut origin = synchronising();
    origin.queue_nodes = 1_234_567_890_123;
    assert!(
        origin
            .render(Page::Queue)
            .starts_with("allocated queue nodes:\t\t1234567890123\n\nqueue")
    );
}
