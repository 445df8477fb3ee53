//! Tables of measurements, for people and for tools.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

/// Rounds of which the best counts: others may share the machine, and they only ever make a round slower.
const ROUNDS: usize = 15;

/// The best duration of a piece of work.
pub(crate) fn best<T>(mut work: impl FnMut() -> T) -> Duration {
    best_of(|| timed(&mut work))
}

/// The best of what work says of its own duration.
pub(crate) fn best_of(work: impl FnMut() -> Duration) -> Duration {
    std::iter::repeat_with(work).take(ROUNDS).min().unwrap_or_default()
}

/// The best durations of several pieces of work that are to be compared: they take turns, so that what disturbs one
/// disturbs them all.
pub(crate) fn best_each(works: &[&dyn Fn() -> u8]) -> Vec<Duration> {
    let round = || works.iter().map(timed).collect::<Vec<_>>();
    let better = |best: Vec<Duration>, next: Vec<Duration>| {
        best.into_iter().zip(next).map(|(a, b)| a.min(b)).collect()
    };
    std::iter::repeat_with(round).take(ROUNDS).reduce(better).unwrap_or_default()
}

fn timed<T>(mut work: impl FnMut() -> T) -> Duration {
    let begun = Instant::now();
    std::hint::black_box(work());
    begun.elapsed()
}

/// A cell of a table.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Text(String),
    Count(u64),
    /// Bytes, exact in JSON.
    Bytes(u64),
    /// A rate or a duration in the unit of its column.
    Number(f64),
    /// There is nothing to say.
    None,
}

impl Cell {
    fn text(&self) -> String {
        match self {
            Cell::Text(text) => text.clone(),
            Cell::Count(count) => count.to_string(),
            Cell::Bytes(bytes) if *bytes < 10_000 => format!("{bytes} B"),
            Cell::Bytes(bytes) if *bytes < 10_000_000 => format!("{:.1} KB", *bytes as f64 / 1e3),
            Cell::Bytes(bytes) => format!("{:.1} MB", *bytes as f64 / 1e6),
            Cell::Number(number) if *number >= 100.0 => format!("{number:.0}"),
            Cell::Number(number) => format!("{number:.2}"),
            Cell::None => "–".to_owned(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Cell::Text(text) => json!(text),
            Cell::Count(count) | Cell::Bytes(count) => json!(count),
            Cell::Number(number) => json!(number),
            Cell::None => Value::Null,
        }
    }
}

struct Table {
    /// Its name for tools.
    name: &'static str,
    title: String,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// All tables of a run.
#[derive(Default)]
pub(crate) struct Report {
    tables: Vec<Table>,
}

impl Report {
    /// Adds a table; every row has a cell for each column.
    pub(crate) fn table(
        &mut self,
        name: &'static str,
        title: String,
        columns: &[&'static str],
        rows: Vec<Vec<Cell>>,
    ) {
        assert!(rows.iter().all(|row| row.len() == columns.len()), "{name}");
        self.tables.push(Table { name, title, columns: columns.to_vec(), rows });
    }

    pub(crate) fn to_markdown(&self) -> String {
        let mut out = String::new();
        for Table { title, columns, rows, .. } in &self.tables {
            let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
            let _ = write!(out, "### {title}\n\n");
            out += &line(columns.iter().map(|column| (*column).to_owned()).collect());
            out += &line(columns.iter().map(|_| "---".to_owned()).collect());
            for row in rows {
                out += &line(row.iter().map(Cell::text).collect());
            }
            out.push('\n');
        }
        out
    }

    pub(crate) fn to_json(&self) -> String {
        let tables = self.tables.iter().map(|table| {
            let row = |row: &Vec<Cell>| {
                let cells = table.columns.iter().zip(row);
                Value::Object(
                    cells.map(|(column, cell)| ((*column).to_owned(), cell.json())).collect::<Map<_, _>>(),
                )
            };
            (table.name.to_owned(), Value::Array(table.rows.iter().map(row).collect()))
        });
        let tables: Map<String, Value> = tables.collect();
        format!("{}\n", json!({ "schema": 1, "tables": tables }))
    }
}
