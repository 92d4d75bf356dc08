//! Bytes to begin with: what was recorded for other tests.

use std::fs;
use std::path::{Path, PathBuf};

use control::request::Request;

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// The files of a folder of the workspace and of those in it, by name.
fn files(path: &Path, extensions: &[&str]) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(path) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            all.extend(files(&path, extensions));
        } else if extensions.contains(&&*extension) {
            all.extend(fs::read(&path).ok());
        }
    }
    all
}

/// Datagrams of the kernel.
#[must_use]
pub fn kernel() -> Vec<Vec<u8>> {
    files(&folder("crates/ctnetlink/tests/captures"), &["bin"])
}

/// Payloads of a recording's UDP datagrams and TCP segments, in their order.
fn payloads(pcap: &[u8]) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    let mut rest = pcap.get(24..).unwrap_or_default();
    while let Some(len) = rest.get(8..12) {
        let len = u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize;
        let frame = rest.get(16..16 + len).unwrap_or_default();
        rest = rest.get(16 + len..).unwrap_or_default();
        payloads.extend(
            payload(frame)
                .filter(|bytes| !bytes.is_empty())
                .map(<[u8]>::to_vec),
        );
    }
    payloads
}

/// Behind Ethernet, IP and UDP or TCP.
fn payload(frame: &[u8]) -> Option<&[u8]> {
    let (kind, packet) = (frame.get(12..14)?, frame.get(14..)?);
    let (protocol, packet) = match kind {
        [0x08, 0x00] => {
            let header_len = usize::from(packet.first()? & 0xf) * 4;
            let len = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
            (*packet.get(9)?, packet.get(header_len..len)?)
        }
        [0x86, 0xdd] => (*packet.get(6)?, packet.get(40..)?),
        _ => return None,
    };
    match protocol {
        17 => packet.get(8..),
        6 => packet.get(usize::from(packet.get(12)? >> 4) * 4..),
        _ => None,
    }
}

fn recordings() -> Vec<Vec<Vec<u8>>> {
    let recordings = files(&folder("tests/captures/sync"), &["pcap"]);
    recordings.iter().map(|pcap| payloads(pcap)).collect()
}

/// Conversations as [`crate::peer::datagrams`] reads them, a few datagrams each.
#[must_use]
pub fn datagrams() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (mode, conversation) in recordings().iter().enumerate() {
        for some in conversation.chunks(6) {
            let mut seed = vec![u8::try_from(mode % 3).unwrap_or(0)];
            for datagram in some {
                let len = u16::try_from(datagram.len()).unwrap_or(u16::MAX);
                seed.extend(len.to_be_bytes());
                seed.extend(datagram);
            }
            seeds.push(seed);
        }
    }
    seeds
}

/// Conversations as [`crate::peer::stream`] reads them.
#[must_use]
pub fn stream() -> Vec<Vec<u8>> {
    let conversations = recordings();
    let conversations = conversations.iter().enumerate();
    conversations
        .map(|(mode, conversation)| {
            let mut seed = vec![u8::try_from(mode % 3).unwrap_or(0), 16];
            seed.extend(conversation.iter().flatten().take(4000));
            seed
        })
        .collect()
}

/// Every request that there is.
#[must_use]
pub fn requests() -> Vec<Vec<u8>> {
    let numbers = (0..64).chain(4096..4110);
    let known = numbers.filter(|&number| Request::from_number(number).is_some());
    known.map(|number| number.to_ne_bytes().to_vec()).collect()
}

/// Configurations in the original's syntax, good and bad.
#[must_use]
pub fn conf() -> Vec<Vec<u8>> {
    files(&folder("tests/configs"), &["conf"])
}

/// The same in TOML, and those written in it.
#[must_use]
pub fn toml() -> Vec<Vec<u8>> {
    let mut seeds = files(&folder("config"), &["toml"]);
    seeds.extend(files(&folder("tests/configs"), &["toml"]));
    let conf = conf();
    let converted = conf.iter().filter_map(|text| config::to_toml(text).ok());
    seeds.extend(converted.map(String::into_bytes));
    seeds
}

/// The lines of recorded cases that begin with this.
fn case_lines(begin: &str) -> Vec<String> {
    let cases = files(&folder("tests/conntrack-cli"), &["cases"]);
    let lines = cases.iter().flat_map(|text| {
        let text = String::from_utf8_lossy(text).into_owned();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines
    });
    lines
        .filter_map(|line| line.strip_prefix(begin).map(str::to_owned))
        .collect()
}

/// Command lines with which the original was recorded.
#[must_use]
pub fn command_lines() -> Vec<Vec<u8>> {
    let lines = case_lines("$ ").into_iter();
    lines
        .map(|line| {
            line.split_whitespace()
                .collect::<Vec<_>>()
                .join("\n")
                .into_bytes()
        })
        .collect()
}

/// The same as lines of files.
#[must_use]
pub fn save_files() -> Vec<Vec<u8>> {
    let lines = case_lines("$ ");
    lines
        .chunks(3)
        .map(|lines| lines.join("\n").into_bytes())
        .collect()
}
