//! The first page: what is open, how much mail there is against what is usual, whether the sensor sees and speaks.
//!
//! *In*: the state. *Out*: one page, the same size however much the state holds. *Bound*: `OPEN_SHOWN` incidents.

use super::chart::{self, Instant};
use super::incidents::list;
use super::metrics::Vitals;
use super::page::{self, count};
use super::reading::{Trouble, wall_clock};
use super::{Dashboard, Viewer, expected};
use crate::health::SourceKind;
use crate::observation::Vantage;
use crate::store::StoreError;
use crate::store::read::{IncidentFilter, IncidentSummary, Listed, Page, Reader, SinkState};
use crate::time::{MICROS_PER_HOUR, Timestamp};
use axum::extract::State;
use maud::{Markup, html};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Open incidents shown; the list page has all.
const OPEN_SHOWN: u32 = 12;
/// Closed ones shown.
const CLOSED_SHOWN: u32 = 4;
/// Hours of the company's curve.
const HOURS_SHOWN: i64 = 7 * 24;
/// Without mail for so long, a sensor that works is said to see nothing.
const SILENCE_SECONDS: f64 = 2.0 * 3_600.0;

/// What the page needs, asked for at one go.
struct Answers {
    open: Listed<IncidentSummary>,
    closed: Listed<IncidentSummary>,
    sinks: Vec<SinkState>,
    roads: Vec<Road>,
    newest: Option<i64>,
}

/// The volume of one road.
pub struct Road {
    vantage: Vantage,
    counted: BTreeMap<i64, f64>,
    refused: f64,
    hidden: f64,
    deliveries: f64,
}

impl Road {
    /// The last five weeks, and totals of the last day.
    pub fn read(reader: &Reader, vantage: Vantage, newest: i64) -> Result<Road, StoreError> {
        let hour = newest.div_euclid(MICROS_PER_HOUR);
        let from = (hour - HOURS_SHOWN - expected::MEMORY_HOURS).saturating_mul(MICROS_PER_HOUR);
        let points = reader.volume(vantage, from, (hour + 1).saturating_mul(MICROS_PER_HOUR))?;
        let mut road = Road { vantage, counted: BTreeMap::new(), refused: 0.0, hidden: 0.0, deliveries: 0.0 };
        for point in &points {
            let at = point.at.div_euclid(MICROS_PER_HOUR);
            road.counted.insert(at, point.deliveries + point.hidden);
            if at > hour - 24 {
                road.refused += point.refused;
                road.hidden += point.hidden;
                road.deliveries += point.deliveries;
            }
        }
        Ok(road)
    }
}

/// `GET /`.
pub async fn show(State(dashboard): State<Arc<Dashboard>>, viewer: Viewer) -> Result<Markup, Trouble> {
    let answers = dashboard
        .reading
        .ask(|reader| {
            let listed = |open, limit| {
                let filter = IncidentFilter { open: Some(open), ..IncidentFilter::default() };
                reader.incidents(&filter, Page { offset: 0, limit })
            };
            let newest = reader.newest()?;
            let read = |vantage| Road::read(reader, vantage, newest.unwrap_or(0));
            Ok(Answers {
                open: listed(true, 100)?,
                closed: listed(false, CLOSED_SHOWN)?,
                sinks: reader.sinks()?,
                roads: vec![read(Vantage::Wire)?, read(Vantage::Log)?],
                newest,
            })
        })
        .await?;
    let title = match answers.open.total {
        0 => "All quiet".to_owned(),
        open => count(open, "open incident", "open incidents"),
    };
    Ok(dashboard.page(&viewer, &title, "/", &content(&dashboard, answers, &title)))
}

fn content(dashboard: &Dashboard, mut answers: Answers, title: &str) -> Markup {
    let newest = answers.newest.map(Timestamp::from_micros);
    answers.open.rows.sort_by(|a, b| b.severity_score.cmp(&a.severity_score).then(b.last_at.cmp(&a.last_at)));
    answers.open.rows.truncate(OPEN_SHOWN as usize);
    html! {
        h1 { (title) }
        p.lead {
            @match newest {
                None => "No mail was seen yet. Pages fill by themselves as soon as there is some.",
                Some(at) => { "Mail was judged up to " (page::time(at)) "." @if !dashboard.about.watched { " No sensor works on this state: it is shown as it was left." } }
            }
        }
        @if answers.open.total == 0 {
            section.card.quiet { h2 { "Nothing to do." } p { "No sender behaves like somebody else. An incident appears here by itself." } }
        } @else {
            section aria-label="Open incidents" {
                (list(&answers.open.rows, newest))
                @if answers.open.total > u64::from(OPEN_SHOWN) { p { a href="/incidents?state=open" { "All " (count(answers.open.total, "open incident", "open incidents")) } } }
            }
        }
        section.card {
            div.head { h2 { "Mail of the company" } span.soft.small { "seven days, by the hour" } }
            @for road in answers.roads.iter().filter(|road| !road.counted.is_empty()) { (curve(road, newest, dashboard)) }
            @if answers.roads.iter().all(|road| road.counted.is_empty()) { p.soft { "Nothing was counted yet." } }
            p.key {
                span { (swatch("volume")) "messages" } span { (swatch("volume over")) "more than normal" }
                span { (swatch("band")) "normal at this hour, from the four weeks before" }
            }
        }
        div.columns {
            (sight(&answers.roads, newest, dashboard))
            (voice(&answers.sinks))
        }
        @if !answers.closed.rows.is_empty() {
            section {
                div.head { h2 { "Closed lately" } a.small href="/incidents?state=closed" { "All closed incidents" } }
                (list(&answers.closed.rows, newest))
            }
        }
    }
}

/// A spot of a chart's colour.
pub fn swatch(class: &str) -> Markup {
    html! { svg viewBox="0 0 10 10" aria-hidden="true" { rect class=(class) width="10" height="10" rx="2" {} } }
}

/// How a road is called.
pub fn road_word(vantage: Vantage) -> &'static str {
    match vantage {
        Vantage::Wire => "Seen on the wire",
        Vantage::Log => "Told by mail logs",
    }
}

fn curve(road: &Road, newest: Option<Timestamp>, dashboard: &Dashboard) -> Markup {
    let end = newest.map_or(0, Timestamp::hour_index) + 1;
    let bars = expected::bars(&road.counted, end - HOURS_SHOWN..end, &dashboard.about.clock);
    let over = bars.iter().filter(|bar| bar.usual_max.is_some_and(|most| bar.value > most)).count();
    let says = format!(
        "{}: messages by the hour; {over} of {} hours above what is normal",
        road_word(road.vantage),
        bars.len()
    );
    html! {
        h3 { (road_word(road.vantage)) }
        figure { (chart::volume(&bars, MICROS_PER_HOUR, &[] as &[Instant], &says)) }
    }
}

/// What the sensor sees.
fn sight(roads: &[Road], newest: Option<Timestamp>, dashboard: &Dashboard) -> Markup {
    let silent =
        newest.filter(|at| dashboard.about.watched && wall_clock().seconds_since(*at) > SILENCE_SECONDS);
    html! {
        section.card {
            h2 { "What is seen" }
            @if let Some(at) = silent {
                p.notice { "No mail since " (page::time(at)) ". If your company sends at this hour, look at the span port and the logs." }
            }
            dl.facts {
                @for road in roads {
                    @let total = road.deliveries + road.hidden;
                    div {
                        dt { (road_word(road.vantage)) ", last 24 h" }
                        dd {
                            @if road.counted.is_empty() { "nothing" } @else { (page::quantity(total)) }
                            small {
                                @if total > 0.0 {
                                    (page::percent(road.refused / total)) " refused"
                                    @if road.hidden > 0.0 { " · " (page::percent(road.hidden / total)) " hidden by TLS" }
                                } @else if road.counted.is_empty() { "not a source here" }
                            }
                        }
                    }
                }
            }
            @if let Some(vitals) = dashboard.vitals.get() { (health(&vitals)) }
        }
    }
}

/// How the sources of the running sensor do: what is wrong, what each took and lost since the start.
fn health(vitals: &Vitals) -> Markup {
    html! {
        @for holding in &vitals.holding { p.notice { (holding.about) ": " (holding.says) } }
        table.tight {
            thead { tr { th { "Source" } th.number { "Taken" } th.number { "Lost" } } }
            tbody {
                @for source in &vitals.reading.sources {
                    @let lost = source.dropped().saturating_add(source.dropped_by_queue).saturating_add(source.gaps);
                    tr {
                        td { (source.name) @if let Some(why) = &source.failed { div.small.soft { (why) } } }
                        td.number { (page::quantity(source.taken as f64)) small { @if source.kind == SourceKind::Log { " lines" } @else { " packets" } } }
                        td.number { @if lost == 0 { span.state.good { "none" } } @else { span.state.open { (lost) } } }
                    }
                }
            }
        }
    }
}

/// Where alerts go.
fn voice(sinks: &[SinkState]) -> Markup {
    html! {
        section.card {
            h2 { "Where alerts go" }
            @if sinks.is_empty() {
                p.soft { "Only here. Name a [[sink]] in the configuration, so that an alert reaches you when nobody looks." }
            } @else {
                table.tight {
                    thead { tr { th { "Sink" } th { "State" } } }
                    tbody {
                        @for sink in sinks {
                            tr {
                                td { (sink.name) }
                                td {
                                    @match (sink.waiting, sink.dead_letters) {
                                        (0, 0) => span.state.good { "all delivered" },
                                        (waiting, _) if waiting > 0 => span.state.open { (count(waiting, "alert waits", "alerts wait")) },
                                        (_, dead) => span.state.open { (count(dead, "alert", "alerts")) " never taken" },
                                    }
                                    @if let Some(why) = &sink.last_reason { div.small.soft { (why) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
