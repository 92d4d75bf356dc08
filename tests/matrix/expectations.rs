//! A session with the kernel's FTP helper, and the expectations it makes.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::Result;
use ctnetlink::request;
use ctnetlink::socket::RequestSocket;
use ctnetlink::{Reply, parse};
use netlab::process::wait_until;
use netlab::{Daemon, Namespace};

const CLIENT: &str = "10.50.0.1";
const SERVER: &str = "10.50.0.2";

/// Addresses that talk FTP within a namespace, and a rule that gives their connections the helper.
pub(crate) fn prepare(namespace: &Namespace) -> Result<()> {
    namespace.add_addr("lo", &format!("{CLIENT}/32"))?;
    namespace.add_addr("lo", &format!("{SERVER}/32"))?;
    namespace.nft(
        "table ip ftp {
            ct helper ftp { type \"ftp\" protocol tcp; }
            chain out { type filter hook output priority 0; tcp dport 21 ct helper set \"ftp\"; }
        }",
    )
}

/// An open session: the control connection, one data connection in use, one more expected.
pub(crate) struct Session {
    _streams: Vec<TcpStream>,
}

impl Session {
    /// Opens it; the helper has seen everything when this returns.
    pub(crate) fn open(namespace: &Namespace) -> Self {
        let (mut control, answers) = connect(namespace, CLIENT, &format!("{SERVER}:21"));
        // The helper believes only lines that follow one it has seen end.
        control.write_all(b"NOOP\r\n").unwrap();
        control.write_all(b"PORT 10,50,0,1,4,1\r\n").unwrap();
        expects(namespace, 1);
        let (data, peer) = connect(namespace, SERVER, &format!("{CLIENT}:1025"));
        expects(namespace, 0);
        control.write_all(b"PORT 10,50,0,1,4,2\r\n").unwrap();
        expects(namespace, 1);
        Self {
            _streams: vec![control, answers, data, peer],
        }
    }
}

fn connect(namespace: &Namespace, from: &str, to: &str) -> (TcpStream, TcpStream) {
    let target: SocketAddr = to.parse().unwrap();
    let source: SocketAddr = format!("{from}:0").parse().unwrap();
    namespace
        .enter(|| {
            let listener = TcpListener::bind(target).unwrap();
            let socket = socket2::Socket::new(
                socket2::Domain::IPV4,
                socket2::Type::STREAM,
                Some(socket2::Protocol::TCP),
            )
            .unwrap();
            socket.bind(&source.into()).unwrap();
            socket.connect(&target.into()).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            let stream = TcpStream::from(socket);
            stream.set_nodelay(true).unwrap();
            (stream, accepted)
        })
        .unwrap()
}

#[track_caller]
fn expects(namespace: &Namespace, count: usize) {
    let expected = wait_until(Duration::from_secs(5), || {
        in_kernel(namespace).len() == count
    });
    assert!(expected, "not {count} but {:?}", in_kernel(namespace));
}

/// The kernel's expectations as sorted lines that are equal for equal ones on two nodes.
pub(crate) fn in_kernel(namespace: &Namespace) -> Vec<String> {
    let socket = namespace.enter(RequestSocket::open).unwrap().unwrap();
    let mut request = Vec::new();
    request::dump_expectations(&mut request, 1, None);
    let mut lines = Vec::new();
    socket
        .transact(&request, |message| {
            if let Ok(Reply::Expectation(mut expectation)) = parse::reply(message) {
                expectation.id = None;
                expectation.timeout_s = None;
                lines.push(format!("{expectation:?}"));
            }
            Ok(())
        })
        .unwrap();
    lines.sort();
    lines
}

/// Expectations of a cache (`-i` or `-e`), sorted, without ages.
pub(crate) fn cached(daemon: &Daemon, cache: &str) -> Vec<String> {
    let text = daemon.client([cache, "expect"]).unwrap();
    let mut lines: Vec<_> = text
        .lines()
        .map(|line| line.split(" [").next().unwrap_or_default().to_owned())
        .collect();
    lines.sort();
    lines
}
