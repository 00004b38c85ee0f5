//! The report: a table that is printed row by row, or JSON at the end.

use std::fmt::{self, Display};
use std::io;

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use serde::{Serialize, Serializer};
use wasi_sessions::Durability;

use super::plan::Plan;
use crate::caller::Caller;
use crate::output::{Output, span};

/// What was measured on both sides.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Workload {
    /// The workload's name.
    pub workload: &'static str,
    /// Sessions in the store at the start.
    pub sessions: usize,
    /// The number of concurrent clients.
    pub clients: usize,
    /// How our clients get their answers.
    #[serde(serialize_with = "caller")]
    pub caller: Caller,
    /// The durability, if the workload writes.
    #[serde(serialize_with = "durability")]
    pub durability: Option<Durability>,
    /// The unit of the numbers.
    pub unit: Unit,
}

/// A unit; less is better.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    Milliseconds,
    Bytes,
}

/// The number of each side: the time for one operation, or the memory.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sides {
    pub ours: f64,
    pub native: f64,
    #[serde(flatten)]
    pub details: Option<Details>,
}

/// Further results if both sides took short turns.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Details {
    /// The median of the rounds' ratios; `lowest` and `highest` are the extremes.
    #[serde(skip)]
    pub ratio: f64,
    pub lowest: f64,
    pub highest: f64,
    pub ours_times: Times,
    pub native_times: Times,
    /// Whether the native side's speed changed much between the rounds.
    pub unsteady: bool,
}

/// The milliseconds of single operations.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Times {
    pub median: f64,
    pub p99: f64,
    pub longest: f64,
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    workload: Workload,
    #[serde(flatten)]
    sides: Sides,
    /// How many times better our store is.
    ratio: f64,
}

/// Collects results and prints them.
pub struct Report<'a> {
    output: &'a mut Output,
    bar: ProgressBar,
    rows: Vec<Row>,
}

impl<'a> Report<'a> {
    /// Prints the heading of the table.
    pub fn start(output: &'a mut Output) -> io::Result<Self> {
        if !output.json {
            output.line(format_args!(
                "{:22}  {:>9}  {:>7}  {:6}  {:10}  {:>9}  {:>9}  {:>6}  {:>13}  {:>9}  {:>9}  {:>9}",
                "workload", "sessions", "clients", "caller", "durability", "ours", "native",
                "ratio", "lowest-highest", "median", "99 %", "longest"
            ))?;
            output.flush()?;
        }
        Ok(Self {
            output,
            bar: bar(),
            rows: Vec::new(),
        })
    }

    /// Shows progress, on a terminal.
    pub fn doing(&self, what: impl Display, steps: u64) -> &ProgressBar {
        self.bar.reset();
        self.bar.set_length(steps);
        self.bar.set_message(what.to_string());
        self.bar.tick();
        &self.bar
    }

    /// Adds a result and prints its row.
    pub fn row(&mut self, workload: Workload, sides: Sides) -> io::Result<()> {
        let row = Row {
            workload,
            sides,
            ratio: match sides.details {
                Some(details) => details.ratio,
                None => sides.native / sides.ours,
            },
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

    /// Prints the legend of the table, or all results as JSON.
    pub fn end(self, plan: &Plan, native: &str, engine: &str) -> io::Result<()> {
        self.bar.finish_and_clear();
        let report = serde_json::json!({
            "rounds": plan.rounds,
            "milliseconds": plan.slice().as_millis() as u64,
            "native": native,
            "engine": engine,
            "rows": self.rows,
        });
        self.output.result(
            report,
            "\nOurs and native: the time for one operation, the median of the rounds. A ratio \
             above 1 says\nhow many times better ours is; beside it the lowest and the highest of \
             the rounds. The times\non the right are those of single operations of ours.",
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
            caller,
            durability,
            ..
        } = self.workload;
        write!(
            formatter,
            "{workload:22}  {:>9}  {clients:>7}  {:6}  {:10}  {:>9}  {:>9}  {:>6.2}",
            HumanCount(sessions as u64).to_string(),
            way(caller),
            durability.map_or("", name),
            number(self.sides.ours),
            number(self.sides.native),
            self.ratio,
        )?;
        let Some(details) = self.sides.details else {
            return Ok(());
        };
        let spread = format!("{:.2}-{:.2}", details.lowest, details.highest);
        let Times {
            median,
            p99,
            longest,
        } = details.ours_times;
        write!(
            formatter,
            "  {spread:>14}  {:>9}  {:>9}  {:>9}",
            span(median),
            span(p99),
            span(longest)
        )?;
        if details.unsteady {
            write!(formatter, "  the disk or the machine changed its speed")?;
        }
        Ok(())
    }
}

fn way(caller: Caller) -> &'static str {
    match caller {
        Caller::Task => "task",
        Caller::Thread => "thread",
    }
}

fn caller<S: Serializer>(caller: &Caller, serializer: S) -> Result<S::Ok, S::Error> {
    way(*caller).serialize(serializer)
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

/// A progress bar on the terminal; nothing if standard error is not a terminal.
fn bar() -> ProgressBar {
    let bar = ProgressBar::no_length();
    match ProgressStyle::with_template("  {bar:30} {pos} of {len}  {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
