//! The form for people: a short paragraph for a terminal or a mail.
//!
//! *In*: an [`Alert`]. *Out*: plain text. Everything that a sender wrote is already free of control characters.
//! *Bound*: as the record, and no more than five related senders.

use super::Alert;

/// A paragraph with an empty line after it.
pub fn encode(alert: &Alert) -> String {
    let mut out = format!(
        "{} {} ({}, confidence {:.0} %) {}\n  {}\n",
        alert.times.event,
        super::variant_name(&alert.change).to_uppercase(),
        alert.severity.name,
        alert.confidence * 100.0,
        alert.id,
        alert.headline
    );
    for evidence in &alert.evidence {
        let weight = evidence.weight_nats.map_or("      ".into(), |w| format!("{w:+6.1}"));
        out.push_str(&format!("  {weight}  {}\n", evidence.sentence));
    }
    if let Some(best) = alert.benign_explanations.first() {
        let fit = if best.worse_by_nats >= 0.0 {
            format!("fits worse by {:.1} nats", best.worse_by_nats)
        } else {
            format!("fits the marks alone better by {:.1} nats", -best.worse_by_nats)
        };
        out.push_str(&format!("  best benign explanation: {} ({fit})\n", best.says));
    }
    for reason in &alert.before_unblocking {
        out.push_str(&format!("  {reason}\n"));
    }
    if !alert.related.is_empty() {
        let names: Vec<&str> = alert.related.iter().take(5).map(|r| r.name.as_str()).collect();
        let more = alert.related.len().saturating_sub(5) as u64 + alert.related_omitted;
        let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
        out.push_str(&format!("  related: {}{tail}\n", names.join(", ")));
    }
    if let Some(step) = alert.next_steps.first() {
        out.push_str(&format!("  next: {step}\n"));
    }
    out.push('\n');
    out
}
