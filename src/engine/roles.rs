//! Which role an undeclared address has: the row of `baselines/` whose typical sender it resembles most.
//!
//! *In*: what was learned of a sender. *Out*: its role, and since when. *Bound*: changes that wait. *Spec*:
//! docs/detection.md, roles.
//!
//! A naive Bayes classifier (each trait normal on its logarithmic scale, roles equally likely) with hysteresis: once a
//! day, a role is left only for one that fits clearly better. Declared roles are never left.

use super::Engine;
use super::model::{Model, Spread, Typical};
use super::sender::{Sender, SenderId, SenderKey};
use crate::company::{Company, Role};
use crate::limits;
use crate::observation::Vantage;
use crate::time::{PROFILE_BINS, Timestamp};
use serde::{Deserialize, Serialize};

/// How long a sender is watched before its role is told, days.
const WATCHED_DAYS_MIN: f64 = 7.0;
/// Deliveries before its role is told.
const MESSAGES_MIN: u32 = 40;
/// How much better another role must fit before it is taken, nats: twenty to one.
const CHANGE_NATS: f64 = 3.0;
/// Office hours: weekdays from this hour on, up to the other.
const OFFICE_HOURS: std::ops::Range<usize> = 7..19;
/// Roles that an address may be found to have. What is under the rate of a silent address stays unused. A bulk sender is
/// not among them: its mailings are clipped when it is learned, so its ordinary days are those of a mail server, and
/// its higher bar is nothing to be earned by sending more.
const ROLES: [Role; 4] = [Role::MailRelay, Role::Application, Role::Device, Role::Workstation];

/// A role that was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnedRole {
    /// Since when.
    pub since: Timestamp,
    /// What it was taken for before.
    pub before: Role,
}

/// A role that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleChange {
    /// Whose.
    pub sender: SenderKey,
    /// When.
    pub at: Timestamp,
    /// What it was taken for.
    pub before: Role,
    /// What it is taken for from now on.
    pub role: Role,
}

/// The traits that roles are told by, on their logarithmic scales.
struct Habits {
    messages_per_day: f64,
    novel_recipient: f64,
    office_hours: f64,
}

impl Habits {
    fn of(model: &Model, sender: &Sender) -> Habits {
        let (expected, week) = (sender.expected(model), sender.week(model));
        let weekday =
            |hours: &mut dyn Iterator<Item = usize>| 5.0 * hours.map(|hour| week[hour]).sum::<f64>();
        let weekend = 2.0 * week[24..PROFILE_BINS].iter().sum::<f64>();
        let office = weekday(&mut OFFICE_HOURS.clone()) / (weekday(&mut (0..24)) + weekend);
        Habits {
            messages_per_day: sender.usual_per_day().max(0.01).ln(),
            novel_recipient: log_odds(expected.law.novel),
            office_hours: log_odds(office.clamp(0.01, 0.99)),
        }
    }

    /// Log-likelihood under a role, up to a constant.
    fn fit(&self, typical: &Typical) -> f64 {
        let of = |value: f64, spread: &Spread| {
            -0.5 * ((value - spread.middle) / spread.deviation).powi(2) - spread.deviation.ln()
        };
        of(self.messages_per_day, &typical.messages_per_day)
            + of(self.novel_recipient, &typical.novel_recipient)
            + of(self.office_hours, &typical.office_hours)
    }
}

/// ln(p / (1 − p)).
pub(super) fn log_odds(share: f64) -> f64 {
    (share / (1.0 - share)).ln()
}

/// The role that a sender has earned by `at`; its present one where nothing else fits clearly better.
fn earned(model: &Model, sender: &Sender, at: Timestamp) -> Role {
    let watched_days = at.seconds_since(sender.first_at) / 86_400.0;
    if watched_days < WATCHED_DAYS_MIN || sender.messages < MESSAGES_MIN || sender.is_quiet() {
        return sender.role;
    }
    let habits = Habits::of(model, sender);
    let fit = |role: Role| habits.fit(&model.prior(role).typical);
    let best = ROLES.into_iter().max_by(|a, b| fit(*a).total_cmp(&fit(*b))).unwrap_or(sender.role);
    let leaves = sender.role == Role::Unused || fit(best) >= fit(sender.role) + CHANGE_NATS;
    if leaves { best } else { sender.role }
}

/// Role that somebody declared, or that goes with what the sender is; `None` where it is to be learned.
pub(super) fn declared(company: &Company, id: &SenderId) -> Option<Role> {
    match id {
        SenderId::Address(address) => company.host_of(*address).and_then(|host| host.role),
        SenderId::Host(_) => Some(Role::MailRelay),
        SenderId::Account(_) => Some(Role::Workstation),
        SenderId::Block(_) => Some(Role::Unused),
    }
}

/// Gives a sender the role that was declared for it, if one was.
pub(super) fn declare(company: &Company, id: &SenderId, sender: &mut Sender) {
    if let Some(role) = declared(company, id) {
        sender.role = role;
        sender.learned_role = None;
    }
}

impl Engine {
    /// The role of a sender: declared, else as it was learned on one of the roads.
    pub(super) fn role_of(&self, id: &SenderId) -> Role {
        declared(&self.company, id).unwrap_or_else(|| {
            let on = |vantage| self.senders.get(&SenderKey { vantage, id: id.clone() });
            let learned = [Vantage::Wire, Vantage::Log].into_iter().filter_map(on).map(|sender| sender.role);
            learned.into_iter().find(|role| *role != Role::Unused).unwrap_or(Role::Unused)
        })
    }

    /// Once a day, with the first delivery of it: looks whether a sender has another role now. Nothing is learned from a
    /// sender under suspicion.
    pub(super) fn reconsider_role(&mut self, key: &SenderKey, amber: f64, at: Timestamp) {
        if declared(&self.company, &key.id).is_some() || self.incidents.contains_key(&key.id) {
            return;
        }
        let Some(sender) = self.senders.get_mut(key).filter(|sender| sender.evidence() < amber) else {
            return;
        };
        let before = sender.role;
        let role = earned(&self.model, sender, at);
        if role == before {
            return;
        }
        sender.role = role;
        sender.learned_role = Some(Box::new(LearnedRole { since: at, before }));
        self.counters.role_changes += 1;
        if self.role_changes.len() >= limits::ROLE_CHANGES_WAITING_MAX {
            return;
        }
        self.role_changes.push(RoleChange { sender: key.clone(), at, before, role });
    }

    /// Roles that changed since the last call, in the order in which they did.
    pub fn take_role_changes(&mut self) -> Vec<RoleChange> {
        std::mem::take(&mut self.role_changes)
    }
}
