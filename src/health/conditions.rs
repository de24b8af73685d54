//! What can be wrong with a sensor: one row each, and how it is found in two readings.
//!
//! *In*: the oldest and the newest reading of the window. *Out*: what holds now.

use super::{Coverage, Habit, Reading, SourceKind, SourceReading};
use crate::time::Timestamp;
use std::collections::BTreeMap;

/// Over how long shares are taken, seconds.
pub const WINDOW_SECONDS: f64 = 300.0;

/// Connections in the window before their directions are judged.
const FLOWS_MIN: u64 = 20;
/// Share of connections that show one side only, always the same, which makes a one-way mirror: well above what
/// asymmetric routes of single destinations cause.
const ONE_WAY_SHARE: f64 = 0.9;
/// Share of connections that show one side only, where as many show the other: halves that do not find each other.
const HALVES_SHARE: f64 = 0.25;

/// One thing that can be wrong.
pub struct Condition {
    /// Stable name.
    pub code: &'static str,
    /// How long it must hold before it is told, seconds.
    pub patience_seconds: f64,
    /// How long it must be gone before that is told, seconds.
    pub calm_seconds: f64,
    /// Said when it is over, behind the name of the source.
    pub over: &'static str,
    /// What to do.
    pub next_step: &'static str,
}

/// A condition that holds.
pub struct Found {
    /// Which.
    pub condition: &'static Condition,
    /// The source or sink.
    pub about: String,
    /// One sentence.
    pub says: String,
    /// Since when, where that is known better than by the first reading.
    pub since: Option<Timestamp>,
}

/// All conditions. docs/operations.md explains each.
pub const CONDITIONS: &[Condition] = &[
    PACKETS_DROPPED,
    OBSERVATIONS_DROPPED,
    ONE_WAY,
    SILENT,
    HIDDEN,
    SUDDEN_TLS,
    UNDECODABLE,
    SOURCE_FAILED,
    LOG_LATE,
    CLOCK_AHEAD,
    CLOCK_SET,
    NOT_UNDERSTOOD,
    LINES_LOST,
    SINK_STUCK,
    STATE_STUCK,
    FAULT,
];

const PACKETS_DROPPED: Condition = Condition {
    code: "packets_dropped",
    patience_seconds: 0.0,
    calm_seconds: 600.0,
    over: "no packets were dropped for ten minutes.",
    next_step: "See docs/operations.md, sizing: narrow the filter, mirror fewer ports, or give the sensor a faster core.",
};
const OBSERVATIONS_DROPPED: Condition = Condition {
    code: "observations_dropped",
    patience_seconds: 0.0,
    calm_seconds: 600.0,
    over: "judging keeps up again.",
    next_step: "Judging is slower than the line: look at the disk of the state directory and at the load of the machine.",
};
const ONE_WAY: Condition = Condition {
    code: "one_way_mirror",
    patience_seconds: 120.0,
    calm_seconds: 300.0,
    over: "both directions are seen again.",
    next_step: "Let the span port mirror both directions (rx and tx), or the other half of an asymmetric route. Where [[source.capture]] has threads and the mirror comes in VXLAN or Geneve, set threads = 1.",
};
const SILENT: Condition = Condition {
    code: "source_silent",
    patience_seconds: 0.0,
    calm_seconds: 0.0,
    over: "it talks again.",
    next_step: "Look whether the mirror, the cable or the log forwarding is still there; `portreeve check` tries each.",
};
const HIDDEN: Condition = Condition {
    code: "mostly_hidden_by_tls",
    patience_seconds: 240.0,
    calm_seconds: 3_600.0,
    over: "recipients and answers are seen again.",
    next_step: "Add the logs of the mail servers ([[source.log]]): they name what TLS hides on the wire.",
};
const SUDDEN_TLS: Condition = Condition {
    code: "sudden_tls",
    patience_seconds: 0.0,
    calm_seconds: 3_600.0,
    over: "the share of TLS is what is usual now.",
    next_step: "Find out which machine speaks TLS now. If it is a mail server of yours, see that its log is among [[source.log]]; nothing else should send by itself.",
};
const UNDECODABLE: Condition = Condition {
    code: "packets_not_understood",
    patience_seconds: 60.0,
    calm_seconds: 600.0,
    over: "packets are understood again.",
    next_step: "See `portreeve check`: the mirror may use a tunnel or link type that is not known; send a short capture with a report.",
};
const SOURCE_FAILED: Condition = Condition {
    code: "source_failed",
    patience_seconds: 10.0,
    calm_seconds: 5.0,
    over: "it can be read again.",
    next_step: "Mend what the message names; a log and an interface that is down are tried again by themselves; an interface that was removed and made anew needs a restart of the service.",
};
const LOG_LATE: Condition = Condition {
    code: "log_late",
    patience_seconds: 300.0,
    calm_seconds: 300.0,
    over: "it is up to date again.",
    next_step: "Look at the log forwarding on the way here, and at the time zone in [[source.log]].",
};
const CLOCK_AHEAD: Condition = Condition {
    code: "clock_ahead",
    patience_seconds: 300.0,
    calm_seconds: 300.0,
    over: "its stamps fit the clock again.",
    next_step: "Compare the clocks of the mail server and of this machine (NTP), and the time zone in [[source.log]].",
};
const CLOCK_SET: Condition = Condition {
    code: "clock_set",
    patience_seconds: 0.0,
    calm_seconds: 300.0,
    over: "the clock ran evenly for five minutes.",
    next_step: "Look why the clock of this machine jumped (NTP, suspend). Events around it may be told in a wrong order.",
};
const NOT_UNDERSTOOD: Condition = Condition {
    code: "log_not_understood",
    patience_seconds: 0.0,
    calm_seconds: 600.0,
    over: "its lines are understood again.",
    next_step: "`portreeve replay` on this log shows such lines; name the dialect in [[source.log]], or send a few lines with a report.",
};
const LINES_LOST: Condition = Condition {
    code: "lines_possibly_lost",
    patience_seconds: 0.0,
    calm_seconds: 600.0,
    over: "no more lines were lost for ten minutes.",
    next_step: "Rotate by renaming (`create` in logrotate), not by `copytruncate`, and keep at least one old file uncompressed (`delaycompress`).",
};
const SINK_STUCK: Condition = Condition {
    code: "sink_stuck",
    patience_seconds: 60.0,
    calm_seconds: 0.0,
    over: "alerts leave again.",
    next_step: "Mend what the message names. Alerts wait in the state directory and leave by themselves, each once.",
};
const STATE_STUCK: Condition = Condition {
    code: "state_stuck",
    patience_seconds: 0.0,
    calm_seconds: 0.0,
    over: "state is written again.",
    next_step: "Free space on the disk of the state directory, or mend it. Logs wait; packets are lost meanwhile.",
};
const FAULT: Condition = Condition {
    code: "fault",
    patience_seconds: 0.0,
    calm_seconds: 3_600.0,
    over: "no more faults for an hour.",
    next_step: "Please report the panic message in the service's log: it is a bug in portreeve.",
};

/// What holds, over the window between two readings and against the habits of the sources.
pub fn find(first: &Reading, now: &Reading, habits: &BTreeMap<String, Habit>) -> Vec<Found> {
    let mut found = Vec::new();
    let logs = now.sources.iter().any(|source| source.kind == SourceKind::Log);
    for source in &now.sources {
        let before = first.sources.iter().find(|before| before.name == source.name);
        let before = before.filter(|before| before.taken <= source.taken);
        let none = SourceReading::of(&source.name, source.kind);
        let before = before.unwrap_or(&none);
        match source.kind {
            SourceKind::Capture => {
                of_capture(before, source, logs, &mut found);
                of_tls(source, habits.get(&source.name), &mut found);
            }
            SourceKind::Log => of_log(before, source, &mut found),
        }
        if let Some(why) = &source.failed {
            found.push(says(&SOURCE_FAILED, source, format!("{}: cannot be read: {why}.", source.name)));
        }
        if source.panics > before.panics {
            let text = format!("{}: portreeve stumbled over a fault of its own and went on.", source.name);
            found.push(says(&FAULT, source, text));
        }
    }
    for sink in &now.sinks {
        if let Some(trouble) = &sink.trouble {
            let text = format!("{}: {} alerts wait: {trouble}.", sink.name, sink.waiting);
            found.push(Found { condition: &SINK_STUCK, about: sink.name.clone(), says: text, since: None });
        }
    }
    if now.clock_step_seconds.abs() >= 5.0 {
        let text = format!("The clock of this machine was set by {:+.0} s.", now.clock_step_seconds);
        found.push(Found { condition: &CLOCK_SET, about: "clock".into(), says: text, since: None });
    }
    if let Some(trouble) = &now.state_trouble {
        let text = format!("State cannot be written: {trouble}.");
        found.push(Found { condition: &STATE_STUCK, about: "state".into(), says: text, since: None });
    }
    found
}

/// A source that is silent against its habit.
pub fn silence(name: &str, since: Timestamp, at: Timestamp, ever_talked: bool) -> Found {
    let minutes = at.seconds_since(since) / 60.0;
    let text = if ever_talked {
        format!("{name}: silent for {minutes:.0} min, at an hour at which it never is.")
    } else {
        format!("{name}: nothing has come in the {minutes:.0} min since it was opened first.")
    };
    Found { condition: &SILENT, about: name.to_owned(), says: text, since: Some(since) }
}

/// What could be seen over the window.
pub fn coverage(first: &Reading, now: &Reading) -> Coverage {
    let sum = |reading: &Reading, count: fn(&SourceReading) -> u64| -> u64 {
        let captures = reading.sources.iter().filter(|source| source.kind == SourceKind::Capture);
        captures.map(count).fold(0, u64::saturating_add)
    };
    let over = |count: fn(&SourceReading) -> u64| sum(now, count).saturating_sub(sum(first, count));
    let captures = now.sources.iter().any(|source| source.kind == SourceKind::Capture);
    let (taken, dropped) = (over(|source| source.taken), over(SourceReading::dropped));
    let behind = now.sources.iter().filter_map(|source| source.behind_seconds);
    Coverage {
        frames_dropped_share: captures.then(|| share(dropped, taken.saturating_add(dropped)).unwrap_or(0.0)),
        log_lag_seconds: behind.map(|seconds| seconds.max(0.0)).reduce(f64::max),
        sessions_hidden_share: share(over(|source| source.sessions_hidden), over(|source| source.sessions)),
    }
}

fn of_capture(before: &SourceReading, now: &SourceReading, logs: bool, found: &mut Vec<Found>) {
    let over = |count: fn(&SourceReading) -> u64| count(now).saturating_sub(count(before));
    let name = &now.name;
    let (taken, dropped) = (over(|source| source.taken), over(SourceReading::dropped));
    // pcap counts among the received what it later drops; either way the share is below one.
    if let Some(share) = share(dropped, taken.saturating_add(dropped)).filter(|share| *share > 0.001) {
        let text = format!(
            "{name}: {:.1} % of the packets were lost ({} by the kernel, {} by the interface): what they carried was not seen.",
            share * 100.0,
            over(|source| source.dropped_by_kernel),
            over(|source| source.dropped_by_interface),
        );
        found.push(says(&PACKETS_DROPPED, now, text));
    }
    let queued = over(|source| source.dropped_by_queue);
    if queued > 0 {
        let text = format!("{name}: {queued} observations were dropped because judging fell behind.");
        found.push(says(&OBSERVATIONS_DROPPED, now, text));
    }
    let (asks, answers) =
        (over(|source| source.flows_originator_only), over(|source| source.flows_responder_only));
    let flows = over(|source| source.flows_two_way).saturating_add(asks).saturating_add(answers);
    if flows >= FLOWS_MIN
        && let Some(text) = one_way(asks as f64 / flows as f64, answers as f64 / flows as f64)
    {
        found.push(says(&ONE_WAY, now, format!("{name}: {text}")));
    }
    let (sessions, hidden) = (over(|source| source.sessions), over(|source| source.sessions_hidden));
    // With a log beside it, what TLS hides is told there.
    if sessions >= 50
        && !logs
        && let Some(share) = share(hidden, sessions).filter(|share| *share > 0.9)
    {
        let text = format!(
            "{name}: TLS hides {:.0} % of the sessions: who is written to, and whether it is refused, is not seen there.",
            share * 100.0
        );
        found.push(says(&HIDDEN, now, text));
    }
    let broken = over(|source| source.undecodable);
    if broken >= 100
        && let Some(share) = share(broken, taken).filter(|share| *share > 0.05)
    {
        let text = format!("{name}: {:.0} % of the packets are not understood.", share * 100.0);
        found.push(says(&UNDECODABLE, now, text));
    }
}

/// What is wrong with a mirror of which these shares of the connections show one side only.
fn one_way(asks: f64, answers: f64) -> Option<String> {
    let percent = |share: f64| format!("{:.0} % of the connections", share * 100.0);
    if asks >= ONE_WAY_SHARE {
        Some(format!("{} show no answer of the server.", percent(asks)))
    } else if answers >= ONE_WAY_SHARE {
        Some(format!("{} show nothing of what the client says.", percent(answers)))
    } else if asks.min(answers) >= HALVES_SHARE {
        Some(format!("{} show only the client, {} only the server.", percent(asks), percent(answers)))
    } else {
        None
    }
}

fn of_tls(now: &SourceReading, habit: Option<&Habit>, found: &mut Vec<Found>) {
    let Some((share, usual)) = habit.and_then(|habit| habit.tls.risen()) else { return };
    let text = format!(
        "{}: TLS hides {:.0} % of the sessions, and never more than {:.0} % lately: what was seen of them before is not seen now.",
        now.name,
        share * 100.0,
        usual * 100.0
    );
    found.push(says(&SUDDEN_TLS, now, text));
}

fn of_log(before: &SourceReading, now: &SourceReading, found: &mut Vec<Found>) {
    let over = |count: fn(&SourceReading) -> u64| count(now).saturating_sub(count(before));
    let name = &now.name;
    let (lines, unparsed) = (over(|source| source.taken), over(|source| source.unparsed));
    if unparsed >= 50
        && let Some(share) = share(unparsed, lines).filter(|share| *share > 0.2)
    {
        let text = format!("{name}: {:.0} % of its lines are not understood.", share * 100.0);
        found.push(says(&NOT_UNDERSTOOD, now, text));
    }
    let gaps = over(|source| source.gaps);
    if gaps > 0 {
        let text = format!("{name}: lines may have been lost at a rotation ({gaps} times).");
        found.push(says(&LINES_LOST, now, text));
    }
    // While an old log is caught up with, its lines are old: that is no delay.
    let settled = now.caught_up || before.caught_up;
    match now.behind_seconds.filter(|_| settled && lines > 0) {
        Some(behind) if behind > 300.0 => {
            let text = format!("{name}: its newest lines are {:.0} min old when they come.", behind / 60.0);
            found.push(says(&LOG_LATE, now, text));
        }
        Some(behind) if behind < -60.0 => {
            let text = format!("{name}: its stamps are {:.0} s ahead of this machine's clock.", -behind);
            found.push(says(&CLOCK_AHEAD, now, text));
        }
        _ => {}
    }
}

fn says(condition: &'static Condition, source: &SourceReading, says: String) -> Found {
    Found { condition, about: source.name.clone(), says, since: None }
}

fn share(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}
