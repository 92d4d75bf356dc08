//! A recording of a live daemon, told to a core again.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use engine::Output;
use engine::snapshot::{CacheStats, ExternalStats, InternalStats};
use record::{End, Replay, Step, Summary};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    file: PathBuf,
    /// Every step and every output in words.
    trace: bool,
}

impl Options {
    /// `None`: no replay is asked for.
    pub(crate) fn parse(words: &[String]) -> Option<Result<Self, String>> {
        if !words.iter().any(|word| word == "--replay") {
            return None;
        }
        let (mut file, mut trace) = (None, false);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--replay" => file = words.next().map(PathBuf::from),
                "--trace" => trace = true,
                other => return Some(Err(format!("`{other}' is nothing for a replay"))),
            }
        }
        let file = file.ok_or_else(|| "--replay needs a file".to_owned());
        Some(file.map(|file| Self { file, trace }))
    }
}

/// Does it. Success: every output was the recorded one, and every bound was kept.
pub(crate) fn run(options: &Options) -> ExitCode {
    match replay(&options.file, options.trace) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", options.file.display());
            ExitCode::FAILURE
        }
    }
}

fn replay(file: &Path, trace: bool) -> Result<(), Box<dyn std::error::Error>> {
    let bytes = std::fs::read(file)?;
    let mut replay = Replay::new(&bytes)?;
    let header = replay.header();
    println!("recorded by {}, {:?}", header.program, header.settings.mode);
    let begun = Instant::now();
    let mut outputs = Vec::new();
    let ended = loop {
        let step = replay.step(&mut |output| {
            if trace {
                outputs.push(words(output));
            }
        });
        match step {
            Ok(Some((time, step))) if trace => {
                println!("{:>12.6} {}", time.as_secs_f64(), told(&step));
                outputs
                    .drain(..)
                    .for_each(|text| println!("             -> {text}"));
            }
            Ok(Some(_)) => {}
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    print(&replay, begun.elapsed());
    Ok(ended?)
}

fn told(step: &Step<'_>) -> String {
    match step {
        Step::Events(bytes) => format!("events, {} bytes", bytes.len()),
        Step::KernelReply(socket, bytes) => format!("{socket:?} reply, {} bytes", bytes.len()),
        Step::Datagram(link, bytes) => format!("datagram on {link:?}, {} bytes", bytes.len()),
        Step::Stream(link, bytes) => format!("stream on {link:?}, {} bytes", bytes.len()),
        Step::PeerBytes(peer, bytes) => format!("stream of {peer:?}, {} bytes", bytes.len()),
        other => format!("{other:?}"),
    }
}

fn words(output: &Output<'_>) -> String {
    match output {
        Output::Transmit { link, bytes } => format!("to {link:?}, {} bytes", bytes.len()),
        Output::Stream { peer, bytes } => format!("to {peer:?}, {} bytes", bytes.len()),
        Output::Kernel { socket, bytes } => format!("to {socket:?}, {} bytes", bytes.len()),
        other => format!("{other:?}"),
    }
}

fn print(replay: &Replay<'_>, took: Duration) {
    let summary = replay.summary();
    let counts = Step::KINDS.iter().zip(summary.steps);
    let counts: Vec<_> = counts
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    println!("steps: {}", counts.join(", "));
    println!(
        "{:.3} s of the daemon, {} bytes of kernel and peers, replayed in {:.3} s",
        summary.time.as_secs_f64(),
        summary.bytes,
        took.as_secs_f64()
    );
    let snapshot = replay.engine().snapshot();
    if let Some(InternalStats::Cache(stats)) = snapshot.internal {
        println!("internal cache: {}", of_cache(&stats));
    }
    if let Some(ExternalStats::Cache(stats)) = snapshot.external {
        println!("external cache: {}", of_cache(&stats));
    }
    if let Some(queue) = snapshot.resend_queue {
        println!("resend queue: {} of {} elements", queue.len, queue.max);
    }
    println!(
        "{} outputs, {} of them datagrams, digest {:016x}: equal to the recorded one {} times, tables and queues within \
         their bounds",
        summary.digest.outputs(),
        summary.transmitted,
        summary.digest.value(),
        summary.checks
    );
    println!("{}", end(summary));
}

fn of_cache(stats: &CacheStats) -> String {
    format!(
        "{} entries; {} created, {} updated, {} removed",
        stats.active, stats.created, stats.updated, stats.destroyed
    )
}

fn end(summary: &Summary) -> &'static str {
    match summary.end {
        Some(End::Stopped) => "the daemon was told to end",
        Some(End::Full) => "the recording was as long as it may be; the daemon went on",
        None => "the recording breaks off here: the daemon was killed, or the disk was full",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_takes_a_file_and_nothing_of_a_simulation() {
        let parse = |line: &str| {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            Options::parse(&words)
        };
        assert_eq!(parse("--seed 7"), None);
        let traced = Options {
            file: "/r".into(),
            trace: true,
        };
        assert_eq!(parse("--trace --replay /r"), Some(Ok(traced)));
        assert!(parse("--replay").unwrap().is_err());
        assert!(parse("--replay /r --seed 7").unwrap().is_err());
        assert!(replay(Path::new("/dev/null"), false).is_err());
    }
}
