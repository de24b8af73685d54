//! Which domains a sender writes to, for the page that people look at: the heaviest few and how much the rest is.
//!
//! *In*: deliveries that are judged. *Out*: one row of `sender_domains` a sender. *Bound*: [`DOMAINS_KEPT`] domains a
//! sender; [`limits::DOMAIN_MIXES_WAITING_MAX`] senders that wait for a commit; [`MIXES_A_COMMIT`] rows and
//! [`DOMAINS_A_COMMIT`] domains a commit.
//! *Spec*: Space-Saving (Metwally, Agrawal, El Abbadi 2005, section 3).
//!
//! No judgement comes of it, so it stands beside the engine's state and costs no memory a sender. A
//! commit writes it along up to these bounds; what is beyond them waits for the next commits, and a crash loses what
//! waits.

use super::tables::{sealed, unsealed};
use crate::engine::memory::InstallKey;
use crate::engine::sender::SenderKey;
use crate::limits;
use crate::mail::Untrusted;
use crate::observation::Delivery;
use crate::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};

/// Domains of one sender that are told apart. Beyond so many, shares are told too low, never too high.
const DOMAINS_KEPT: usize = 128;
/// Longest domain that is kept, octets (RFC 5321 section 4.5.3.1.2 allows 255).
const DOMAIN_BYTES_MAX: usize = 255;
/// Days after which a message counts half.
const HALF_LIFE_DAYS: f64 = 28.0;
/// Rows that one commit writes at most.
const MIXES_A_COMMIT: usize = 1_000;
/// Domains that it takes into them at most, so that a commit's part stays small where senders write to many.
const DOMAINS_A_COMMIT: usize = 8_192;

/// What one sender's recipients are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mix {
    /// The day that the counts are of, counted since the epoch.
    day: i64,
    /// Deliveries whose recipient was seen.
    messages: f64,
    domains: Vec<Counted>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Counted {
    domain: Untrusted,
    /// At most so many deliveries.
    most: f64,
    /// How many of these may have been another domain's.
    doubtful: f64,
}

/// A domain's part in a sender's mail.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DomainShare {
    /// The domain, printable.
    pub domain: String,
    /// Its part of all deliveries, 0 to 1: at least so much.
    pub share: f64,
}

impl Mix {
    /// Lets the counts fade up to a day; an earlier one changes nothing.
    fn fade(&mut self, day: i64) {
        let days = day.saturating_sub(self.day);
        if days > 0 {
            let left = (-(days as f64) / HALF_LIFE_DAYS).exp2();
            self.messages *= left;
            for counted in &mut self.domains {
                counted.most *= left;
                counted.doubtful *= left;
            }
            self.day = day;
        }
    }

    fn add(&mut self, domain: &[u8], most: f64, doubtful: f64) {
        let same = |counted: &&mut Counted| counted.domain.as_bytes().eq_ignore_ascii_case(domain);
        if let Some(counted) = self.domains.iter_mut().find(same) {
            counted.most += most;
            counted.doubtful += doubtful;
            return;
        }
        let mut new = Counted {
            domain: Untrusted::bounded(&domain.to_ascii_lowercase(), DOMAIN_BYTES_MAX),
            most,
            doubtful,
        };
        if self.domains.len() < DOMAINS_KEPT {
            self.domains.push(new);
        } else if let Some(least) = self.domains.iter_mut().min_by(|a, b| a.most.total_cmp(&b.most)) {
            new.most += least.most;
            new.doubtful += least.most;
            *least = new;
        }
    }

    /// Counts one delivery.
    fn count(&mut self, day: i64, domain: &[u8]) {
        self.fade(day);
        self.messages += 1.0;
        self.add(domain, 1.0, 0.0);
    }

    /// Takes in what was counted later.
    fn join(&mut self, later: &Mix) {
        self.fade(later.day);
        self.messages += later.messages;
        for counted in &later.domains {
            self.add(counted.domain.as_bytes(), counted.most, counted.doubtful);
        }
    }

    /// The heaviest domains first, as far as they are certain.
    pub fn shares(&self) -> Vec<DomainShare> {
        let certain = |counted: &Counted| (counted.most - counted.doubtful) / self.messages.max(1e-9);
        let mut shares: Vec<DomainShare> = self
            .domains
            .iter()
            .map(|counted| DomainShare {
                domain: counted.domain.to_lossy(),
                share: certain(counted).min(1.0),
            })
            .filter(|share| share.share >= 0.001)
            .collect();
        shares.sort_by(|a, b| b.share.total_cmp(&a.share).then_with(|| a.domain.cmp(&b.domain)));
        shares
    }
}

/// What was counted since it was last written.
#[derive(Default)]
pub struct Mixes {
    waiting: HashMap<SenderKey, Mix>,
    /// The one that waits longest first.
    order: VecDeque<SenderKey>,
    /// Deliveries for which there was no room.
    pub left_out: u64,
}

impl Mixes {
    /// Counts a delivery of a sender. One that is tried again, or whose recipient was not seen, does not count.
    pub fn count(&mut self, key: SenderKey, at: Timestamp, delivery: &Delivery) {
        let Some(path) = delivery.forward_path.as_ref().filter(|_| delivery.retry != Some(true)) else {
            return;
        };
        let domain = path.domain().strip_suffix(b".").unwrap_or(path.domain());
        if domain.is_empty() || domain.len() > DOMAIN_BYTES_MAX {
            return;
        }
        let day = at.hour_index().div_euclid(24);
        if let Some(mix) = self.waiting.get_mut(&key) {
            return mix.count(day, domain);
        }
        if self.waiting.len() >= limits::DOMAIN_MIXES_WAITING_MAX {
            self.left_out += 1;
            return;
        }
        let mut mix = Mix { day, ..Mix::default() };
        mix.count(day, domain);
        self.order.push_back(key.clone());
        self.waiting.insert(key, mix);
    }

    fn rows_due(&self) -> usize {
        let mut domains = 0;
        let fits = |key: &&SenderKey| {
            domains += self.waiting.get(key).map_or(0, |mix| mix.domains.len());
            domains <= DOMAINS_A_COMMIT
        };
        self.order.iter().take(MIXES_A_COMMIT).take_while(fits).count()
    }

    /// Writes what waits longest, or all. Returns how many rows; they wait until [`Mixes::written`].
    pub fn write(&self, connection: &Connection, key: &InstallKey, all: bool) -> rusqlite::Result<usize> {
        let rows = if all { self.order.len() } else { self.rows_due() };
        for sender in self.order.iter().take(rows) {
            let name = postcard::to_allocvec(sender).unwrap_or_default();
            let Some(later) = self.waiting.get(sender) else { continue };
            let mut mix = read(connection, key, &name)?.unwrap_or_default();
            mix.join(later);
            let blob = sealed(key, &name, postcard::to_allocvec(&mix).unwrap_or_default());
            connection
                .prepare_cached(
                    "INSERT INTO sender_domains (key, domains)
                     SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM sender WHERE key = ?1)
                     ON CONFLICT (key) DO UPDATE SET domains = excluded.domains",
                )?
                .execute(params![name, blob])?;
        }
        Ok(rows)
    }

    /// The first rows got to disk.
    pub fn written(&mut self, rows: usize) {
        for sender in self.order.drain(..rows) {
            self.waiting.remove(&sender);
        }
        self.left_out = 0;
    }

    /// Drops what waits of a sender.
    pub fn forget(&mut self, id: &crate::engine::sender::SenderId) {
        self.order.retain(|key| key.id != *id);
        self.waiting.retain(|key, _| key.id != *id);
    }
}

/// A sender's mix as it is kept; `None` where there is none, or it is damaged: it then begins anew.
pub fn read(connection: &Connection, key: &InstallKey, name: &[u8]) -> rusqlite::Result<Option<Mix>> {
    let blob: Option<Vec<u8>> = connection
        .prepare_cached("SELECT domains FROM sender_domains WHERE key = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    Ok(blob.and_then(|blob| postcard::from_bytes(unsealed(key, name, &blob)?).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_old_counts_less() {
        let mut mix = Mix { day: 100, ..Mix::default() };
        (0..8).for_each(|_| mix.count(100, b"old.example"));
        (0..4).for_each(|_| mix.count(128, b"NEW.example"));
        mix.count(90, b"new.example");
        assert_eq!((mix.day, mix.messages), (128, 9.0));
        let shares = mix.shares();
        assert_eq!(shares[0], DomainShare { domain: "new.example".into(), share: 5.0 / 9.0 });
        assert_eq!(shares[1], DomainShare { domain: "old.example".into(), share: 4.0 / 9.0 });
    }

    proptest! {
        /// In whatever parts it is counted: no share is more than the truth, and what is frequent is there.
        #[test]
        fn a_share_is_never_too_large(words in prop::collection::vec(0u32..4_000, 1..3_000), part in 1usize..400) {
            let domain = |word: u32| format!("d{}.example", (f64::from(word).sqrt() * 8.0) as u32);
            let (mut mix, mut truth) = (Mix::default(), HashMap::<String, f64>::new());
            for part in words.chunks(part) {
                let mut later = Mix::default();
                part.iter().for_each(|word| later.count(0, domain(*word).as_bytes()));
                mix.join(&later);
            }
            words.iter().for_each(|word| *truth.entry(domain(*word)).or_default() += 1.0 / words.len() as f64);
            prop_assert!((mix.messages - words.len() as f64).abs() < 1e-6);
            prop_assert!(mix.domains.len() <= DOMAINS_KEPT);
            for share in mix.shares() {
                prop_assert!(share.share <= truth[&share.domain] + 1e-9);
            }
        }
    }
}
