//! Batches of requests, carried out in order; an error does not stop the rest.

use std::time::Instant;

use ctnetlink::{Header, Message, Reply, emit, messages, parse, request, uapi::*};
use flow::{Expectation, Flow, Key, Status};

use super::events::Dump;
use super::{
    ExpectationKey, NO_SYNPROXY, SimKernel, accept_state, errno, initial_state, is_complete,
    translate,
};

/// What became of a request.
enum Outcome {
    Verdict(Result<(), i32>),
    /// The answer is on its way and says it all.
    Answered,
}

impl SimKernel {
    /// Carries out a batch that was sent on the socket with this port id.
    pub fn execute(&mut self, now: Instant, port_id: u32, batch: &[u8]) {
        for message in messages(batch) {
            // What cannot be split consumes the rest of the batch.
            let Ok(message) = message else { return };
            let outcome = match message.header.subsystem() {
                NFNL_SUBSYS_CTNETLINK => self.flow_request(now, port_id, &message),
                NFNL_SUBSYS_CTNETLINK_EXP => self.expectation_request(now, port_id, &message),
                _ => Outcome::Verdict(Err(errno::EINVAL)),
            };
            let Outcome::Verdict(verdict) = outcome else {
                continue;
            };
            let errno = verdict.err().unwrap_or(0);
            if errno != 0 || message.header.flags & NLM_F_ACK != 0 {
                let mut bytes = Vec::new();
                emit::verdict(&mut bytes, message.header.seq, port_id, errno);
                self.answer(port_id, bytes);
            }
        }
    }

    fn answer(&mut self, port_id: u32, bytes: Vec<u8>) {
        if let Some(socket) = self.sockets.get_mut(&port_id) {
            socket.push(bytes);
        }
    }

    fn begin_dump(&mut self, now: Instant, port_id: u32, dump: Dump) -> Outcome {
        let socket = self.sockets.get(&port_id);
        if socket.is_some_and(|socket| socket.dump.is_some()) {
            return Outcome::Verdict(Err(errno::EBUSY));
        }
        self.continue_dump(now, port_id, dump);
        Outcome::Answered
    }

    fn flow_request(&mut self, now: Instant, port_id: u32, message: &Message<'_>) -> Outcome {
        let seq = message.header.seq;
        let dump = message.header.flags & NLM_F_DUMP == NLM_F_DUMP;
        match message.header.kind {
            IPCTNL_MSG_CT_GET if dump => {
                self.begin_dump(now, port_id, Dump::Flows { seq, after: None })
            }
            IPCTNL_MSG_CT_GET => Outcome::Verdict(self.get_flow(now, port_id, message)),
            IPCTNL_MSG_CT_NEW => match parse::reply(message) {
                Ok(Reply::Flow(flow)) => {
                    let flags = message.header.flags;
                    Outcome::Verdict(self.write_flow(now, flow, flags, port_id))
                }
                _ => Outcome::Verdict(Err(errno::EINVAL)),
            },
            IPCTNL_MSG_CT_DELETE => Outcome::Verdict(self.delete_flow(now, port_id, message)),
            _ => Outcome::Verdict(Err(errno::EOPNOTSUPP)),
        }
    }

    fn get_flow(&mut self, now: Instant, port_id: u32, message: &Message<'_>) -> Result<(), i32> {
        let key = parse::original_tuple(message).map_err(|_| errno::EINVAL)?;
        let flow = self.flow(&key, now).ok_or(errno::ENOENT)?;
        let mut bytes = Vec::new();
        let header = Header::flow_dump(message.header.seq, port_id);
        emit::flow(&mut bytes, header, &flow);
        self.answer(port_id, bytes);
        Ok(())
    }

    fn delete_flow(
        &mut self,
        now: Instant,
        port_id: u32,
        message: &Message<'_>,
    ) -> Result<(), i32> {
        if message
            .attrs()
            .is_ok_and(|mut attrs| attrs.next().is_none())
        {
            self.flush(now, port_id);
            return Ok(());
        }
        let Ok(key) = parse::original_tuple(message) else {
            let key = self.named_by_reply(message).ok_or(errno::ENOENT)?;
            self.destroy(now, &key, port_id);
            return Ok(());
        };
        let wanted = match parse::reply(message) {
            Ok(Reply::Flow(flow)) => flow.id,
            _ => None,
        };
        let id = self.flows.get(&key).ok_or(errno::ENOENT)?.flow.id;
        if wanted.is_some() && wanted != id {
            return Err(errno::ENOENT);
        }
        self.destroy(now, &key, port_id);
        Ok(())
    }

    fn write_flow(
        &mut self,
        now: Instant,
        flow: Flow,
        flags: u16,
        port_id: u32,
    ) -> Result<(), i32> {
        let key = flow.key();
        if self.flows.contains_key(&key) {
            if flags & NLM_F_EXCL != 0 {
                return Err(errno::EEXIST);
            }
            return self.change_flow(now, &key, &flow, port_id);
        }
        if flags & NLM_F_CREATE == 0 {
            return Err(errno::ENOENT);
        }
        self.create_flow(now, flow, port_id)
    }

    fn create_flow(&mut self, now: Instant, mut flow: Flow, port_id: u32) -> Result<(), i32> {
        let reply = flow.reply.ok_or(errno::EINVAL)?;
        let same_proto = reply.proto == flow.orig.proto;
        if flow.timeout_s.is_none() || !same_proto || !is_complete(&flow.orig) {
            return Err(errno::EINVAL);
        }
        if let Some(status) = flow.status {
            let wrong = status.common(Status::EXPECTED | Status::DYING) != Status::default();
            if wrong || !status.contains(Status::CONFIRMED) {
                return Err(errno::EBUSY);
            }
        }
        self.check_helper_and_master(&flow)?;
        let ours = Status::SEEN_REPLY | Status::ASSURED | Status::FIXED_TIMEOUT | Status::HELPER;
        flow.status = Some(flow.status_bits().common(ours) | Status::CONFIRMED);
        if flow.master.is_some() {
            flow.status = flow.status.map(|status| status | Status::EXPECTED);
        }
        if flow.helper.is_some() {
            flow.status = flow.status.map(|status| status | Status::HELPER);
        }
        translate(&mut flow);
        flow.proto = accept_state(&initial_state(flow.orig.proto), &flow.proto);
        flow.synproxy = flow.synproxy.or(Some(NO_SYNPROXY));
        let reply = (flow.reply_direction(), flow.zone.reply);
        if self.replies.contains_key(&reply) {
            return Err(errno::EEXIST);
        }
        if self.flows.len() >= self.table_max {
            return Err(errno::ENOMEM);
        }
        self.insert(now, flow, port_id);
        Ok(())
    }

    fn check_helper_and_master(&self, flow: &Flow) -> Result<(), i32> {
        let loaded = |name: &[u8]| self.helpers.contains(&name);
        if flow.helper.is_some_and(|name| !loaded(name.as_bytes())) {
            return Err(errno::EOPNOTSUPP);
        }
        if let Some(tuple) = flow.master {
            let zone = flow.zone.orig;
            if !self.flows.contains_key(&Key { tuple, zone }) {
                return Err(errno::ENOENT);
            }
        }
        Ok(())
    }

    fn change_flow(
        &mut self,
        now: Instant,
        key: &Key,
        wanted: &Flow,
        port_id: u32,
    ) -> Result<(), i32> {
        let old = self.flow(key, now).ok_or(errno::ENOENT)?;
        if wanted.nat.has_src() || wanted.nat.has_dst() || wanted.master.is_some() {
            return Err(errno::EOPNOTSUPP);
        }
        if wanted.helper.is_some() && wanted.helper != old.helper {
            return Err(errno::EOPNOTSUPP);
        }
        let (has, wants) = (
            old.status_bits(),
            wanted.status.unwrap_or(old.status_bits()),
        );
        let fixed = Status::EXPECTED | Status::CONFIRMED | Status::DYING;
        let sticky = has.common(Status::SEEN_REPLY | Status::ASSURED);
        if has.common(fixed) != wants.common(fixed) || !wants.contains(sticky) {
            return Err(errno::EBUSY);
        }
        let settable = Status::SEEN_REPLY | Status::ASSURED | Status::FIXED_TIMEOUT;
        let status = has | wants.common(settable);
        let wanted = *wanted;
        self.update(now, key, port_id, |flow| {
            flow.status = Some(status);
            flow.timeout_s = wanted.timeout_s.or(flow.timeout_s);
            flow.mark = wanted.mark.or(flow.mark);
            flow.proto = accept_state(&flow.proto, &wanted.proto);
            flow.labels = wanted.labels.or(flow.labels);
            flow.seq_adj_orig = wanted.seq_adj_orig.or(flow.seq_adj_orig);
            flow.seq_adj_reply = wanted.seq_adj_reply.or(flow.seq_adj_reply);
            flow.synproxy = wanted.synproxy.or(flow.synproxy);
        });
        Ok(())
    }

    fn expectation_request(
        &mut self,
        now: Instant,
        port_id: u32,
        message: &Message<'_>,
    ) -> Outcome {
        let seq = message.header.seq;
        let dump = message.header.flags & NLM_F_DUMP == NLM_F_DUMP;
        let verdict = match message.header.kind {
            IPCTNL_MSG_EXP_GET if dump => {
                return self.begin_dump(now, port_id, Dump::Expectations { seq, after: None });
            }
            IPCTNL_MSG_EXP_GET => match self.named_expectation(now, message) {
                Some(key) => {
                    let mut bytes = Vec::new();
                    if let Some(entry) = self.expectations.get(&key) {
                        let header = Header::expectation_dump(seq, port_id);
                        emit::expectation(&mut bytes, header, &entry.shown(now));
                    }
                    self.answer(port_id, bytes);
                    Ok(())
                }
                None => Err(errno::ENOENT),
            },
            IPCTNL_MSG_EXP_NEW => match parse::reply(message) {
                Ok(Reply::Expectation(expectation)) => {
                    self.write_expectation(now, expectation, message.header.flags, port_id)
                }
                _ => Err(errno::EINVAL),
            },
            IPCTNL_MSG_EXP_DELETE => self.delete_expectation(now, port_id, message),
            _ => Err(errno::EOPNOTSUPP),
        };
        Outcome::Verdict(verdict)
    }

    fn write_expectation(
        &mut self,
        now: Instant,
        expectation: Expectation,
        flags: u16,
        port_id: u32,
    ) -> Result<(), i32> {
        let key = (expectation.tuple, expectation.mask, expectation.zone);
        match self.expectations.contains_key(&key) {
            true if flags & NLM_F_EXCL != 0 => Err(errno::EEXIST),
            true => Ok(()),
            false if flags & NLM_F_CREATE == 0 => Err(errno::ENOENT),
            false => self.expect(now, expectation, port_id),
        }
    }

    fn delete_expectation(
        &mut self,
        now: Instant,
        port_id: u32,
        message: &Message<'_>,
    ) -> Result<(), i32> {
        let everything = message
            .attrs()
            .is_ok_and(|mut attrs| attrs.next().is_none());
        if everything {
            for key in self.expectations.keys().copied().collect::<Vec<_>>() {
                self.destroy_expectation(now, &key, port_id);
            }
            return Ok(());
        }
        let key = self.named_expectation(now, message).ok_or(errno::ENOENT)?;
        self.destroy_expectation(now, &key, port_id);
        Ok(())
    }

    /// The entry whose reply direction a request names: the one for which the same request would be
    /// written.
    fn named_by_reply(&self, message: &Message<'_>) -> Option<Key> {
        let mut bytes = Vec::new();
        let named = self.flows.iter().find(|(_, entry)| {
            bytes.clear();
            let (reply, zone) = (entry.flow.reply_direction(), entry.flow.zone);
            request::delete_flow_by_reply(&mut bytes, 0, request::Ack::Silent, &reply, zone);
            messages(&bytes)
                .flatten()
                .any(|other| other.payload == message.payload)
        });
        named.map(|(key, _)| *key)
    }

    /// The expectation that a request names: the one for which the same request would be written.
    fn named_expectation(&self, now: Instant, message: &Message<'_>) -> Option<ExpectationKey> {
        let mut bytes = Vec::new();
        let named = self.expectations.iter().find(|(_, entry)| {
            bytes.clear();
            let ack = request::Ack::Silent;
            request::get_expectation(&mut bytes, 0, ack, &entry.shown(now));
            let same = |other: Message<'_>| other.payload == message.payload;
            messages(&bytes).flatten().any(same)
        });
        named.map(|(key, _)| *key)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{OTHER_TOOL, Received};
    use super::*;
    use ctnetlink::{Event, EventKind, request::Ack, request::Write};
    use flow::{Addrs, L4, Nat, Tuple};

    const PORT: u32 = 77;

    fn flow(sport: u16) -> Flow {
        let addrs = Addrs::new("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        Flow {
            timeout_s: Some(100),
            status: Some(Status::CONFIRMED),
            ..Flow::new(Tuple {
                addrs: addrs.unwrap(),
                proto: 17,
                l4: L4::Ports {
                    src: sport,
                    dst: 53,
                },
            })
        }
    }

    fn kernel() -> (SimKernel, Instant) {
        let mut kernel = SimKernel::new(100);
        kernel.open(PORT, 100);
        kernel.listen(100);
        (kernel, Instant::now())
    }

    /// Carries out a batch; error numbers of the answers, in order.
    fn verdicts(kernel: &mut SimKernel, now: Instant, batch: &[u8]) -> Vec<i32> {
        kernel.execute(now, PORT, batch);
        let mut verdicts = Vec::new();
        while let Received::Data(bytes) = kernel.read_answer(now, PORT) {
            for message in messages(&bytes) {
                if let Reply::Verdict { errno } = parse::reply(&message.unwrap()).unwrap() {
                    verdicts.push(errno);
                }
            }
        }
        verdicts
    }

    fn written(kernel: &mut SimKernel, now: Instant, write: Write, flow: &Flow) -> i32 {
        let mut batch = Vec::new();
        request::write_flow(&mut batch, 1, Ack::Wanted, write, flow);
        verdicts(kernel, now, &batch)[0]
    }

    #[test]
    fn an_error_does_not_stop_the_rest_of_a_batch() {
        let (mut kernel, now) = kernel();
        let mut batch = Vec::new();
        for (seq, sport) in [1, 2, 1, 3].into_iter().enumerate() {
            let ack = if seq == 3 { Ack::Wanted } else { Ack::Silent };
            request::write_flow(&mut batch, seq as u32, ack, Write::Create, &flow(sport));
        }
        assert_eq!(verdicts(&mut kernel, now, &batch), [errno::EEXIST, 0]);
        assert_eq!(kernel.len(), 3);
    }

    #[test]
    fn refusals_are_those_of_the_kernel() {
        let (mut kernel, now) = kernel();
        let dying = Flow {
            status: Some(Status::CONFIRMED | Status::DYING),
            ..flow(1)
        };
        assert_eq!(
            written(&mut kernel, now, Write::Create, &dying),
            errno::EBUSY
        );
        let orphan = Flow {
            master: Some(flow(9).orig),
            ..flow(1)
        };
        assert_eq!(
            written(&mut kernel, now, Write::Create, &orphan),
            errno::ENOENT
        );
        let helped = Flow {
            helper: flow::HelperName::new(b"unheard-of"),
            ..flow(1)
        };
        assert_eq!(
            written(&mut kernel, now, Write::Create, &helped),
            errno::EOPNOTSUPP
        );
        assert_eq!(
            written(&mut kernel, now, Write::Update, &flow(1)),
            errno::ENOENT
        );
        kernel.table_max = 0;
        assert_eq!(
            written(&mut kernel, now, Write::Create, &flow(1)),
            errno::ENOMEM
        );
        assert!(kernel.is_empty());
    }

    #[test]
    fn translation_is_made_from_the_untranslated_reply_only() {
        let (mut kernel, now) = kernel();
        let nat = Nat {
            src_addr: Some("192.0.2.1".parse().unwrap()),
            ..Nat::default()
        };
        let asked = Flow { nat, ..flow(1) };
        assert_eq!(written(&mut kernel, now, Write::Create, &asked), 0);
        let made = kernel.flow(&asked.key(), now).unwrap();
        assert_eq!(made.status, Some(Status(0x198)));
        assert_eq!(
            made.reply.unwrap().dst(),
            "192.0.2.1".parse::<std::net::IpAddr>().unwrap()
        );
        assert_eq!(
            made.translation().src_addr,
            Some("192.0.2.1".parse().unwrap())
        );
        assert_eq!(
            written(&mut kernel, now, Write::CreateOrUpdate, &asked),
            errno::EOPNOTSUPP
        );
    }

    #[test]
    fn an_entry_is_deleted_by_either_direction() {
        let (mut kernel, now) = kernel();
        for by_reply in [false, true] {
            assert!(kernel.create(now, flow(1), 0) && kernel.create(now, flow(2), 0));
            let mut batch = Vec::new();
            let entry = flow(1);
            if by_reply {
                let reply = entry.orig.mirrored();
                request::delete_flow_by_reply(&mut batch, 1, Ack::Wanted, &reply, entry.zone);
            } else {
                request::delete_flow(&mut batch, 1, Ack::Wanted, &entry.key(), None);
            }
            assert_eq!(verdicts(&mut kernel, now, &batch), [0]);
            assert_eq!(kernel.keys(), [flow(2).key()]);
            assert_eq!(verdicts(&mut kernel, now, &batch), [errno::ENOENT]);
            let mut everything = Vec::new();
            request::flush_flows(&mut everything, 2, &request::DumpFilter::default());
            assert_eq!(verdicts(&mut kernel, now, &everything), [0]);
            assert!(kernel.is_empty());
        }
    }

    #[test]
    fn events_tell_who_did_it() {
        let (mut kernel, now) = kernel();
        assert!(kernel.create(now, flow(1), super::super::PACKETS));
        written(&mut kernel, now, Write::Create, &flow(2));
        kernel.flush(now, OTHER_TOOL);
        let mut told = Vec::new();
        while let Received::Data(bytes) = kernel.read_event() {
            let message = messages(&bytes).next().unwrap().unwrap();
            let Some(Event::Flow(kind, _)) = parse::event(&message).unwrap() else {
                panic!()
            };
            told.push((kind, message.header.port_id));
        }
        use EventKind::{Destroy, New};
        assert_eq!(
            told,
            [
                (New, 0),
                (New, PORT),
                (Destroy, OTHER_TOOL),
                (Destroy, OTHER_TOOL)
            ]
        );
    }

    #[test]
    fn a_dump_shows_every_entry_once_and_ends() {
        let (mut kernel, now) = kernel();
        for sport in 0..50 {
            assert!(kernel.create(now, flow(sport), 0));
        }
        let mut batch = Vec::new();
        request::dump_flows(&mut batch, 5, &request::DumpFilter::default());
        kernel.execute(now, PORT, &batch);
        let (mut seen, mut done) = (0, 0);
        while let Received::Data(bytes) = kernel.read_answer(now, PORT) {
            for message in messages(&bytes).flatten() {
                match parse::reply(&message).unwrap() {
                    Reply::Flow(_) => seen += 1,
                    Reply::Done { errno: 0 } => done += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!((seen, done), (50, 1));
    }

    #[test]
    fn expectations_live_and_die_with_their_master() {
        let (mut kernel, now) = kernel();
        let master = Flow {
            helper: flow::HelperName::new(b"ftp"),
            ..flow(1)
        };
        let expectation = Expectation::new(master.orig, flow(7).orig, flow(8).orig);
        let mut batch = Vec::new();
        request::write_expectation(&mut batch, 1, Ack::Wanted, Write::Create, &expectation);
        assert_eq!(verdicts(&mut kernel, now, &batch), [errno::ENOENT]);
        assert_eq!(written(&mut kernel, now, Write::Create, &master), 0);
        assert_eq!(verdicts(&mut kernel, now, &batch), [0]);
        assert_eq!(verdicts(&mut kernel, now, &batch), [errno::EEXIST]);
        let mut removal = Vec::new();
        request::delete_expectation(&mut removal, 2, Ack::Wanted, &expectation);
        assert_eq!(verdicts(&mut kernel, now, &removal), [0]);
        assert_eq!(verdicts(&mut kernel, now, &removal), [errno::ENOENT]);
        assert_eq!(verdicts(&mut kernel, now, &batch), [0]);
        kernel.destroy(now, &master.key(), 0);
        assert_eq!(kernel.expectations(now).count(), 0);
    }
}
