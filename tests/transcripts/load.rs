//! The connections of the transcripts, packet for packet.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use netlab::Namespace;
use netlab::process::wait_until;
use socket2::{Domain, Protocol, Socket, Type};

use crate::bench::Bench;
use crate::script::Node;

const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 10);
const SERVER_V4: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);
const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x10);
const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 0x10);
const PATIENCE: Duration = Duration::from_secs(5);
const LATE_ACK: Duration = Duration::from_millis(60);

/// A connection that stays open until it is dropped; then the client closes first.
pub(crate) struct Open {
    client: TcpStream,
    server: TcpStream,
}

impl Open {
    /// Says something that the server is not there to hear.
    pub(crate) fn speak(&mut self) {
        self.client.write_all(b"x").unwrap();
    }

    /// The client ends it, then the server.
    pub(crate) fn close(mut self) {
        self.client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(self.server.read(&mut [0; 8]).unwrap(), 0);
        drop(self.server);
        assert_eq!(self.client.read(&mut [0; 8]).unwrap(), 0);
    }
}

/// Client and server, from port to port. Every server echoes.
pub(crate) struct Load<'a> {
    /// Port that the FTP server names.
    data_port: u16,
    client: &'a Namespace,
    server: &'a Namespace,
}

impl<'a> Load<'a> {
    pub(crate) fn new(bench: &'a Bench) -> Self {
        Self {
            data_port: 51218,
            client: &bench.client,
            server: &bench.server,
        }
    }

    /// The same with an FTP server that names another port.
    pub(crate) fn with_data_port(self, data_port: u16) -> Self {
        Self { data_port, ..self }
    }

    /// TCP with 100 bytes there and back, IPv4, opened and closed.
    pub(crate) fn tcp(&self, from: u16, to: u16) {
        self.open(from, to, false).close();
    }

    /// As [`tcp`](Self::tcp), IPv6.
    pub(crate) fn tcp6(&self, from: u16, to: u16) {
        self.open(from, to, true).close();
    }

    /// TCP with 100 bytes there and back, open.
    pub(crate) fn open(&self, from: u16, to: u16, v6: bool) -> Open {
        let mut open = self.connect(from, to, v6);
        let mut bytes = [7; 100];
        open.client.write_all(&bytes).unwrap();
        open.server.read_exact(&mut bytes).unwrap();
        open.server.write_all(&bytes).unwrap();
        open.client.read_exact(&mut bytes).unwrap();
        open
    }

    /// The control connection of an FTP session in which the server has named a port.
    pub(crate) fn ftp(&self, from: u16) -> Open {
        let mut open = self.connect(from, 21, false);
        let mut buf = [0; 64];
        open.server.write_all(b"220 ftp ready.\r\n").unwrap();
        open.client.read_exact(&mut buf[..16]).unwrap();
        for (line, len) in [(&b"USER a\r\n"[..], 8), (b"PASV\r\n", 6)] {
            open.client.write_all(line).unwrap();
            open.server.read_exact(&mut buf[..len]).unwrap();
        }
        let [high, low] = self.data_port.to_be_bytes();
        let answer = format!("227 Entering Passive Mode (192,168,1,10,{high},{low})\r\n");
        open.server.write_all(answer.as_bytes()).unwrap();
        open.client.read_exact(&mut buf[..49]).unwrap();
        open
    }

    /// Three datagrams of 60 bytes there and back, IPv4.
    pub(crate) fn udp(&self, from: u16, to: u16) {
        self.datagrams(from, to, false);
    }

    /// As [`udp`](Self::udp), IPv6.
    pub(crate) fn udp6(&self, from: u16, to: u16) {
        self.datagrams(from, to, true);
    }

    /// A datagram that nobody answers.
    pub(crate) fn unanswered(&self, from: u16, to: u16) {
        let (client, server) = addrs(false);
        let target = SocketAddr::new(server, to);
        let _listener = self
            .server
            .enter(|| UdpSocket::bind(target))
            .unwrap()
            .unwrap();
        let source = SocketAddr::new(client, from);
        let socket = self
            .client
            .enter(|| UdpSocket::bind(source))
            .unwrap()
            .unwrap();
        socket.send_to(&[0; 60], target).unwrap();
    }

    /// One ping.
    pub(crate) fn ping(&self, v6: bool) {
        let target = addrs(v6).1;
        self.client
            .run(&format!("ping -c 1 -W 5 {target}"))
            .unwrap();
    }

    /// The connections of most transcripts that are over soon.
    pub(crate) fn short(&self) {
        self.tcp(40000, 80);
        self.tcp(40001, 80);
        for from in [40002, 40003, 40004] {
            self.udp(from, 53);
        }
        self.tcp6(40005, 443);
        self.udp6(40006, 123);
        self.tcp(40007, 9099);
        self.tcp(40008, 8081);
        self.ping(false);
        self.ping(true);
    }

    /// The connections of most transcripts that stay open.
    pub(crate) fn long(&self) -> Vec<Open> {
        vec![
            self.open(40500, 8080, false),
            self.open(40501, 8080, false),
            self.ftp(40502),
            self.open(40503, 8443, true),
        ]
    }

    /// From now on nobody answers on the connections that stay open, and the firewall has forgotten them.
    pub(crate) fn deafen(&self, bench: &Bench) {
        self.server
            .nft(
                "table inet deaf {
                    chain in { type filter hook input priority 0; tcp dport { 21, 8080, 8443 } drop; }
                    chain out { type filter hook output priority 0; tcp sport { 21, 8080, 8443 } drop; }
                }",
            )
            .unwrap();
        let forgotten = wait_until(PATIENCE, || {
            bench.run(Node::Fw1, "conntrack -F");
            // A late acknowledgement would be the beginning of another entry.
            std::thread::sleep(LATE_ACK);
            bench.run(Node::Fw1, "conntrack -L").stdout.is_empty()
        });
        assert!(forgotten, "the connections never rest");
    }

    /// From now on nothing is repeated on those connections.
    pub(crate) fn silence(&self) {
        self.client
            .nft(
                "table inet silent {
                    chain out { type filter hook output priority 0; tcp dport { 21, 8080, 8443 } drop; }
                }",
            )
            .unwrap();
    }

    fn connect(&self, from: u16, to: u16, v6: bool) -> Open {
        let (client, server) = addrs(v6);
        let target = SocketAddr::new(server, to);
        let listener = self
            .server
            .enter(|| TcpListener::bind(target))
            .unwrap()
            .unwrap();
        let socket = self
            .client
            .enter(|| -> std::io::Result<Socket> {
                let domain = Domain::for_address(target);
                let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
                socket.set_reuse_address(true)?;
                socket.bind(&SocketAddr::new(client, from).into())?;
                Ok(socket)
            })
            .unwrap()
            .unwrap();
        socket.connect_timeout(&target.into(), PATIENCE).unwrap();
        let open = Open {
            client: socket.into(),
            server: listener.accept().unwrap().0,
        };
        for end in [&open.client, &open.server] {
            end.set_read_timeout(Some(PATIENCE)).unwrap();
            end.set_nodelay(true).unwrap();
        }
        open
    }

    fn datagrams(&self, from: u16, to: u16, v6: bool) {
        let (client, server) = addrs(v6);
        let bind = |namespace: &Namespace, addr| {
            let socket = namespace.enter(|| UdpSocket::bind(addr)).unwrap().unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        };
        let server = bind(self.server, SocketAddr::new(server, to));
        let client = bind(self.client, SocketAddr::new(client, from));
        let mut buf = [0; 60];
        for _ in 0..3 {
            client.send_to(&buf, server.local_addr().unwrap()).unwrap();
            let (_, back) = server.recv_from(&mut buf).unwrap();
            server.send_to(&buf, back).unwrap();
            client.recv_from(&mut buf).unwrap();
        }
    }
}

fn addrs(v6: bool) -> (std::net::IpAddr, std::net::IpAddr) {
    if v6 {
        (CLIENT_V6.into(), SERVER_V6.into())
    } else {
        (CLIENT_V4.into(), SERVER_V4.into())
    }
}
