//! The nodes of the native dialect.

use control::peers::PeerLine;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::{Mood, bytes, duration};

/// One after the other: how far it and this node agree, what is at risk, how it is reached.
pub(super) fn lines(peers: &[PeerLine]) -> Vec<Line<'static>> {
    if peers.is_empty() {
        return vec![Line::from("no peers of the native dialect are configured")];
    }
    peers.iter().flat_map(lines_of).collect()
}

fn lines_of(peer: &PeerLine) -> [Line<'static>; 5] {
    let name = Span::styled(
        format!("{:<12}", peer.name),
        Style::new().add_modifier(Modifier::BOLD),
    );
    let mood = match peer.state.as_str() {
        "in_sync" => Mood::Good,
        "connecting" => Mood::Bad,
        _ => Mood::Doubtful,
    };
    let time = |seconds: Option<f64>| seconds.map_or("-".to_owned(), duration);
    let replication = &peer.replication;
    [
        Line::from_iter([name, mood.span(&peer.state_text())]),
        Line::from(format!(
            "  {}, {} entries here; at risk {}, lag {} (p50 {}, p99 {})",
            peer.role,
            peer.entries,
            replication.at_risk,
            time(replication.lag_s),
            time(replication.p50_s),
            time(replication.p99_s)
        )),
        Line::from(format!(
            "  repaired here {}, there {}; refused {}, resumed {}",
            peer.repaired_here.repaired(),
            peer.repaired_there.repaired(),
            peer.refused,
            peer.resumed
        )),
        Line::from(format!(
            "  round trip {}, sent {}, received {}, {} of {} packets lost",
            time(peer.round_trip_s),
            bytes(peer.sent_bytes),
            bytes(peer.received_bytes),
            peer.lost_packets,
            peer.sent_packets
        )),
        Line::from(format!(
            "  {}, {}",
            peer.address.as_deref().unwrap_or("no address"),
            peer.cipher.as_deref().unwrap_or("not connected")
        )),
    ]
}
