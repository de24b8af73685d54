//! How results look on a terminal: aligned columns, little colour, curves and bars out of block characters.
//!
//! *In*: printable text. *Out*: lines. *Spec*: no-color.org; colour is for a terminal only, so that a pipe gets text.

use crate::alert::Alert;
use std::io::IsTerminal;
use unicode_width::UnicodeWidthStr;

/// Whether and how to colour.
#[derive(Clone, Copy)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// For standard output.
    pub fn stdout() -> Paint {
        Paint::when(std::io::stdout().is_terminal())
    }

    /// For standard error.
    pub fn stderr() -> Paint {
        Paint::when(std::io::stderr().is_terminal())
    }

    fn when(terminal: bool) -> Paint {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Paint { on: terminal && !dumb && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) }
    }

    fn dress(self, code: &str, text: &str) -> String {
        if self.on { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Something to be read first.
    pub fn strong(self, text: &str) -> String {
        self.dress("1", text)
    }

    /// Something that may be passed over.
    pub fn soft(self, text: &str) -> String {
        self.dress("2", text)
    }

    /// A text of a severity's weight; spaces around it do not matter.
    pub fn severity(self, severity: &str, text: &str) -> String {
        match severity {
            "critical" => self.dress("1;31", text),
            "high" => self.dress("31", text),
            "medium" => self.dress("33", text),
            _ => text.to_owned(),
        }
    }
}

/// Lines of cells, each column as wide as its widest cell. Numbers stand at the right: columns named in `right`. The
/// last column is not filled up.
pub fn columns(rows: &[Vec<String>], right: &[usize]) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let mut text = String::new();
        for (column, cell) in row.iter().enumerate() {
            let room = " ".repeat(widths[column].saturating_sub(cell.width()));
            let last = column + 1 == row.len();
            match (right.contains(&column), last) {
                (true, _) => text += &format!("{room}{cell}"),
                (false, true) => text += cell,
                (false, false) => text += &format!("{cell}{room}"),
            }
            text += if last { "" } else { "  " };
        }
        text
    };
    rows.iter().map(line).collect()
}

/// A moment to the minute, from an RFC 3339 stamp in UTC.
pub fn minute(stamp: &str) -> String {
    stamp.get(..16).map_or_else(|| stamp.to_owned(), |text| text.replacen('T', " ", 1))
}

/// A curve in block characters; nothing stays a blank.
pub fn sparkline(values: impl Iterator<Item = f64>) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let values: Vec<f64> = values.collect();
    let most = values.iter().copied().fold(0.0, f64::max);
    let block = |value: &f64| {
        if *value <= 0.0 { ' ' } else { BLOCKS[((value / most * 8.0).ceil() as usize).clamp(1, 8) - 1] }
    };
    values.iter().map(block).collect()
}

/// A share of 0 to 1 as a bar of so many characters, to an eighth of one.
pub fn bar(share: f64, width: usize) -> String {
    const PARTS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
    let mut text = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        text.push(PARTS[eighths % 8]);
    }
    let filled = text.chars().count();
    text + &" ".repeat(width.saturating_sub(filled))
}

/// The reasons of an alert, the heaviest first, each with a bar: to be read at a glance over SSH.
pub fn reasons(alert: &Alert, paint: Paint) -> Vec<String> {
    const BAR: usize = 12;
    let mut weighed: Vec<_> =
        alert.evidence.iter().filter_map(|reason| Some((reason.weight_nats?, reason))).collect();
    weighed.sort_by(|a, b| b.0.total_cmp(&a.0));
    let most = weighed.iter().map(|(weight, _)| weight.abs()).fold(1e-9, f64::max);
    weighed
        .iter()
        .map(|(weight, reason)| {
            let bar = bar(weight.abs() / most, BAR);
            let bar = if *weight > 0.0 { paint.severity("high", &bar) } else { paint.soft(&bar) };
            format!("{bar}  {weight:+7.1}  {}", reason.sentence)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_shows_the_least_and_the_most() {
        assert_eq!(sparkline([0.0, 1.0, 50.0, 100.0].into_iter()), " ▁▄█");
        assert_eq!(sparkline(std::iter::empty()), "");
    }

    #[test]
    fn a_bar_is_as_wide_as_it_should_be() {
        for share in [0.0, 0.01, 0.5, 0.9999, 1.0, 7.0] {
            assert_eq!(bar(share, 10).chars().count(), 10, "{share}");
        }
        assert_eq!(bar(0.5, 4), "██  ");
    }

    #[test]
    fn columns_line_up_whatever_is_in_them() {
        let rows = vec![
            vec!["a".to_owned(), "7".into(), "x".into()],
            vec!["größe漢".to_owned(), "1,234".into(), "y".into()],
        ];
        assert_eq!(columns(&rows, &[1]), ["a            7  x", "größe漢  1,234  y"]);
    }

    #[test]
    fn no_colour_means_none() {
        let plain = Paint { on: false };
        assert_eq!((plain.strong("a"), plain.severity("critical", "b")), ("a".into(), "b".into()));
        assert!(Paint { on: true }.severity("high", "b").contains("\u{1b}[31m"));
    }
}
