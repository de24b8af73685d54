//! What people say about an incident: it was a hijack, or it was not.
//!
//! *In*: [`Feedback`]. *Out*: a higher bar for the dismissed pattern of this sender, and the realised share of
//! false alarms. *Bound*: `limits::LENIENCIES_MAX` raised bars; each at most [`RAISE_MAX_NATS`], gone after
//! [`RAISE_DAYS`] days.
//!
//! A dismissal raises the bar of one sender for one pattern (the hijack template that the incident was told by) by
//! [`RAISE_NATS`]: evidence must be e^4 ≈ 55 times as improbable as before. Another dismissal adds as much again,
//! up to [`RAISE_MAX_NATS`]. The rise falls evenly to nothing in [`RAISE_DAYS`] days. Other patterns keep their
//! bar: who dismissed "an own account with a better list" is still told of a foreign machine.

use super::Engine;
use super::incident::{Change, IncidentChange};
use super::sender::{SenderId, SenderKey};
use crate::limits;
use crate::observation::Vantage;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What one dismissal adds to the bar, nats.
pub const RAISE_NATS: f64 = 4.0;
/// Most that dismissals may raise a bar by, nats.
pub const RAISE_MAX_NATS: f64 = 12.0;
/// Days in which a rise falls to nothing.
pub const RAISE_DAYS: f64 = 30.0;

/// The verdict of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedbackVerdict {
    /// It was a hijack.
    Confirmed,
    /// It was not.
    Dismissed,
}

/// What a person said about an incident. All but the verdict stands in its alerts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feedback {
    /// The incident's id.
    pub incident: u64,
    /// Its sender.
    pub sender: SenderId,
    /// The template that it was told by (`test.template` of its alerts).
    pub template: String,
    /// What was said.
    pub verdict: FeedbackVerdict,
    /// When it was said, in event time.
    pub at: Timestamp,
}

/// A bar that was raised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leniency {
    /// Whose.
    pub sender: SenderId,
    /// For which template.
    pub template: String,
    /// By how much at `at`, nats.
    pub nats: f64,
    /// When.
    pub at: Timestamp,
    /// The incident that was dismissed last: the same one counts once.
    pub incident: u64,
}

impl Leniency {
    /// What is left of the rise, nats.
    pub fn left_nats(&self, now: Timestamp) -> f64 {
        let days = now.seconds_since(self.at).max(0.0) / 86_400.0;
        self.nats * (1.0 - days / RAISE_DAYS).max(0.0)
    }
}

impl Engine {
    /// Takes what a person said. A dismissed incident that is open is closed. Saying the same of the same incident
    /// again changes nothing. Returns whether anything changed.
    pub fn feedback(&mut self, feedback: &Feedback, out: &mut Vec<IncidentChange>) -> bool {
        let mine = |bar: &Leniency| bar.sender == feedback.sender && bar.template == feedback.template;
        let known = self.leniencies.iter().position(mine);
        match feedback.verdict {
            FeedbackVerdict::Confirmed => {
                self.counters.confirmed += 1;
                if let Some(place) = known {
                    self.leniencies.remove(place);
                }
            }
            FeedbackVerdict::Dismissed => {
                let left = match known.map(|place| self.leniencies.remove(place)) {
                    Some(bar) if bar.incident == feedback.incident => {
                        self.leniencies.push(bar);
                        return false;
                    }
                    Some(bar) => bar.left_nats(feedback.at),
                    None => 0.0,
                };
                self.counters.dismissed += 1;
                self.raise(feedback, left);
                self.close_dismissed(feedback, out);
            }
        }
        true
    }

    fn raise(&mut self, feedback: &Feedback, left_nats: f64) {
        let at = feedback.at;
        self.leniencies.retain(|bar| bar.left_nats(at) > 0.0);
        if self.leniencies.len() >= limits::LENIENCIES_MAX {
            // The one with least left goes: forgetting a dismissal errs on the side of saying too much.
            self.leniencies.sort_by(|a, b| b.left_nats(at).total_cmp(&a.left_nats(at)));
            self.leniencies.pop();
        }
        self.leniencies.push(Leniency {
            sender: feedback.sender.clone(),
            template: feedback.template.clone(),
            nats: (left_nats + RAISE_NATS).min(RAISE_MAX_NATS),
            at,
            incident: feedback.incident,
        });
        self.leniencies.sort_by(|a, b| (&a.sender, &a.template).cmp(&(&b.sender, &b.template)));
    }

    fn close_dismissed(&mut self, feedback: &Feedback, out: &mut Vec<IncidentChange>) {
        let open = self.incidents.get(&feedback.sender);
        if open.is_none_or(|incident| incident.id != feedback.incident) {
            return;
        }
        let Some(mut incident) = self.incidents.remove(&feedback.sender) else { return };
        incident.sequence += 1;
        self.tell_totals(&mut incident);
        self.acquit(&feedback.sender);
        out.push(IncidentChange { change: Change::Closed, at: feedback.at, incident });
    }

    /// Starts the test of a sender anew on both roads.
    pub(super) fn acquit(&mut self, id: &SenderId) {
        self.ledger.acquit(id);
        for vantage in [Vantage::Wire, Vantage::Log] {
            let key = SenderKey { vantage, id: id.clone() };
            if let Some(sender) = self.senders.get_mut(&key) {
                sender.acquit();
                if !std::mem::replace(&mut sender.changed, true) {
                    self.changed.push(key);
                }
            }
        }
    }

    /// Bars that dismissals raised, by sender and template.
    pub fn leniencies(&self) -> &[Leniency] {
        &self.leniencies
    }

    /// By how much dismissals raise the bar of a sender for a template, nats.
    pub(super) fn raised_nats(&self, id: &SenderId, template: usize, at: Timestamp) -> f64 {
        let template = &self.model.templates[template].name;
        let mine = |bar: &&Leniency| bar.sender == *id && bar.template == *template;
        self.leniencies.iter().find(mine).map_or(0.0, |bar| bar.left_nats(at))
    }

    /// Dismissed incidents in 1,000 sender-days so far: the false alarms that people found, to be held against the
    /// budget. `None` before a sender-day has passed. Incidents nobody spoke about are not in it.
    pub fn dismissed_per_1000_sender_days(&self) -> Option<f64> {
        let days = self.counters.sender_days;
        (days > 0).then(|| self.counters.dismissed as f64 * 1_000.0 / days as f64)
    }
}
