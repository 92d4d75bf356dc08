//! Which file goes where. Whatever is installed stands here, but for manual pages and licences, which are made.

use super::Format;

/// The programs, each with its crate.
pub(super) const PROGRAMS: [(&str, &str); 3] = [
    ("conntrackd", "conntrackd"),
    ("conntrack", "conntrack"),
    ("conntrackd-top", "top"),
];

/// Where the documents are.
pub(super) const DOC: &str = "usr/share/doc/conntrackd-rs";

/// What is to be done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Installed as it is.
    Plain,
    /// Belongs to the administrator once it is there: changes are kept.
    Configuration,
    /// Executable.
    Script,
}

/// A file, or a folder with all that it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    /// In the workspace.
    pub(super) from: &'static str,
    /// On the system, without the leading slash.
    pub(super) to: &'static str,
    pub(super) kind: Kind,
}

const fn item(from: &'static str, to: &'static str, kind: Kind) -> Item {
    Item { from, to, kind }
}

const ITEMS: [Item; 14] = [
    item(
        "systemd/conntrackd.service",
        "usr/lib/systemd/system/conntrackd.service",
        Kind::Plain,
    ),
    item(
        "config/systemd/conntrackd-role@.service",
        "usr/lib/systemd/system/conntrackd-role@.service",
        Kind::Plain,
    ),
    item(
        "config/frr/conntrackd-frr",
        "usr/libexec/conntrackd/conntrackd-frr",
        Kind::Script,
    ),
    item(
        "config/frr",
        "usr/share/doc/conntrackd-rs/examples/frr",
        Kind::Plain,
    ),
    item(
        "config/conntrackd.toml",
        "etc/conntrackd/conntrackd.toml",
        Kind::Configuration,
    ),
    item(
        "config/logrotate/conntrackd",
        "etc/logrotate.d/conntrackd",
        Kind::Configuration,
    ),
    item(
        "config/sysctl/60-conntrackd.conf",
        "usr/lib/sysctl.d/60-conntrackd.conf",
        Kind::Plain,
    ),
    item(
        "config/modules-load/conntrackd.conf",
        "usr/lib/modules-load.d/conntrackd.conf",
        Kind::Plain,
    ),
    item(
        "config/keepalived/conntrackd-notify",
        "usr/libexec/conntrackd/conntrackd-notify",
        Kind::Script,
    ),
    item(
        "config/keepalived",
        "usr/share/doc/conntrackd-rs/examples/keepalived",
        Kind::Plain,
    ),
    item(
        "config/conntrackd.conf",
        "usr/share/doc/conntrackd-rs/examples/conntrackd.conf",
        Kind::Plain,
    ),
    item(
        "config/prometheus",
        "usr/share/doc/conntrackd-rs/examples/prometheus",
        Kind::Plain,
    ),
    item(
        "config/grafana",
        "usr/share/doc/conntrackd-rs/examples/grafana",
        Kind::Plain,
    ),
    item(
        "docs/json-schema",
        "usr/share/conntrackd/json-schema",
        Kind::Plain,
    ),
];

/// Completions: shells look for them in places that differ between distributions.
fn completions(format: Format) -> Vec<Item> {
    let mut items = vec![
        item(
            "config/completions/conntrack.bash",
            "usr/share/bash-completion/completions/conntrack",
            Kind::Plain,
        ),
        item(
            "config/completions/conntrackd.bash",
            "usr/share/bash-completion/completions/conntrackd",
            Kind::Plain,
        ),
        item(
            "config/completions/conntrack.fish",
            "usr/share/fish/vendor_completions.d/conntrack.fish",
            Kind::Plain,
        ),
        item(
            "config/completions/conntrackd.fish",
            "usr/share/fish/vendor_completions.d/conntrackd.fish",
            Kind::Plain,
        ),
    ];
    items.extend(match format {
        Format::Deb => [
            item(
                "config/completions/_conntrack",
                "usr/share/zsh/vendor-completions/_conntrack",
                Kind::Plain,
            ),
            item(
                "config/completions/_conntrackd",
                "usr/share/zsh/vendor-completions/_conntrackd",
                Kind::Plain,
            ),
        ],
        Format::Rpm => [
            item(
                "config/completions/_conntrack",
                "usr/share/zsh/site-functions/_conntrack",
                Kind::Plain,
            ),
            item(
                "config/completions/_conntrackd",
                "usr/share/zsh/site-functions/_conntrackd",
                Kind::Plain,
            ),
        ],
    });
    items
}

/// All of it.
pub(super) fn items(format: Format) -> Vec<Item> {
    ITEMS.into_iter().chain(completions(format)).collect()
}
