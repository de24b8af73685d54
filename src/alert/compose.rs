//! An incident's change, or trouble of the sensor itself, becomes the native record.
//!
//! *In*: [`IncidentChange`]. *Out*: [`Alert`]. *Bound*: `limits::ALERT_*`: whatever a sender wrote is cut, and
//! the related senders are named up to a byte budget and counted beyond it.

use super::advice;
use super::record::*;
use crate::company::Role;
use crate::engine::incident::{Change, Evidence, Explanation, Incident, IncidentChange, Kind};
use crate::engine::reach::Origin;
use crate::engine::sender::{Sample, SenderId};
use crate::engine::trail::{OriginShare, Trail};
use crate::limits;
use crate::mail::Untrusted;
use crate::time::Timestamp;

impl SenderName {
    /// Kind and name of a sender.
    pub fn of(id: &SenderId) -> SenderName {
        let (kind, name) = match id {
            SenderId::Address(address) => ("address", address.to_string()),
            SenderId::Account(account) => ("account", printable(account, limits::ALERT_NAME_BYTES_MAX)),
            SenderId::Block(block) => ("block", block.to_string()),
            SenderId::Host(host) => ("host", printable(host, limits::ALERT_NAME_BYTES_MAX)),
        };
        SenderName { kind: kind.into(), name }
    }
}

impl Alert {
    /// The record of one change. Who reports ([`Alert::sensor`]), what the capture dropped ([`Coverage`]) and
    /// what the alert budget held back ([`Suppressed`]) are known to the caller only, who adds them.
    pub fn of(change: &IncidentChange) -> Alert {
        let incident = &change.incident;
        let name = SenderName::of(&incident.sender);
        let incident_id = format!("{:016x}", incident.id);
        let (related, related_omitted) = related(&incident.related);
        let attribution = attribution(&incident.trail);
        // An account's clients and a block's addresses are told apart; at an address one origin may be all of it.
        let at_address = matches!(incident.sender, SenderId::Address(_) | SenderId::Host(_));
        let culprit = advice::culprit(&attribution).filter(|_| at_address);
        let headline = advice::headline(change, &name.name, culprit);
        let next_steps = advice::next_steps(change, culprit);
        let samples: Vec<SampleRecord> = incident.samples.iter().map(sample_record).collect();
        Alert {
            schema_version: SCHEMA_VERSION.into(),
            id: format!("{incident_id}-{}", incident.sequence),
            change: change.change,
            incident: IncidentRef { id: incident_id, sequence: incident.sequence },
            times: Times {
                first: incident.first_at.to_rfc3339(),
                last: incident.last_at.to_rfc3339(),
                event: change.at.to_rfc3339(),
                opened: incident.opened_at.to_rfc3339(),
            },
            sensor: None,
            headline,
            sender: SenderRef {
                kind: name.kind,
                name: name.name,
                role: incident.role,
                role_declared: incident.role_declared,
            },
            related,
            related_omitted,
            kind: incident.kind,
            confidence: rounded(incident.confidence),
            severity: advice::severity(incident),
            evidence: incident.evidence.iter().map(round_evidence).collect(),
            benign_explanations: incident
                .explanations
                .iter()
                .map(|e| Explanation { worse_by_nats: rounded(e.worse_by_nats), ..e.clone() })
                .collect(),
            test: TestRef {
                evidence_nats: rounded(incident.evidence_nats),
                threshold_nats: rounded(incident.threshold_nats),
                template: incident.template.clone(),
            },
            attribution,
            chain: advice::chain(change),
            blast_radius: blast_radius(incident),
            coverage: Coverage {
                vantages: incident.vantages.clone(),
                hidden_share: rounded(incident.hidden as f64 / incident.messages.max(1) as f64),
                frames_dropped_share: None,
                log_lag_seconds: None,
            },
            suppressed: Suppressed::default(),
            join_keys: join_keys(&samples),
            samples,
            attack_techniques: advice::techniques(incident.kind),
            next_steps,
            before_unblocking: advice::before_unblocking(change),
        }
    }

    /// The record of trouble in the sensor itself, such as lost baselines. `code` is its stable name; `key`
    /// tells two of the same kind apart and makes the id.
    pub fn of_trouble(code: &str, key: &str, at: Timestamp, headline: &str, next_step: &str) -> Alert {
        let at = at.to_rfc3339();
        let incident_id = format!("{:016x}", crate::observation::digest(format!("{code}\n{key}").as_bytes()));
        Alert {
            schema_version: SCHEMA_VERSION.into(),
            id: format!("{incident_id}-0"),
            change: Change::Opened,
            incident: IncidentRef { id: incident_id, sequence: 0 },
            times: Times { first: at.clone(), last: at.clone(), event: at.clone(), opened: at },
            sensor: None,
            sender: SenderRef {
                kind: "sensor".into(),
                name: "portreeve".into(),
                role: Role::Application,
                role_declared: true,
            },
            related: Vec::new(),
            related_omitted: 0,
            kind: Kind::Unknown,
            confidence: 1.0,
            severity: Severity { name: "high".into(), score: 73 },
            headline: cut(headline.to_owned(), limits::ALERT_TEXT_BYTES_MAX),
            evidence: Vec::new(),
            benign_explanations: Vec::new(),
            test: TestRef { evidence_nats: 0.0, threshold_nats: 0.0, template: code.into() },
            attribution: Attribution::default(),
            chain: Chain::default(),
            blast_radius: BlastRadius::default(),
            coverage: Coverage {
                vantages: Vec::new(),
                hidden_share: 0.0,
                frames_dropped_share: None,
                log_lag_seconds: None,
            },
            suppressed: Suppressed::default(),
            join_keys: JoinKeys::default(),
            samples: Vec::new(),
            attack_techniques: Vec::new(),
            next_steps: vec![next_step.to_owned()],
            before_unblocking: Vec::new(),
        }
    }
}

/// Four decimals are more than any of these numbers is worth; fewer digits make lines that people can read.
/// JSON knows no infinity: what is beyond any evidence becomes a billion.
fn rounded(value: f64) -> f64 {
    let value = if value.is_nan() { 0.0 } else { value.clamp(-1e9, 1e9) };
    (value * 10_000.0).round() / 10_000.0
}

fn round_evidence(evidence: &Evidence) -> Evidence {
    Evidence {
        observed: rounded(evidence.observed),
        expected: rounded(evidence.expected),
        weight_nats: evidence.weight_nats.map(rounded),
        ..evidence.clone()
    }
}

/// What somebody outside wrote, without deceptive characters, cut to a length in a JSON line.
fn printable(text: &Untrusted, bytes_max: usize) -> String {
    cut(text.to_lossy(), bytes_max)
}

/// Bytes that a character takes in a JSON string.
fn json_bytes(c: char) -> usize {
    match c {
        '"' | '\\' => 2,
        c if c < ' ' => 6,
        c => c.len_utf8(),
    }
}

/// Cuts at a character, and says so with an ellipsis.
fn cut(text: String, bytes_max: usize) -> String {
    if text.chars().map(json_bytes).sum::<usize>() <= bytes_max {
        return text;
    }
    let mut left = bytes_max - '…'.len_utf8();
    let mut out: String = text
        .chars()
        .take_while(|c| {
            let bytes = json_bytes(*c);
            let fits = bytes <= left;
            left = left.saturating_sub(bytes);
            fits
        })
        .collect();
    out.push('…');
    out
}

/// Names as many as the budget allows, and counts the rest.
fn related(ids: &[SenderId]) -> (Vec<SenderName>, u64) {
    let mut left = limits::ALERT_RELATED_BYTES_MAX;
    let names: Vec<SenderName> = ids
        .iter()
        .map(SenderName::of)
        .take_while(|name| {
            let bytes = 32 + name.name.chars().map(json_bytes).sum::<usize>();
            let fits = bytes <= left;
            left = left.saturating_sub(bytes);
            fits
        })
        .collect();
    let omitted = (ids.len() - names.len()) as u64;
    (names, omitted)
}

fn attribution(trail: &Trail) -> Attribution {
    let records = |shares: &[OriginShare]| shares.iter().map(origin_record).collect();
    let egress = |(id, messages): &(SenderId, u64)| {
        let SenderName { kind, name } = SenderName::of(id);
        EgressRecord { kind, name: cut(name, limits::ALERT_TRAIL_NAME_BYTES_MAX), messages: *messages }
    };
    Attribution {
        origins: records(&trail.origins),
        messages_omitted: trail.origins_omitted,
        headers: records(&trail.headers),
        egress: trail.ways.iter().map(egress).collect(),
    }
}

fn origin_record(share: &OriginShare) -> OriginRecord {
    let text = |name: &Untrusted| printable(name, limits::ALERT_TRAIL_NAME_BYTES_MAX);
    let (kind, name) = match &share.origin {
        Origin::Account(name) => ("account", text(name)),
        Origin::Client(address) => ("client", address.to_string()),
        Origin::Script(name) => ("script", text(name)),
        Origin::WebClient(address) => ("web_client", address.to_string()),
    };
    OriginRecord {
        kind: kind.into(),
        name,
        messages: share.messages,
        usual_messages: share.usual.map(rounded),
        share_of_excess: rounded(share.share_of_excess),
    }
}

fn blast_radius(incident: &Incident) -> BlastRadius {
    let trail = &incident.trail;
    let domain = |(domain, recipients): &(Untrusted, u64)| DomainRecord {
        domain: printable(domain, limits::ALERT_TRAIL_NAME_BYTES_MAX),
        recipients_accepted: *recipients,
    };
    BlastRadius {
        messages: incident.messages,
        recipients_accepted: incident.accepted,
        messages_hidden: incident.hidden,
        addresses: if matches!(incident.sender, SenderId::Block(_)) { incident.addresses } else { 1 },
        domains: trail.domains.iter().map(domain).collect(),
        recipients_omitted: trail.domains_omitted,
        recipients_inside: trail.inside,
    }
}

fn sample_record(sample: &Sample) -> SampleRecord {
    let text = |text: &Option<Untrusted>| {
        text.as_ref().map(|text| printable(text, limits::ALERT_SAMPLE_TEXT_BYTES_MAX))
    };
    SampleRecord {
        at: sample.at.to_rfc3339(),
        address: sample.address.map(|address| address.to_string()),
        client: sample.client.map(|address| address.to_string()),
        responder: sample.responder.map(|address| address.to_string()),
        reverse_path: text(&sample.reverse_path),
        forward_path: text(&sample.forward_path),
        forward_domain: text(&sample.forward_domain),
        forward_path_digest: sample.forward_path_digest.map(|digest| format!("{digest:016x}")),
        reply_code: sample.code,
        reply_text: text(&sample.text),
        queue_id: text(&sample.queue_id),
    }
}

fn join_keys(samples: &[SampleRecord]) -> JoinKeys {
    let distinct = |pick: fn(&SampleRecord) -> &Option<String>| {
        let mut list: Vec<String> = Vec::new();
        for value in samples.iter().filter_map(|sample| pick(sample).as_ref()) {
            if !value.is_empty() && !list.contains(value) {
                list.push(value.clone());
            }
        }
        list
    };
    JoinKeys {
        queue_ids: distinct(|sample| &sample.queue_id),
        responders: distinct(|sample| &sample.responder),
        forward_domains: distinct(|sample| &sample.forward_domain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_text_ends_with_an_ellipsis_and_fits() {
        let text = cut("é\"".repeat(100), 50);
        assert!(text.ends_with('…') && serde_json::to_string(&text).unwrap().len() <= 52);
        assert_eq!(cut("short".into(), 50), "short");
    }

    #[test]
    fn numbers_that_json_lacks_are_still_numbers() {
        assert_eq!((rounded(f64::INFINITY), rounded(f64::NAN), rounded(0.123_456)), (1e9, 0.0, 0.1235));
    }
}
