//! What was measured: printed as a table while it comes, or all at once as JSON.

use std::fmt::{self, Display};
use std::io;

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use serde::{Serialize, Serializer};
use wasi_sessions::Durability;

use super::plan::Plan;
use crate::output::{Output, span};

/// What was measured, on both sides alike.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Workload {
    /// Its name.
    pub workload: &'static str,
    /// Sessions in the store when it began.
    pub sessions: usize,
    /// Clients that ask at the same time.
    pub clients: usize,
    /// What survives a loss of power, where something is written.
    #[serde(serialize_with = "durability")]
    pub durability: Option<Durability>,
    /// What is counted.
    pub unit: Unit,
}

/// What is counted; less is better.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    Milliseconds,
    Bytes,
}

/// A number of each side.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sides {
    pub ours: f64,
    pub native: f64,
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    workload: Workload,
    #[serde(flatten)]
    sides: Sides,
    /// How many times better we are.
    ratio: f64,
}

/// Takes what is measured, and prints it.
pub struct Report<'a> {
    output: &'a mut Output,
    bar: ProgressBar,
    rows: Vec<Row>,
}

impl<'a> Report<'a> {
    /// Says what the columns are.
    pub fn start(output: &'a mut Output) -> io::Result<Self> {
        if !output.json {
            output.line(format_args!(
                "{:22}  {:>9}  {:>7}  {:10}  {:>9}  {:>9}  {:>6}",
                "workload", "sessions", "clients", "durability", "ours", "native", "ratio"
            ))?;
            output.flush()?;
        }
        Ok(Self {
            output,
            bar: bar(),
            rows: Vec::new(),
        })
    }

    /// Shows what is being done, on a terminal.
    pub fn doing(&self, what: impl Display, steps: u64) -> &ProgressBar {
        self.bar.reset();
        self.bar.set_length(steps);
        self.bar.set_message(what.to_string());
        self.bar.tick();
        &self.bar
    }

    /// Takes what was measured.
    pub fn row(&mut self, workload: Workload, sides: Sides) -> io::Result<()> {
        let row = Row {
            workload,
            sides,
            ratio: sides.native / sides.ours,
        };
        if !self.output.json {
            let output = &mut self.output;
            self.bar.suspend(|| {
                output.line(&row)?;
                output.flush()
            })?;
        }
        self.rows.push(row);
        Ok(())
    }

    /// Says how to read it, or all of it as JSON.
    pub fn end(self, plan: &Plan) -> io::Result<()> {
        self.bar.finish_and_clear();
        let report = serde_json::json!({
            "rounds": plan.rounds,
            "milliseconds": plan.slice().as_millis() as u64,
            "engine": format!("SQLite {}", rusqlite::version()),
            "rows": self.rows,
        });
        self.output.result(
            report,
            "\nMedians for one operation; a ratio above 1 says how many times better ours is.",
        )
    }
}

impl Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let number = |number: f64| match self.workload.unit {
            Unit::Milliseconds => span(number),
            Unit::Bytes => HumanBytes(number as u64).to_string(),
        };
        let Workload {
            workload,
            sessions,
            clients,
            durability,
            ..
        } = self.workload;
        write!(
            formatter,
            "{workload:22}  {:>9}  {clients:>7}  {:10}  {:>9}  {:>9}  {:>6.2}",
            HumanCount(sessions as u64).to_string(),
            durability.map_or("", name),
            number(self.sides.ours),
            number(self.sides.native),
            self.ratio,
        )
    }
}

fn name(durability: Durability) -> &'static str {
    match durability {
        Durability::Full => "durable",
        Durability::Relaxed => "relaxed",
    }
}

fn durability<S: Serializer>(
    durability: &Option<Durability>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    durability.map(name).serialize(serializer)
}

/// A bar on the terminal; nothing where standard error is no terminal.
fn bar() -> ProgressBar {
    let bar = ProgressBar::no_length();
    match ProgressStyle::with_template("  {bar:30} {pos} of {len}  {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
