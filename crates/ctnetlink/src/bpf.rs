//! A socket filter that drops unwanted events before they are queued (`Filter From Kernelspace`).
//!
//! The program is classic BPF with the kernel's extensions that find netlink attributes. It looks at
//! what an event tells, which is not what [`FlowFilter::accepts`] looks at:
//!
//! * Addresses are the original source and the original destination, not the reply source. `Ignore`
//!   drops when either is listed, `Accept` needs both listed.
//! * An event of a family of which an `Accept` list has no address is dropped.
//! * States concern NEW and UPDATE events that carry a TCP state; all others pass. (Destroy events tell
//!   a state too, on recent kernels, but the end of an entry that was let in must not get lost.)
//! * Messages about expectations pass, and those that lack what is tested.
//!
//! Source: conntrackd.conf(5), `Filter`; linux/filter.h; networking/filter.rst of the kernel.

use std::net::IpAddr;

use flow::{Action, FlowFilter, filter::Network, protocol};

use crate::{message::ATTRS_OFFSET, uapi::*};

/// Most IPv4 networks of one filter, as in the original.
pub const MAX_IPV4: usize = 127;
/// Most IPv6 networks of one filter, as in the original.
pub const MAX_IPV6: usize = 20;
/// Most instructions that the kernel takes.
const MAX_INSTRUCTIONS: usize = 4096;

/// One instruction, `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a test holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Why there is no program for a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// More addresses than the kernel-space filter takes.
    #[error("{got} IPv{version} addresses, at most {limit} fit in a kernel-space filter")]
    TooManyAddresses {
        /// 4 or 6.
        version: u8,
        /// Addresses given.
        got: usize,
        /// Addresses allowed.
        limit: usize,
    },
    /// The kernel takes no program of this length.
    #[error("{got} instructions, at most {MAX_INSTRUCTIONS} are allowed")]
    TooLong {
        /// Instructions needed.
        got: usize,
    },
}

/// The program that lets pass what `filter` accepts and what none of `own_ports` caused.
///
/// `own_ports` are port ids of sockets whose changes shall not be reported: messages that carry one are
/// dropped, whatever they are about.
///
/// # Errors
/// The filter has too many addresses or parts.
pub fn program(filter: &FlowFilter, own_ports: &[u32]) -> Result<Vec<Instruction>, FilterError> {
    let mut asm = Assembler::default();
    let accept = asm.label();
    let drop = asm.label();
    for port in own_ports {
        asm.push(LD_W_ABS, 12);
        // Loads are big-endian, the field is in host order.
        asm.jump_if_equal(u32::from_be_bytes(port.to_ne_bytes()), drop);
    }
    asm.push(LD_B_ABS, KIND_HIGH);
    asm.jump_unless_equal(u32::from(NFNL_SUBSYS_CTNETLINK), accept);
    if let Some((action, protocols)) = &filter.protocols {
        asm.protocols(*action, protocols, accept, drop);
    }
    if let Some((action, networks)) = &filter.addresses {
        asm.addresses(*action, networks, drop)?;
    }
    if let Some((action, states)) = &filter.tcp_states {
        let states = states.iter().map(|&state| state as u8);
        asm.states(*action, states, accept, drop);
    }
    asm.place(accept);
    asm.push(RET_K, u32::MAX);
    asm.place(drop);
    asm.push(RET_K, 0);
    asm.finish()
}

const LD_W_ABS: u16 = 0x20;
const LD_B_ABS: u16 = 0x30;
const LD_W_IND: u16 = 0x40;
const LD_B_IND: u16 = 0x50;
const LD_IMM: u16 = 0x00;
const LD_MEM: u16 = 0x60;
const LDX_IMM: u16 = 0x01;
const ST: u16 = 0x02;
const TAX: u16 = 0x07;
const AND_K: u16 = 0x54;
const JA: u16 = 0x05;
const JEQ_K: u16 = 0x15;
const RET_K: u16 = 0x06;
/// Offset of the attribute X among those at A, 0 if there is none.
const FIND: u32 = 0xffff_f00c;
/// Offset of the attribute X inside the attribute at A.
const FIND_NESTED: u32 = 0xffff_f010;
/// Offsets of the two bytes of a message's kind, which is in host order.
const KIND_HIGH: u32 = if cfg!(target_endian = "little") { 5 } else { 4 };
const KIND_LOW: u32 = if cfg!(target_endian = "little") { 4 } else { 5 };
/// An attribute's value lies behind its header.
const VALUE: u32 = 4;
/// Bits of the words that addresses are compared in.
const WORD_BITS: u8 = 32;

#[derive(Clone, Copy)]
struct Label(usize);

/// Jumps go to labels by way of `JA`, whose range is not limited to 255 instructions.
#[derive(Default)]
struct Assembler {
    code: Vec<Instruction>,
    /// Where the labels are, by number.
    labels: Vec<usize>,
    /// Jumps whose target is still a label's number.
    jumps: Vec<usize>,
}

impl Assembler {
    fn push(&mut self, code: u16, k: u32) {
        self.jump(code, 0, 0, k);
    }

    fn jump(&mut self, code: u16, jt: u8, jf: u8, k: u32) {
        self.code.push(Instruction { code, jt, jf, k });
    }

    fn label(&mut self) -> Label {
        self.labels.push(0);
        Label(self.labels.len().saturating_sub(1))
    }

    fn place(&mut self, label: Label) {
        if let Some(slot) = self.labels.get_mut(label.0) {
            *slot = self.code.len();
        }
    }

    fn jump_to(&mut self, label: Label) {
        self.jumps.push(self.code.len());
        self.push(JA, u32::try_from(label.0).unwrap_or(u32::MAX));
    }

    fn jump_if_equal(&mut self, k: u32, label: Label) {
        self.jump(JEQ_K, 0, 1, k);
        self.jump_to(label);
    }

    fn jump_unless_equal(&mut self, k: u32, label: Label) {
        self.jump(JEQ_K, 1, 0, k);
        self.jump_to(label);
    }

    /// Leaves the offset of a nested attribute in X; jumps when there is none.
    fn find(&mut self, path: &[u16], missing: Label) {
        self.push(LD_IMM, u32::try_from(ATTRS_OFFSET).unwrap_or(0));
        let mut how = FIND;
        for &kind in path {
            self.push(LDX_IMM, u32::from(kind));
            self.push(LD_W_ABS, how);
            self.jump_if_equal(0, missing);
            how = FIND_NESTED;
        }
        self.push(TAX, 0);
    }

    fn protocols(&mut self, action: Action, protocols: &[u8], accept: Label, drop: Label) {
        let path = [CTA_TUPLE_ORIG, CTA_TUPLE_PROTO, CTA_PROTO_NUM];
        self.find(&path, accept);
        self.byte_in(action, protocols.iter().copied(), drop);
    }

    /// Tests the byte of the attribute at X; falls through when it passes.
    fn byte_in(&mut self, action: Action, values: impl Iterator<Item = u8>, drop: Label) {
        let listed = self.label();
        let end = self.label();
        self.push(LD_B_IND, VALUE);
        for value in values {
            self.jump_if_equal(u32::from(value), listed);
        }
        match action {
            Action::Accept => self.jump_to(drop),
            Action::Ignore => self.jump_to(end),
        }
        self.place(listed);
        match action {
            Action::Accept => self.jump_to(end),
            Action::Ignore => self.jump_to(drop),
        }
        self.place(end);
    }

    fn states(
        &mut self,
        action: Action,
        states: impl Iterator<Item = u8>,
        accept: Label,
        drop: Label,
    ) {
        self.push(LD_B_ABS, KIND_LOW);
        self.jump_if_equal(u32::from(IPCTNL_MSG_CT_DELETE & 0xff), accept);
        self.find(&[CTA_TUPLE_ORIG, CTA_TUPLE_PROTO, CTA_PROTO_NUM], accept);
        self.push(LD_B_IND, VALUE);
        self.jump_unless_equal(u32::from(protocol::TCP), accept);
        let path = [CTA_PROTOINFO, CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE];
        self.find(&path, accept);
        self.byte_in(action, states, drop);
    }

    fn addresses(
        &mut self,
        action: Action,
        networks: &[Network],
        drop: Label,
    ) -> Result<(), FilterError> {
        let (v4, v6): (Vec<_>, Vec<_>) = networks.iter().partition(|net| net.addr.is_ipv4());
        for (version, got, limit) in [(4, v4.len(), MAX_IPV4), (6, v6.len(), MAX_IPV6)] {
            if got > limit {
                return Err(FilterError::TooManyAddresses {
                    version,
                    got,
                    limit,
                });
            }
        }
        let ends = [
            (CTA_IP_V4_SRC, &v4),
            (CTA_IP_V4_DST, &v4),
            (CTA_IP_V6_SRC, &v6),
            (CTA_IP_V6_DST, &v6),
        ];
        for (kind, networks) in ends {
            self.address_in(action, kind, networks, drop);
        }
        Ok(())
    }

    /// Tests one address of the original tuple; an event that has none passes.
    fn address_in(&mut self, action: Action, kind: u16, networks: &[&Network], drop: Label) {
        let listed = self.label();
        let end = self.label();
        self.find(&[CTA_TUPLE_ORIG, CTA_TUPLE_IP, kind], end);
        let word_count = if matches!(kind, CTA_IP_V4_SRC | CTA_IP_V4_DST) {
            1
        } else {
            4
        };
        for word in 0..word_count {
            self.push(LD_W_IND, VALUE.saturating_add(word << 2));
            self.push(ST, word);
        }
        for network in networks {
            self.network(network, listed);
        }
        match action {
            Action::Accept => self.jump_to(drop),
            Action::Ignore => self.jump_to(end),
        }
        self.place(listed);
        if action == Action::Ignore {
            self.jump_to(drop);
        }
        self.place(end);
    }

    /// Jumps when the stored address lies in `network`.
    fn network(&mut self, network: &Network, listed: Label) {
        let next = self.label();
        let mut bits_left = network.prefix_len;
        for (slot, word) in (0..).zip(words(network)) {
            if bits_left == 0 {
                break;
            }
            let bits = bits_left.min(WORD_BITS);
            bits_left = bits_left.saturating_sub(bits);
            let host_bits = u32::from(WORD_BITS.saturating_sub(bits));
            let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
            self.push(LD_MEM, slot);
            if mask != u32::MAX {
                self.push(AND_K, mask);
            }
            self.jump_unless_equal(word & mask, next);
        }
        self.jump_to(listed);
        self.place(next);
    }

    fn finish(mut self) -> Result<Vec<Instruction>, FilterError> {
        let got = self.code.len();
        if got > MAX_INSTRUCTIONS {
            return Err(FilterError::TooLong { got });
        }
        for &at in &self.jumps {
            if let Some(jump) = self.code.get_mut(at)
                && let Ok(label) = usize::try_from(jump.k)
                && let Some(target) = self.labels.get(label)
            {
                let distance = target.saturating_sub(at).saturating_sub(1);
                jump.k = u32::try_from(distance).unwrap_or(0);
            }
        }
        Ok(self.code)
    }
}

/// A network's address, left-aligned in four words; IPv4 has only the first.
fn words(network: &Network) -> [u32; 4] {
    let bits = match network.addr {
        IpAddr::V4(addr) => u128::from(addr.to_bits()) << 96,
        IpAddr::V6(addr) => addr.to_bits(),
    };
    let word = |shift: u32| u32::try_from((bits >> shift) & u128::from(u32::MAX)).unwrap_or(0);
    [word(96), word(64), word(32), word(0)]
}
