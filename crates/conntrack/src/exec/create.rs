//! Creating entries: one, or the many of a load file.

use ctnetlink::request as netlink;
use flow::Flow;
use nix::errno::Errno;

use super::{SUCCESS, Session, errno, failed, refused};
use crate::{
    command::Command,
    error::Failure,
    kernel::{Answer, Batcher},
    request::Request,
    tuples,
};

pub(super) fn create(session: &mut Session<'_, '_>, request: &Request) -> Result<u8, Failure> {
    let count = create_all(session, &[request])?;
    let what = match request.command {
        Command::Add => "flow entries have been added",
        _ => "flow entries have been created",
    };
    session.summarize(count, what)?;
    Ok(SUCCESS)
}

/// Creates the entries of all requests, or those before the first that fails.
///
/// They travel together, so that the kernel may have created some behind the one that failed; those are
/// deleted again.
pub(super) fn create_all(
    session: &mut Session<'_, '_>,
    requests: &[&Request],
) -> Result<u64, Failure> {
    let (flows, refusal) = flows(requests);
    let mut batcher = session.take_batcher_for(requests)?;
    for flow in &flows {
        batcher.add(|buf, seq| {
            netlink::write_flow(buf, seq, netlink::Ack::Wanted, netlink::Write::Create, flow);
        });
    }
    let mut verdicts = vec![0; flows.len()];
    let sent = batcher.send(|number, answer| {
        if let (Answer::Verdict(code), Some(slot)) = (answer, verdicts.get_mut(number)) {
            *slot = code;
        }
        Ok(())
    });
    if let (Err(trouble), Some(first)) = (sent, requests.first()) {
        return Err(failed(first, trouble));
    }
    let is_failure = |(request, code): (&&Request, i32)| {
        let exists = Errno::from_raw(code) == Errno::EEXIST;
        code != 0 && !(exists && request.command == Command::Add)
    };
    let mut answered = requests.iter().zip(verdicts.iter().copied());
    if let Some(failed) = answered.position(is_failure) {
        let later = flows.iter().zip(&verdicts).skip(failed + 1);
        undo(
            &mut batcher,
            later.filter(|(_, code)| **code == 0).map(|(flow, _)| flow),
        );
        let code = verdicts.get(failed).copied().unwrap_or(0);
        let request = requests.get(failed).or(requests.first());
        session.keep(batcher);
        return match request {
            Some(request) => Err(refused(request)(errno(code))),
            None => Ok(0),
        };
    }
    session.keep(batcher);
    if let Some(refusal) = refusal {
        return Err(refusal);
    }
    let created = verdicts.iter().filter(|code| **code == 0).count();
    Ok(u64::try_from(created).unwrap_or(u64::MAX))
}

/// The entries before the first that cannot be, and why that one cannot.
fn flows(requests: &[&Request]) -> (Vec<Flow>, Option<Failure>) {
    let mut flows = Vec::with_capacity(requests.len());
    for request in requests {
        match tuples::created(request) {
            Ok(flow) => flows.push(flow),
            Err(code) => return (flows, Some(refused(request)(code.into()))),
        }
    }
    (flows, None)
}

/// Deletes entries that were created too early. Nothing more can be done when that fails.
fn undo<'f>(batcher: &mut Batcher, flows: impl Iterator<Item = &'f Flow>) {
    for flow in flows {
        batcher.add(|buf, seq| {
            netlink::delete_flow(buf, seq, netlink::Ack::Wanted, &flow.key(), None);
        });
    }
    let _ = batcher.send(|_, _| Ok(()));
}

impl Session<'_, '_> {
    fn take_batcher_for(&mut self, requests: &[&Request]) -> Result<Batcher, Failure> {
        match requests.first() {
            Some(first) => self.take_batcher(first),
            None => self.take_batcher(&Request::new(
                Command::Create,
                crate::command::Table::Conntrack,
            )),
        }
    }
}
