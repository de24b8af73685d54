//! Synthetic senders: 28 days of deliveries of five classes, with the bursts that honest senders have.
//!
//! *In*: a seed. *Out*: [`History`]s. *Bound*: 20,000 messages an attack. *Spec*: docs/detection.md, evaluation; the
//! distributions are those of the reference generator (detection/sim.py), the random numbers are not.

use crate::random::Random;
use portreeve::engine::marks::{Marks, ReversePathClass, VerdictClass};
use portreeve::time::Timestamp;

/// Seconds in an hour.
pub const HOUR: f64 = 3_600.0;
/// Seconds in a day.
pub const DAY: f64 = 86_400.0;
/// Days of a history.
pub const DAYS: usize = 28;
/// Days that detectors may learn from before anything counts.
pub const WARM_DAYS: usize = 14;
/// End of a history, seconds.
pub const END: f64 = DAYS as f64 * DAY;
/// A weekday on which offices are closed.
const HOLIDAY: usize = 23;
/// 1970-01-05 was a Monday; histories begin on one.
const MONDAY_SECONDS: f64 = 4.0 * DAY;

/// Classes of senders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// An address that should be silent.
    Dormant,
    /// A printer, sensor or probe: about 8 messages a day.
    Appliance,
    /// The mail server of an office: 20 to 3,000 messages a day.
    Office,
    /// A sender of newsletters.
    Bulk,
    /// A busy relay: 1,000 to 12,000 messages a day.
    Relay,
    /// A person's account: about 8 messages a day in office hours.
    Account,
}

/// How many of each class a population of 2,000 has.
pub const POPULATION: [(Class, usize); 5] = [
    (Class::Dormant, 600),
    (Class::Appliance, 500),
    (Class::Office, 700),
    (Class::Bulk, 150),
    (Class::Relay, 50),
];

/// Why a message was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Daily business.
    Ordinary,
    /// A regular newsletter.
    Newsletter,
    /// A first mailing to a list.
    ColdList,
    /// Invoices at the end of a month.
    Invoices,
    /// Notifications to forged addresses.
    Backscatter,
    /// A load test or a monitoring storm.
    LoadTest,
    /// A silent address that became a mail server.
    Migration,
    /// A silent address that sent a few messages.
    StrayWake,
    /// A queue flushed after an outage.
    QueueFlush,
    /// A new machine behind the address.
    ReplacedHost,
    /// The hijacker.
    Attack,
}

/// One delivery.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Seconds since the history began.
    pub at: f64,
    /// Recipient never written to before.
    pub novel: bool,
    /// Verdict class: accepted, no such recipient, policy, deferred.
    pub verdict: u8,
    /// Reverse-path class: own, unknown, null.
    pub path: u8,
    /// From a machine never seen.
    pub foreign: bool,
    /// Why.
    pub cause: Cause,
}

impl Sent {
    /// The moment, on the calendar.
    pub fn timestamp(&self) -> Timestamp {
        Timestamp::from_seconds(0).plus_seconds(MONDAY_SECONDS + self.at)
    }

    /// The marks as the judge takes them.
    pub fn marks(&self) -> Marks {
        use VerdictClass::{Accepted, Deferred, NoSuchRecipient, Policy};
        Marks {
            novel: Some(self.novel),
            verdict: Some([Accepted, NoSuchRecipient, Policy, Deferred][usize::from(self.verdict)]),
            reverse_path: Some(
                [ReversePathClass::Own, ReversePathClass::Unknown, ReversePathClass::Null]
                    [usize::from(self.path)],
            ),
            foreign: Some(self.foreign),
            ..Marks::default()
        }
    }

    /// Whether the recipient was refused for good.
    pub fn failed(&self) -> bool {
        self.verdict == 1 || self.verdict == 2
    }
}

/// One sender's 28 days.
#[derive(Clone, Debug)]
pub struct History {
    /// Its class.
    pub class: Class,
    /// Its own messages a day.
    pub per_day: f64,
    /// Its own probabilities: novel, no such recipient, policy, deferred, unknown path, null path.
    pub own: [f64; 6],
    /// In order of time.
    pub sent: Vec<Sent>,
}

/// Mark probabilities of one burst: novel, verdict classes, reverse-path classes.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Recipient never written to before.
    pub novel: f64,
    /// Verdict classes.
    pub verdict: [f64; 4],
    /// Reverse-path classes.
    pub path: [f64; 3],
}

impl Mix {
    /// One delivery of this mix.
    pub fn draw(&self, rng: &mut Random, at: f64, foreign: bool, cause: Cause) -> Sent {
        Sent {
            at,
            novel: rng.happens(self.novel),
            verdict: rng.class(&self.verdict),
            path: rng.class(&self.path),
            foreign,
            cause,
        }
    }
}

/// Shape of the week of a class, mean 1: 24 hours of a weekday, 24 of a weekend day.
pub fn profile(class: Class) -> [f64; 48] {
    let hump = |hour: f64, centre: f64, width: f64| (-0.5 * ((hour - centre) / width).powi(2)).exp();
    let mut profile = [1.0; 48];
    for hour in 0..24 {
        let at = hour as f64;
        let (weekday, weekend) = match class {
            Class::Dormant | Class::Appliance => (1.0, 1.0),
            Class::Office | Class::Bulk | Class::Account => {
                (0.08 + hump(at, 10.5, 2.0) + 0.9 * hump(at, 15.0, 2.0), 0.18)
            }
            Class::Relay => (0.5 + 0.8 * hump(at, 13.0, 4.5), 0.7),
        };
        profile[hour] = weekday;
        profile[24 + hour] = weekday * weekend;
    }
    let mean = (5.0 * profile[..24].iter().sum::<f64>() + 2.0 * profile[24..].iter().sum::<f64>()) / 168.0;
    profile.map(|value| value / mean)
}

/// The bin of an hour of a history.
fn bin(hour: usize) -> usize {
    let day = hour / 24;
    if day % 7 >= 5 || day == HOLIDAY { 24 + hour % 24 } else { hour % 24 }
}

/// A moment of business hours on a working day.
fn business_time(rng: &mut Random) -> f64 {
    loop {
        let day = rng.below(DAYS);
        if day % 7 < 5 && day != HOLIDAY {
            return day as f64 * DAY + rng.between(8.0, 17.0) * HOUR;
        }
    }
}

/// Draws one sender with its ordinary mail and, where `benign`, the bursts that honest senders have.
pub fn draw(rng: &mut Random, class: Class, benign: bool) -> History {
    let log_normal = |rng: &mut Random, median: f64, sigma: f64| (median.ln() + sigma * rng.normal()).exp();
    let per_day = match class {
        Class::Dormant => 0.0,
        Class::Appliance | Class::Account => log_normal(rng, 8.0, 0.8),
        Class::Office => log_normal(rng, 150.0, 1.0).clamp(20.0, 3_000.0),
        Class::Bulk => log_normal(rng, 100.0, 0.7).clamp(20.0, 800.0),
        Class::Relay => log_normal(rng, 3_000.0, 0.6).clamp(1_000.0, 12_000.0),
    };
    let novel = match class {
        Class::Dormant => 0.05,
        Class::Appliance => 0.003,
        Class::Account => 0.04,
        Class::Office => rng.between(0.03, 0.09),
        Class::Bulk => rng.between(0.03, 0.07),
        Class::Relay => rng.between(0.03, 0.08),
    };
    let unknown_user = rng.beta(2.0, 180.0).clamp(0.001, 0.05);
    let (policy, deferred) = (rng.between(0.001, 0.008), rng.between(0.01, 0.05));
    let (unknown, null) = match class {
        Class::Dormant => (0.002, 0.005),
        Class::Appliance | Class::Account => (0.001, 0.002),
        Class::Office => (rng.between(0.001, 0.01), 0.01),
        Class::Bulk => (0.003, 0.01),
        Class::Relay => (rng.between(0.02, 0.2), 0.02),
    };
    let own = [novel, unknown_user, policy, deferred, unknown, null];
    let mut history = History { class, per_day, own, sent: Vec::new() };
    ordinary(rng, &mut history);
    if benign {
        crate::bursts::add(rng, &mut history);
    }
    history.settle();
    history
}

/// Daily business: a Cox process with clusters.
fn ordinary(rng: &mut Random, history: &mut History) {
    let profile = profile(history.class);
    let [novel, unknown_user, policy, deferred, unknown, null] = history.own;
    let (sigma, cluster): (f64, f64) = match history.class {
        Class::Dormant => (0.1, 0.03),
        Class::Appliance | Class::Account => (0.25, 0.03),
        Class::Office => (0.6, 0.12),
        Class::Bulk => (0.7, 0.12),
        Class::Relay => (0.3, 0.12),
    };
    let mean_size = 1.0 + cluster * 4.0;
    let day_factors: Vec<f64> = (0..DAYS).map(|_| rng.gamma(8.0, 1.0 / 8.0)).collect();
    let mix = Mix {
        novel,
        verdict: [1.0 - unknown_user - policy - deferred, unknown_user, policy, deferred],
        path: [1.0 - unknown - null, unknown, null],
    };
    let mut drift = rng.normal();
    for hour in 0..DAYS * 24 {
        if hour > 0 {
            drift = 0.7 * drift + (1.0f64 - 0.49).sqrt() * rng.normal();
        }
        let factor = (sigma * drift - 0.5 * sigma * sigma).exp() * day_factors[hour / 24];
        let rate = history.per_day / 24.0 * profile[bin(hour)] * factor;
        let mut events: Vec<f64> =
            (0..rng.poisson(rate / mean_size)).map(|_| (hour as f64 + rng.uniform()) * HOUR).collect();
        events.sort_by(f64::total_cmp);
        for at in events {
            let size = if rng.happens(cluster) { 1 + rng.poisson(4.0) } else { 1 };
            let of_event = rng.uniform();
            for _ in 0..size {
                let at = if size > 1 { at + 2.0 * rng.uniform() } else { at };
                let before = history.sent.len() as f64;
                let novel_now = novel + (0.9 - novel) * 30.0 / (30.0 + before);
                let own = rng.uniform();
                let mut sent = mix.draw(rng, at, false, Cause::Ordinary);
                sent.novel = if rng.happens(0.7) { of_event < novel_now } else { own < novel_now };
                sent.foreign = rng.happens(0.0005);
                history.sent.push(sent);
            }
        }
    }
    // Trouble at some receivers.
    for _ in 0..rng.poisson(DAYS as f64 / 12.0) {
        let start = rng.uniform() * END;
        let end = start + rng.between(0.5, 3.0) * HOUR;
        for sent in &mut history.sent {
            if sent.at > start && sent.at < end && rng.happens(0.3) {
                sent.verdict = 3;
            }
        }
    }
}

impl History {
    /// Adds a burst of `count` deliveries spread over `seconds`.
    pub fn burst(
        &mut self,
        rng: &mut Random,
        start: f64,
        seconds: f64,
        count: usize,
        mix: &Mix,
        cause: Cause,
    ) {
        for _ in 0..count {
            let at = start + rng.uniform() * seconds;
            self.sent.push(mix.draw(rng, at, false, cause));
        }
    }

    /// Brings everything into order of time and cuts what falls outside.
    pub fn settle(&mut self) {
        self.sent.sort_by(|a, b| a.at.total_cmp(&b.at));
        self.sent.retain(|sent| (0.0..END).contains(&sent.at));
    }
}

/// A moment for a burst of business.
pub fn in_business_hours(rng: &mut Random) -> f64 {
    business_time(rng)
}

/// The bin of an hour, for bursts that follow a week's shape.
pub fn bin_of(hour: usize) -> usize {
    bin(hour)
}
