//! One step of a driver: rows of the outbox, what is sent of them, what became of each.
//!
//! *In*: rows, then fates. *Out*: how far the cursor may move. *Bound*: the sink's batch.

use super::{Fate, Letter};
use crate::alert::Alert;
use crate::store::outbox::{DeadLetter, OutboxRow};

/// Rows of one step, with what the sink is to send of them.
pub struct Batch {
    /// Place and alert id.
    pub rows: Vec<(i64, String)>,
    /// For each row: the letter's index, or what became of it without sending.
    plans: Vec<Plan>,
    /// What is to be sent.
    pub letters: Vec<Letter>,
    /// What the sink said of the letters.
    pub fates: Vec<Fate>,
}

enum Plan {
    Send(usize),
    LeaveOut,
    Dead(String),
}

/// How many rows came to which end.
#[derive(Default)]
pub struct Counts {
    /// The receiver has them.
    pub delivered: u64,
    /// Sent without a receipt.
    pub unconfirmed: u64,
    /// Not severe enough.
    pub left_out: u64,
    /// Put aside.
    pub dead: u64,
}

/// What a step came to.
pub struct Settled {
    /// All rows up to this place are done.
    pub cursor: i64,
    /// Those of them that were put aside.
    pub dead: Vec<DeadLetter>,
    /// How many came to which end.
    pub counts: Counts,
    /// The row at which it stopped, and why.
    pub later: Option<((i64, String), Fate)>,
}

impl Batch {
    /// Sorts rows into what is sent and what is not. A row that cannot be read is put aside, never a stop.
    pub fn sort(rows: Vec<OutboxRow>, score_min: u8) -> Batch {
        let mut batch = Batch { rows: Vec::new(), plans: Vec::new(), letters: Vec::new(), fates: Vec::new() };
        for row in rows {
            let alert = row.record.as_deref().map(serde_json::from_str::<Alert>);
            batch.plans.push(match alert {
                None => Plan::Dead("the stored alert is damaged".into()),
                Some(Err(error)) => Plan::Dead(format!("the stored alert cannot be read: {error}")),
                Some(Ok(alert)) if alert.severity.score < score_min => Plan::LeaveOut,
                Some(Ok(alert)) => {
                    batch.letters.push(Letter { seq: row.seq, alert });
                    Plan::Send(batch.letters.len() - 1)
                }
            });
            batch.rows.push((row.seq, row.id));
        }
        batch
    }

    /// Goes over the rows in order, up to the first that is to be tried again or was not tried.
    pub fn settle(self, cursor: i64) -> Settled {
        let mut settled = Settled { cursor, dead: Vec::new(), counts: Counts::default(), later: None };
        for (row, plan) in self.rows.into_iter().zip(self.plans) {
            let counts = &mut settled.counts;
            let reason = match plan {
                Plan::LeaveOut => {
                    counts.left_out += 1;
                    None
                }
                Plan::Dead(reason) => Some(reason),
                Plan::Send(index) => match self.fates.get(index) {
                    None => break,
                    Some(Fate::Delivered) => {
                        counts.delivered += 1;
                        None
                    }
                    Some(Fate::Unconfirmed) => {
                        counts.unconfirmed += 1;
                        None
                    }
                    Some(Fate::Dead(reason)) => Some(reason.clone()),
                    Some(later @ Fate::Later { .. }) => {
                        settled.later = Some((row, later.clone()));
                        break;
                    }
                },
            };
            settled.cursor = row.0;
            if let Some(reason) = reason {
                settled.counts.dead += 1;
                settled.dead.push(DeadLetter { seq: row.0, id: row.1, reason });
            }
        }
        settled
    }
}
