//! Changing entries.

use ctnetlink::{Reply, parse, request as netlink, request::UpdateMask};
use flow::{Flow, Labels, ProtoInfo};
use nix::errno::Errno;

use super::{NOTHING, Session, delete::pretend, errno, failed, list::each_match, refused, touched};
use crate::{
    error::{Failure, operation_text},
    kernel::{Answer, BATCH, Batcher},
    print::Printer,
    protocol::Kind,
    request::{LabelFields, LabelRemoval, Mode, Request},
    tuples::proto_info,
};

/// What an update writes.
struct Change {
    flow: Flow,
    mask: UpdateMask,
}

/// What became of the updates so far.
#[derive(Default)]
struct Outcome {
    updated: u64,
    is_any_refused: bool,
}

pub(super) fn update(session: &mut Session<'_, '_>, request: &Request) -> Result<u8, Failure> {
    if request.mode == Mode::DryRun {
        return pretend(session, request, "flow entries would be updated");
    }
    let printer = Printer::of_changes(request);
    let mut batcher = session.take_batcher(request)?;
    let mut outcome = Outcome::default();
    each_match(session, request, |session, flow, _| {
        let Some(change) = change(request, flow).map_err(|code| refused(request)(code.into()))?
        else {
            return Ok(());
        };
        batcher.add(|buf, seq| {
            netlink::update_flow_masked(buf, seq, netlink::Ack::Wanted, &change.flow, &change.mask);
        });
        batcher.add(|buf, seq| netlink::get_flow(buf, seq, netlink::Ack::Wanted, &flow.key()));
        if batcher.len() < BATCH {
            return Ok(());
        }
        send(&mut batcher, session, request, &printer, &mut outcome)
    })?;
    send(&mut batcher, session, request, &printer, &mut outcome)?;
    session.keep(batcher);
    session.console.flush()?;
    session.summarize(outcome.updated, "flow entries have been updated")?;
    Ok(if outcome.is_any_refused {
        NOTHING
    } else {
        touched(outcome.updated)
    })
}

/// Sends pairs of an update and a look at the result. An entry that cannot be updated does not keep the
/// others from it.
fn send(
    batcher: &mut Batcher,
    session: &mut Session<'_, '_>,
    request: &Request,
    printer: &Printer,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let mut is_updated = false;
    let sent = batcher.send(|number, answer| match answer {
        Answer::Message(message) => {
            if is_updated && let Ok(Reply::Flow(flow)) = parse::reply(message) {
                printer.listed(session.console.buffer(), &flow, parse::secctx(message));
            }
            session.console.written()
        }
        // Odd numbers are looks; what is gone already cannot be looked at.
        Answer::Verdict(_) if number % 2 == 1 => Ok(()),
        Answer::Verdict(code) => {
            is_updated = code == 0;
            outcome.updated += u64::from(is_updated);
            if is_updated || Errno::from_raw(code) == Errno::ENOENT {
                return Ok(());
            }
            outcome.is_any_refused = true;
            // compat: without the program's name.
            let text = operation_text(request.command, request.table, &errno(code));
            session.console.remark(&format!("Operation failed: {text}"))
        }
    });
    sent.map_err(|trouble| failed(request, trouble))
}

/// What to write to make the entry as asked; `None` when it is so already.
fn change(request: &Request, old: &Flow) -> Result<Option<Change>, Errno> {
    let mut flow = Flow::new(old.orig);
    flow.reply = old.reply;
    flow.zone = old.zone;
    let mut mask = UpdateMask::default();
    flow.timeout_s = request
        .timeout_s
        .filter(|&timeout_s| old.timeout_s != Some(timeout_s));
    if let Some(mark) = request.mark {
        let before = old.mark.unwrap_or(0);
        if before & !mark.mask ^ mark.value != before {
            flow.mark = Some(mark.value);
            mask.mark = Some(mark.mask);
        }
    }
    let status = old.status_bits();
    if let Some(words) = request.status
        && !status.contains(words.plain)
    {
        flow.status = Some(status | words.plain);
    }
    if let Some((labels, changed)) = label_change(&request.labels, old)? {
        flow.labels = Some(labels);
        mask.labels = Some(changed);
    }
    let told = flow.timeout_s.is_some()
        || flow.mark.is_some()
        || flow.status.is_some()
        || flow.labels.is_some();
    let (proto, is_changed) = proto_change(request, &old.proto);
    flow.proto = proto;
    Ok((told || is_changed).then_some(Change { flow, mask }))
}

/// What to write of the protocol's state, and whether that changes anything.
fn proto_change(request: &Request, old: &ProtoInfo) -> (ProtoInfo, bool) {
    let kind = request
        .protocol
        .map_or(Kind::Other, |protocol| protocol.kind);
    match (proto_info(kind, &request.state), old) {
        // The flags are written with any change, but are none themselves.
        (ProtoInfo::Tcp(new), ProtoInfo::Tcp(old)) => (
            ProtoInfo::Tcp(new),
            new.state.is_some() && new.state != old.state,
        ),
        (ProtoInfo::Sctp(mut new), ProtoInfo::Sctp(old)) => {
            // The kernel wants all three.
            new.state = new.state.or(old.state);
            new.vtag_orig = new.vtag_orig.or(old.vtag_orig);
            new.vtag_reply = new.vtag_reply.or(old.vtag_reply);
            if new == *old {
                (ProtoInfo::None, false)
            } else {
                (ProtoInfo::Sctp(new), true)
            }
        }
        _ => (ProtoInfo::None, false),
    }
}

/// New labels and which of them change.
fn label_change(fields: &LabelFields, old: &Flow) -> Result<Option<(Labels, Labels)>, Errno> {
    if let Some(add) = fields.add {
        if add.is_beyond_entries {
            return Err(Errno::ERANGE);
        }
        // compat: adding counts even if nothing is new.
        let labels = Labels::new(add.words());
        return Ok(labels.zip(labels));
    }
    // compat: removing counts even if none of these is set, but not from an entry without any.
    if old.labels.is_none_or(|labels| labels.is_empty()) {
        return Ok(None);
    }
    let removed = match fields.remove {
        None => return Ok(None),
        Some(LabelRemoval::All) => [u32::MAX; 4],
        Some(LabelRemoval::Some(set)) => set.words(),
    };
    Ok(Labels::new([0; 4]).zip(Labels::new(removed)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;
    use flow::{Addrs, L4, Sctp, Status, Tcp, TcpState, Tuple};

    fn changed(line: &str, old: &Flow) -> Option<Change> {
        let words = std::iter::once("conntrack").chain(line.split_whitespace());
        let parsed = parse(words.map(str::to_owned).collect());
        change(&parsed.request.unwrap().unwrap(), old).unwrap()
    }

    fn flow(proto: u8) -> Flow {
        let mut flow = Flow::new(Tuple {
            addrs: Addrs::new("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()).unwrap(),
            proto,
            l4: L4::Ports { src: 1, dst: 2 },
        });
        flow.mark = Some(0xff);
        flow.timeout_s = Some(50);
        flow.status = Some(Status::CONFIRMED | Status::ASSURED);
        flow
    }

    #[test]
    fn what_is_so_already_is_no_change() {
        let mut tcp = flow(6);
        tcp.proto = ProtoInfo::Tcp(Tcp {
            state: Some(TcpState::Close),
            ..Tcp::default()
        });
        for line in [
            "-U -m 0xff",
            "-U -m 0x0f/0x0f",
            "-U -t 50",
            "-U -u ASSURED",
            "-U -u UNSET",
            "-U -p tcp",
            "-U -p tcp --state CLOSE -m 0xff",
            "-U --label-del",
        ] {
            assert!(changed(line, &tcp).is_none(), "{line}");
        }
    }

    #[test]
    fn a_change_says_only_what_is_new() {
        let change = changed("-U -m 0x100/0xff -t 50 -u SEEN_REPLY", &flow(17)).unwrap();
        assert_eq!(
            (change.flow.mark, change.mask.mark),
            (Some(0x100), Some(0xff))
        );
        assert_eq!(change.flow.timeout_s, None);
        assert_eq!(
            change.flow.status,
            Some(Status::CONFIRMED | Status::ASSURED | Status::SEEN_REPLY)
        );
    }

    #[test]
    fn a_state_of_sctp_takes_the_tags_along() {
        let mut sctp = flow(132);
        sctp.proto = ProtoInfo::Sctp(Sctp {
            state: Some(1),
            vtag_orig: Some(7),
            vtag_reply: Some(8),
        });
        let change = changed("-U -p sctp --state ESTABLISHED", &sctp).unwrap();
        let told = ProtoInfo::Sctp(Sctp {
            state: Some(4),
            vtag_orig: Some(7),
            vtag_reply: Some(8),
        });
        assert_eq!(change.flow.proto, told);
    }
}
