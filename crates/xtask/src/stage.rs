//! Steps with their time.

use std::time::{Duration, Instant};

use anyhow::Result;

/// What was done, how long it took, whether it held.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    done: Vec<Stage>,
}

#[derive(Debug)]
struct Stage {
    name: String,
    took: Duration,
    failure: Option<String>,
}

impl Stages {
    /// Does one step. A failure is noted and does not keep the next from being done.
    pub(crate) fn run<T>(&mut self, name: &str, step: impl FnOnce() -> Result<T>) -> Option<T> {
        println!("\n== {name}");
        let start = Instant::now();
        let outcome = step();
        let failure = outcome.as_ref().err().map(|error| format!("{error:#}"));
        if let Some(failure) = &failure {
            println!("   failed: {failure}");
        }
        self.done.push(Stage {
            name: name.to_owned(),
            took: start.elapsed(),
            failure,
        });
        outcome.ok()
    }

    /// Prints all steps with their times.
    pub(crate) fn summarise(&self) {
        println!("\n== stages");
        for stage in &self.done {
            let verdict = match &stage.failure {
                None => "ok",
                Some(_) => "FAILED",
            };
            println!(
                "{:>8.1} s  {:<6}  {}",
                stage.took.as_secs_f64(),
                verdict,
                stage.name
            );
        }
        let total: Duration = self.done.iter().map(|stage| stage.took).sum();
        println!("{:>8.1} s  in all", total.as_secs_f64());
        for stage in &self.done {
            if let Some(failure) = &stage.failure {
                println!("failed: {}: {failure}", stage.name);
            }
        }
    }

    /// How many failed.
    pub(crate) fn failed(&self) -> usize {
        let failed = self.done.iter().filter(|stage| stage.failure.is_some());
        failed.count()
    }
}
