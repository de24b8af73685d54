//! Charts drawn on the server as SVG: they read without scripts, print, and look the same everywhere.
//!
//! *In*: numbers. *Out*: SVG with classes; colours are the style sheet's. *Bound*: the caller's number of points.
//! *Spec*: SVG 1.1. No style attributes, which the content policy forbids.

use super::page::quantity;
use crate::time::{MICROS_PER_DAY, MICROS_PER_HOUR, Timestamp};
use maud::{Markup, html};

/// Width of the large charts, in their own units; the style sheet scales them.
const WIDTH: f64 = 1_040.0;
const HEIGHT: f64 = 210.0;
const LEFT: f64 = 44.0;
const BOTTOM: f64 = 22.0;
const TOP: f64 = 20.0;

/// One hour (or day) of a volume chart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bar {
    /// Its beginning.
    pub at: Timestamp,
    /// Messages in it.
    pub value: f64,
    /// What is usual in it; `None` where it is not known.
    pub usual: Option<f64>,
    /// The most that is normal in it.
    pub usual_max: Option<f64>,
}

/// An instant to be shown.
pub struct Instant {
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub label: &'static str,
    /// Class of its line.
    pub class: &'static str,
}

/// Where things are in a chart.
struct Plane {
    from: i64,
    until: i64,
    top: f64,
}

impl Plane {
    fn x(&self, at: i64) -> f64 {
        let share = (at - self.from) as f64 / (self.until - self.from).max(1) as f64;
        round(LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT))
    }

    fn y(&self, value: f64) -> f64 {
        round(HEIGHT - BOTTOM - (value / self.top).clamp(0.0, 1.0) * (HEIGHT - BOTTOM - TOP))
    }
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Volume over time against what is normal. `width_micros` is the time that one bar stands for.
pub fn volume(bars: &[Bar], width_micros: i64, instants: &[Instant], says: &str) -> Markup {
    let (Some(first), Some(last)) = (bars.first(), bars.last()) else {
        return html! { p.soft { "Nothing was counted in this time." } };
    };
    let most = bars.iter().map(|bar| bar.value.max(bar.usual_max.unwrap_or(0.0))).fold(1.0, f64::max);
    let plane = Plane {
        from: first.at.as_micros(),
        until: last.at.as_micros().saturating_add(width_micros),
        top: nice(most),
    };
    let bar_width = ((WIDTH - LEFT) / bars.len() as f64).max(0.5);
    html! {
        svg.chart viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(says) {
            title { (says) }
            (grid(&plane))
            @if let Some(path) = band(bars, &plane, width_micros) { path.band d=(path) {} }
            @for bar in bars.iter().filter(|bar| bar.value > 0.0) {
                @let over = bar.usual_max.is_some_and(|most| bar.value > most);
                rect.volume.over[over] x=(round(plane.x(bar.at.as_micros()) + bar_width * 0.1)) y=(plane.y(bar.value))
                    width=(round((bar_width * 0.8).max(0.6))) height=(round(HEIGHT - BOTTOM - plane.y(bar.value))) {
                    title { (bar_title(bar)) }
                }
            }
            @if let Some(path) = usual(bars, &plane, width_micros) { path.usual d=(path) {} }
            line.axis x1=(LEFT) x2=(WIDTH) y1=(HEIGHT - BOTTOM) y2=(HEIGHT - BOTTOM) {}
            (days(&plane))
            @for (index, instant) in instants.iter().enumerate() { (line(instant, &plane, index)) }
        }
    }
}

fn bar_title(bar: &Bar) -> String {
    let stamp = bar.at.to_rfc3339();
    let mut text = format!(
        "{} UTC: {} messages",
        stamp.get(..16).unwrap_or_default().replace('T', " "),
        quantity(bar.value)
    );
    if let Some(most) = bar.usual_max {
        text.push_str(&format!("; up to {} are normal", quantity(most)));
    }
    text
}

fn grid(plane: &Plane) -> Markup {
    html! {
        @for share in [0.5, 1.0] {
            @let y = plane.y(plane.top * share);
            line.grid x1=(LEFT) x2=(WIDTH) y1=(y) y2=(y) {}
            text x=(LEFT - 6.0) y=(y + 4.0) text-anchor="end" { (quantity(plane.top * share)) }
        }
        text x=(LEFT - 6.0) y=(HEIGHT - BOTTOM + 4.0) text-anchor="end" { "0" }
    }
}

/// The step line of the most that is normal, closed down to zero.
fn band(bars: &[Bar], plane: &Plane, width: i64) -> Option<String> {
    bars.iter().any(|bar| bar.usual_max.is_some()).then(|| {
        let mut path = format!("M{} {}", plane.x(plane.from), plane.y(0.0));
        for bar in bars {
            let (y, at) = (plane.y(bar.usual_max.unwrap_or(0.0)), bar.at.as_micros());
            path.push_str(&format!("L{} {y}L{} {y}", plane.x(at), plane.x(at.saturating_add(width))));
        }
        path + &format!("L{} {}Z", plane.x(plane.until), plane.y(0.0))
    })
}

fn usual(bars: &[Bar], plane: &Plane, width: i64) -> Option<String> {
    bars.iter().any(|bar| bar.usual.is_some()).then(|| {
        let mut path = String::new();
        for bar in bars {
            let (y, at) = (plane.y(bar.usual.unwrap_or(0.0)), bar.at.as_micros());
            let turn = if path.is_empty() { 'M' } else { 'L' };
            path.push_str(&format!("{turn}{} {y}L{} {y}", plane.x(at), plane.x(at.saturating_add(width))));
        }
        path
    })
}

/// Ticks: days where several are shown, else hours.
fn days(plane: &Plane) -> Markup {
    let length = plane.until - plane.from;
    let (step, hours) = match length {
        l if l <= 3 * MICROS_PER_HOUR => (MICROS_PER_HOUR / 2, true),
        l if l <= 12 * MICROS_PER_HOUR => (2 * MICROS_PER_HOUR, true),
        l if l <= 2 * MICROS_PER_DAY => (6 * MICROS_PER_HOUR, true),
        l if l <= 10 * MICROS_PER_DAY => (MICROS_PER_DAY, false),
        l => ((l / 8 / MICROS_PER_DAY).max(1) * MICROS_PER_DAY, false),
    };
    let first = plane.from.div_euclid(step) * step + step;
    let ticks = (0..40).map(|index| first + index * step).take_while(|at| *at < plane.until);
    html! {
        @for at in ticks {
            @let stamp = Timestamp::from_micros(at).to_rfc3339();
            line.axis x1=(plane.x(at)) x2=(plane.x(at)) y1=(HEIGHT - BOTTOM) y2=(HEIGHT - BOTTOM + 4.0) {}
            text x=(plane.x(at)) y=(HEIGHT - 5.0) text-anchor="middle" {
                @if hours { (stamp.get(11..16).unwrap_or_default()) } @else { (day_of(&stamp)) }
            }
        }
    }
}

/// `29 Mar` of an RFC 3339 stamp.
fn day_of(stamp: &str) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let part = |range| stamp.get(range).and_then(|text: &str| text.parse::<usize>().ok()).unwrap_or(0);
    let month = MONTHS.get(part(5..7).wrapping_sub(1)).copied().unwrap_or_default();
    format!("{} {month}", part(8..10))
}

fn line(instant: &Instant, plane: &Plane, index: usize) -> Markup {
    let x = plane.x(instant.at.as_micros());
    let near_end = x > WIDTH - 90.0;
    let (at, anchor) = if near_end { (x - 5.0, "end") } else { (x + 5.0, "start") };
    html! {
        line class=(instant.class) x1=(x) x2=(x) y1=(TOP - 14.0) y2=(HEIGHT - BOTTOM) {}
        text class=(format!("{}-text", instant.class)) x=(at) y=(TOP - 6.0 + 12.0 * (index % 2) as f64) text-anchor=(anchor) { (instant.label) }
    }
}

/// The next number that is easy to read on an axis.
fn nice(value: f64) -> f64 {
    let base = 10f64.powf(value.max(1.0).log10().floor());
    [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
        .iter()
        .map(|step| step * base)
        .find(|top| *top >= value)
        .unwrap_or(value)
}

/// A small curve without axes.
pub fn spark(values: &[f64]) -> Markup {
    let most = values.iter().copied().fold(0.0, f64::max);
    if most <= 0.0 || values.len() < 2 {
        return html! { svg.spark viewBox="0 0 110 24" aria-hidden="true" { line.axis x1="1" x2="109" y1="22" y2="22" {} } };
    }
    let step = 108.0 / values.len() as f64;
    html! {
        svg.spark viewBox="0 0 110 24" role="img" aria-label=(format!("up to {} an hour", quantity(most))) {
            line.axis x1="1" x2="109" y1="22.5" y2="22.5" {}
            @for (index, value) in values.iter().enumerate().filter(|(_, value)| **value > 0.0) {
                @let height = (value / most * 20.0).max(1.0);
                rect x=(round(1.0 + index as f64 * step)) y=(round(22.0 - height)) width=(round((step * 0.85).max(0.6))) height=(round(height)) {}
            }
        }
    }
}

/// Hours of the week as a heat map: seven rows of 24, Monday first. `None` where an hour was not watched.
pub fn week(rates: &[Option<f64>], says: &str) -> Markup {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let most = rates.iter().flatten().copied().fold(0.0, f64::max);
    let (cell, row_height, left) = (27.0, 30.0, 40.0);
    html! {
        svg.chart.heat viewBox=(format!("0 0 {} {}", left + 24.0 * cell, 7.0 * row_height + 18.0)) role="img" aria-label=(says) {
            title { (says) }
            @for (row, day) in DAYS.iter().enumerate() {
                text x=(left - 8.0) y=(row as f64 * row_height + 19.0) text-anchor="end" { (day) }
                @for hour in 0..24 {
                    @let rate = rates.get(row * 24 + hour).copied().flatten();
                    @let level = rate.map(|rate| if most > 0.0 { (rate / most).sqrt() } else { 0.0 });
                    rect.none[level.is_none_or(|level| level < 0.04)] x=(left + hour as f64 * cell) y=(row as f64 * row_height) width=(cell - 2.0) height=(row_height - 2.0) rx="2"
                        fill-opacity=[level.filter(|level| *level >= 0.04).map(|level| (level * 100.0).round() / 100.0)] {
                        title { (day) " " (hour) ":00 – " @if let Some(rate) = rate { (quantity(rate)) " messages" } @else { "not watched yet" } }
                    }
                }
            }
            @for hour in (0..24).step_by(3) {
                text x=(left + hour as f64 * cell + 1.0) y=(7.0 * row_height + 13.0) { (format!("{hour:02}")) }
            }
        }
    }
}

/// One weight as a bar to the right (speaks for a hijack) or to the left (against).
pub fn weight(nats: f64, most: f64) -> Markup {
    let half = 0.25;
    let share = (nats.abs() / most.max(1e-9)).min(1.0);
    let (x, width) =
        if nats >= 0.0 { (half, share * (1.0 - half)) } else { (half - share * half, share * half) };
    html! {
        svg viewBox="0 0 1000 12" preserveAspectRatio="none" aria-hidden="true" {
            rect.track x="0" y="4" width="1000" height="4" {}
            rect class=(if nats >= 0.0 { "for" } else { "against" }) x=(round(x * 1000.0)) y="1" width=(round((width * 1000.0).max(3.0))) height="10" {}
            line.zero x1=(half * 1000.0) x2=(half * 1000.0) y1="0" y2="12" {}
        }
    }
}

/// A share of 0 to 1 as a small bar.
pub fn share(share: f64) -> Markup {
    html! {
        svg.share viewBox="0 0 110 24" preserveAspectRatio="none" aria-hidden="true" {
            rect.track x="0" y="9" width="110" height="6" rx="3" {}
            @if share > 0.0 { rect.volume x="0" y="9" width=(round((share.min(1.0) * 110.0).max(1.5))) height="6" rx="3" {} }
        }
    }
}

/// A share of a limit that is used up.
pub fn meter(used: u64, limit: u64, says: &str) -> Markup {
    let share = (used as f64 / limit.max(1) as f64).min(1.0);
    html! {
        svg.meter viewBox="0 0 1000 12" preserveAspectRatio="none" role="img" aria-label=(says) {
            rect.track x="0" y="2" width="1000" height="8" {}
            rect class=(if used >= limit { "meter-full" } else { "meter-used" }) x="0" y="2" width=(round(share * 1000.0)) height="8" {}
        }
    }
}

/// One place of a map.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    /// Class that colours it.
    pub class: &'static str,
    /// How strongly, 0 to 1.
    pub level: f64,
    /// What it is and what it does.
    pub says: String,
    /// Where it leads.
    pub path: Option<String>,
}

/// Cells along a Hilbert curve, so that neighbours by number are neighbours on the map. Their number must be a
/// power of four.
pub fn hilbert(cells: &[Cell], says: &str) -> Markup {
    let order = (cells.len().max(1).ilog2() / 2) as u64;
    let side = 1u64 << order;
    let size = (512 / side).max(2);
    html! {
        svg.chart.map viewBox=(format!("0 0 {0} {0}", side * size)) role="group" aria-label=(says) {
            @for (index, cell) in cells.iter().enumerate() {
                @let (x, y) = hilbert_place(order, index as u64);
                @let drawn = html! {
                    rect class=(cell.class) x=(x * size) y=(y * size) width=(size - 1) height=(size - 1)
                        fill-opacity=[(cell.level < 1.0 && cell.level > 0.0).then(|| round(cell.level * 10.0) / 10.0)] { title { (cell.says) } }
                };
                @if let Some(path) = &cell.path { a href=(path) aria-label=(cell.says) { (drawn) } } @else { (drawn) }
            }
        }
    }
}

/// Where the point `index` of a Hilbert curve lies (the usual bit-by-bit rotation).
pub fn hilbert_place(order: u64, index: u64) -> (u64, u64) {
    let (mut x, mut y, mut rest) = (0u64, 0u64, index);
    for level in 0..order {
        let side = 1u64 << level;
        let right = 1 & (rest / 2);
        let up = 1 & (rest ^ right);
        if up == 0 {
            if right == 1 {
                (x, y) = (side - 1 - x, side - 1 - y);
            }
            (x, y) = (y, x);
        }
        (x, y) = (x + side * right, y + side * up);
        rest /= 4;
    }
    (x, y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_on_the_curve_are_neighbours_on_the_map() {
        for order in 1..=4u64 {
            let places: Vec<_> = (0..1u64 << (2 * order)).map(|index| hilbert_place(order, index)).collect();
            let mut seen = places.clone();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), places.len(), "every cell once");
            for pair in places.windows(2) {
                assert_eq!(pair[0].0.abs_diff(pair[1].0) + pair[0].1.abs_diff(pair[1].1), 1);
            }
        }
    }

    #[test]
    fn a_chart_holds_what_it_was_given_and_nothing_inline() {
        let bars: Vec<Bar> = (0..24)
            .map(|hour| Bar {
                at: Timestamp::from_seconds(hour * 3_600),
                value: hour as f64,
                usual: Some(5.0),
                usual_max: Some(10.0),
            })
            .collect();
        let alarm = Instant { at: Timestamp::from_seconds(20 * 3_600), label: "alarm", class: "alarm" };
        let svg = volume(&bars, MICROS_PER_HOUR, &[alarm], "a day").into_string();
        assert_eq!(svg.matches("<rect class=\"volume over\"").count(), 13);
        assert!(svg.contains("alarm-text") && !svg.contains("style="));
        assert_eq!(week(&[Some(1.0); 168], "a week").into_string().matches("<rect").count(), 168);
        assert!(volume(&[], 1, &[], "").into_string().contains("Nothing"));
    }
}
