//! How the demo speaks: one line a step, with the time since its start, and a line that counts.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use netlab::traffic::{Outcome, Traffic};

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const CYAN: &str = "\x1b[36m";

/// How often the counter is drawn, on a terminal and elsewhere.
const LIVE: Duration = Duration::from_millis(100);
const LOGGED: Duration = Duration::from_secs(1);

/// The teller.
pub(crate) struct Story {
    start: Instant,
    terminal: bool,
    drawn: Instant,
}

impl Story {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            terminal: std::io::stdout().is_terminal(),
            drawn: Instant::now(),
        }
    }

    /// A step.
    pub(crate) fn say(&self, text: &str) {
        println!("{} {text}", self.stamp());
    }

    /// The moment that matters.
    pub(crate) fn cut(&self, text: &str) {
        println!("{} {}", self.stamp(), self.paint(RED, text));
    }

    /// A heading.
    pub(crate) fn title(&self, text: &str) {
        println!("{}", self.paint(BOLD, text));
    }

    /// Counts for a while what arrives; `note` says what is being waited for.
    pub(crate) fn count(&mut self, traffic: &[Traffic], note: &str, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            std::thread::sleep(LIVE.min(end.saturating_duration_since(Instant::now())));
            if self.drawn.elapsed() >= if self.terminal { LIVE } else { LOGGED } {
                self.draw(traffic, note);
            }
        }
        self.draw(traffic, note);
        if self.terminal {
            println!();
        }
    }

    fn draw(&mut self, traffic: &[Traffic], note: &str) {
        self.drawn = Instant::now();
        let total: u64 = traffic.iter().map(Traffic::bytes).sum();
        let gap = traffic
            .iter()
            .map(Traffic::longest_gap)
            .max()
            .unwrap_or_default();
        let line = format!(
            "{} {:>9} came back {note}, longest gap {:>4} ms",
            self.stamp(),
            size(total),
            gap.as_millis()
        );
        if self.terminal {
            print!("\r\x1b[K{line}");
            // Only the looks suffer.
            let _ = std::io::stdout().flush();
        } else {
            println!("{line}");
        }
    }

    /// What became of a connection.
    pub(crate) fn outcome(&self, outcome: &Outcome) {
        let (colour, verdict) = match &outcome.death {
            None => (GREEN, "alive".to_owned()),
            Some(why) => (RED, format!("dead: {why}")),
        };
        println!(
            "         {:<24} {:>9}  gap {:>5} ms  {}",
            outcome.name,
            size(outcome.bytes),
            outcome.longest_gap.as_millis(),
            self.paint(colour, &verdict)
        );
    }

    /// The last word.
    pub(crate) fn verdict(&self, good: bool, text: &str) {
        println!("{}", self.paint(if good { GREEN } else { RED }, text));
    }

    /// Output of a command.
    pub(crate) fn quote(&self, heading: &str, text: &str) {
        println!("{}", self.paint(CYAN, heading));
        print!("{text}");
    }

    fn stamp(&self) -> String {
        format!("{:>6.1} s", self.start.elapsed().as_secs_f64())
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.terminal {
            format!("{colour}{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_or_four_digits() {
        assert_eq!(size(9999), "9999 B");
        assert_eq!(size(20_480), "20 KiB");
        assert_eq!(size(26_214_400), "25.0 MiB");
    }
}
