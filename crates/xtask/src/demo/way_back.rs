//! The way back of a hot standby: another node takes over by name, and the former primary stands by again.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use netlab::mesh::{Firewall, Mesh};
use netlab::traffic::Traffic;
use netlab::{Daemon, Ends};

use super::native::{COPY_LIMIT, entries_of, thousands};
use crate::story::Story;

/// Looked at so often.
const PAUSE: Duration = Duration::from_millis(20);

/// Gives everything that the second node forwards to the third, and tells what that took. `true`: no kernel has lost anything.
///
/// # Errors
/// It could not be shown at all.
pub(super) fn tell(
    story: &Story,
    mesh: &Mesh,
    least: usize,
    connections: &[Traffic],
) -> Result<bool> {
    let (former, next) = (&mesh.firewalls[1], &mesh.firewalls[2]);
    let mut ends = [
        Ends::listen(&former.namespace)?,
        Ends::listen(&next.namespace)?,
    ];
    for connection in connections {
        connection.mark();
    }
    let processor = [
        former.daemon.processor_time()?,
        next.daemon.processor_time()?,
    ];
    let begun = Instant::now();
    next.daemon.client(["role", "primary", "--from", "fw2"])?;
    mesh.deactivate(1)?;
    mesh.activate(2)?;
    former.daemon.client(["role", "backup"])?;
    while own(&next.daemon)? < least || own(&former.daemon)? > 0 {
        ensure!(
            begun.elapsed() < COPY_LIMIT,
            "fw3 owns {} of {least}, fw2 still {}",
            own(&next.daemon)?,
            own(&former.daemon)?
        );
        std::thread::sleep(PAUSE);
    }
    let took = begun.elapsed();
    let spent = |node: &Firewall, before: Duration| -> Result<f64> {
        Ok((node.daemon.processor_time()? - before).as_secs_f64())
    };
    let (of_former, of_next) = (spent(former, processor[0])?, spent(next, processor[1])?);
    let fewest = entries_of(former)?.min(entries_of(next)?);
    let gap = connections.iter().map(Traffic::longest_gap).max();
    let ended = ends[0].count()? + ends[1].count()?;
    let is_whole = ended == 0 && fewest >= least;
    story.say(&format!(
        "way back: fw3 owns all {} connections {:.2} s after `role primary --from fw2`, and fw2 stands by; processor time of \
         fw2's daemon {of_former:.2} s, of fw3's {of_next:.2} s; longest gap {} ms",
        thousands(u32::try_from(least)?),
        took.as_secs_f64(),
        gap.unwrap_or_default().as_millis(),
    ));
    if !is_whole {
        story.verdict(
            false,
            &format!("FAILED: {ended} connections have ended, and a kernel is left with {fewest}"),
        );
    }
    Ok(is_whole)
}

/// Connections that a node takes for its own.
fn own(daemon: &Daemon) -> Result<usize> {
    let own = daemon.counter("cache internal", "current active connections")?;
    Ok(usize::try_from(own)?)
}
