//! Bulk mailings announced in advance: not judged, up to their bound and their end.
//!
//! *In*: [`Planned`], from the configuration or from a person while the sensor runs. *Out*: whether a delivery is
//! covered. *Bound*: `limits::PLANNED_MAX` plans; each covers `recipients_max` deliveries and not one more.
//!
//! A planned mailing is neither judged nor learned from. What comes from a machine or network that is foreign to
//! the sender is no part of it and is judged as ever. A planned account covers the relay that it leaves by; a
//! planned relay does not cover the accounts behind it.

use super::Engine;
use super::sender::SenderId;
use crate::limits;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A mailing that was announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Who will send it.
    pub sender: SenderId,
    /// From when on.
    pub from: Timestamp,
    /// Until when; from this moment on the sender is judged as ever.
    pub until: Timestamp,
    /// Most recipients; the next one is judged as ever.
    pub recipients_max: u64,
}

/// A plan that cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// It ends before it begins.
    #[error("a planned mailing must end after it begins")]
    Empty,
    /// There are too many.
    #[error(
        "at most {} mailings can be planned at once: withdraw one, or wait for one to end",
        limits::PLANNED_MAX
    )]
    TooMany,
}

/// A plan and how much of it was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What was announced.
    pub planned: Planned,
    /// Deliveries that it covered.
    pub used: u64,
}

impl Engine {
    /// Announces a mailing. The same sender and beginning again replaces the end and the bound and keeps what was
    /// used, so that a configuration read twice plans nothing twice.
    pub fn plan(&mut self, planned: Planned) -> Result<(), PlanError> {
        if planned.until <= planned.from {
            return Err(PlanError::Empty);
        }
        let same =
            |plan: &&mut Plan| plan.planned.sender == planned.sender && plan.planned.from == planned.from;
        if let Some(plan) = self.plans.iter_mut().find(same) {
            plan.planned = planned;
        } else if self.plans.len() < limits::PLANNED_MAX {
            self.plans.push(Plan { planned, used: 0 });
            self.plans.sort_by(|a, b| {
                (a.planned.from, &a.planned.sender).cmp(&(b.planned.from, &b.planned.sender))
            });
        } else {
            return Err(PlanError::TooMany);
        }
        Ok(())
    }

    /// Takes a plan back. `false` where there is none of this sender and beginning.
    pub fn withdraw_plan(&mut self, sender: &SenderId, from: Timestamp) -> bool {
        let before = self.plans.len();
        self.plans.retain(|plan| plan.planned.sender != *sender || plan.planned.from != from);
        self.plans.len() < before
    }

    /// Plans that have not ended, by their beginning.
    pub fn plans(&self) -> &[Plan] {
        &self.plans
    }

    /// Which of egress, origin and block a delivery at `at` is covered for; counts it as used.
    pub(super) fn take_planned(&mut self, senders: [Option<&SenderId>; 3], at: Timestamp) -> [bool; 3] {
        if self.plans.is_empty() {
            return [false; 3];
        }
        let [egress, origin, block] = senders;
        let mut use_plan_of = |sender: Option<&SenderId>| {
            let Some(sender) = sender else { return false };
            let runs = |plan: &&mut Plan| {
                let planned = &plan.planned;
                planned.sender == *sender
                    && (planned.from..planned.until).contains(&at)
                    && plan.used < planned.recipients_max
            };
            let Some(plan) = self.plans.iter_mut().find(runs) else { return false };
            plan.used += 1;
            true
        };
        let by_origin = use_plan_of(origin);
        let by_egress = by_origin || use_plan_of(egress) || use_plan_of(block);
        [by_egress, by_origin, by_egress]
    }

    /// Forgets plans that ended a day ago: what comes late was still planned.
    pub(super) fn drop_ended_plans(&mut self) {
        let now = self.now;
        self.plans.retain(|plan| plan.planned.until.plus_seconds(86_400.0) > now);
    }
}
