//! The sections `policy` and `peer.policy`. The old grammar has nothing like it, so that everything is checked here.

use std::num::NonZeroU32;

use flow::TcpState;
use flow::filter::Network;
use toml::Spanned;

use super::schema::{self, Protocol};
use super::{Read, Reader, state};
use crate::Policy;
use crate::native::PeerPolicy;
use crate::protocols::usual_number;
use crate::statement::Clause;

impl Reader<'_> {
    pub(super) fn policy(&mut self, section: &Spanned<schema::Policy>) -> Read<()> {
        let said = section.get_ref();
        let mut policy = Policy {
            entries: flow::Policy {
                addresses: self.networks(&said.addresses)?,
                protocols: self.protocol_numbers(&said.protocols)?,
                tcp_states: self.tcp_states(&said.tcp_states)?,
                zones: zones(&said.zones),
            },
            max_entries: non_zero(&said.max_entries),
            ..Policy::default()
        };
        if let Some(seconds) = &said.resync_interval_s {
            policy.resync_interval = std::time::Duration::from_secs((*seconds.get_ref()).into());
        }
        self.push(section, Clause::Policy(Box::new(policy)));
        Ok(())
    }

    pub(super) fn peer_policy(&self, said: &schema::PeerPolicy) -> Read<PeerPolicy> {
        Ok(PeerPolicy {
            entries: flow::Policy {
                addresses: self.networks(&said.addresses)?,
                protocols: self.protocol_numbers(&said.protocols)?,
                tcp_states: self.tcp_states(&said.tcp_states)?,
                zones: zones(&said.zones),
            },
            mark_mask: said.mark_mask.as_ref().map(|mask| *mask.get_ref()),
            max_entries: non_zero(&said.max_entries),
            max_new_per_s: non_zero(&said.max_new_per_s),
        })
    }

    fn networks(&self, list: &Option<Vec<Spanned<String>>>) -> Read<Option<Vec<Network>>> {
        self.each_of(list, |reader, text| {
            network(text.get_ref()).ok_or_else(|| {
                reader.value(
                    "addresses",
                    text,
                    "an address, or a network such as \"10.0.0.0/8\"",
                )
            })
        })
    }

    fn protocol_numbers(&self, list: &Option<Vec<Spanned<Protocol>>>) -> Read<Option<Vec<u8>>> {
        self.each_of(list, |reader, item| match item.get_ref() {
            Protocol::Number(number) => Ok(*number),
            Protocol::Name(name) => usual_number(name).ok_or_else(|| {
                let name = Spanned::new(item.span(), name.clone());
                reader.value(
                    "protocols",
                    &name,
                    "a protocol such as \"tcp\", or its number",
                )
            }),
        })
    }

    fn tcp_states(&self, list: &Option<Vec<Spanned<String>>>) -> Read<Option<Vec<TcpState>>> {
        self.each_of(list, |reader, text| {
            state(text.get_ref()).ok_or_else(|| {
                reader.value("tcp_states", text, "a TCP state such as \"ESTABLISHED\"")
            })
        })
    }

    fn each_of<T, U>(
        &self,
        list: &Option<Vec<Spanned<T>>>,
        read: impl Fn(&Self, &Spanned<T>) -> Read<U>,
    ) -> Read<Option<Vec<U>>> {
        let Some(items) = list else { return Ok(None) };
        items
            .iter()
            .map(|item| read(self, item))
            .collect::<Read<_>>()
            .map(Some)
    }
}

fn zones(list: &Option<Vec<Spanned<u16>>>) -> Option<Vec<u16>> {
    let items = list.as_ref()?.iter();
    Some(items.map(|zone| *zone.get_ref()).collect())
}

fn non_zero(number: &Option<Spanned<u32>>) -> Option<NonZeroU32> {
    NonZeroU32::new(*number.as_ref()?.get_ref())
}

fn network(text: &str) -> Option<Network> {
    let Some((addr, len)) = text.split_once('/') else {
        return text.parse().ok().map(Network::host);
    };
    let addr: std::net::IpAddr = addr.parse().ok()?;
    let width = if addr.is_ipv4() { 32 } else { 128 };
    let prefix_len = len.parse().ok().filter(|&len| len <= width)?;
    Some(Network { addr, prefix_len })
}
