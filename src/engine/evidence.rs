//! The reasons for an incident, in the words of people: what was seen, what is normal, what it weighs.
//!
//! *In*: an [`Episode`] and what was expected. *Out*: [`Evidence`] and [`Explanation`]s, heaviest first.
//! *Bound*: one row a mark, one row a regime.

use super::detector::Expected;
use super::episode::{Episode, best};
use super::incident::{Evidence, Explanation};
use super::model::Model;
use crate::time::Timestamp;

/// Most messages that the baseline allows in the span of the episode.
pub fn usual_max(expected: &Expected, episode: &Episode, at: Timestamp) -> f64 {
    let hours = (at.seconds_since(episode.first_at) / 3_600.0).max(1.0 / 60.0);
    let mean = expected.rate * hours;
    (mean + 2.0 * (mean + mean * mean / expected.dispersion).sqrt()).ceil()
}

/// One mark as a row: how often it was set among how many, and its probability under the hijack and normally.
struct Row<'a> {
    name: &'a str,
    set: f64,
    seen: f64,
    hijack: f64,
    own: f64,
    words: &'a str,
}

/// The reasons, heaviest first. Weights are against the sender's own mix, mark by mark.
pub fn reasons(
    model: &Model,
    episode: &Episode,
    expected: &Expected,
    template: usize,
    usual_max: f64,
) -> Vec<Evidence> {
    let seconds = episode.last_at.seconds_since(episode.first_at).max(1.0);
    let mut list = vec![Evidence {
        name: "volume".into(),
        observed: episode.messages as f64,
        expected: usual_max,
        unit: "messages".into(),
        weight_nats: None,
        sentence: format!(
            "{} messages in {}; at this hour at most {} are normal.",
            episode.messages,
            span(seconds),
            usual_max
        ),
    }];
    let rows = rows(model, episode, expected, template);
    list.extend(rows.iter().filter(|row| row.seen > 0.0 && row.set > 0.0).map(Row::evidence));
    list[1..].sort_by(|a, b| {
        b.weight_nats.unwrap_or(0.0).total_cmp(&a.weight_nats.unwrap_or(0.0)).then(a.name.cmp(&b.name))
    });
    list
}

fn rows<'a>(model: &'a Model, episode: &Episode, expected: &Expected, template: usize) -> Vec<Row<'a>> {
    let (hijack, own, marks) = (&model.templates[template], &expected.law, &episode.marks);
    let (novel, novel_seen) = marks.novel();
    let (foreign, foreign_seen) = marks.foreign();
    let (verdict, path) = (marks.verdict(), marks.reverse_path());
    let (verdicts, paths) = (verdict.iter().sum(), path.iter().sum());
    let of_verdict = |name, i: usize, words| Row {
        name,
        set: verdict[i],
        seen: verdicts,
        hijack: hijack.law.verdict[i],
        own: own.verdict[i],
        words,
    };
    let mut rows = vec![
        Row {
            name: "novel_recipient",
            set: novel,
            seen: novel_seen,
            hijack: hijack.law.novel,
            own: own.novel,
            words: "of the recipients were never written to before",
        },
        of_verdict("no_such_recipient", 1, "of the recipients do not exist"),
        of_verdict("refused_by_policy", 2, "were refused as spam or because the address is on a blocklist"),
        of_verdict("deferred", 3, "were put off by the receivers"),
        Row {
            name: "unknown_reverse_path",
            set: path[1],
            seen: paths,
            hijack: hijack.law.reverse_path[1],
            own: own.reverse_path[1],
            words: "bear a sender domain that is not used here",
        },
        Row {
            name: "foreign_machine",
            set: foreign,
            seen: foreign_seen,
            hijack: hijack.law.foreign,
            own: own.foreign,
            words: "come from a machine or network never seen for this sender",
        },
    ];
    for (place, mark) in model.side_marks.iter().enumerate() {
        let (set, seen) = marks.side(place);
        let Some(p) = hijack.side[place] else { continue };
        rows.push(Row {
            name: &mark.name,
            set,
            seen,
            hijack: p,
            own: expected.side[place],
            words: &mark.words,
        });
    }
    rows
}

impl Row<'_> {
    fn evidence(&self) -> Evidence {
        let observed = self.set / self.seen;
        let (p, q) = (self.hijack, self.own);
        let weight = self.set * (p / q).ln() + (self.seen - self.set) * ((1.0 - p) / (1.0 - q)).ln();
        Evidence {
            name: self.name.into(),
            observed,
            expected: self.own,
            unit: "share of deliveries".into(),
            weight_nats: Some(weight),
            sentence: format!("{} % {}; normal is {} %.", percent(observed), self.words, percent(self.own)),
        }
    }
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent >= 10.0 { format!("{percent:.0}") } else { format!("{percent:.1}") }
}

/// A span in the words of people.
pub fn span(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5_400.0 => format!("{:.0} min", s / 60.0),
        s if s < 129_600.0 => format!("{:.1} h", s / 3_600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

/// Benign explanations with how much worse they fit than the best hijack template, best first.
pub fn explanations(model: &Model, episode: &Episode) -> Vec<Explanation> {
    let accused = best(&episode.accused);
    let mut list: Vec<Explanation> = model
        .regimes
        .iter()
        .zip(&episode.explained)
        .map(|(regime, fits)| Explanation {
            name: regime.name.clone(),
            says: regime.says.clone(),
            worse_by_nats: accused - best(std::slice::from_ref(fits)),
        })
        .collect();
    list.sort_by(|a, b| a.worse_by_nats.total_cmp(&b.worse_by_nats).then(a.name.cmp(&b.name)));
    list
}
