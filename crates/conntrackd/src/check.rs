//! `conntrackd check` and `conntrackd convert`, and what keeps the daemon from starting.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

use config::{Config, Finding, Host, HostInterface, Severity, Source};
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};

use crate::log::{Level, complain};
use crate::{interfaces, load};

/// The host that this process runs on.
struct ThisHost;

impl Host for ThisHost {
    fn interfaces(&self) -> Vec<HostInterface> {
        let mut addresses = BTreeMap::<String, Vec<IpAddr>>::new();
        for interface in interfaces::list().unwrap_or_default() {
            addresses.entry(interface.name).or_default();
        }
        for entry in nix::ifaddrs::getifaddrs().into_iter().flatten() {
            let Some(address) = entry.address else {
                continue;
            };
            let ip = address
                .as_sockaddr_in()
                .map(|v4| IpAddr::from(v4.ip()))
                .or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().into()));
            addresses
                .entry(entry.interface_name)
                .or_default()
                .extend(ip);
        }
        addresses
            .into_iter()
            .map(|(name, addresses)| HostInterface { name, addresses })
            .collect()
    }

    fn can_write(&self, file: &Path) -> bool {
        // Not opened: it may be a socket, or a file that others follow.
        if file.exists() {
            return may_write(file);
        }
        let folder = file
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        may_write(folder.unwrap_or(Path::new(".")))
    }

    fn conntrack_max(&self) -> Option<u32> {
        let text = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").ok()?;
        text.trim().parse().ok()
    }
}

/// By the rights that count for a write: a user other than root may hold a capability, which `access` leaves out.
fn may_write(path: &Path) -> bool {
    faccessat(AT_FDCWD, path, AccessFlags::W_OK, AtFlags::AT_EACCESS).is_ok()
}

/// What makes a start useless.
pub(crate) fn obstacles(config: &Config) -> Vec<Finding> {
    let mut findings = config::check(config, &ThisHost);
    findings.retain(|finding| finding.severity == Severity::Error);
    findings
}

/// `conntrackd check`: says everything there is to say; fails where the original would not start.
pub(crate) fn check(path: &Path) -> ExitCode {
    let (config, warnings) = match load::load(path) {
        Ok(loaded) => loaded,
        Err(error) => {
            load::tell_warnings(error.warnings());
            complain(Level::Error, &error.to_string());
            return ExitCode::FAILURE;
        }
    };
    load::tell_warnings(&warnings);
    let source = match config.origin.source.path() {
        Some(path) => path.display().to_string(),
        None => "built-in defaults".to_owned(),
    };
    let findings = config::check(&config, &ThisHost);
    for Finding {
        severity,
        place,
        text,
    } in &findings
    {
        match place {
            Some(place) => println!(
                "{source}:{}:{}: {severity}: {text}",
                place.line, place.column
            ),
            None => println!("{source}: {severity}: {text}"),
        }
    }
    if findings.iter().any(|finding| finding.severity.fails()) {
        return ExitCode::FAILURE;
    }
    println!(
        "{source}: {}",
        if findings.is_empty() { "ok" } else { "usable" }
    );
    ExitCode::SUCCESS
}

/// `conntrackd convert`: prints the same configuration as TOML.
pub(crate) fn convert(path: &Path) -> ExitCode {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(source) => {
            let error = config::LoadError::Open {
                path: path.to_owned(),
                source,
            };
            complain(Level::Error, &error.to_string());
            return ExitCode::FAILURE;
        }
    };
    // Warnings and errors are those of reading it, with the file's name and the place.
    match config::parse_text(path, &text) {
        Ok((config, warnings)) => {
            load::tell_warnings(&warnings);
            if matches!(config.origin.source, Source::Toml(_)) {
                complain(Level::Error, &format!("{} is TOML already", path.display()));
                return ExitCode::FAILURE;
            }
        }
        Err(error) => {
            load::tell_warnings(error.warnings());
            complain(Level::Error, &error.to_string());
            return ExitCode::FAILURE;
        }
    }
    match config::to_toml(&text) {
        Ok(toml) => {
            print!("{toml}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(Level::Error, &format!("{error}\n{}", error.explanation()));
            ExitCode::FAILURE
        }
    }
}
