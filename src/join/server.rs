//! One server whose mail is seen on both roads: what waits for its other view, and what became of it.
//!
//! *In*: views of either road. *Out*: [`Fact::Reconciled`]. *Bound*: `limits::JOIN_WAITING_MAX` views a road,
//! `limits::JOIN_SESSIONS_MAX` sessions.
//!
//! A view waits until the other road has gone on far enough past it to have spoken, and then it is settled.

use super::JoinCounters;
use super::coverage::{Blind, Coverage, Silences};
use super::view::{Seen, Story, Traits};
use super::waiting::{Numbered, Waiting};
use crate::limits;
use crate::mail::Untrusted;
use crate::observation::{Delivery, Fact, Observation, Reconciled, SenderKeys, Session, Vantage, View};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The log must have gone on so far past a packet before it is said not to know the mail, seconds: an MTA writes
/// its line after the last recipient was answered, and a log is read in bursts.
const LOG_GRACE_SECONDS: f64 = 60.0;
/// The wire must have gone on so far past a line before the mail is said not to have passed, seconds: a session
/// under TLS is seen when it ends, and an idle one is kept open for minutes.
const WIRE_GRACE_SECONDS: f64 = 900.0;
/// A log that was silent for longer around a packet may have missed it: nothing is said then, seconds.
const LOG_SILENCE_SECONDS: f64 = 600.0;
/// How far the two views of one delivery may lie apart, beside the learned skew, seconds.
const NEAR_SECONDS: f64 = 5.0;
/// The same before the skew is learned, seconds.
const NEAR_AT_FIRST_SECONDS: f64 = 120.0;
/// The same where the receiver's answer is equal, id and all: a queue may write late, seconds.
const SAME_ANSWER_SECONDS: f64 = 600.0;
/// The same where the Message-ID is equal, seconds: a queue tries again after minutes, and what it sends then bears
/// the same one.
const SAME_MESSAGE_SECONDS: f64 = 120.0;
/// Matches by the receiver's answer or the Message-ID after which the skew is learned and the roads are said to agree.
const MATCHES_TO_SETTLE: u64 = 20;
/// Weight of one match in the learned skew.
const SKEW_WEIGHT: f64 = 0.05;
/// How far a log line may lie outside a session under TLS that carried its mail, seconds.
const SESSION_SLACK_SECONDS: f64 = 5.0;

/// A session under TLS that waits for the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hidden {
    opened_at: Timestamp,
    ended_at: Timestamp,
    responder: IpAddr,
    messages: u32,
}

impl Hidden {
    /// When lines of its mail may have been written.
    fn span(&self, skew_seconds: f64, slack_seconds: f64) -> (Timestamp, Timestamp) {
        let from = self.opened_at.plus_seconds(skew_seconds - slack_seconds);
        (from, self.ended_at.plus_seconds(skew_seconds + slack_seconds))
    }
}

/// What is known of a server beside what waits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    log_reached: Option<Timestamp>,
    /// Seconds by which the log's stamps run after the packets'.
    skew_seconds: f64,
    matches: u64,
    coverage: Coverage,
}

impl Standing {
    /// An exact match tells by how much the log's stamp runs after the packet's.
    fn learn(&mut self, skew_seconds: f64) {
        let weight = (1.0 / (self.matches + 1) as f64).max(SKEW_WEIGHT);
        self.skew_seconds += weight * (skew_seconds - self.skew_seconds);
        self.matches += 1;
    }
}

/// Where what is told goes, and what it may say.
pub struct Tell<'a> {
    /// What was counted.
    pub counters: &'a mut JoinCounters,
    /// What became of pieces of mail.
    pub out: &'a mut Vec<Observation>,
    /// Servers whose mail the sensor no longer sees.
    pub blind: &'a mut Vec<Blind>,
    /// Whether recipients are named.
    pub recipients_named: bool,
    /// Spans in which the wire said nothing at all.
    pub silences: &'a Silences,
}

impl Tell<'_> {
    /// A piece of mail that only one road has.
    fn alone(&mut self, at: Timestamp, view: View, traits: Traits, story: Story) {
        let domain = story.recipient_domain();
        let Story { sender, delivery, .. } = story.reduced(self.recipients_named);
        let vantage = if view == View::LogOnly { Vantage::Log } else { Vantage::Wire };
        let fact = Reconciled {
            delivery: Some(Box::new(delivery)),
            recipient_domain: domain,
            ..reconciled(view, &traits)
        };
        self.out.push(Observation { at, vantage, sender, fact: Fact::Reconciled(fact) });
    }

    /// A piece of mail that both have: who sent it is all that is new.
    fn both(&mut self, at: Timestamp, view: View, traits: &Traits, sender: SenderKeys) {
        let fact = Fact::Reconciled(reconciled(view, traits));
        self.out.push(Observation { at, vantage: Vantage::Wire, sender, fact });
    }
}

fn reconciled(view: View, traits: &Traits) -> Reconciled {
    Reconciled {
        view,
        delivery: None,
        recipient: Some(traits.path),
        recipient_domain: None,
        responder: traits.responder,
        seen_at: traits.at,
    }
}

/// One server.
pub struct Server {
    address: IpAddr,
    pub(super) wire: Waiting,
    pub(super) log: Waiting,
    pub(super) sessions: Numbered<Hidden>,
    pub(super) settled_sessions: Numbered<Hidden>,
    pub(super) standing: Standing,
    /// Whether it changed since it was last stored.
    pub(super) changed: bool,
}

impl Server {
    pub fn new(address: IpAddr) -> Server {
        Server {
            address,
            wire: Waiting::default(),
            log: Waiting::for_sessions(),
            sessions: Numbered::default(),
            settled_sessions: Numbered::default(),
            standing: Standing::default(),
            changed: false,
        }
    }

    fn agrees(&self) -> bool {
        self.standing.matches >= MATCHES_TO_SETTLE
    }

    /// A delivery that the log has. What is kept of it is taken out.
    pub fn logged(
        &mut self,
        traits: Traits,
        sender: &mut SenderKeys,
        delivery: &mut Delivery,
        tell: &mut Tell,
    ) {
        let partner = self.partner(&self.wire, &traits, 1.0);
        let Some((mut wire, view)) = partner.and_then(|(number, view)| Some((self.wire.take(number)?, view)))
        else {
            tell.counters.evicted += u64::from(self.log.push(Seen::taken(traits, sender, delivery)));
            return;
        };
        let Some(story) = &mut wire.story else { return };
        self.matched((&wire.traits, &mut story.sender), (&traits, sender), view, tell);
    }

    /// A delivery that passed the sensor. What is kept of it is taken out.
    pub fn passed(
        &mut self,
        traits: Traits,
        sender: &mut SenderKeys,
        delivery: &mut Delivery,
        tell: &mut Tell,
    ) {
        let partner = self.partner(&self.log, &traits, -1.0);
        let Some((mut logged, view)) =
            partner.and_then(|(number, view)| Some((self.log.take(number)?, view)))
        else {
            tell.counters.evicted += u64::from(self.wire.push(Seen::taken(traits, sender, delivery)));
            return;
        };
        let Some(story) = &mut logged.story else { return };
        self.matched((&traits, sender), (&logged.traits, &mut story.sender), view, tell);
    }

    /// A session under TLS that ended.
    pub fn session(&mut self, ended_at: Timestamp, session: &Session, tell: &mut Tell) {
        let messages = session.opaque.map_or(0, |opaque| opaque.messages_estimated);
        let responder = session.responder.to_canonical();
        self.sessions.push(Hidden { opened_at: session.opened_at, ended_at, responder, messages });
        if self.sessions.len() > limits::JOIN_SESSIONS_MAX {
            self.sessions.pop();
            tell.counters.evicted += 1;
        }
    }

    /// The view of the other road that fits best: by the answer's id, else by the Message-ID, else by place and
    /// second. `direction` is 1 where `seen` comes from the log.
    fn partner(&self, others: &Waiting, seen: &Traits, direction: f64) -> Option<(u64, View)> {
        let skew = direction * self.standing.skew_seconds;
        let near = if self.agrees() { NEAR_SECONDS } else { NEAR_AT_FIRST_SECONDS };
        let fit = |(number, other): (u64, &Traits)| {
            let apart = (seen.at.seconds_since(other.at) - skew).abs();
            let view = match () {
                () if apart <= SAME_ANSWER_SECONDS && seen.same_answer(other) => View::MatchedByReply,
                () if apart <= SAME_MESSAGE_SECONDS && seen.same_message(other) => View::MatchedByMessageId,
                () if apart <= near && seen.same_place(other) => View::MatchedByPath,
                () => return None,
            };
            Some((view, apart, number))
        };
        // The more exact ways come first in `View`.
        let fits = others.at_path(seen.path).filter_map(fit);
        let best = fits.min_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)))?;
        Some((best.2, best.0))
    }

    fn matched(
        &mut self,
        (wire, sender): (&Traits, &mut SenderKeys),
        (logged, submitter): (&Traits, &mut SenderKeys),
        view: View,
        tell: &mut Tell,
    ) {
        match view {
            View::MatchedByReply => tell.counters.matched_by_reply += 1,
            View::MatchedByMessageId => tell.counters.matched_by_message_id += 1,
            _ => tell.counters.matched_by_path += 1,
        }
        if view != View::MatchedByPath {
            self.standing.learn(logged.at.seconds_since(wire.at));
        }
        self.covered(wire.at, wire.responder, false, tell);
        let (account, client) = (submitter.account.take(), submitter.client);
        let sender = SenderKeys { account, client, ..std::mem::take(sender) };
        tell.both(wire.at.max(logged.at), view, wire, sender);
    }

    /// Counts a piece of mail that the log has for what the sensor sees of them.
    fn covered(&mut self, at: Timestamp, responder: Option<IpAddr>, unseen: bool, tell: &mut Tell) {
        if let Some(missing) = self.standing.coverage.count(at, responder, unseen) {
            tell.blind.push(Blind { server: self.address, ..missing });
        }
    }

    /// The log has gone on to `at`: packets that it should have told of by now are settled.
    pub fn log_reaches(&mut self, at: Timestamp, tell: &mut Tell) {
        let before = self.standing.log_reached.unwrap_or(at);
        if at <= before && self.standing.log_reached.is_some() {
            return;
        }
        self.standing.log_reached = Some(at);
        let spoke = at.seconds_since(before) <= LOG_SILENCE_SECONDS;
        let due = at.plus_seconds(-LOG_GRACE_SECONDS - self.standing.skew_seconds.max(0.0));
        self.settle_sessions(due, spoke, at, tell);
        while self.wire.front().is_some_and(|seen| seen.traits.at <= due) {
            let Some(Seen { traits, story: Some(story) }) = self.wire.pop() else { break };
            if spoke && self.agrees() {
                tell.counters.wire_only += 1;
                tell.alone(at, View::WireOnly, traits, *story);
            } else {
                tell.counters.unsettled += 1;
            }
        }
    }

    fn settle_sessions(&mut self, due: Timestamp, spoke: bool, at: Timestamp, tell: &mut Tell) {
        while self.sessions.front().is_some_and(|hidden| hidden.ended_at <= due) {
            let Some(hidden) = self.sessions.pop() else { break };
            let (from, to) = hidden.span(self.standing.skew_seconds, SESSION_SLACK_SECONDS);
            let near = self.log.between(hidden.responder, from, to);
            let mine = self.nearest_messages(&hidden, &near);
            self.standing.matches += u64::from(!mine.is_empty());
            if near.is_empty() && hidden.messages > 0 {
                self.unlogged_session(&hidden, spoke, at, tell);
            } else if mine.is_empty() {
                tell.counters.unsettled += u64::from(hidden.messages);
            }
            for number in mine {
                let Some((traits, story)) = self.log.mark(number) else { continue };
                tell.counters.matched_by_session += 1;
                self.covered(traits.at, traits.responder, false, tell);
                tell.both(at, View::MatchedBySession, &traits, story.sender);
            }
            self.settled_sessions.push(hidden);
        }
    }

    /// Lines of as many messages as the session seems to have carried, nearest to it first. A message to several
    /// recipients has several lines with one queue id.
    fn nearest_messages(&self, hidden: &Hidden, near: &[u64]) -> Vec<u64> {
        let (from, to) = hidden.span(self.standing.skew_seconds, 0.0);
        let outside = |at: Timestamp| from.seconds_since(at).max(at.seconds_since(to)).max(0.0);
        let mut waiting: Vec<(f64, u64, Option<&Untrusted>)> = near
            .iter()
            .filter_map(|number| {
                let seen = self.log.views.get(*number)?;
                let story = seen.story.as_ref()?;
                Some((outside(seen.traits.at), *number, story.delivery.queue_id.as_ref()))
            })
            .collect();
        waiting.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut messages: Vec<Option<&Untrusted>> = Vec::new();
        let mut mine = Vec::new();
        for (_, number, queue_id) in waiting {
            if queue_id.is_none() || !messages.contains(&queue_id) {
                if messages.len() >= hidden.messages.max(1) as usize {
                    continue;
                }
                messages.push(queue_id);
            }
            mine.push(number);
        }
        mine
    }

    fn unlogged_session(&self, hidden: &Hidden, spoke: bool, at: Timestamp, tell: &mut Tell) {
        if !spoke || !self.agrees() {
            tell.counters.unsettled += u64::from(hidden.messages);
            return;
        }
        for _ in 0..hidden.messages.min(limits::JOIN_HIDDEN_MESSAGES_MAX) {
            tell.counters.wire_only += 1;
            let fact = Fact::Reconciled(Reconciled {
                view: View::WireOnly,
                delivery: None,
                responder: Some(hidden.responder),
                recipient: None,
                recipient_domain: None,
                seen_at: hidden.ended_at,
            });
            let sender = SenderKeys { address: Some(self.address), ..SenderKeys::default() };
            tell.out.push(Observation { at, vantage: Vantage::Wire, sender, fact });
        }
    }

    /// The wire has gone on to `at`: lines whose mail should have passed by now are settled.
    pub fn wire_reaches(&mut self, at: Timestamp, tell: &mut Tell) {
        let due = at.plus_seconds(self.standing.skew_seconds - WIRE_GRACE_SECONDS);
        while self.log.front().is_some_and(|seen| seen.traits.at <= due) {
            let Some(Seen { traits, story }) = self.log.pop() else { break };
            let Some(story) = story else { continue };
            if self.in_a_session(&traits) {
                tell.counters.matched_by_session += 1;
                self.covered(traits.at, traits.responder, false, tell);
                tell.both(at, View::MatchedBySession, &traits, story.sender);
            } else if self.agrees() && self.should_have_passed(&traits, tell.silences) {
                tell.counters.log_only += 1;
                self.covered(traits.at, traits.responder, true, tell);
                tell.alone(at, View::LogOnly, traits, *story);
            } else {
                tell.counters.unsettled += 1;
            }
        }
        let old = at.plus_seconds(-2.0 * WIRE_GRACE_SECONDS);
        while self.settled_sessions.front().is_some_and(|hidden| hidden.ended_at < old)
            || self.settled_sessions.len() > limits::JOIN_SESSIONS_MAX
        {
            self.settled_sessions.pop();
        }
    }

    /// Whether the log tells of mail that must pass the sensor: another machine took it, while the wire spoke.
    fn should_have_passed(&self, seen: &Traits, silences: &Silences) -> bool {
        let away = seen.responder.is_some_and(|to| !to.is_loopback() && to.to_canonical() != self.address);
        let on_the_wire = seen.at.plus_seconds(-self.standing.skew_seconds);
        seen.class == 2 && away && !silences.hold(on_the_wire)
    }

    /// Whether a line belongs to a session under TLS that carried more messages than it seemed to.
    fn in_a_session(&self, seen: &Traits) -> bool {
        let Some(responder) = seen.responder else { return false };
        self.settled_sessions.iter().any(|(_, hidden)| {
            let (from, to) = hidden.span(self.standing.skew_seconds, SESSION_SLACK_SECONDS);
            hidden.responder == responder.to_canonical() && (from..=to).contains(&seen.at)
        })
    }
}
