//! What a person reads while the demo runs, on stderr; and the result, on stdout.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::Result;
use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::documents::Documents;
use super::fleet::PassSummary;
use super::kinds::{ByKind, Kind};
use super::result::DemoResult;
use crate::output::{has_colours, print_line};

/// A line below the header and no other: numbers need no grid.
const UNDERLINED: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Counts by kind for one table.
pub(super) struct RoundLine {
    pub(super) injected: ByKind,
    pub(super) overtaken: ByKind,
    pub(super) detected: ByKind,
    pub(super) healed: ByKind,
}

/// A narrator. A spinner turns only on a terminal.
pub(super) struct Talk {
    out: Box<dyn Write>,
    is_terminal: bool,
    style: Style,
    bar: Option<ProgressBar>,
    title: String,
    began: Instant,
}

/// Emphasis, where it is wanted.
#[derive(Clone, Copy)]
pub(super) struct Style {
    is_on: bool,
}

impl Style {
    /// For a stream: on a terminal, unless `NO_COLOR` is set.
    pub(super) fn of(stream: &impl IsTerminal) -> Style {
        Style { is_on: has_colours(stream) }
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.is_on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    fn bad(self, text: &str) -> String {
        self.wrap("1;31", text)
    }
}

impl Talk {
    /// To stderr.
    pub(super) fn stderr() -> Talk {
        let stderr = std::io::stderr();
        Talk {
            is_terminal: stderr.is_terminal(),
            style: Style::of(&stderr),
            out: Box::new(stderr),
            bar: None,
            title: String::new(),
            began: Instant::now(),
        }
    }

    /// Into a buffer or nowhere.
    #[cfg(test)]
    pub(super) fn to(out: Box<dyn Write>) -> Talk {
        let style = Style { is_on: false };
        Talk { out, is_terminal: false, style, bar: None, title: String::new(), began: Instant::now() }
    }

    /// A line. A closed stderr is nobody's loss.
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
    }

    /// What is about to happen.
    pub(super) fn header(&mut self, documents: &Documents, seed: u64, settle: Duration) {
        let style = self.style;
        self.line(&style.bold(&format!("Selfsame: three replicas, {} kinds of damage", Kind::ALL.len())));
        self.line("");
        self.line(&format!("  {} documents: {}", thousands(documents.all.len() as u64), documents.source));
        if documents.copies > 0 {
            let copies = thousands(documents.copies as u64);
            self.line(&format!("  ({copies} of them are copies under other keys: a demo needs a thousand)"));
        }
        self.line("  three SQLite files, and beside each an agent: a process of its own, gRPC between them");
        self.line("  clients write every change to all three files, and never stop while we look");
        self.line("");
        self.line("  Then we damage single documents, each on one or two nodes, in these ways:");
        for kind in Kind::ALL {
            self.line(&format!("    {:<22} {}", kind.title(), style.dim(kind.story())));
        }
        self.line("");
        self.line(
            "  The agents have to find each of them, mend it, and touch nothing else. In the end each file",
        );
        self.line("  is compared with the clients' own ledger by plain SQL: being equal to one another is not enough.");
        let settle = settle.as_secs_f64();
        self.line(&style.dim(&format!(
            "  Seed {seed}. Only what stands still for {settle} s is a difference; the rest is traffic."
        )));
        self.line("");
    }

    /// The agents are there.
    pub(super) fn agents(&mut self, ids: &[u32]) {
        let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
        self.end(&format!("processes {}", ids.join(", ")));
    }

    /// A step begins.
    pub(super) fn begin(&mut self, title: &str) {
        title.clone_into(&mut self.title);
        self.began = Instant::now();
        if self.is_terminal {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style =
                ProgressStyle::with_template("{spinner} {prefix} {msg}").expect("the template is a constant");
            let bar = bar.with_style(style).with_prefix(self.title.clone());
            bar.enable_steady_tick(Duration::from_millis(100));
            self.bar = Some(bar);
        }
    }

    /// A step goes on.
    pub(super) fn tick(&mut self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(
                self.style.dim(&format!("({:.0} s, {text})", self.began.elapsed().as_secs_f64())),
            );
        }
    }

    /// A step is done.
    pub(super) fn end(&mut self, text: &str) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let mark = self.style.good("•");
        let seconds = self.style.dim(&format!("({:.1} s)", self.began.elapsed().as_secs_f64()));
        let title = self.style.bold(&self.title);
        self.line(&format!("{mark} {title}: {text} {seconds}"));
    }

    /// Clients begin to write.
    pub(super) fn clients_begin(&mut self) {
        self.line("");
        self.line("Clients begin to write: updates, inserts, deletes, documents that expire.");
        self.line("");
    }

    /// Clients have stopped.
    pub(super) fn clients_end(&mut self, writes: u64, duration: Duration) {
        let rate = writes as f64 / duration.as_secs_f64().max(0.001);
        let (writes, seconds) = (thousands(writes), duration.as_secs_f64());
        self.line("");
        self.line(&format!(
            "Clients stop: {writes} writes in {seconds:.0} s, {rate:.0} a second, each to three nodes."
        ));
        self.line("");
    }

    /// A person begins to act.
    pub(super) fn scene(&mut self, text: &str) {
        self.line("");
        self.line(text);
        self.line("");
    }

    /// Something that stands below a step.
    pub(super) fn remark(&mut self, text: &str) {
        self.line(&format!("    {text}"));
    }

    /// A pass is done.
    pub(super) fn end_pass(&mut self, summary: &PassSummary) {
        let mut parts = vec![summary.verdict.replace('_', " ")];
        let counts = [
            (summary.mismatches, "keys differ"),
            (summary.repaired, "repairs"),
            (summary.held, "held"),
            (summary.moving, "moving"),
            (summary.transient, "were writes on their way"),
        ];
        parts.extend(
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")),
        );
        parts.push(format!("{} between agents", bytes(summary.wire_bytes)));
        self.end(&parts.join(", "));
    }

    /// What became of a round.
    pub(super) fn round(&mut self, line: &RoundLine) {
        let table = kinds_table(line).to_string();
        self.line(&indented(&table));
        self.line("");
    }

    /// Where everything lies.
    pub(super) fn kept(&mut self, folder: &std::path::Path) {
        self.line("");
        self.line(&format!("Files, journals and logs are in {}", folder.display()));
    }
}

/// Prints the result for people, on stdout.
pub(super) fn print_result(result: &DemoResult) -> Result<()> {
    print_line(&text(result, Style::of(&std::io::stdout())))
}

/// The result for people.
pub(super) fn text(result: &DemoResult, style: Style) -> String {
    let mut lines = vec![String::new(), kinds_table(&RoundLine::of(result)).to_string(), String::new()];
    lines.push(files_table(result).to_string());
    lines.push(String::new());
    let echoes = match result.echoes_filtered {
        true => "consumers with the filter saw every client write once and no repair",
        false => "consumers with the filter did not see what they should have",
    };
    lines.push(format!(
        "  {} repairs, {} without a reason; {} of them seen as echoes without the filter; {echoes}.",
        thousands(result.repaired),
        result.false_repairs,
        thousands(result.echoes_seen)
    ));
    if result.expired + result.under_way > 0 {
        lines.push(format!(
            "  Besides the damage: {} repairs deleted documents that had expired, {} finished a client's slow write.",
            result.expired, result.under_way
        ));
    }
    if let Some(undone) = &result.undone {
        lines.push(format!(
            "  Undone and put back: {} repairs of one run; {} keys held by the next; {} approved and made again.",
            undone.repaired, undone.held, undone.approved
        ));
    }
    if let Some(resynced) = &result.resynced {
        lines.push(format!(
            "  Restored from a copy {} s old, held, and resynced: {}, with {} copied to it and {} deleted.",
            resynced.age_ms / 1000,
            resynced.node,
            thousands(resynced.copies),
            thousands(resynced.deletes)
        ));
    }
    let seconds = result.duration_ms as f64 / 1000.0;
    lines.push(format!(
        "  {} client writes, {:.0} a second; {} between agents; {seconds:.0} s; seed {}.",
        thousands(result.writes),
        result.writes_per_second,
        bytes(result.wire_bytes),
        result.seed
    ));
    lines.push(String::new());
    if result.passed {
        let healed = thousands(result.healed.total());
        let overtaken = result.overtaken.total();
        lines.push(style.good(&format!(
            "Selfsame. All {healed} damaged documents were found and mended ({overtaken} more were overwritten by clients \
             first), nothing else was touched, and the three files are what the clients wrote."
        )));
    } else {
        lines.push(style.bad("Not as it should be:"));
        lines.extend(result.failures.iter().map(|failure| format!("  - {failure}")));
    }
    lines.join("\n")
}

fn kinds_table(line: &RoundLine) -> Table {
    let mut table = plain_table(&["kind", "injected", "overtaken", "found", "repaired"]);
    let columns = [&line.injected, &line.overtaken, &line.detected, &line.healed];
    for kind in Kind::ALL {
        let counts = columns.iter().map(|column| column.of(kind).to_string());
        table.add_row(std::iter::once(kind.title().to_owned()).chain(counts));
    }
    let totals = columns.iter().map(|column| column.total().to_string());
    table.add_row(std::iter::once("all".to_owned()).chain(totals));
    right_align(&mut table);
    table
}

fn files_table(result: &DemoResult) -> Table {
    let mut table = plain_table(&[
        "against the ledger",
        "rows",
        "equal",
        "different",
        "missing",
        "extra",
        "expired and gone",
    ]);
    for file in &result.files {
        let counts = [file.rows, file.equal, file.different, file.missing, file.extra, file.expired_and_gone];
        table.add_row(std::iter::once(file.node.to_owned()).chain(counts.into_iter().map(thousands)));
    }
    right_align(&mut table);
    table
}

fn plain_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UNDERLINED).force_no_tty().set_header(header);
    table
}

/// Numbers stand right.
fn right_align(table: &mut Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// 35 000, with a thin space.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} bytes"),
        1024..1_048_576 => format!("{:.0} KiB", count as f64 / 1024.0),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!([thousands(7), thousands(1234567)], ["7", "1\u{202f}234\u{202f}567"]);
        assert_eq!([bytes(3), bytes(2048), bytes(3 << 20)], ["3 bytes", "2 KiB", "3.0 MiB"]);
    }
}
