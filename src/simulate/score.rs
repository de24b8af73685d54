//! Compares alerts with the truth of a simulated world.
//!
//! *In*: [`Truth`] and the alerts in their native form. *Out*: a [`Score`]: which hijacks were found, how
//! late, how much mail was lost before, and what was alarmed without cause.

use super::truth::{BenignBurst, Hijack, HijackKind, Truth};
use crate::alert::{Alert, SenderName, event_at};
use crate::engine::incident::{Change, Kind};
use crate::time::Timestamp;
use ipnet::IpNet;
use serde::Serialize;
use std::fmt::Write;
use std::net::IpAddr;

/// An alert counts for a hijack up to this long after the last delivery, seconds.
const AFTERMATH_SECONDS: f64 = 6.0 * 3_600.0;

/// How alerts and truth agree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// One row for each hijack, in order of their start.
    pub hijacks: Vec<HijackScore>,
    /// One row for each benign burst.
    pub benign: Vec<BenignScore>,
    /// Alerts that opened an incident.
    pub opened: u64,
    /// Of these such that match no hijack.
    pub false_alarms: u64,
    /// False alarms per 1,000 sender-days.
    pub false_alarms_per_1000_sender_days: f64,
    /// Ids and senders of the false alarms.
    pub false_alarm_list: Vec<FalseAlarm>,
    /// Hijacks found.
    pub found: u64,
}

/// How one hijack was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HijackScore {
    /// Its name in the truth.
    pub id: String,
    /// Its kind.
    pub kind: HijackKind,
    /// Deliveries it made.
    pub deliveries: u64,
    /// The first alert that matches it; `None` where none does.
    pub alert: Option<String>,
    /// Sender that this alert names.
    pub sender: Option<SenderName>,
    /// What this alert says was hijacked.
    pub named: Option<Kind>,
    /// Whether that is right.
    pub named_rightly: Option<bool>,
    /// Its deliveries up to the alert, the one that raised it included.
    pub delay_messages: Option<u64>,
    /// Seconds from its first delivery to the alert.
    pub delay_seconds: Option<f64>,
    /// Share of its deliveries that were made up to the alert; 1 where it was not found.
    pub leaked_share: f64,
}

/// What was alarmed during a benign burst.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenignScore {
    /// What it was.
    pub kind: String,
    /// Deliveries in it.
    pub deliveries: u64,
    /// False alarms about its senders in its time.
    pub alerts: u64,
}

/// An alert that matches no hijack.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FalseAlarm {
    /// Its id.
    pub alert: String,
    /// Its event time.
    pub at: Timestamp,
    /// Whom it accuses.
    pub sender: SenderName,
    /// The benign burst that it fell into.
    pub burst: Option<String>,
}

/// Scores alerts, in any order. The second tier has a budget of its own and is no accusation: it counts nowhere.
pub fn score(truth: &Truth, alerts: &[Alert]) -> Score {
    let mut opened: Vec<(Timestamp, &Alert)> = alerts
        .iter()
        .filter(|alert| alert.change == Change::Opened && alert.kind != Kind::UnexplainedVolume)
        .filter_map(|alert| Some((event_at(alert)?, alert)))
        .collect();
    opened.sort_by(|a, b| (a.0, &a.1.id).cmp(&(b.0, &b.1.id)));
    opened.dedup_by(|a, b| a.1.id == b.1.id);
    let hijacks: Vec<HijackScore> =
        truth.hijacks.iter().map(|hijack| score_hijack(hijack, &opened)).collect();
    let false_alarm_list: Vec<FalseAlarm> = opened
        .iter()
        .filter(|(at, alert)| !truth.hijacks.iter().any(|hijack| matches(hijack, *at, alert)))
        .map(|(at, alert)| FalseAlarm {
            alert: alert.id.clone(),
            at: *at,
            sender: name_of(alert),
            burst: truth.benign.iter().find(|burst| falls_into(burst, *at, alert)).map(|b| b.kind.clone()),
        })
        .collect();
    let benign = truth
        .benign
        .iter()
        .map(|burst| BenignScore {
            kind: burst.kind.clone(),
            deliveries: burst.deliveries,
            alerts: opened
                .iter()
                .filter(|(at, alert)| {
                    falls_into(burst, *at, alert) && false_alarm_list.iter().any(|f| f.alert == alert.id)
                })
                .count() as u64,
        })
        .collect();
    let false_alarms = false_alarm_list.len() as u64;
    Score {
        found: hijacks.iter().filter(|hijack| hijack.alert.is_some()).count() as u64,
        hijacks,
        benign,
        opened: opened.len() as u64,
        false_alarms,
        false_alarms_per_1000_sender_days: 1_000.0 * false_alarms as f64 / truth.sender_days.max(1) as f64,
        false_alarm_list,
    }
}

fn score_hijack(hijack: &Hijack, opened: &[(Timestamp, &Alert)]) -> HijackScore {
    let deliveries = hijack.deliveries.len() as u64;
    let first = opened.iter().find(|(at, alert)| matches(hijack, *at, alert));
    let before = first.map(|(at, _)| hijack.deliveries.partition_point(|delivery| delivery <= at) as u64);
    HijackScore {
        id: hijack.id.clone(),
        kind: hijack.kind,
        deliveries,
        alert: first.map(|(_, alert)| alert.id.clone()),
        sender: first.map(|(_, alert)| name_of(alert)),
        named: first.map(|(_, alert)| alert.kind),
        named_rightly: first.map(|(_, alert)| right_kinds(hijack.kind).contains(&alert.kind)),
        delay_messages: before,
        delay_seconds: first.map(|(at, _)| at.seconds_since(hijack.start)),
        leaked_share: before.map_or(1.0, |before| before as f64 / deliveries.max(1) as f64),
    }
}

/// What may be said of a kind of hijack.
fn right_kinds(kind: HijackKind) -> &'static [Kind] {
    match kind {
        // Seen from outside a foreign machine with the relay's address may be a script behind it.
        HijackKind::LoudBlast => &[Kind::Host, Kind::Relay],
        HijackKind::WorkstationDirect | HijackKind::StarttlsOnly => &[Kind::Host],
        HijackKind::DormantBlock | HijackKind::Ipv6Rotation | HijackKind::Snowshoe => &[Kind::Block],
        HijackKind::AccountTakeover | HijackKind::LowAndSlow | HijackKind::CleanList => &[Kind::Account],
        HijackKind::SlowRamp => &[Kind::Relay, Kind::Host, Kind::Account],
    }
}

fn name_of(alert: &Alert) -> SenderName {
    SenderName { kind: alert.sender.kind.clone(), name: alert.sender.name.clone() }
}

fn matches(hijack: &Hijack, at: Timestamp, alert: &Alert) -> bool {
    at >= hijack.start && at <= hijack.end.plus_seconds(AFTERMATH_SECONDS) && accuses(alert, &hijack.senders)
}

fn falls_into(burst: &BenignBurst, at: Timestamp, alert: &Alert) -> bool {
    at >= burst.start && at <= burst.end && accuses(alert, &burst.senders)
}

/// Whether an alert, or a sender related to it, is one of some senders, or a block around one. The relay
/// that an accused account leaves by is context: whoever accuses one account accuses no other one.
fn accuses(alert: &Alert, senders: &[SenderName]) -> bool {
    let own = name_of(alert);
    let context = |related: &&SenderName| own.kind == "account" && related.kind != "account";
    let related = alert.related.iter().filter(|related| !context(related));
    std::iter::once(&own).chain(related).any(|accused| senders.iter().any(|sender| meets(accused, sender)))
}

fn meets(accused: &SenderName, sender: &SenderName) -> bool {
    if accused.kind == sender.kind && accused.name == sender.name {
        return true;
    }
    let address = |name: &SenderName| name.name.parse::<IpAddr>().ok();
    let block = |name: &SenderName| name.name.parse::<IpNet>().ok();
    match (accused.kind.as_str(), sender.kind.as_str()) {
        ("block", "address") => match (block(accused), address(sender)) {
            (Some(block), Some(address)) => block.contains(&address),
            _ => false,
        },
        ("address", "block") => match (address(accused), block(sender)) {
            (Some(address), Some(block)) => block.contains(&address),
            _ => false,
        },
        ("block", "block") => match (block(accused), block(sender)) {
            (Some(a), Some(b)) => a.contains(&b) || b.contains(&a),
            _ => false,
        },
        _ => false,
    }
}

impl Score {
    /// A table for people.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "{:<5} {:<20} {:>10}  {:<26} {:<8} {:>9} {:>10} {:>7}",
            "", "hijack", "deliveries", "found by", "named", "messages", "seconds", "leaked"
        );
        for row in &self.hijacks {
            let found = row.sender.as_ref().map_or("-".to_owned(), |sender| sender.name.clone());
            let named = match (row.named, row.named_rightly) {
                (Some(kind), Some(right)) => format!("{}{}", snake(&kind), if right { "" } else { " !" }),
                _ => String::new(),
            };
            let messages = row.delay_messages.map_or("missed".to_owned(), |delay| delay.to_string());
            let seconds = row.delay_seconds.map_or(String::new(), |delay| format!("{delay:.0}"));
            let _ = writeln!(
                out,
                "{:<5} {:<20} {:>10}  {:<26} {:<8} {:>9} {:>10} {:>6.1}%",
                row.id,
                snake(&row.kind),
                row.deliveries,
                cut(&found, 26),
                named,
                messages,
                seconds,
                100.0 * row.leaked_share
            );
        }
        let _ = writeln!(out, "\n{:<26} {:>10} {:>7}", "benign burst", "deliveries", "alerts");
        for row in &self.benign {
            let _ = writeln!(out, "{:<26} {:>10} {:>7}", row.kind, row.deliveries, row.alerts);
        }
        for alarm in self.false_alarm_list.iter().take(20) {
            let _ = writeln!(
                out,
                "false alarm: {} {} at {}{}",
                alarm.sender.kind,
                alarm.sender.name,
                alarm.at.to_rfc3339(),
                alarm.burst.as_ref().map_or(String::new(), |burst| format!(" ({burst})"))
            );
        }
        let _ = writeln!(
            out,
            "\n{} of {} hijacks found; {} false alarms, {:.2} per 1,000 sender-days",
            self.found,
            self.hijacks.len(),
            self.false_alarms,
            self.false_alarms_per_1000_sender_days
        );
        out
    }
}

/// The name that JSON gives a unit variant.
fn snake<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{IncidentRef, SenderRef, Times};
    use crate::simulate::truth::SeenBy;

    fn name(kind: &str, name: &str) -> SenderName {
        SenderName { kind: kind.into(), name: name.into() }
    }

    fn alert(id: &str, at_seconds: i64, kind: Kind, sender: SenderName, related: Vec<SenderName>) -> Alert {
        let at = Timestamp::from_seconds(at_seconds).to_rfc3339();
        Alert {
            id: id.into(),
            incident: IncidentRef { id: id.into(), sequence: 0 },
            times: Times { first: at.clone(), last: at.clone(), event: at.clone(), opened: at },
            sender: SenderRef {
                kind: sender.kind,
                name: sender.name,
                role: crate::company::Role::Unused,
                role_declared: false,
            },
            related,
            kind,
            ..Alert::of_trouble("test", id, Timestamp::from_seconds(at_seconds), "", "")
        }
    }

    fn hijack(kind: HijackKind, senders: Vec<SenderName>, seconds: &[i64]) -> Hijack {
        let deliveries: Vec<Timestamp> = seconds.iter().map(|s| Timestamp::from_seconds(*s)).collect();
        Hijack {
            id: "h01".into(),
            kind,
            senders,
            start: deliveries[0],
            end: deliveries[deliveries.len() - 1],
            seen_by: SeenBy::default(),
            deliveries,
            accepted: 0,
        }
    }

    fn truth(hijacks: Vec<Hijack>, benign: Vec<BenignBurst>) -> Truth {
        Truth {
            scenario: "test".into(),
            seed: 0,
            start: Timestamp::from_seconds(0),
            end: Timestamp::from_seconds(1_000_000),
            senders: Vec::new(),
            hijacks,
            benign,
            sender_days: 500,
        }
    }

    #[test]
    fn delay_and_loss_count_the_deliveries_up_to_the_alert() {
        let block = vec![name("block", "192.0.2.0/24"), name("address", "192.0.2.7")];
        let truth = truth(vec![hijack(HijackKind::DormantBlock, block, &[100, 110, 120, 130])], Vec::new());
        let alerts = [
            alert("late", 125, Kind::Block, name("block", "192.0.2.0/25"), Vec::new()),
            alert("early", 120, Kind::Host, name("address", "192.0.2.7"), Vec::new()),
            alert("before", 99, Kind::Host, name("address", "192.0.2.7"), Vec::new()),
        ];
        let score = score(&truth, &alerts);
        let row = &score.hijacks[0];
        assert_eq!((row.alert.as_deref(), row.delay_messages), (Some("early"), Some(3)));
        assert_eq!((row.delay_seconds, row.leaked_share, row.named_rightly), (Some(20.0), 0.75, Some(false)));
        assert_eq!((score.found, score.false_alarms), (1, 1));
        assert_eq!(score.false_alarms_per_1000_sender_days, 2.0);
    }

    #[test]
    fn an_account_may_be_found_by_its_relay_and_by_what_is_related() {
        let senders = vec![name("account", "a@x.example"), name("address", "203.0.113.10")];
        let world = truth(vec![hijack(HijackKind::AccountTakeover, senders, &[100, 200])], Vec::new());
        let by_relay = alert("r", 150, Kind::Relay, name("address", "203.0.113.10"), Vec::new());
        let by_related =
            alert("s", 150, Kind::Host, name("host", "mx-out1"), vec![name("account", "a@x.example")]);
        let by_other = alert("t", 150, Kind::Account, name("account", "b@x.example"), Vec::new());
        let relay = vec![name("address", "203.0.113.10")];
        let by_neighbour = alert("w", 150, Kind::Account, name("account", "b@x.example"), relay);
        for (alert, found) in [(by_relay, 1), (by_related, 1), (by_other, 0), (by_neighbour, 0)] {
            assert_eq!(score(&world, &[alert]).found, found);
        }
        let after = alert("u", 200 + 6 * 3_600, Kind::Account, name("account", "a@x.example"), Vec::new());
        let too_late = alert("v", 201 + 6 * 3_600, Kind::Account, name("account", "a@x.example"), Vec::new());
        assert_eq!((score(&world, &[after]).found, score(&world, &[too_late]).found), (1, 0));
    }

    #[test]
    fn what_matches_no_hijack_is_a_false_alarm_and_belongs_to_its_burst() {
        let burst = BenignBurst {
            kind: "newsletter_moved".into(),
            senders: vec![name("address", "203.0.113.30")],
            start: Timestamp::from_seconds(1_000),
            end: Timestamp::from_seconds(2_000),
            deliveries: 9,
        };
        let world = truth(Vec::new(), vec![burst]);
        let sender = name("address", "203.0.113.30");
        let inside = alert("a", 1_500, Kind::Host, sender.clone(), Vec::new());
        let outside = alert("b", 2_500, Kind::Host, sender, Vec::new());
        let mut closed = inside.clone();
        closed.change = Change::Closed;
        let score = score(&world, &[inside.clone(), inside, outside, closed]);
        assert_eq!((score.opened, score.false_alarms, score.benign[0].alerts), (2, 2, 1));
        assert_eq!(score.false_alarm_list[0].burst.as_deref(), Some("newsletter_moved"));
        assert_eq!(score.false_alarm_list[1].burst, None);
        let text = score.to_text();
        assert!(
            text.contains("newsletter_moved") && text.contains("0 of 0 hijacks found; 2 false"),
            "{text}"
        );
    }
}
