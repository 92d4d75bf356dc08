//! Statistics of each CPU.

use std::fs;

use ctnetlink::{Message, request as netlink};

use super::{SUCCESS, Session, failed};
use crate::{
    command::Table,
    error::Failure,
    print::{Object, text},
    request::Request,
};

/// The kernel's statistics for those who may not ask over netlink.
const STATS_FILE: &str = "/proc/net/stat/nf_conntrack";

/// Names of the counters of entries, by attribute number. Old kernels know some that new ones do not.
const ENTRY_NAMES: [(u16, &str); 15] = [
    (1, "searched"),
    (2, "found"),
    (3, "new"),
    (4, "invalid"),
    (5, "ignore"),
    (6, "delete"),
    (7, "delete_list"),
    (8, "insert"),
    (9, "insert_failed"),
    (10, "drop"),
    (11, "early_drop"),
    (12, "error"),
    (13, "search_restart"),
    (14, "clash_resolve"),
    (15, "chaintoolong"),
];
/// Names of the counters of expectations, by attribute number.
const EXPECT_NAMES: [(u16, &str); 3] = [
    (1, "expect_new"),
    (2, "expect_create"),
    (3, "expect_delete"),
];

pub(super) fn stats(session: &mut Session<'_, '_>, request: &Request) -> Result<u8, Failure> {
    let is_expect = request.table == Table::Expect;
    let names: &[(u16, &str)] = if is_expect {
        &EXPECT_NAMES
    } else {
        &ENTRY_NAMES
    };
    let mut lines = Vec::new();
    let asker = session.asker(request)?;
    let asked = asker.ask(
        |buf, seq| {
            if is_expect {
                netlink::expectation_cpu_stats(buf, seq);
            } else {
                netlink::cpu_stats(buf, seq);
            }
        },
        |message| {
            if request.output.json {
                json(&mut lines, message, names);
            } else {
                plain(&mut lines, message, names);
            }
            Ok(())
        },
    );
    if let Err(trouble) = asked {
        let table = fs::read_to_string(STATS_FILE).unwrap_or_default();
        session
            .console
            .buffer()
            .extend_from_slice(from_table(&table).as_bytes());
        return Err(failed(request, trouble));
    }
    session.console.buffer().extend_from_slice(&lines);
    Ok(SUCCESS)
}

/// The counters of a message, with their names.
fn counters<'a>(
    message: &'a Message<'_>,
    names: &'a [(u16, &'a str)],
) -> impl Iterator<Item = (u16, Option<&'a str>, u32)> + 'a {
    let attrs = message.attrs().into_iter().flatten().filter_map(Result::ok);
    attrs.filter_map(move |attr| {
        let name = names.iter().find(|(kind, _)| *kind == attr.kind);
        Some((attr.kind, name.map(|(_, name)| *name), attr.u32().ok()?))
    })
}

fn plain(out: &mut Vec<u8>, message: &Message<'_>, names: &[(u16, &str)]) {
    cpu_column(out, message.resource().unwrap_or(0));
    for (kind, name, count) in counters(message, names) {
        match name {
            Some(name) => out.extend_from_slice(name.as_bytes()),
            None => {
                out.extend_from_slice(b"unknown");
                text::decimal(out, kind);
            }
        }
        out.push(b'=');
        text::decimal(out, count);
        out.push(b' ');
    }
    out.push(b'\n');
}

fn cpu_column(out: &mut Vec<u8>, cpu: u16) {
    text::word(out, &format!("cpu={cpu}"), 8);
    out.push(b'\t');
}

fn json(out: &mut Vec<u8>, message: &Message<'_>, names: &[(u16, &str)]) {
    let mut object = Object::open(out);
    object.number("cpu", message.resource());
    for (_, name, count) in counters(message, names) {
        if let Some(name) = name {
            object.number(name, Some(count));
        }
    }
    object.close();
    out.push(b'\n');
}

/// The kernel's table, a line of names and a line of hexadecimal numbers for each CPU, as lines of pairs.
fn from_table(table: &str) -> String {
    let mut lines = table.lines();
    let names: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let mut told = String::new();
    for (cpu, line) in lines.enumerate() {
        told.push_str(&format!("{:<8}\t", format!("cpu={cpu}")));
        for (name, number) in names.iter().zip(line.split_whitespace()) {
            let number = u64::from_str_radix(number, 16).unwrap_or(0);
            told.push_str(&format!("{name}={number} "));
        }
        told.push('\n');
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctnetlink::{Header, attr::Emitter, messages};

    fn message(attrs: &[(u16, u32)]) -> Vec<u8> {
        let mut buf = Vec::new();
        let header = Header {
            kind: 0x104,
            ..Header::default()
        };
        let mut out = Emitter::new(&mut buf, header, 0, 0);
        for (kind, count) in attrs {
            out.u32(*kind, *count);
        }
        out.finish();
        buf
    }

    #[test]
    fn counters_are_told_in_the_order_of_the_kernel() {
        let bytes = message(&[(2, 7), (4, 0), (99, 1)]);
        let message = messages(&bytes).next().unwrap().unwrap();
        let mut out = Vec::new();
        plain(&mut out, &message, &ENTRY_NAMES);
        assert_eq!(out, b"cpu=0   \tfound=7 invalid=0 unknown99=1 \n");
        out.clear();
        json(&mut out, &message, &ENTRY_NAMES);
        assert_eq!(out, b"{\"cpu\":0,\"found\":7,\"invalid\":0}\n");
    }

    #[test]
    fn the_table_of_the_kernel_is_hexadecimal() {
        let table = "entries  found new\n0000000a  00000010 00000000\n00000000 ffffffff 1\n";
        assert_eq!(
            from_table(table),
            "cpu=0   \tentries=10 found=16 new=0 \ncpu=1   \tentries=0 found=4294967295 new=1 \n"
        );
        assert_eq!(from_table(""), "");
    }
}
