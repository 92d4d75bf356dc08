//! `--record FILE`: what the core is told and answers goes into a file.
//!
//! Replication comes first: a file that cannot be made, a full disk or a slow one end the recording and nothing else.
//! The file is open before the daemon gives up its rights and needs none afterwards.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use engine::{Engine, Start, api::Settings};
use record::{End, Recorded, Sink};

/// Bytes that are written together.
const BLOCK_LEN: usize = 64 * 1024;

/// What is younger may be lost with a killed daemon.
const KEPT_BACK: Duration = Duration::from_secs(1);

/// A disk that takes longer for a block is not waited for a second time.
const SLOW: Duration = Duration::from_millis(250);

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// A file that is not there yet.
    pub(crate) path: PathBuf,
    /// Most bytes.
    pub(crate) limit: u64,
}

/// A core, recorded if that is wanted and possible.
pub(crate) fn core(settings: Settings, start: Start, wish: Option<&Wish>) -> Recorded {
    let Some(wish) = wish else {
        return Recorded::off(Engine::new(settings, start));
    };
    match Disk::create(&wish.path) {
        Ok(disk) => {
            tracing::info!("recording to {}, addresses included", wish.path.display());
            Recorded::on(settings, start, program(), wish.limit, Box::new(disk))
        }
        Err(error) => {
            tracing::error!("nothing is recorded: {}: {error}", wish.path.display());
            Recorded::off(Engine::new(settings, start))
        }
    }
}

/// What a replay compares itself with.
fn program() -> &'static str {
    concat!("conntrackd ", env!("CARGO_PKG_VERSION"))
}

/// The file of a recording.
struct Disk {
    path: PathBuf,
    /// Shared with whoever reports a panic.
    blocks: Arc<Mutex<Blocks>>,
    written_at: Instant,
}

struct Blocks {
    file: File,
    buffer: Vec<u8>,
}

impl Blocks {
    fn write(&mut self) -> io::Result<()> {
        let outcome = self.file.write_all(&self.buffer);
        self.buffer.clear();
        outcome
    }
}

impl Disk {
    /// An older recording is not written over: it may hold what a daemon died of.
    fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let blocks = Arc::new(Mutex::new(Blocks {
            file,
            buffer: Vec::with_capacity(BLOCK_LEN),
        }));
        write_on_panic(Arc::clone(&blocks));
        Ok(Self {
            path: path.to_owned(),
            blocks,
            written_at: Instant::now(),
        })
    }

    fn write(&mut self) -> ControlFlow<()> {
        let begun = Instant::now();
        let outcome = crate::log::lock(&self.blocks).write();
        self.written_at = Instant::now();
        let took = self.written_at.saturating_duration_since(begun);
        let why = match outcome {
            Err(error) => error.to_string(),
            Ok(()) if took > SLOW => format!("the disk took {} ms for a block", took.as_millis()),
            Ok(()) => return ControlFlow::Continue(()),
        };
        tracing::error!("recording to {} has ended: {why}", self.path.display());
        ControlFlow::Break(())
    }
}

impl Sink for Disk {
    fn append(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        let len = {
            let mut blocks = crate::log::lock(&self.blocks);
            blocks.buffer.extend_from_slice(bytes);
            blocks.buffer.len()
        };
        if len >= BLOCK_LEN || self.written_at.elapsed() >= KEPT_BACK {
            return self.write();
        }
        ControlFlow::Continue(())
    }

    fn end(&mut self, end: End) {
        if self.write().is_break() {
            return;
        }
        let path = self.path.display();
        match end {
            End::Stopped => tracing::info!("recording to {path} is complete"),
            End::Full => {
                tracing::warn!("recording to {path} has ended: it is as long as it may be");
            }
        }
    }
}

/// What made the core panic is the last that it was told.
fn write_on_panic(blocks: Arc<Mutex<Blocks>>) {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if let Ok(mut blocks) = blocks.try_lock() {
            // The panic itself is of more interest than a full disk.
            let _ = blocks.write();
        }
        told(info);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_recording_stays_and_a_full_disk_ends_the_new_one() {
        let path = std::env::temp_dir().join(format!("recording-{}", std::process::id()));
        std::fs::write(&path, "older").unwrap();
        assert!(Disk::create(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"older");
        std::fs::remove_file(&path).unwrap();
        let mut disk = Disk::create(&path).unwrap();
        assert!(disk.append(b"few").is_continue());
        assert_eq!(
            std::fs::read(&path).unwrap(),
            b"",
            "few bytes wait for more"
        );
        assert!(disk.append(&[7; BLOCK_LEN]).is_continue());
        assert_eq!(std::fs::read(&path).unwrap().len(), BLOCK_LEN + 3);
        crate::log::lock(&disk.blocks).file = File::create("/dev/full").unwrap();
        assert!(disk.append(&[7; BLOCK_LEN]).is_break());
        std::fs::remove_file(&path).unwrap();
    }
}
