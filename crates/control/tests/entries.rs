//! Every entry that the original printed comes out again from its parts.

use std::fmt::Debug;
use std::str::FromStr;

use control::dump::{self, Lifetime};
use control::{Side, statslog, xml};
use flow::{
    Addrs, Counters, Dccp, Expectation, Flow, HelperName, L4, ProtoInfo, Sctp, Status, Tcp,
    TcpState, Timestamp, Tuple, Zone,
};

fn field<T: FromStr<Err: Debug>>(words: &[&str], key: &str) -> Option<T> {
    let value = words
        .iter()
        .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.parse().unwrap())
}

fn tuple(proto: u8, words: &[&str], prefix: &str) -> Tuple {
    let src = field(words, &format!("{prefix}src")).unwrap();
    let dst = field(words, &format!("{prefix}dst")).unwrap();
    let l4 = if let Some(src) = field(words, "sport") {
        L4::Ports {
            src,
            dst: field(words, "dport").unwrap(),
        }
    } else {
        L4::Icmp {
            id: field(words, "id").unwrap(),
            icmp_type: field(words, "type").unwrap(),
            code: field(words, "code").unwrap(),
        }
    };
    Tuple {
        addrs: Addrs::new(src, dst).unwrap(),
        proto,
        l4,
    }
}

fn counters(words: &[&str]) -> Option<Counters> {
    Some(Counters {
        packets: field(words, "packets")?,
        bytes: field(words, "bytes")?,
    })
}

fn tcp(state: &str) -> ProtoInfo {
    let state = TcpState::ALL.into_iter().find(|s| s.name() == state);
    ProtoInfo::Tcp(Tcp {
        state: Some(state.unwrap()),
        ..Tcp::default()
    })
}

/// Reads a line of words.
fn parse(line: &str) -> (Flow, Lifetime) {
    let (words, lifetime) = match line.split_once(" [active since ") {
        Some((line, active)) => {
            let active_s = active.strip_suffix("s]").unwrap().parse().unwrap();
            match line.split_once(" [expires in ") {
                Some((line, expires)) => {
                    let expires_s = expires.strip_suffix("s]").unwrap().parse().unwrap();
                    (
                        line,
                        Lifetime {
                            active_s,
                            expires_s: Some(expires_s),
                        },
                    )
                }
                None => (
                    line,
                    Lifetime {
                        active_s,
                        expires_s: None,
                    },
                ),
            }
        }
        None => (line, Lifetime::default()),
    };
    let words: Vec<&str> = words.split_ascii_whitespace().collect();
    let proto = words[1].parse().unwrap();
    let mut starts = (0..words.len()).filter(|&i| words[i].starts_with("src="));
    let orig_at = starts.next().unwrap();
    let reply_at = starts.next();
    let orig = &words[orig_at..reply_at.unwrap_or(words.len())];

    let mut flow = Flow::new(tuple(proto, orig, ""));
    flow.counters_orig = counters(orig);
    if let Some(at) = reply_at {
        flow.reply = Some(tuple(proto, &words[at..], ""));
        flow.counters_reply = counters(&words[at..]);
    }
    let mut status = Status::CONFIRMED;
    if !words.contains(&"[UNREPLIED]") {
        status |= Status::SEEN_REPLY;
    }
    if words.contains(&"[ASSURED]") {
        status |= Status::ASSURED;
    }
    flow.status = Some(status);
    flow.mark = field(&words, "mark");
    flow.use_count = field(&words, "use");
    flow.helper = field::<String>(&words, "helper").and_then(|h| HelperName::new(h.as_bytes()));
    for word in &words[2..orig_at] {
        match word.parse() {
            Ok(timeout_s) => flow.timeout_s = Some(timeout_s),
            Err(_) => flow.proto = tcp(word),
        }
    }
    (flow, lifetime)
}

fn rendered(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out)
        .unwrap()
        .strip_suffix('\n')
        .expect("a whole line")
        .to_owned()
}

/// Text of an element without attributes.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>")).unwrap().0)
}

fn number<T: FromStr<Err: Debug>>(xml: &str, name: &str) -> Option<T> {
    element(xml, name).map(|text| text.parse().unwrap())
}

fn xml_tuple(xml: &str, l4: Option<&str>) -> Tuple {
    let (_, layer4) = xml.split_once("<layer4 protonum=\"").unwrap();
    let proto = layer4.split_once('"').unwrap().0.parse().unwrap();
    let ports = l4.unwrap_or(layer4);
    let l4 = match number(ports, "sport") {
        Some(src) => L4::Ports {
            src,
            dst: number(ports, "dport").unwrap(),
        },
        // Not in the text, and must not get there.
        None => L4::Icmp {
            id: 7,
            icmp_type: 8,
            code: 0,
        },
    };
    let addrs = Addrs::new(number(xml, "src").unwrap(), number(xml, "dst").unwrap()).unwrap();
    Tuple { addrs, proto, l4 }
}

fn parse_xml(line: &str) -> Flow {
    let metas: Vec<&str> = line.split("<meta direction=").skip(1).collect();
    let [orig, reply, independent] = metas[..] else {
        panic!("{line}")
    };
    let mut flow = Flow::new(xml_tuple(orig, None));
    if !reply.contains("unknown") {
        flow.reply = Some(xml_tuple(reply, None));
    }
    if let Some(state) = element(independent, "state") {
        flow.proto = tcp(state);
    }
    flow.mark = number(independent, "mark");
    flow.id = number(independent, "id");
    let mut status = Status::CONFIRMED;
    if !independent.contains("<unreplied/>") {
        status |= Status::SEEN_REPLY;
    }
    if independent.contains("<assured/>") {
        status |= Status::ASSURED;
    }
    flow.status = Some(status);
    flow.helper = element(line, "helper").and_then(|h| HelperName::new(h.as_bytes()));
    flow
}

/// All tests share a table that never is empty.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    assert!(text.lines().count() > 2);
    text.lines()
}

#[test]
fn every_internal_entry_comes_out_again() {
    for line in lines(include_str!("data/internal.txt")) {
        let (mut flow, lifetime) = parse(line);
        // Known, but not shown.
        flow.timeout_s = Some(5);
        flow.use_count = Some(1);
        flow.counters_orig = Some(Counters::default());
        assert_eq!(
            rendered(|out| dump::flow(out, &flow, Side::Internal, lifetime, 0)),
            line
        );
    }
}

#[test]
fn every_external_entry_comes_out_again_without_its_reply() {
    for line in lines(include_str!("data/external.txt")) {
        let (mut flow, lifetime) = parse(line);
        flow.reply = Some(flow.orig.mirrored());
        assert_eq!(
            rendered(|out| dump::flow(out, &flow, Side::External, lifetime, 0)),
            line
        );
    }
}

#[test]
fn every_entry_of_the_kernel_comes_out_again() {
    for line in lines(include_str!("data/bypass.txt")) {
        let (flow, _) = parse(line);
        assert_eq!(rendered(|out| dump::kernel_flow(out, &flow, 0)), line);
    }
}

#[test]
fn every_line_of_the_flow_log_comes_out_again() {
    for line in lines(include_str!("data/statslog.txt")) {
        let (date, text) = line.split_once('\t').unwrap();
        let (flow, _) = parse(text);
        assert_eq!(rendered(|out| statslog::line(out, date, &flow, 0)), line);
    }
}

#[test]
fn every_xml_entry_comes_out_again() {
    for line in lines(include_str!("data/internal.xml")) {
        let flow = parse_xml(line);
        assert_eq!(
            rendered(|out| xml::flow(out, &flow, Side::Internal, 0)),
            line
        );
    }
    for line in lines(include_str!("data/external.xml")) {
        let mut flow = parse_xml(line);
        flow.reply = Some(flow.orig.mirrored());
        assert_eq!(
            rendered(|out| xml::flow(out, &flow, Side::External, 0)),
            line
        );
    }
}

fn with_details(mut expectation: Expectation, class: Option<u32>, helper: &str) -> Expectation {
    expectation.class = class;
    expectation.helper = HelperName::new(helper.as_bytes());
    expectation.flags = Some(0);
    expectation.timeout_s = Some(299);
    expectation
}

#[test]
fn every_expectation_comes_out_again() {
    for line in lines(include_str!("data/expectations.txt")) {
        let words: Vec<&str> = line.split(' ').collect();
        let at = |key: &str| words.iter().position(|word| word.starts_with(key)).unwrap();
        let (mask, master) = (at("mask-src="), at("master-src="));
        let expectation = Expectation::new(
            tuple(6, &words[master..], "master-"),
            tuple(6, &words[..mask], ""),
            tuple(6, &words[mask..master], "mask-"),
        );
        let expectation = with_details(expectation, field(&words, "class"), "ftp");
        let seconds = |key: &str| {
            let rest = line.split_once(key)?.1;
            Some(rest.split_once("s]").unwrap().0.parse().unwrap())
        };
        let lifetime = Lifetime {
            active_s: seconds("[active since ").unwrap(),
            expires_s: seconds("[expires in "),
        };
        assert_eq!(
            rendered(|out| dump::expectation(out, &expectation, lifetime)),
            line
        );
        let of_kernel = rendered(|out| dump::kernel_expectation(out, &expectation));
        let body = line.split(" [").next().unwrap();
        assert_eq!(of_kernel, format!("299 {body}"));
    }
}

#[test]
fn every_xml_expectation_comes_out_again() {
    for line in lines(include_str!("data/expectations.xml")) {
        let (layer3, layer4) = line.split_once("<layer4").unwrap();
        let part = |name: &str| {
            let addresses = format!("{}<layer4{layer4}", element(layer3, name).unwrap());
            xml_tuple(&addresses, element(layer4, name))
        };
        let expectation = Expectation::new(part("master"), part("expected"), part("mask"));
        let helper = element(line, "helper-name").unwrap();
        let expectation = with_details(expectation, number(line, "class"), helper);
        assert_eq!(rendered(|out| xml::expectation(out, &expectation)), line);
    }
}

fn gre() -> Flow {
    let addrs = Addrs::new([192, 0, 2, 9].into(), [192, 0, 2, 10].into()).unwrap();
    let orig = Tuple {
        addrs,
        proto: 47,
        l4: L4::Ports {
            src: 0x10,
            dst: 0x21,
        },
    };
    let mut flow = Flow::new(orig);
    flow.reply = Some(orig.mirrored());
    flow.status = Some(Status::CONFIRMED);
    flow
}

#[test]
fn gre_has_keys_in_place_of_ports() {
    let mut flow = gre();
    flow.timeout_s = Some(41);
    flow.mark = Some(0);
    flow.use_count = Some(1);
    assert_eq!(
        rendered(|out| dump::kernel_flow(out, &flow, 0)),
        "gre      47 41 src=192.0.2.9 dst=192.0.2.10 srckey=0x10 dstkey=0x21 [UNREPLIED] \
         src=192.0.2.10 dst=192.0.2.9 srckey=0x21 dstkey=0x10 mark=0 use=1"
    );
    let xml = rendered(|out| xml::flow(out, &flow, Side::Internal, 0));
    assert!(
        xml.contains("<srckey>0x10</srckey><dstkey>0x21</dstkey></layer4>"),
        "{xml}"
    );
}

/// Printed by the original of entries that are rarer than those in the data files.
#[test]
fn zones_and_ages_stand_where_the_original_has_them() {
    let mut flow = gre();
    flow.orig.proto = 17;
    flow.orig.l4 = L4::Ports { src: 7, dst: 8 };
    flow.reply = Some(flow.orig.mirrored());
    flow.timestamp = Some(Timestamp {
        start_ns: 5_900_000_000,
        stop_ns: None,
    });
    flow.zone = Zone { orig: 0, reply: 9 };
    flow.status = Some(Status::ASSURED);
    flow.mark = Some(0);
    flow.id = Some(176_581_942);
    let lifetime = Lifetime {
        active_s: 2,
        expires_s: None,
    };
    let line = |flow: &Flow| rendered(|out| dump::flow(out, flow, Side::Internal, lifetime, 6));
    assert_eq!(
        line(&flow),
        "udp      17 src=192.0.2.9 dst=192.0.2.10 sport=7 dport=8 [UNREPLIED] \
         src=192.0.2.10 dst=192.0.2.9 sport=8 dport=7 zone-reply=9 [ASSURED] mark=0 delta-time=1 \
         [active since 2s]"
    );
    let xml = rendered(|out| xml::flow(out, &flow, Side::Internal, 6));
    assert!(
        xml.ends_with(
            "<sport>8</sport><dport>7</dport></layer4><zone>9</zone></meta>\
             <meta direction=\"independent\"><mark>0</mark><id>176581942</id>\
             <assured/><unreplied/><deltatime>1</deltatime></meta></flow>"
        ),
        "{xml}"
    );

    flow.zone = Zone::both(5);
    assert!(
        line(&flow).contains(" mark=0 zone=5 delta-time=1 "),
        "{}",
        line(&flow)
    );
    let xml = rendered(|out| xml::flow(out, &flow, Side::Internal, 6));
    assert!(xml.contains("<mark>0</mark><zone>5</zone><id>"), "{xml}");

    flow.zone = Zone { orig: 7, reply: 0 };
    flow.counters_orig = Some(Counters {
        packets: 1,
        bytes: 2,
    });
    flow.timestamp = Some(Timestamp {
        start_ns: 5_900_000_000,
        stop_ns: Some(8_000_000_000),
    });
    let log = rendered(|out| statslog::line(out, "date", &flow, 100));
    assert!(
        log.contains(" dport=8 zone-orig=7 packets=1 bytes=2 [UNREPLIED] "),
        "{log}"
    );
    assert!(log.ends_with(" mark=0 delta-time=3"), "{log}");
}

#[test]
fn ports_that_are_not_known_read_as_zero() {
    for (proto, plain, xml) in [
        (
            6,
            " sport=0 dport=0 [UN",
            "<sport>0</sport><dport>0</dport></layer4>",
        ),
        (
            17,
            " sport=0 dport=0 [UN",
            "<sport>0</sport><dport>0</dport></layer4>",
        ),
        (
            33,
            " sport=0 dport=0 [UN",
            "<sport>0</sport><dport>0</dport></layer4>",
        ),
        (
            132,
            " sport=0 dport=0 [UN",
            "<sport>0</sport><dport>0</dport></layer4>",
        ),
        (
            136,
            " sport=0 dport=0 [UN",
            "<sport>0</sport><dport>0</dport></layer4>",
        ),
        (
            47,
            " srckey=0x0 dstkey=0x0 [UN",
            "<srckey>0x0</srckey><dstkey>0x0</dstkey></layer4>",
        ),
        (1, " type=0 code=0 id=0 [UN", "protoname=\"icmp\"></layer4>"),
        (50, " dst=192.0.2.10 [UN", "protoname=\"unknown\"></layer4>"),
    ] {
        let mut flow = gre();
        (flow.orig.proto, flow.orig.l4) = (proto, L4::None);
        let line = rendered(|out| dump::flow(out, &flow, Side::External, Lifetime::default(), 0));
        assert!(line.contains(plain), "{line}");
        let element = rendered(|out| xml::flow(out, &flow, Side::External, 0));
        assert!(element.contains(xml), "{element}");
    }
}

#[test]
fn states_have_the_names_of_their_protocol() {
    for (proto, state) in [
        (
            ProtoInfo::Sctp(Sctp {
                state: Some(4),
                ..Sctp::default()
            }),
            " ESTABLISHED src=",
        ),
        (
            ProtoInfo::Dccp(Dccp {
                state: Some(3),
                ..Dccp::default()
            }),
            " PARTOPEN src=",
        ),
        (
            ProtoInfo::Sctp(Sctp {
                state: Some(77),
                ..Sctp::default()
            }),
            " 47 src=",
        ),
    ] {
        let flow = Flow { proto, ..gre() };
        let line = rendered(|out| dump::flow(out, &flow, Side::Internal, Lifetime::default(), 0));
        assert!(line.contains(state), "{line}");
    }
}

#[test]
fn offload_takes_the_place_of_assured() {
    for (status, word) in [
        (Status::ASSURED, "[ASSURED]"),
        (Status::ASSURED | Status::OFFLOAD, "[OFFLOAD]"),
        (
            Status::ASSURED | Status::OFFLOAD | Status::HW_OFFLOAD,
            "[HW_OFFLOAD]",
        ),
    ] {
        let flow = Flow {
            status: Some(status),
            ..gre()
        };
        let line = rendered(|out| dump::flow(out, &flow, Side::Internal, Lifetime::default(), 0));
        assert!(
            line.ends_with(&format!("dstkey=0x10 {word} [active since 0s]")),
            "{line}"
        );
    }
}

#[test]
fn an_entry_of_unknown_status_is_neither_replied_nor_unreplied() {
    let flow = Flow {
        status: None,
        ..gre()
    };
    let line = rendered(|out| dump::flow(out, &flow, Side::External, Lifetime::default(), 0));
    assert!(!line.contains("UNREPLIED"), "{line}");
    // Nothing is known that does not belong to a direction.
    let xml = rendered(|out| xml::flow(out, &flow, Side::External, 0));
    assert!(!xml.contains("independent"), "{xml}");
}

#[test]
fn flags_of_an_expectation_are_named() {
    let tuple = gre().orig;
    let mut expectation = Expectation::new(tuple, tuple, tuple);
    expectation.flags = Some(7);
    let line = rendered(|out| dump::kernel_expectation(out, &expectation));
    assert!(line.ends_with(" PERMANENT,INACTIVE,USERSPACE"), "{line}");
    let xml = rendered(|out| xml::expectation(out, &expectation));
    assert!(
        xml.contains("<permanent/><inactive/><userspace/></meta>"),
        "{xml}"
    );
}

#[test]
fn a_peers_helper_name_cannot_forge_a_line() {
    let flow = Flow {
        helper: HelperName::new(b"x\ny<z"),
        ..gre()
    };
    let line = rendered(|out| dump::flow(out, &flow, Side::External, Lifetime::default(), 0));
    assert!(line.contains("helper=x?y<z [active"), "{line}");
    let xml = rendered(|out| xml::flow(out, &flow, Side::External, 0));
    assert!(xml.contains("<helper>x?y&lt;z</helper>"), "{xml}");
}
