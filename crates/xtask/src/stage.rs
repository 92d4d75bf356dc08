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
    /// Its failures are those of tests, which are counted one by one.
    of_tests: bool,
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
            of_tests: false,
        });
        outcome.ok()
    }

    /// Runs tests; `failed` tells how many did not hold.
    pub(crate) fn run_tests<T>(
        &mut self,
        name: &str,
        step: impl FnOnce() -> Result<T>,
        failed: impl FnOnce(&T) -> usize,
    ) -> Option<T> {
        let outcome = self.run(name, step)?;
        let failed = failed(&outcome);
        if let Some(stage) = self.done.last_mut()
            && failed > 0
        {
            stage.failure = Some(format!("{failed} tests"));
            stage.of_tests = true;
        }
        Some(outcome)
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

    /// How many failed, but for those whose failures are tests.
    pub(crate) fn failed(&self) -> usize {
        let failed = self
            .done
            .iter()
            .filter(|stage| stage.failure.is_some() && !stage.of_tests);
        failed.count()
    }
}
