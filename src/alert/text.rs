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
    for line in trail(alert) {
        out.push_str(&format!("  {line}\n"));
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

/// Whose mail it is, whom it reached, which stages were seen: a line each, as far as it is known.
pub fn trail(alert: &Alert) -> Vec<String> {
    [attribution(alert), reached(alert), course(alert)].into_iter().flatten().collect()
}

/// Whose mail it is: the first three origins.
fn attribution(alert: &Alert) -> Option<String> {
    let all = alert.attribution.origins.iter().chain(&alert.attribution.headers);
    let parts: Vec<String> = all
        .filter(|origin| origin.share_of_excess >= 0.05)
        .take(3)
        .map(|origin| {
            let share = 100.0 * origin.share_of_excess;
            let messages = if origin.messages == 1 { "message" } else { "messages" };
            format!(
                "{} {} ({share:.0} %, {} {messages})",
                origin.kind.replace('_', " "),
                origin.name,
                origin.messages
            )
        })
        .collect();
    (!parts.is_empty()).then(|| format!("excess from: {}", parts.join(", ")))
}

/// Whom it reached: the first three domains.
fn reached(alert: &Alert) -> Option<String> {
    let radius = &alert.blast_radius;
    let named = radius.domains.iter().take(3);
    let parts: Vec<String> =
        named.map(|domain| format!("{} at {}", domain.recipients_accepted, domain.domain)).collect();
    let inside = radius.recipients_inside.filter(|inside| *inside > 0);
    let inside = inside.map(|inside| format!("; {inside} of them in domains of ours")).unwrap_or_default();
    let accepted = radius.recipients_accepted;
    (!parts.is_empty()).then(|| format!("accepted by {accepted} recipients: {}{inside}", parts.join(", ")))
}

/// The stages that were seen, and what comes next.
fn course(alert: &Alert) -> Option<String> {
    let seen = alert.chain.stages.iter().filter_map(|stage| Some((stage, stage.seen_at.as_ref()?)));
    let parts: Vec<String> = seen
        .map(|(stage, at)| format!("{} {}", stage.name.replace('_', " "), &at[..at.len().min(19)]))
        .collect();
    let next = alert.chain.next.as_ref().map(|next| format!(". Expect next: {next}")).unwrap_or_default();
    (!parts.is_empty()).then(|| format!("seen so far: {}{next}", parts.join(", ")))
}
