//! What this kernel can do.

use std::fmt;

use crate::Lab;

/// A part of the kernel that may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Connection tracking with listings through netlink.
    Conntrack,
    /// The FTP helper.
    FtpHelper,
    /// The SIP helper.
    SipHelper,
    /// The TFTP helper.
    TftpHelper,
    /// Connection labels.
    Labels,
    /// Zones.
    Zones,
    /// Address translation.
    Nat,
    /// SYN proxy.
    Synproxy,
    /// Random choice in rules, which loses datagrams on a link.
    Random,
    /// Tracking of SCTP.
    Sctp,
}

impl Feature {
    /// Whether it is there: a rule that needs it can be loaded.
    #[must_use]
    pub fn is_present(self) -> bool {
        let probe = || -> anyhow::Result<()> {
            let mut lab = Lab::new()?;
            let namespace = lab.namespace("probe")?;
            namespace.nft(&format!("table ip probe {{ {}; }}", self.rule()))
        };
        probe().is_ok()
    }

    fn rule(self) -> String {
        let chain = |rule: &str| {
            format!("chain c {{ type filter hook prerouting priority -300; {rule}; }}")
        };
        let helper = |name: &str, proto: &str| {
            format!("ct helper h {{ type \"{name}\" protocol {proto}; }}")
        };
        match self {
            Self::Conntrack => chain("ct state new counter"),
            Self::FtpHelper => helper("ftp", "tcp"),
            Self::SipHelper => helper("sip", "udp"),
            Self::TftpHelper => helper("tftp", "udp"),
            Self::Labels => chain("ct label set 1"),
            Self::Zones => chain("ct zone set 1"),
            Self::Nat => "chain c { type nat hook postrouting priority 100; masquerade fully-random; }".to_owned(),
            Self::Synproxy => {
                "chain c { type filter hook forward priority 0; tcp dport 1 synproxy mss 1460 wscale 7; }".to_owned()
            }
            Self::Random => chain("numgen random mod 100 < 5 drop"),
            // A timeout policy can be made only for a protocol that is tracked.
            Self::Sctp => "ct timeout t { protocol sctp; policy = { established : 100 }; }".to_owned(),
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Conntrack => "connection tracking",
            Self::FtpHelper => "the FTP helper",
            Self::SipHelper => "the SIP helper",
            Self::TftpHelper => "the TFTP helper",
            Self::Labels => "connection labels",
            Self::Zones => "connection-tracking zones",
            Self::Nat => "address translation",
            Self::Synproxy => "the SYN proxy",
            Self::Random => "random choice in rules",
            Self::Sctp => "tracking of SCTP",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_tracks_has_conntrack() {
        crate::require_root_or_skip!();
        let tracks = std::path::Path::new("/proc/sys/net/netfilter/nf_conntrack_max").exists();
        assert_eq!(Feature::Conntrack.is_present(), tracks);
    }
}
