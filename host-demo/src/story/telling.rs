//! The output of the story: its phases, the promises that they check, and the closing table.

use std::fmt::{self, Display};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressState, ProgressStyle};
use serde::Serialize;

use crate::arguments::Scale;
use crate::ending::No;
use crate::output::{Output, milliseconds, span};

/// One phase: its operations, their time, and the promises that it checked.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Phase {
    #[serde(rename = "phase")]
    name: &'static str,
    operations: u64,
    milliseconds: f64,
    milliseconds_per_operation: f64,
    promises: Vec<Promise>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Promise {
    promise: &'static str,
    holds: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<String>,
}

impl Phase {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            operations: 0,
            milliseconds: 0.0,
            milliseconds_per_operation: 0.0,
            promises: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds an observation.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Checks a promise.
    pub fn holds(&mut self, promise: &'static str, holds: bool) {
        self.promises.push(Promise {
            promise,
            holds,
            found: None,
        });
    }

    /// Checks a promise about a number; if it does not hold, reports the number found.
    pub fn equal(&mut self, promise: &'static str, found: u64, expected: u64) {
        let holds = found == expected;
        let (found, expected) = (HumanCount(found), HumanCount(expected));
        self.promises.push(Promise {
            promise,
            holds,
            found: (!holds).then(|| format!("found {found}, expected {expected}")),
        });
    }

    /// Runs and times the work of this phase. `work` returns its result and the number of its
    /// operations.
    pub fn time<T>(
        &mut self,
        work: impl FnOnce() -> anyhow::Result<(T, u64)>,
    ) -> anyhow::Result<T> {
        let started = Instant::now();
        let (done, operations) = work()?;
        self.milliseconds += milliseconds(started.elapsed());
        self.operations += operations;
        self.milliseconds_per_operation = self.milliseconds / self.operations.max(1) as f64;
        Ok(done)
    }

    fn broken(&self) -> usize {
        self.promises
            .iter()
            .filter(|promise| !promise.holds)
            .count()
    }
}

/// A progress bar on the terminal for long work; nothing if standard error is not a
/// terminal. It disappears on drop.
pub fn bar(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("  {bar:40} {human_pos} of {human_len}{left}");
    let mut bar = ProgressBar::new(length);
    if let Ok(style) = style {
        bar = bar.with_style(style.with_key("left", left));
    }
    // Redrawn at a fixed rate, independent of the work's speed.
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// The estimated remaining time; nothing in the first second, when it would be useless.
fn left(state: &ProgressState, text: &mut dyn fmt::Write) {
    if state.elapsed() >= Duration::from_secs(1) {
        // Writing to a string does not fail.
        let _ = write!(text, ", {:#} left", HumanDuration(state.eta()));
    }
}

/// Prints the story phase by phase, or all of it at the end as JSON.
pub struct Teller<'a> {
    output: &'a mut Output,
    started: Instant,
    phases: Vec<Phase>,
}

impl<'a> Teller<'a> {
    /// Starts to measure the time of the whole story.
    pub fn new(output: &'a mut Output) -> Self {
        Self {
            output,
            started: Instant::now(),
            phases: Vec::new(),
        }
    }

    /// Prints a line between phases, unless the output is JSON.
    pub fn say(&mut self, text: impl Display) -> io::Result<()> {
        if self.output.json {
            return Ok(());
        }
        self.output.line(text)?;
        self.output.flush()
    }

    /// Runs a phase and prints its notes and promises, even if it fails.
    pub fn phase<T>(
        &mut self,
        name: &'static str,
        title: &str,
        act: impl FnOnce(&mut Phase) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        self.say(format_args!("\n{title}"))?;
        let mut phase = Phase::new(name);
        let done = act(&mut phase);
        for note in &phase.notes {
            self.say(format_args!("    {note}"))?;
        }
        for Promise {
            promise,
            holds,
            found,
        } in &phase.promises
        {
            let mark = if *holds { "✓" } else { "✗" };
            let found = found.as_ref().map(|found| format!(": {found}"));
            self.say(format_args!(
                "  {mark} {promise}{}",
                found.unwrap_or_default()
            ))?;
        }
        self.phases.push(phase);
        done.with_context(|| format!("the story broke off at `{name}`"))
    }

    /// Prints the closing table, or the whole story as JSON. Fails if a promise did not
    /// hold.
    pub fn end(self, directory: &Path, scale: &Scale) -> anyhow::Result<()> {
        let took = self.started.elapsed();
        let promises: usize = self.phases.iter().map(|phase| phase.promises.len()).sum();
        let broken: usize = self.phases.iter().map(Phase::broken).sum();
        let story = Story {
            holds: broken == 0,
            directory: directory.display().to_string(),
            sessions: scale.sessions(),
            users: scale.users(),
            milliseconds: milliseconds(took),
            phases: &self.phases,
        };
        self.output.result(&story, Table(&self.phases))?;
        if broken > 0 {
            bail!(No(format!("{broken} of {promises} promises did not hold")));
        }
        if !self.output.json {
            let line = format!("\nAll {promises} promises held, in {took:.1?}.");
            self.output.line(line)?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Story<'a> {
    holds: bool,
    directory: String,
    sessions: u32,
    users: u32,
    milliseconds: f64,
    phases: &'a [Phase],
}

struct Table<'a>(&'a [Phase]);

impl Display for Table<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let (operations, total, each) = ("operations", "time", "per operation");
        write!(
            formatter,
            "\n{:8}  {operations:>10}  {total:>9}  {each:>13}",
            "phase"
        )?;
        for phase in self.0 {
            let operations = HumanCount(phase.operations).to_string();
            let total = span(phase.milliseconds);
            let each = span(phase.milliseconds_per_operation);
            write!(
                formatter,
                "\n{:8}  {operations:>10}  {total:>9}  {each:>13}",
                phase.name
            )?;
        }
        Ok(())
    }
}
