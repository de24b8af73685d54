//! What an incident tells beside its reasons: whose mail makes up the excess, which way it left, whom it reached, and
//! which stages of a hijack were seen, when.
//!
//! *In*: a [`Reach`], the baselines of those it names, logins. *Out*: a [`Trail`]. *Bound*: as of the reach;
//! `limits::LOGINS_REMEMBERED_MAX` accounts.
//!
//! A stage is told only where its marks speak for a hijack: one refused recipient is nobody's burst.

use super::Engine;
use super::episode::Episode;
use super::evidence::usual_max;
use super::incident::Incident;
use super::model::Model;
use super::reach::{Origin, Reach, STAGES, Stage};
use super::sender::{Sender, SenderId, SenderKey};
use super::top::Top;
use crate::limits;
use crate::mail::Untrusted;
use crate::observation::Vantage;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A login that came longer before the first delivery belongs to another story, seconds.
const LOGIN_BEFORE_SECONDS: f64 = 7.0 * 86_400.0;

/// One origin's part in an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OriginShare {
    /// Who.
    pub origin: Origin,
    /// Deliveries of its mail, at least.
    pub messages: u64,
    /// Deliveries that are normal for it in the time; `None` where nobody learned it.
    pub usual: Option<f64>,
    /// Its share of what is more than normal, 0 to 1.
    pub share_of_excess: f64,
}

/// What an incident tells beside its reasons.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trail {
    /// Accounts and clients, as a log names them, the greatest excess first.
    pub origins: Vec<OriginShare>,
    /// Deliveries of origins that are not named or that the log does not know.
    pub origins_omitted: u64,
    /// Scripts and web clients, as headers name them.
    pub headers: Vec<OriginShare>,
    /// Where an account's mail left the company, and how much.
    pub ways: Vec<(SenderId, u64)>,
    /// Domains whose recipients accepted, and how many of them.
    pub domains: Vec<(Untrusted, u64)>,
    /// Recipients that accepted and whose domain is not named.
    pub domains_omitted: u64,
    /// Recipients in the company's own domains that accepted; `None` where no domain is declared.
    pub inside: Option<u64>,
    /// When each stage was first seen, in the order of [`super::reach::STAGES`].
    pub stages: [Option<Timestamp>; STAGES.len()],
}

/// What was noticed about an account's logins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Login {
    guessed_at: Option<Timestamp>,
    new_network_at: Option<Timestamp>,
}

impl Login {
    fn last_at(&self) -> Option<Timestamp> {
        self.guessed_at.max(self.new_network_at)
    }
}

/// Logins of accounts that were not like those before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Logins(BTreeMap<Untrusted, Login>);

impl Logins {
    /// Notes one that succeeded. The first of a story counts, not the last.
    pub fn note(&mut self, account: &Untrusted, at: Timestamp, guessed: bool, new_network: bool) {
        if !guessed && !new_network {
            return;
        }
        if self.0.len() >= limits::LOGINS_REMEMBERED_MAX && !self.0.contains_key(account) {
            let oldest = self.0.iter().min_by(|a, b| a.1.last_at().cmp(&b.1.last_at()).then(a.0.cmp(b.0)));
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.0.remove(&oldest);
            }
        }
        let login = self.0.entry(account.clone()).or_default();
        let old = |before: Option<Timestamp>| {
            before.is_none_or(|before| at.seconds_since(before) > LOGIN_BEFORE_SECONDS)
        };
        if guessed && old(login.guessed_at) {
            login.guessed_at = Some(at);
        }
        if new_network && old(login.new_network_at) {
            login.new_network_at = Some(at);
        }
    }

    /// Forgets logins that belong to no story any more.
    pub fn sweep(&mut self, now: Timestamp) {
        self.0.retain(|_, login| {
            login.last_at().is_some_and(|last| now.seconds_since(last) <= 2.0 * LOGIN_BEFORE_SECONDS)
        });
    }

    /// Logins of an account that belong to a story which began at `first_at`: by guessing, and from a new network.
    fn of(&self, account: &Untrusted, first_at: Timestamp) -> [Option<Timestamp>; 2] {
        let login = self.0.get(account).copied().unwrap_or_default();
        [login.guessed_at, login.new_network_at]
            .map(|at| at.filter(|at| first_at.seconds_since(*at) <= LOGIN_BEFORE_SECONDS))
    }
}

impl Engine {
    /// Fills in what an incident tells beside its reasons, as of now. One of volume or of unlogged mail has none: what
    /// the episode counts is other mail.
    pub(super) fn tell_trail(&self, incident: &mut Incident) {
        if !incident.is_of_episode() {
            return;
        }
        let speaking =
            incident.vantages.iter().filter_map(|vantage| self.episode(&incident.sender, *vantage));
        let Some(episode) = speaking.max_by_key(|episode| episode.messages) else { return };
        let Some(reach) = &episode.reach else { return };
        // The wire knows no accounts; where the log of the same sender is read too, it does.
        let by_log =
            self.episode(&incident.sender, Vantage::Log).and_then(|episode| episode.reach.as_deref());
        let logged = if reach.origins.total() > 0 { reach } else { by_log.unwrap_or(reach) };
        let span_days = episode.last_at.seconds_since(episode.first_at).max(60.0) / 86_400.0;
        let usual = self.usual_of(&incident.sender, span_days).unwrap_or(0.0);
        let origins = self.shares(&logged.origins, usual, span_days);
        let named: u64 = origins.iter().map(|share| share.messages).sum();
        let domains = reach.domains.list().into_iter().take(limits::ALERT_DOMAINS_MAX);
        let domains: Vec<(Untrusted, u64)> = domains.map(|(name, n)| (name.clone(), n)).collect();
        let told: u64 = domains.iter().map(|(_, recipients)| recipients).sum();
        incident.trail = Trail {
            origins_omitted: logged.origins.total() - named,
            headers: self.shares(&reach.headers, usual, span_days),
            ways: reach.ways.list().into_iter().map(|(way, n)| (way.clone(), n)).collect(),
            domains_omitted: reach.domains.total() - told,
            domains,
            inside: reach.inside,
            stages: self.stages(incident, episode, reach, &origins),
            origins,
        };
    }

    fn episode(&self, id: &SenderId, vantage: Vantage) -> Option<&Episode> {
        self.senders.get(&SenderKey { vantage, id: id.clone() })?.episode()
    }

    /// Deliveries that are normal for a sender in a span, as its log tells of it, or else the wire.
    fn usual_of(&self, id: &SenderId, span_days: f64) -> Option<f64> {
        let of = |vantage| self.senders.get(&SenderKey { vantage, id: id.clone() });
        let sender = of(Vantage::Log).or_else(|| of(Vantage::Wire))?;
        Some(sender.usual_per_day() * span_days)
    }

    /// Each one's share of what is more than normal: of all of them together, or of their sender if that is more.
    fn shares(&self, counted: &Top<Origin>, usual_of_all: f64, span_days: f64) -> Vec<OriginShare> {
        let mut shares: Vec<OriginShare> = counted
            .list()
            .into_iter()
            .map(|(origin, messages)| {
                let id = match origin {
                    Origin::Account(name) => Some(SenderId::Account(name.clone())),
                    Origin::Client(address) => Some(SenderId::Address(*address)),
                    Origin::Script(_) | Origin::WebClient(_) => None,
                };
                let usual = id.and_then(|id| self.usual_of(&id, span_days));
                let excess = (messages as f64 - usual.unwrap_or(0.0)).max(0.0);
                OriginShare { origin: origin.clone(), messages, usual, share_of_excess: excess }
            })
            .collect();
        let together: f64 = shares.iter().map(|share| share.share_of_excess).sum();
        let excess = together.max(counted.total() as f64 - usual_of_all).max(f64::MIN_POSITIVE);
        shares.iter_mut().for_each(|share| share.share_of_excess /= excess);
        shares.sort_by(|a, b| b.share_of_excess.total_cmp(&a.share_of_excess));
        shares.truncate(limits::ALERT_ORIGINS_MAX);
        shares
    }

    fn stages(
        &self,
        incident: &Incident,
        episode: &Episode,
        reach: &Reach,
        origins: &[OriginShare],
    ) -> [Option<Timestamp>; STAGES.len()] {
        let speaks = |name: &str| {
            let mut reasons = incident.evidence.iter();
            reasons.any(|reason| reason.name == name && reason.weight_nats.is_some_and(|nats| nats > 0.0))
        };
        let account = match &incident.sender {
            SenderId::Account(name) => Some(name),
            _ => origins.first().filter(|share| share.share_of_excess > 0.5).and_then(|share| {
                match &share.origin {
                    Origin::Account(name) => Some(name),
                    _ => None,
                }
            }),
        };
        let [guessed, new_network] =
            account.map_or([None; 2], |account| self.logins.of(account, episode.first_at));
        // A few messages within a minute are soon more than a minute's; a blast stays above what is normal.
        let over_usual_at = reach.over_usual_at().filter(|_| incident.messages as f64 > incident.usual_max);
        let shown = |stage: Stage, reason: &str| reach.stage_at(stage).filter(|_| speaks(reason));
        [
            guessed,
            new_network,
            shown(Stage::FirstForeignMail, "foreign_machine"),
            shown(Stage::Blast, "same_letter").into_iter().chain(over_usual_at).min(),
            shown(Stage::UnknownUsers, "no_such_recipient"),
            shown(Stage::ReceiversBlock, "refused_by_policy"),
        ]
    }
}

impl Sender {
    /// What is counted beside the marks, while something speaks for a hijack.
    pub(super) fn reach(&mut self) -> Option<&mut Reach> {
        let episode = self.episode_mut()?;
        Some(episode.reach.get_or_insert_with(Box::default))
    }

    /// Notes when its mail since the change point becomes more than is normal for it.
    pub(super) fn note_excess(&mut self, model: &Model, at: Timestamp) {
        let told = |episode: &Episode| episode.reach.as_deref().is_none_or(Reach::is_over_usual);
        let Some(episode) = self.episode().filter(|episode| !told(episode)) else { return };
        let usual = usual_max(&self.expected(model), episode, at);
        if episode.messages as f64 > usual
            && let Some(reach) = self.reach()
        {
            reach.over_usual(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_login_of_a_story_counts_and_old_ones_are_forgotten() {
        let mut logins = Logins::default();
        let account = Untrusted::from("alice");
        let at = |hours: i64| Timestamp::from_seconds(1_000_000_000 + hours * 3_600);
        logins.note(&account, at(0), false, false);
        assert_eq!(logins, Logins::default());
        logins.note(&account, at(1), false, true);
        logins.note(&account, at(2), true, true);
        assert_eq!(logins.of(&account, at(3)), [Some(at(2)), Some(at(1))]);
        assert_eq!(logins.of(&account, at(9 * 24)), [None, None]);
        logins.note(&account, at(9 * 24), false, true);
        assert_eq!(logins.of(&account, at(9 * 24)), [None, Some(at(9 * 24))]);
        logins.sweep(at(30 * 24));
        assert_eq!(logins, Logins::default());
    }

    #[test]
    fn a_crowd_of_accounts_pushes_out_the_oldest() {
        let mut logins = Logins::default();
        let name = |n: i64| Untrusted::from(format!("user{n}").as_str());
        for n in 0..limits::LOGINS_REMEMBERED_MAX as i64 + 1 {
            logins.note(&name(n), Timestamp::from_seconds(1_000_000_000 + n), true, false);
        }
        assert_eq!(logins.0.len(), limits::LOGINS_REMEMBERED_MAX);
        assert!(!logins.0.contains_key(&name(0)) && logins.0.contains_key(&name(1)));
    }
}
