//! The summary that people read on standard error after a run.
//!
//! *In*: what the roads and the engine counted. *Out*: a few lines.

use super::judge::Judge;
use super::report;
use super::roads::RoadReport;
use super::terminal::Paint;
use crate::company::Company;
use crate::config::Config;
use crate::join::JoinCounters;
use crate::mta::LogCounters;
use crate::smtp::WireCounters;

/// What a replay did.
pub fn of(judge: &Judge, report: &RoadReport, company: &Company, config: &Config) -> String {
    let mut text = String::new();
    if let Some(wire) = &report.wire {
        text.push_str(&of_wire(wire));
    }
    if let Some(log) = &report.log {
        text.push_str(&of_log(log));
    }
    if !company.networks_declared() && report.wire.is_some() {
        text.push_str("company   no networks declared: private addresses are taken to be ours; set [company] networks\n");
    }
    text.push_str(&of_join(&judge.join_counters()));
    text + &of_engine(judge, config)
}

/// How far both roads agree; nothing where only one was seen.
fn of_join(join: &JoinCounters) -> String {
    let matched = join.matched();
    if matched == 0 {
        return String::new();
    }
    format!(
        "joined    {} deliveries on wire and in log ({} by answer, {} by Message-ID, {} by path, {} by session), {} on the wire only, {} in the log only, {} not to be told\n",
        grouped(matched),
        grouped(join.matched_by_reply),
        grouped(join.matched_by_message_id),
        grouped(join.matched_by_path),
        grouped(join.matched_by_session),
        grouped(join.wire_only),
        grouped(join.log_only),
        grouped(join.unsettled + join.evicted),
    )
}

fn of_wire(wire: &WireCounters) -> String {
    let mut text = format!(
        "wire      {} packets, {} sessions, {} messages answered ({} accepted)\n          recipients: {} offered, {} accepted, {} refused, {} unanswered, {} abandoned\n",
        grouped(wire.packets),
        grouped(wire.sessions),
        grouped(wire.transactions),
        grouped(wire.messages_accepted),
        grouped(wire.recipients_offered),
        grouped(wire.recipients_accepted),
        grouped(wire.recipients_refused),
        grouped(wire.recipients_unanswered),
        grouped(wire.recipients_abandoned),
    );
    if wire.sessions_tls > 0 {
        text.push_str(&format!(
            "          under TLS: {} sessions, by their outside about {} messages (± {}), {} recipients, {} of them refused\n",
            grouped(wire.sessions_tls),
            grouped(wire.messages_hidden),
            grouped(wire.messages_hidden_error),
            grouped(wire.recipients_hidden),
            grouped(wire.recipients_hidden_refused),
        ));
    }
    if !wire.oddities.is_empty() {
        let list: Vec<String> = wire
            .oddities
            .iter()
            .map(|(oddity, count)| {
                let name =
                    serde_json::to_value(oddity).ok().and_then(|name| name.as_str().map(str::to_owned));
                format!("{} {}", name.unwrap_or_default(), grouped(*count))
            })
            .collect();
        text.push_str(&format!("          oddities: {}\n", list.join(", ")));
    }
    text
}

fn of_log(log: &LogCounters) -> String {
    let mut text = format!(
        "log       {} lines = {} parsed + {} ignored + {} unparsed\n          {} delivered, {} deferred, {} bounced, {} expired, {} rejected; {} logins, {} failed\n",
        grouped(log.lines),
        grouped(log.parsed),
        grouped(log.ignored),
        grouped(log.unparsed),
        grouped(log.delivered),
        grouped(log.deferred),
        grouped(log.bounced),
        grouped(log.expired),
        grouped(log.rejected),
        grouped(log.logins),
        grouped(log.logins_failed),
    );
    for sample in log.unparsed_samples.iter().take(3) {
        text.push_str(&format!("          unparsed: {sample}\n"));
    }
    text
}

/// What the engine did.
pub fn of_engine(judge: &Judge, config: &Config) -> String {
    let counters = judge.engine().counters();
    let senders = judge.engine().senders().len();
    let tally = judge.tally();
    let mut text = format!(
        "judged    {} deliveries of {} senders; {} retries and {} messages hidden by TLS known as such\n",
        grouped(counters.deliveries),
        grouped(senders as u64),
        grouped(counters.retries),
        grouped(counters.hidden_messages),
    );
    text.push_str(&format!(
        "alerts    {} incidents opened, {} updates, {} closed; budget {} false alarms in 1,000 sender-days\n",
        grouped(tally.opened),
        grouped(tally.updated),
        grouped(tally.closed),
        config.detect.false_alarms_per_1000_sender_days,
    ));
    text + &report::of(judge.alerts(), Paint::stderr())
}

/// Thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(
            [0, 12, 999, 1_000, 1_234_567].map(grouped),
            ["0", "12", "999", "1,000", "1,234,567"].map(String::from)
        );
    }
}
