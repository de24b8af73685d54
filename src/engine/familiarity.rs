//! Whether what is seen was watched long enough to call anything in it new, foreign or wrong.
//!
//! *In*: the road and the log of an observation. *Out*: [`Familiarity`]. *Bound*: none of its own. *Spec*:
//! docs/detection.md, a new install.

use super::Engine;
use super::sender::SenderKey;
use crate::company::Role;
use crate::observation::{Observation, Vantage};

/// How well what an observation shows is known.
#[derive(Clone, Copy)]
pub(super) struct Familiarity {
    /// Whether it was watched long enough to call anything in it new or foreign.
    pub settled: bool,
    /// Extra evidence asked for while it is young, nats.
    pub margin_nats: f64,
}

impl Engine {
    /// How well the road and the log of an observation are known.
    pub(super) fn familiarity(&self, observation: &Observation) -> Familiarity {
        let road = &self.roads[observation.vantage as usize];
        let days = self.settings.settling_days;
        let log = self.log_settled_share(observation);
        let share = road.settled_share(days, self.now).min(log);
        Familiarity {
            settled: road.settled(days, observation.at) && log >= 1.0,
            margin_nats: self.settings.unsettled_margin_nats * (1.0 - share),
        }
    }

    /// Share of the settling time since the log of an observation was first read, 0 to 1. A log names the servers
    /// that write it and no others: a server that no log named before is a log that was not read before, and what
    /// is new to us in it need not be new. On the wire an address that was silent so far may be a stolen one.
    fn log_settled_share(&self, observation: &Observation) -> f64 {
        let days = self.settings.settling_days;
        if observation.vantage == Vantage::Wire || days <= 0.0 {
            return 1.0;
        }
        let [Some(server), _] = self.profiled(&observation.sender) else { return 1.0 };
        let server = self.senders.get(&SenderKey { vantage: Vantage::Log, id: server });
        let age_days = server.map_or(0.0, |server| observation.at.seconds_since(server.first_at) / 86_400.0);
        (age_days / days).clamp(0.0, 1.0)
    }
}

/// Whether a sender must be known before it can be accused: a server whose habits nobody has seen may be a bulk
/// mailer with a poor list. Its accounts and clients, and addresses that should not send at all, may be accused
/// from the first day.
pub(super) fn known_first(role: Role) -> bool {
    matches!(role, Role::MailRelay | Role::BulkSender | Role::Application)
}
