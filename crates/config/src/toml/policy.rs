//! The section `policy`. The old grammar has nothing like it, so that everything is checked here.

use flow::filter::Network;
use toml::Spanned;

use super::schema::{self, Protocol};
use super::{Read, Reader, state};
use crate::Policy;
use crate::protocols::usual_number;
use crate::statement::Clause;

impl Reader<'_> {
    pub(super) fn policy(&mut self, section: &Spanned<schema::Policy>) -> Read<()> {
        let said = section.get_ref();
        let mut policy = Policy::default();
        policy.entries.addresses = self.each_of(&said.addresses, |reader, text| {
            network(text.get_ref()).ok_or_else(|| {
                reader.value(
                    "addresses",
                    text,
                    "an address, or a network such as \"10.0.0.0/8\"",
                )
            })
        })?;
        policy.entries.protocols =
            self.each_of(&said.protocols, |reader, item| match item.get_ref() {
                Protocol::Number(number) => Ok(*number),
                Protocol::Name(name) => usual_number(name).ok_or_else(|| {
                    let name = Spanned::new(item.span(), name.clone());
                    reader.value(
                        "protocols",
                        &name,
                        "a protocol such as \"tcp\", or its number",
                    )
                }),
            })?;
        policy.entries.tcp_states = self.each_of(&said.tcp_states, |reader, text| {
            state(text.get_ref()).ok_or_else(|| {
                reader.value("tcp_states", text, "a TCP state such as \"ESTABLISHED\"")
            })
        })?;
        policy.entries.zones = self.each_of(&said.zones, |_, zone| Ok(*zone.get_ref()))?;
        policy.max_entries = said
            .max_entries
            .as_ref()
            .and_then(|max| std::num::NonZeroU32::new(*max.get_ref()));
        if let Some(seconds) = &said.resync_interval_s {
            policy.resync_interval = std::time::Duration::from_secs((*seconds.get_ref()).into());
        }
        self.push(section, Clause::Policy(Box::new(policy)));
        Ok(())
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

fn network(text: &str) -> Option<Network> {
    let Some((addr, len)) = text.split_once('/') else {
        return text.parse().ok().map(Network::host);
    };
    let addr: std::net::IpAddr = addr.parse().ok()?;
    let width = if addr.is_ipv4() { 32 } else { 128 };
    let prefix_len = len.parse().ok().filter(|&len| len <= width)?;
    Some(Network { addr, prefix_len })
}
