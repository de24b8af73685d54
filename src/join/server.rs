//! One server whose mail is seen on both roads: what waits for its other view, and what became of it.
//!
//! *In*: views of either road. *Out*: [`Fact::Reconciled`]. *Bound*: `limits::JOIN_WAITING_MAX` views a road,
//! `limits::JOIN_SESSIONS_MAX` sessions.
//!
//! A view waits until the other road has gone on far enough past it to have spoken, and then it is settled.

use super::JoinCounters;
use super::view::Seen;
use crate::limits;
use crate::mail::Untrusted;
use crate::observation::{Fact, Observation, Reconciled, SenderKeys, Session, Vantage, View};
use crate::time::Timestamp;
use std::collections::{HashMap, VecDeque};
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
/// Matches by the receiver's answer after which the skew is learned and the roads are said to agree.
const MATCHES_TO_SETTLE: u64 = 20;
/// Weight of one match in the learned skew.
const SKEW_WEIGHT: f64 = 0.05;
/// How far a log line may lie outside a session under TLS that carried its mail, seconds.
const SESSION_SLACK_SECONDS: f64 = 5.0;

/// Views of one road that wait, oldest first, and where each forward-path stands among them.
#[derive(Default)]
struct Waiting {
    views: VecDeque<Option<Seen>>,
    /// Number of the first view in `views`; numbers never return.
    first: u64,
    by_path: HashMap<u64, Vec<u64>>,
}

impl Waiting {
    /// Returns whether the oldest had to go.
    fn push(&mut self, seen: Seen) -> bool {
        let number = self.first + self.views.len() as u64;
        self.by_path.entry(seen.path).or_default().push(number);
        self.views.push_back(Some(seen));
        self.views.len() > limits::JOIN_WAITING_MAX && self.pop().is_some()
    }

    /// The oldest one, if it still waits.
    fn front(&mut self) -> Option<&Seen> {
        while let Some(None) = self.views.front() {
            self.views.pop_front();
            self.first += 1;
        }
        self.views.front().and_then(Option::as_ref)
    }

    fn pop(&mut self) -> Option<Seen> {
        self.front()?;
        let number = self.first;
        self.take(number)
    }

    fn take(&mut self, number: u64) -> Option<Seen> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let seen = self.views.get_mut(place)?.take()?;
        if let Some(numbers) = self.by_path.get_mut(&seen.path) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.by_path.remove(&seen.path);
            }
        }
        Some(seen)
    }

    fn at_path(&self, path: u64) -> impl Iterator<Item = (u64, &Seen)> {
        let numbers = self.by_path.get(&path).map_or(&[][..], Vec::as_slice);
        numbers.iter().filter_map(|number| {
            let place = usize::try_from(number - self.first).ok()?;
            Some((*number, self.views.get(place)?.as_ref()?))
        })
    }

    /// Numbers of the views between two moments that went to a server.
    fn between(&self, responder: IpAddr, from: Timestamp, to: Timestamp) -> Vec<u64> {
        let here = |seen: &Seen| seen.responder().is_some_and(|other| other.to_canonical() == responder);
        let fits = |seen: &Seen| here(seen) && (from..=to).contains(&seen.at);
        self.views
            .iter()
            .zip(self.first..)
            .filter_map(|(seen, number)| seen.as_ref().is_some_and(fits).then_some(number))
            .collect()
    }

    fn get(&self, number: u64) -> Option<&Seen> {
        self.views.get(usize::try_from(number.checked_sub(self.first)?).ok()?)?.as_ref()
    }

    /// Notes that a view found its session. It stays until its time is over, so that another session of the same
    /// moment does not count as unlogged.
    fn mark(&mut self, number: u64) -> Option<Seen> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let mut seen = self.take(number)?;
        seen.matched = true;
        let copy = seen.clone();
        *self.views.get_mut(place)? = Some(seen);
        Some(copy)
    }
}

/// A session under TLS that waits for the log.
struct Hidden {
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

/// One server.
pub struct Server {
    address: IpAddr,
    wire: Waiting,
    log: Waiting,
    sessions: VecDeque<Hidden>,
    settled_sessions: VecDeque<Hidden>,
    log_reached: Option<Timestamp>,
    /// Seconds by which the log's stamps run after the packets'.
    skew_seconds: f64,
    matches: u64,
}

impl Server {
    pub fn new(address: IpAddr) -> Server {
        Server {
            address,
            wire: Waiting::default(),
            log: Waiting::default(),
            sessions: VecDeque::new(),
            settled_sessions: VecDeque::new(),
            log_reached: None,
            skew_seconds: 0.0,
            matches: 0,
        }
    }

    fn agrees(&self) -> bool {
        self.matches >= MATCHES_TO_SETTLE
    }

    /// A delivery that the log has.
    pub fn logged(&mut self, seen: Seen, counters: &mut JoinCounters, out: &mut Vec<Observation>) {
        match self.partner(&self.wire, &seen, 1.0) {
            Some((number, view)) => {
                if let Some(wire) = self.wire.take(number) {
                    self.matched(wire, seen, view, counters, out);
                }
            }
            None => counters.evicted += u64::from(self.log.push(seen)),
        }
    }

    /// A delivery that passed the sensor.
    pub fn passed(&mut self, seen: Seen, counters: &mut JoinCounters, out: &mut Vec<Observation>) {
        match self.partner(&self.log, &seen, -1.0) {
            Some((number, view)) => {
                if let Some(logged) = self.log.take(number) {
                    self.matched(seen, logged, view, counters, out);
                }
            }
            None => counters.evicted += u64::from(self.wire.push(seen)),
        }
    }

    /// A session under TLS that ended.
    pub fn session(&mut self, ended_at: Timestamp, session: &Session, counters: &mut JoinCounters) {
        let messages = session.opaque.map_or(0, |opaque| opaque.messages_estimated);
        let responder = session.responder.to_canonical();
        self.sessions.push_back(Hidden { opened_at: session.opened_at, ended_at, responder, messages });
        if self.sessions.len() > limits::JOIN_SESSIONS_MAX {
            self.sessions.pop_front();
            counters.evicted += 1;
        }
    }

    /// The view of the other road that fits best: by the answer's id, else by place and second. `direction` is 1
    /// where `seen` comes from the log.
    fn partner(&self, others: &Waiting, seen: &Seen, direction: f64) -> Option<(u64, View)> {
        let skew = direction * self.skew_seconds;
        let apart = |other: &Seen| (seen.at.seconds_since(other.at) - skew).abs();
        let near = if self.agrees() { NEAR_SECONDS } else { NEAR_AT_FIRST_SECONDS };
        let nearest = |fits: &dyn Fn(&Seen) -> bool, within: f64| {
            others
                .at_path(seen.path)
                .filter(|(_, other)| fits(other) && apart(other) <= within)
                .min_by(|a, b| apart(a.1).total_cmp(&apart(b.1)).then(a.0.cmp(&b.0)))
                .map(|(number, _)| number)
        };
        let by_answer = nearest(&|other| seen.same_answer(other), SAME_ANSWER_SECONDS);
        by_answer
            .map(|number| (number, View::MatchedByReply))
            .or_else(|| nearest(&|other| seen.same_place(other), near).map(|n| (n, View::MatchedByPath)))
    }

    fn matched(
        &mut self,
        wire: Seen,
        logged: Seen,
        view: View,
        counters: &mut JoinCounters,
        out: &mut Vec<Observation>,
    ) {
        if view == View::MatchedByReply {
            counters.matched_by_reply += 1;
            let skew = logged.at.seconds_since(wire.at);
            let weight = (1.0 / (self.matches + 1) as f64).max(SKEW_WEIGHT);
            self.skew_seconds += weight * (skew - self.skew_seconds);
            self.matches += 1;
        } else {
            counters.matched_by_path += 1;
        }
        let sender =
            SenderKeys { account: logged.sender.account, client: logged.sender.client, ..wire.sender };
        out.push(reconciled(wire.at.max(logged.at), sender, view, Some(wire.delivery), wire.at));
    }

    /// The log has gone on to `at`: packets that it should have told of by now are settled.
    pub fn log_reaches(&mut self, at: Timestamp, counters: &mut JoinCounters, out: &mut Vec<Observation>) {
        let before = self.log_reached.unwrap_or(at);
        if at <= before && self.log_reached.is_some() {
            return;
        }
        self.log_reached = Some(at);
        let spoke = at.seconds_since(before) <= LOG_SILENCE_SECONDS;
        let due = at.plus_seconds(-LOG_GRACE_SECONDS - self.skew_seconds.max(0.0));
        self.settle_sessions(due, spoke, at, counters, out);
        while self.wire.front().is_some_and(|seen| seen.at <= due) {
            let Some(seen) = self.wire.pop() else { break };
            if spoke && self.agrees() {
                counters.wire_only += 1;
                out.push(reconciled(at, seen.sender, View::WireOnly, Some(seen.delivery), seen.at));
            } else {
                counters.unsettled += 1;
            }
        }
    }

    fn settle_sessions(
        &mut self,
        due: Timestamp,
        spoke: bool,
        at: Timestamp,
        counters: &mut JoinCounters,
        out: &mut Vec<Observation>,
    ) {
        while self.sessions.front().is_some_and(|hidden| hidden.ended_at <= due) {
            let Some(hidden) = self.sessions.pop_front() else { break };
            let (from, to) = hidden.span(self.skew_seconds, SESSION_SLACK_SECONDS);
            let near = self.log.between(hidden.responder, from, to);
            let mine = self.nearest_messages(&hidden, &near);
            self.matches += u64::from(!mine.is_empty());
            if near.is_empty() && hidden.messages > 0 {
                self.unlogged_session(&hidden, spoke, at, counters, out);
            } else if mine.is_empty() {
                counters.unsettled += u64::from(hidden.messages);
            }
            for number in mine {
                let Some(seen) = self.log.mark(number) else { continue };
                counters.matched_by_session += 1;
                out.push(reconciled(at, seen.sender, View::MatchedBySession, Some(seen.delivery), seen.at));
            }
            self.settled_sessions.push_back(hidden);
        }
    }

    /// Lines of as many messages as the session seems to have carried, nearest to it first. A message to several
    /// recipients has several lines with one queue id.
    fn nearest_messages(&self, hidden: &Hidden, near: &[u64]) -> Vec<u64> {
        let (from, to) = hidden.span(self.skew_seconds, 0.0);
        let outside = |at: Timestamp| from.seconds_since(at).max(at.seconds_since(to)).max(0.0);
        let mut waiting: Vec<(f64, u64, Option<&Untrusted>)> = near
            .iter()
            .filter_map(|number| {
                let seen = self.log.get(*number).filter(|seen| !seen.matched)?;
                Some((outside(seen.at), *number, seen.delivery.queue_id.as_ref()))
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

    fn unlogged_session(
        &self,
        hidden: &Hidden,
        spoke: bool,
        at: Timestamp,
        counters: &mut JoinCounters,
        out: &mut Vec<Observation>,
    ) {
        if !spoke || !self.agrees() {
            counters.unsettled += u64::from(hidden.messages);
            return;
        }
        for _ in 0..hidden.messages.min(limits::JOIN_HIDDEN_MESSAGES_MAX) {
            counters.wire_only += 1;
            let sender = SenderKeys { address: Some(self.address), ..SenderKeys::default() };
            let mut fact = reconciled(at, sender, View::WireOnly, None, hidden.ended_at);
            if let Fact::Reconciled(fact) = &mut fact.fact {
                fact.responder = Some(hidden.responder);
            }
            out.push(fact);
        }
    }

    /// The wire has gone on to `at`: lines whose mail should have passed by now are settled.
    pub fn wire_reaches(&mut self, at: Timestamp, counters: &mut JoinCounters, out: &mut Vec<Observation>) {
        let due = at.plus_seconds(self.skew_seconds - WIRE_GRACE_SECONDS);
        while self.log.front().is_some_and(|seen| seen.at <= due) {
            let Some(seen) = self.log.pop() else { break };
            if seen.matched {
                continue;
            }
            if self.in_a_session(&seen) {
                counters.matched_by_session += 1;
                out.push(reconciled(at, seen.sender, View::MatchedBySession, Some(seen.delivery), seen.at));
            } else if self.agrees() && seen.class == 2 {
                counters.log_only += 1;
                out.push(reconciled(at, seen.sender, View::LogOnly, Some(seen.delivery), seen.at));
            } else {
                counters.unsettled += 1;
            }
        }
        let old = at.plus_seconds(-2.0 * WIRE_GRACE_SECONDS);
        while self.settled_sessions.front().is_some_and(|hidden| hidden.ended_at < old)
            || self.settled_sessions.len() > limits::JOIN_SESSIONS_MAX
        {
            self.settled_sessions.pop_front();
        }
    }

    /// Whether a line belongs to a session under TLS that carried more messages than it seemed to.
    fn in_a_session(&self, seen: &Seen) -> bool {
        let Some(responder) = seen.responder() else { return false };
        self.settled_sessions.iter().any(|hidden| {
            let (from, to) = hidden.span(self.skew_seconds, SESSION_SLACK_SECONDS);
            hidden.responder == responder.to_canonical() && (from..=to).contains(&seen.at)
        })
    }
}

fn reconciled(
    at: Timestamp,
    sender: SenderKeys,
    view: View,
    delivery: Option<crate::observation::Delivery>,
    seen_at: Timestamp,
) -> Observation {
    let responder = delivery.as_ref().and_then(|delivery| delivery.responder);
    let vantage = if view == View::LogOnly { Vantage::Log } else { Vantage::Wire };
    let fact = Fact::Reconciled(Reconciled { view, delivery: delivery.map(Box::new), responder, seen_at });
    Observation { at, vantage, sender, fact }
}
