//! An entry of the peer made ready for the own kernel.

use flow::{Flow, ProtoInfo, Status, TcpFlags};

/// Timeout of entries whose own has run out or was never told.
const FALLBACK_TIMEOUT_S: u32 = 60;

/// How entries are put into the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Timeout that every entry gets.
    pub(crate) timeout_s: Option<u32>,
    /// Restore window scales instead of being liberal about windows.
    pub(crate) window_tracking: bool,
}

impl Rules {
    /// The entry as it is to be created; `age_s` is the time since the peer last told of it.
    pub(crate) fn for_create(&self, flow: &Flow, age_s: u32) -> Flow {
        let mut flow = *flow;
        // Told by the reply direction and bits that are not kept.
        flow.nat = flow.translation();
        // The kernel owns the other bits and refuses or ignores them.
        let kept = Status::SEEN_REPLY | Status::ASSURED | Status::FIXED_TIMEOUT;
        flow.status = Some(flow.status_bits().common(kept) | Status::CONFIRMED);
        flow.timeout_s = Some(self.timeout(flow.timeout_s, age_s));
        flow.reply = None;
        self.set_tcp_flags(&mut flow);
        flow
    }

    /// The entry as it is to be changed in place, given the status it has in the kernel.
    pub(crate) fn for_update(&self, flow: &Flow, age_s: u32, existing: Status) -> Flow {
        let mut flow = self.for_create(flow, age_s);
        // Bits that are set cannot be cleared, and the kernel wants to see those it has.
        flow.status = flow.status.map(|status| status | existing);
        flow.nat = flow::Nat::default();
        flow.master = None;
        flow.helper = None;
        flow
    }

    pub(crate) fn timeout(&self, told: Option<u32>, age_s: u32) -> u32 {
        if let Some(fixed) = self.timeout_s {
            return fixed;
        }
        match told {
            Some(told) if told == age_s && told > 0 => told,
            Some(told) => told.checked_sub(age_s).unwrap_or(FALLBACK_TIMEOUT_S).max(1),
            None => FALLBACK_TIMEOUT_S,
        }
    }

    fn set_tcp_flags(&self, flow: &mut Flow) {
        let ProtoInfo::Tcp(tcp) = &mut flow.proto else {
            return;
        };
        let flags = if !self.window_tracking {
            Some(TcpFlags::set(TcpFlags::BE_LIBERAL))
        } else if tcp.wscale_orig.is_some() && tcp.wscale_reply.is_some() {
            // The kernel takes the scales only of a direction that is marked as scaled.
            Some(TcpFlags::set(TcpFlags::WINDOW_SCALE))
        } else {
            None
        };
        (tcp.flags_orig, tcp.flags_reply) = (flags, flags);
        if !self.window_tracking {
            (tcp.wscale_orig, tcp.wscale_reply) = (None, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow::{Addrs, L4, Sctp, Tcp, TcpState, Tuple};

    const RULES: Rules = Rules {
        timeout_s: None,
        window_tracking: false,
    };

    fn flow(proto: u8) -> Flow {
        let addrs = Addrs::new("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()).unwrap();
        Flow::new(Tuple {
            addrs,
            proto,
            l4: L4::Ports { src: 1, dst: 2 },
        })
    }

    #[test]
    fn timeouts_age_and_never_run_out_in_the_kernel() {
        assert_eq!(RULES.timeout(Some(30), 6), 24);
        assert_eq!(RULES.timeout(Some(30), 31), 60, "past its time");
        assert_eq!(RULES.timeout(Some(30), 30), 30, "exactly at its time");
        assert_eq!(RULES.timeout(None, 5), 60);
        assert_eq!(RULES.timeout(Some(0), 0), 1, "zero would end it at once");
        assert_eq!(
            Rules {
                timeout_s: Some(180),
                ..RULES
            }
            .timeout(Some(30), 5),
            180
        );
    }

    #[test]
    fn being_liberal_about_windows_is_for_tcp_only() {
        let mut sctp = flow(132);
        let told = Sctp {
            state: Some(4),
            vtag_orig: Some(0x0b00_0000),
            vtag_reply: Some(1),
        };
        sctp.proto = ProtoInfo::Sctp(told);
        assert_eq!(RULES.for_create(&sctp, 0).proto, ProtoInfo::Sctp(told));
    }

    #[test]
    fn window_scales_are_restored_with_the_flag_that_makes_them_count() {
        let mut tcp = flow(6);
        tcp.proto = ProtoInfo::Tcp(Tcp {
            state: Some(TcpState::Established),
            wscale_orig: Some(7),
            wscale_reply: Some(5),
            ..Tcp::default()
        });
        let rules = Rules {
            window_tracking: true,
            ..RULES
        };
        let ProtoInfo::Tcp(made) = rules.for_create(&tcp, 0).proto else {
            panic!("no TCP")
        };
        assert_eq!((made.wscale_orig, made.wscale_reply), (Some(7), Some(5)));
        assert_eq!(made.flags_orig, Some(TcpFlags { flags: 1, mask: 1 }));
    }

    #[test]
    fn a_translation_told_by_the_reply_direction_is_made() {
        let mut entry = flow(17);
        let mut reply = entry.orig.mirrored();
        let changed = Addrs::new("10.0.0.2".parse().unwrap(), "192.0.2.1".parse().unwrap());
        reply.addrs = changed.unwrap();
        entry.reply = Some(reply);
        entry.status = Some(Status::SRC_NAT | Status::SRC_NAT_DONE);
        let nat = RULES.for_create(&entry, 0).nat;
        assert_eq!(nat.src_addr, Some("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn status_bits_that_the_kernel_owns_are_not_written() {
        let mut entry = flow(17);
        entry.status = Some(Status(0x3ff));
        let status = RULES.for_create(&entry, 0).status_bits();
        assert_eq!(
            status,
            Status::SEEN_REPLY | Status::ASSURED | Status::CONFIRMED
        );
    }
}
