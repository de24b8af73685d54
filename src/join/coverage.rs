//! Mail that a server's log has and the sensor never saw: the sensor is blind on that path, or the log is forged.
//!
//! *In*: for each piece of logged mail, whether it passed the sensor. *Out*: [`Blind`], once for each lasting
//! change. *Bound*: a few numbers a server, `limits::JOIN_BLIND_SERVERS_MAX` receivers.
//!
//! *Spec*: docs/detection.md, wire and log. A cumulative sum (Page 1954) of the log-likelihood ratio of 'this piece
//! does not pass the sensor' between a share of [`SHARES`] and the learned one. Captures lose packets in bursts, so
//! the sum alone does not accuse: the missing pieces must be many and lie apart.

use crate::limits;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Shares of unseen mail that are looked for.
const SHARES: [f64; 3] = [0.1, 0.3, 0.9];
/// A share nearer to the learned one is not looked for.
const SHARE_RATIO_MIN: f64 = 4.0;
/// Prior of the learned share: so many pieces, of which so many unseen. A capture that loses one packet in a hundred
/// loses a few deliveries in a hundred.
const PRIOR_PIECES: f64 = 100.0;
const PRIOR_UNSEEN: f64 = 2.0;
/// Days after which half of what was learned is forgotten.
const HALF_LIFE_DAYS: f64 = 14.0;
/// What the sum must reach, beside the logarithm of the day's pieces, nats: once in 100 server-years by chance.
const BLIND_NATS: f64 = 10.5;
/// Missing pieces before anything is said.
const UNSEEN_MIN: u64 = 20;
/// Span that they must cover, seconds, and the hundredths of it in which one of them must lie.
const SPAN_SECONDS_MIN: f64 = 1_800.0;
/// A span of wire time without any packet of ours in which mail is not said to be missing, seconds.
const WIRE_SILENCE_SECONDS: f64 = 600.0;
/// Beside such a span nothing is said either, seconds.
const SILENCE_SLACK_SECONDS: f64 = 60.0;

/// A server whose mail the sensor no longer sees as it used to.
#[derive(Clone, Debug, PartialEq)]
pub struct Blind {
    /// The server.
    pub server: IpAddr,
    /// When that was told.
    pub at: Timestamp,
    /// First missing piece since all was well.
    pub since: Timestamp,
    /// Pieces in the log since then.
    pub pieces: u64,
    /// Of these, such that never passed the sensor.
    pub unseen: u64,
    /// Share of unseen mail that is normal here.
    pub usual_share: f64,
    /// Receivers that the missing mail went to, most first.
    pub receivers: Vec<(IpAddr, u64)>,
}

/// What is known of one server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    pieces: f64,
    unseen: f64,
    day: i64,
    today: u32,
    nats: [f64; SHARES.len()],
    story: Option<Story>,
    /// Whether it was told; until the sums are back at nothing it is not told again.
    told: bool,
}

/// Since the sums last stood at nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Story {
    since: Timestamp,
    last_at: Timestamp,
    pieces: u64,
    unseen: u64,
    /// Minutes in which a piece was missing.
    minutes: u64,
    receivers: BTreeMap<IpAddr, u64>,
}

impl Coverage {
    fn share(&self) -> f64 {
        (PRIOR_UNSEEN + self.unseen) / (PRIOR_PIECES + self.pieces)
    }

    fn evidence(&self) -> f64 {
        self.nats.iter().copied().fold(0.0, f64::max)
    }

    /// Counts one piece; says when the sensor has gone blind.
    pub fn count(&mut self, at: Timestamp, responder: Option<IpAddr>, unseen: bool) -> Option<Blind> {
        let days = at.day_index().saturating_sub(self.day);
        if days > 0 {
            let keep = 0.5_f64.powf(days as f64 / HALF_LIFE_DAYS);
            (self.pieces, self.unseen) = (self.pieces * keep, self.unseen * keep);
            (self.day, self.today) = (at.day_index(), 0);
        }
        self.today = self.today.saturating_add(1);
        let share = self.share();
        for (nats, wanted) in self.nats.iter_mut().zip(SHARES) {
            if wanted < SHARE_RATIO_MIN * share {
                *nats = 0.0;
            } else if unseen || *nats > 0.0 {
                // Seen mail lowers the sums, and most stand at nothing already.
                let ratio = if unseen { wanted / share } else { (1.0 - wanted) / (1.0 - share) };
                *nats = (*nats + ratio.ln()).max(0.0);
            }
        }
        if self.evidence() == 0.0 {
            (self.story, self.told) = (None, false);
        }
        // What was told is learned as the new custom; what is only suspected is not.
        if self.told || self.evidence() < BLIND_NATS / 2.0 {
            self.pieces += 1.0;
            self.unseen += f64::from(u8::from(unseen));
        }
        self.note(at, responder, unseen);
        self.judge(at, share)
    }

    fn note(&mut self, at: Timestamp, responder: Option<IpAddr>, unseen: bool) {
        if self.evidence() == 0.0 {
            return;
        }
        let begun =
            || Story { since: at, last_at: at, pieces: 0, unseen: 0, minutes: 0, receivers: BTreeMap::new() };
        let story = self.story.get_or_insert_with(begun);
        story.pieces += 1;
        if !unseen {
            return;
        }
        let minute = |at: Timestamp| at.as_micros().div_euclid(60_000_000);
        story.minutes += u64::from(story.unseen == 0 || minute(at) > minute(story.last_at));
        story.unseen += 1;
        story.last_at = story.last_at.max(at);
        let known = story.receivers.len();
        if let Some(to) = responder
            && (known < limits::JOIN_BLIND_SERVERS_MAX || story.receivers.contains_key(&to))
        {
            *story.receivers.entry(to).or_default() += 1;
        }
    }

    fn judge(&mut self, at: Timestamp, usual_share: f64) -> Option<Blind> {
        let evidence = self.evidence();
        let story = self.story.as_ref().filter(|_| !self.told)?;
        let enough = story.minutes >= UNSEEN_MIN
            && story.last_at.seconds_since(story.since) >= SPAN_SECONDS_MIN
            && evidence >= BLIND_NATS + f64::from(self.today).ln_1p();
        if !enough {
            return None;
        }
        self.told = true;
        let mut receivers: Vec<(IpAddr, u64)> = story.receivers.iter().map(|(to, n)| (*to, *n)).collect();
        receivers.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        Some(Blind {
            server: IpAddr::from([0, 0, 0, 0]),
            at,
            since: story.since,
            pieces: story.pieces,
            unseen: story.unseen,
            usual_share,
            receivers,
        })
    }
}

/// Spans in which the wire said nothing at all: no sensor ran, or nobody sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Silences(Vec<(Timestamp, Timestamp)>);

impl Silences {
    /// The wire went on from one moment to another without a packet between.
    pub fn note(&mut self, from: Timestamp, to: Timestamp) {
        if to.seconds_since(from) < WIRE_SILENCE_SECONDS {
            return;
        }
        if self.0.len() >= limits::JOIN_SILENCES_MAX {
            self.0.remove(0);
        }
        self.0.push((from, to));
    }

    /// Whether a moment lies in one.
    pub fn hold(&self, at: Timestamp) -> bool {
        let slack = SILENCE_SLACK_SECONDS;
        self.0.iter().any(|(from, to)| (from.plus_seconds(-slack)..=to.plus_seconds(slack)).contains(&at))
    }
}
