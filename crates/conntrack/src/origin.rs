//! Who caused an event, and how many events a socket lost: what the kernel tells in `/proc`.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// Number of the netlink family that conntrack speaks.
const NETLINK_NETFILTER: u32 = 12;
/// How long an answer counts: port ids are given to other processes later.
const VALIDITY: Duration = Duration::from_secs(1);
/// Answers kept at most.
const MAX_KNOWN: usize = 256;

/// Who caused an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Port id of the socket.
    pub port_id: u32,
    /// Name of the process that owns it, if it can still be found.
    pub program: Option<String>,
}

/// Finds out who owns a socket, and remembers it for a moment.
#[derive(Debug, Default)]
pub struct Origins {
    known: HashMap<u32, (Instant, Origin)>,
}

impl Origins {
    /// Who owns the socket with this port id. Port id 0 is the kernel: nobody.
    pub fn of(&mut self, port_id: u32) -> Option<&Origin> {
        if port_id == 0 {
            return None;
        }
        let now = Instant::now();
        let is_fresh = |asked: Instant| now.duration_since(asked) < VALIDITY;
        if !self
            .known
            .get(&port_id)
            .is_some_and(|(asked, _)| is_fresh(*asked))
        {
            if self.known.len() >= MAX_KNOWN {
                self.known.clear();
            }
            let program = socket(port_id).and_then(|socket| program(socket.inode));
            self.known
                .insert(port_id, (now, Origin { port_id, program }));
        }
        self.known.get(&port_id).map(|(_, origin)| origin)
    }
}

/// A line of `/proc/net/netlink`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Socket {
    drops: u64,
    inode: u64,
}

/// How many messages the socket with this port id has lost since it was opened.
#[must_use]
pub fn lost_messages(port_id: u32) -> Option<u64> {
    socket(port_id).map(|socket| socket.drops)
}

fn socket(port_id: u32) -> Option<Socket> {
    let table = fs::read_to_string("/proc/net/netlink").ok()?;
    find_socket(&table, port_id)
}

/// Columns: sk, Eth, Pid, Groups, Rmem, Wmem, Dump, Locks, Drops, Inode.
fn find_socket(table: &str, port_id: u32) -> Option<Socket> {
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [_, family, port, _, _, _, _, _, drops, inode, ..] = columns[..] else {
            return None;
        };
        let is_meant = family.parse() == Ok(NETLINK_NETFILTER) && port.parse() == Ok(port_id);
        is_meant.then_some(Socket {
            drops: drops.parse().ok()?,
            inode: inode.parse().ok()?,
        })
    })
}

/// The name of the first process that has the socket open.
fn program(inode: u64) -> Option<String> {
    let link = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let mut numbered = processes.filter(|process| {
        process
            .file_name()
            .to_string_lossy()
            .bytes()
            .all(|b| b.is_ascii_digit())
    });
    let owner = numbered.find(|process| has_open(&process.path(), &link))?;
    let name = fs::read_to_string(owner.path().join("comm")).ok()?;
    Some(name.trim_end_matches('\n').to_owned())
}

fn has_open(process: &Path, link: &str) -> bool {
    let Ok(files) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    files
        .filter_map(Result::ok)
        .any(|file| fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == link))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
0000000000000000 0   77         00000000 0        0        0     2        0        11
0000000000000000 12  77         00000007 0        0        0     2        31       22
0000000000000000 12  4242424242 00000007 0        0        0     2        5        33
";

    #[test]
    fn a_socket_is_found_by_family_and_port() {
        assert_eq!(
            find_socket(TABLE, 77),
            Some(Socket {
                drops: 31,
                inode: 22
            })
        );
        assert_eq!(find_socket(TABLE, 4_242_424_242).map(|s| s.drops), Some(5));
        assert_eq!(find_socket(TABLE, 78), None);
        assert_eq!(find_socket("", 77), None);
    }

    #[test]
    fn the_kernel_is_nobody() {
        assert_eq!(Origins::default().of(0), None);
    }

    #[test]
    fn a_process_is_found_by_its_open_socket() {
        use std::os::fd::AsRawFd;
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let link = link.to_string_lossy().into_owned();
        let inode = link
            .trim_start_matches("socket:[")
            .trim_end_matches(']')
            .parse()
            .unwrap();
        let own = fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!(program(inode).as_deref(), Some(own.trim_end()));
    }
}
