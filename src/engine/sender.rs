//! One sender: who it is, what it normally does, what the test says of it now.
//!
//! *In*: marks in event time. *Out*: a [`Step`] per delivery. *Bound*: `limits::SENDER_BYTES_MAX` beside the
//! recipient sketch and, under suspicion, an [`Episode`]. *Spec*: docs/detection.md.
//!
//! Between deliveries a sender is stored in small numbers; the test and the learning run in `f64`.

use super::baseline::{Baseline, hour_messages_max};
use super::counts::{HourCounts, StoredCounts};
use super::course::{self, Course};
use super::detector::{Detector, Expected, Step};
use super::marks::Marks;
use super::memory::Traits;
use super::model::{MarkLaw, Model, REGISTERS_MAX, SIDE_MARKS_MAX, STATES_MAX};
use super::packed::{Small, array};
use super::reach::Reach;
use super::recent::Recent;
use super::roles::LearnedRole;
use super::season::Weather;
use super::slow::StoredSlow;
use crate::company::Role;
use crate::mail::Untrusted;
use crate::observation::Vantage;
use crate::time::{CivilClock, PROFILE_BINS, Timestamp};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

pub use super::episode::{Episode, Sample};

/// Steps of an hour in which watched hours are stored.
const HOURS_UNIT: f64 = 16.0;

/// Who is profiled.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum SenderId {
    /// One address.
    Address(IpAddr),
    /// An authenticated user, lower case.
    Account(Untrusted),
    /// An address prefix.
    Block(IpNet),
    /// An MTA's machine by the name in its log, where its address is not known. Lower case.
    Host(Untrusted),
}

/// A sender as seen from one road: the two roads are learned apart.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct SenderKey {
    /// The road.
    pub vantage: Vantage,
    /// Who.
    pub id: SenderId,
}

/// Usual messages a day below which a sender counts as silent; such an address feeds its block.
pub const QUIET_PER_DAY: f64 = 2.0;

/// State of one sender.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sender {
    /// Declared role, or the one it was found to have; `Unused` until then.
    pub role: Role,
    /// Since when it has a role that nobody declared. Stored behind the rest, see [`Sender::to_blob`].
    #[serde(skip)]
    pub learned_role: Option<Box<LearnedRole>>,
    /// First delivery ever.
    pub first_at: Timestamp,
    /// Last delivery.
    pub last_at: Timestamp,
    /// Deliveries ever.
    pub messages: u32,
    /// Machines, HELO names and reverse-path domains it is known by.
    pub traits: Traits,
    /// Where an account's last mail left the company.
    pub last_egress: Option<Box<SenderId>>,
    /// Reached in event time.
    clock: Timestamp,
    /// Whether suspicion was open at any time of the hour under way.
    hour_suspicious: bool,
    hour: HourCounts,
    test: StoredTest,
    learned: StoredBaseline,
    episode: Option<Box<Episode>>,
    recent: Option<Box<Recent>>,
    /// Whether the store has not seen this state yet.
    #[serde(skip)]
    pub(super) changed: bool,
}

/// The test's registers and hidden states, stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StoredTest {
    #[serde(with = "array")]
    registers: [f32; REGISTERS_MAX],
    #[serde(with = "array")]
    states: [Small; STATES_MAX],
    observed: f32,
    expected: f32,
}

/// The baseline, stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StoredBaseline {
    #[serde(with = "array")]
    messages: [Small; PROFILE_BINS],
    #[serde(with = "array")]
    hours: [u8; PROFILE_BINS],
    excess: f32,
    squares: f32,
    counts: StoredCounts,
    level: f32,
    rate: f32,
    dispersion: f32,
    law: [Small; 9],
    /// Stored behind the rest, see [`Sender::to_blob`].
    #[serde(skip)]
    slow: StoredSlow,
}

impl Sender {
    /// A sender met for the first time at `at`.
    pub fn new(model: &Model, role: Role, at: Timestamp, clock: &CivilClock) -> Sender {
        let baseline = Baseline::new(model, model.prior(role), clock.profile_bin(at.hour_index()));
        Sender {
            role,
            learned_role: None,
            first_at: at,
            last_at: at,
            messages: 0,
            traits: Traits::default(),
            last_egress: None,
            clock: at,
            hour_suspicious: false,
            hour: HourCounts::default(),
            test: StoredTest::new(&Detector::default()),
            learned: StoredBaseline::new(&baseline),
            episode: None,
            recent: None,
            changed: false,
        }
    }

    /// Greatest evidence at the last delivery or hour, nats.
    pub fn evidence(&self) -> f64 {
        f64::from(self.test.registers.iter().copied().fold(1.0, f32::max)).ln()
    }

    /// Usual messages per day.
    pub fn usual_per_day(&self) -> f64 {
        24.0 * f64::from(self.learned.level)
    }

    /// Messages expected in the hour under way.
    pub fn rate(&self) -> f64 {
        f64::from(self.learned.rate)
    }

    /// Messages per day that count as usual where more is asked of busy senders: what was learned, as far as the slow
    /// reference bears it out.
    pub fn proven_per_day(&self) -> f64 {
        24.0 * self.learned.slow.get().bound_level(f64::from(self.learned.level))
    }

    /// Expected rate of every bin of the week, messages per hour.
    pub fn week(&self, model: &Model) -> Vec<f64> {
        self.learned.get(model, self.role).week(model.prior(self.role))
    }

    /// What is expected now.
    pub fn expected(&self, model: &Model) -> Expected {
        self.learned.expected(model, self.role)
    }

    /// Messages in the hour under way, and most that are normal in it.
    pub fn hour(&self, model: &Model) -> (f64, f64) {
        (self.hour.messages(), hour_messages_max(&self.expected(model)))
    }

    /// The hour under way, as a number since the epoch, and the messages in it.
    pub fn hour_under_way(&self) -> (i64, u32) {
        (self.clock.hour_index(), self.hour.messages() as u32)
    }

    /// What happened since the change point; `None` where nothing speaks for a hijack.
    pub fn episode(&self) -> Option<&Episode> {
        self.episode.as_deref()
    }

    pub(super) fn episode_mut(&mut self) -> Option<&mut Episode> {
        self.episode.as_deref_mut()
    }

    /// The test as it stands.
    pub fn detector(&self) -> Detector {
        self.test.get()
    }

    /// Whole hours pass up to the hour of `to`: closes hours and days, learns, lets the test cool down. A clock
    /// that goes back stands still.
    pub fn advance(&mut self, model: &Model, clock: &CivilClock, amber: f64, to: Timestamp) {
        self.advance_in(model, clock, Weather::PLAIN, amber, to);
    }

    /// The same, beside others: what they did together meanwhile is taken into account.
    pub fn advance_in(
        &mut self,
        model: &Model,
        clock: &CivilClock,
        weather: Weather,
        amber: f64,
        to: Timestamp,
    ) {
        if self.clock.hour_index() >= to.hour_index() {
            return;
        }
        let mut course = Course {
            clock: self.clock,
            last_at: self.last_at,
            messages: self.messages,
            hour: std::mem::take(&mut self.hour),
            hour_suspicious: self.hour_suspicious,
            test: self.test.get(),
            learned: self.learned.get(model, self.role),
            amber,
        };
        course.advance(model, model.prior(self.role), clock, weather, to, &mut self.traits);
        self.clock = course.clock;
        self.hour = course.hour;
        self.hour_suspicious = course.hour_suspicious;
        self.test = StoredTest::new(&course.test);
        self.learned = StoredBaseline::new(&course.learned);
    }

    /// Judges one delivery and counts it. From `amber` nats on, nothing is learned of the hour. Call
    /// [`Sender::advance`] first.
    pub fn deliver(&mut self, model: &Model, amber: f64, at: Timestamp, marks: &Marks) -> Step {
        let expected = self.learned.expected_for(model, self.role, marks);
        let weight = course::weight(model, self.messages, self.last_at, at);
        let mut test = self.test.get();
        test.wait(model, &expected, at.seconds_since(self.clock));
        let step = test.deliver(model, &expected, marks, weight);
        self.test = StoredTest::new(&test);
        self.hour.add(marks);
        self.hour_suspicious |= step.evidence >= amber;
        self.messages = self.messages.saturating_add(1);
        self.clock = self.clock.max(at);
        self.last_at = self.last_at.max(at);
        step
    }

    /// Judges what a message carried or a login showed, beside the delivery that was counted. Call
    /// [`Sender::advance`] first.
    pub fn consider(&mut self, model: &Model, amber: f64, at: Timestamp, marks: &Marks) -> Step {
        let expected = self.learned.expected(model, self.role);
        let mut test = self.test.get();
        test.wait(model, &expected, at.seconds_since(self.clock));
        let step = test.consider(model, &expected, marks);
        self.test = StoredTest::new(&test);
        self.hour.mark(marks);
        self.hour_suspicious |= step.evidence >= amber;
        self.clock = self.clock.max(at);
        if !step.clear {
            let episode = self.episode.get_or_insert_with(Box::default);
            episode.add_marks(at, marks);
            episode.explain(model, &expected, marks);
            episode.peak_nats = episode.peak_nats.max(step.evidence);
        }
        step
    }

    /// What it sent just before; made at the first use.
    pub fn recent(&mut self) -> &mut Recent {
        self.recent.get_or_insert_with(Box::default)
    }

    /// Notes a delivery since the change point. `sample` is asked for only while more examples are wanted.
    pub fn remember(
        &mut self,
        model: &Model,
        at: Timestamp,
        marks: &Marks,
        address: Option<IpAddr>,
        sample: impl FnOnce() -> Sample,
    ) {
        let expected = self.learned.expected_for(model, self.role, marks);
        let hidden = marks.verdict.is_none() && marks.reverse_path.is_none();
        let episode = self.episode.get_or_insert_with(Box::default);
        episode.add(at, marks, address, sample);
        episode.hidden += u64::from(hidden);
        episode.explain(model, &expected, marks);
    }

    /// Starts the test anew; for when an incident is closed. What spoke for it is told, and must not count for the next.
    pub fn acquit(&mut self) {
        self.episode = None;
        self.test = StoredTest::new(&Detector::default());
    }

    /// Whether it hardly ever sends.
    pub fn is_quiet(&self) -> bool {
        self.usual_per_day() < QUIET_PER_DAY
    }

    /// Its state for the store. What younger versions added stands behind what older ones know.
    pub fn to_blob(&self) -> Option<Vec<u8>> {
        let mut blob = postcard::to_allocvec(self).ok()?;
        let none = LearnedRole { since: Timestamp::from_micros(i64::MIN), before: self.role };
        let learned = self.learned_role.as_deref().unwrap_or(&none);
        let reach = self.episode().and_then(|episode| episode.reach.as_deref());
        blob.extend(postcard::to_allocvec(&(learned, self.learned.slow, reach)).ok()?);
        Some(blob)
    }

    /// The inverse of [`Sender::to_blob`], also of a blob that an older version wrote.
    pub fn from_blob(blob: &[u8]) -> Option<Sender> {
        let (mut sender, added) = postcard::take_from_bytes::<Sender>(blob).ok()?;
        if added.is_empty() {
            return Some(sender);
        }
        let (learned, slow) = postcard::take_from_bytes::<LearnedRole>(added).ok()?;
        sender.learned_role = (learned.since.as_micros() != i64::MIN).then(|| Box::new(learned));
        if !slow.is_empty() {
            let (slow, reach) = postcard::take_from_bytes(slow).ok()?;
            sender.learned.slow = slow;
            if let (Some(episode), false) = (sender.episode_mut(), reach.is_empty()) {
                episode.reach = postcard::from_bytes::<Option<Reach>>(reach).ok()?.map(Box::new);
            }
        }
        Some(sender)
    }

    /// Whether a sender that used to be silent woke up under TLS: almost everything of the episode is hidden.
    pub fn woke_unseen(&self) -> bool {
        self.is_quiet() && self.episode().is_some_and(Episode::opaque)
    }

    /// Notes how much spoke for a hijack at the last delivery.
    pub fn note_evidence(&mut self, evidence_nats: f64) {
        if let Some(episode) = &mut self.episode {
            episode.peak_nats = episode.peak_nats.max(evidence_nats);
        }
    }

    /// Forgets the episode; for when nothing speaks for a hijack and no incident is open.
    pub fn end_episode(&mut self) {
        self.episode = None;
    }

    /// Bytes of this state beside the recipient sketch: the structure and what hangs on it.
    pub fn bytes(&self) -> usize {
        size_of::<Sender>()
            + self.traits.heap_bytes()
            + self.recent.as_ref().map_or(0, |_| size_of::<Recent>())
    }
}

impl StoredTest {
    fn new(test: &Detector) -> StoredTest {
        StoredTest {
            registers: test.registers.map(|ratio| ratio as f32),
            states: test.states.map(Small::new),
            observed: test.observed as f32,
            expected: test.expected as f32,
        }
    }

    fn get(&self) -> Detector {
        Detector {
            registers: self.registers.map(f64::from),
            states: self.states.map(Small::get),
            observed: f64::from(self.observed),
            expected: f64::from(self.expected),
        }
    }
}

impl StoredBaseline {
    fn new(baseline: &Baseline) -> StoredBaseline {
        let law = &baseline.expected.law;
        let (v, p) = (law.verdict, law.reverse_path);
        StoredBaseline {
            messages: baseline.messages.map(Small::new),
            hours: baseline.hours.map(|hours| (hours * HOURS_UNIT).round() as u8),
            excess: baseline.excess as f32,
            squares: baseline.squares as f32,
            counts: StoredCounts::new(&baseline.marks),
            slow: StoredSlow::new(&baseline.slow),
            level: baseline.level as f32,
            rate: baseline.expected.rate as f32,
            dispersion: baseline.expected.dispersion as f32,
            law: [law.novel, v[0], v[1], v[2], v[3], p[0], p[1], p[2], law.foreign].map(Small::new),
        }
    }

    fn get(&self, model: &Model, role: Role) -> Baseline {
        Baseline {
            messages: self.messages.map(Small::get),
            hours: self.hours.map(|hours| f64::from(hours) / HOURS_UNIT),
            excess: f64::from(self.excess),
            squares: f64::from(self.squares),
            marks: self.counts.get(),
            slow: self.slow.get(),
            level: f64::from(self.level),
            expected: self.expected(model, role),
        }
    }

    fn expected(&self, model: &Model, role: Role) -> Expected {
        self.expected_with(model, role, self.side_law(model))
    }

    fn expected_with(&self, model: &Model, role: Role, side: [f64; SIDE_MARKS_MAX]) -> Expected {
        let [novel, v0, v1, v2, v3, p0, p1, p2, foreign] = self.law.map(Small::get);
        Expected {
            rate: f64::from(self.rate),
            dispersion: f64::from(self.dispersion),
            law: MarkLaw { novel, verdict: [v0, v1, v2, v3], reverse_path: [p0, p1, p2], foreign },
            side,
            templates: model.templates_of(role),
        }
    }

    /// The same for marks that are to be judged: a law of marks that were not seen is not worked out.
    fn expected_for(&self, model: &Model, role: Role, marks: &Marks) -> Expected {
        let side = if marks.side.seen == 0 { [0.5; SIDE_MARKS_MAX] } else { self.side_law(model) };
        self.expected_with(model, role, side)
    }

    fn side_law(&self, model: &Model) -> [f64; SIDE_MARKS_MAX] {
        super::baseline::side_law(model, &self.counts.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_of_silence_cost_days_not_hours() {
        let model = Model::shipped().unwrap();
        let clock = CivilClock::utc();
        let start = Timestamp::parse_rfc3339("2026-01-05T09:30:00Z").unwrap();
        let mut sender = Sender::new(&model, Role::Device, start, &clock);
        for hour in 0..24 * 21 {
            let at = start.plus_seconds(f64::from(hour) * 3_600.0);
            sender.advance(&model, &clock, model.amber, at);
            sender.deliver(&model, model.amber, at, &Marks::default());
        }
        let before = sender.usual_per_day();
        assert!((20.0..26.0).contains(&before), "{before}");
        // The year 9999: one forged stamp must not cost millions of steps.
        for (days, least, most) in [(30.0, 0.5, 8.0), (400.0, 0.0, 0.5), (2_900_000.0, 0.0, 0.5)] {
            let mut silent = sender.clone();
            silent.advance(&model, &clock, model.amber, silent.last_at.plus_seconds(days * 86_400.0));
            let after = silent.usual_per_day();
            assert!((least..most).contains(&after), "{days} days: {before} → {after}");
            assert_eq!(silent.clock.hour_index(), silent.last_at.plus_seconds(days * 86_400.0).hour_index());
        }
    }

    #[test]
    fn the_state_survives_its_storage() {
        let model = Model::shipped().unwrap();
        let clock = CivilClock::utc();
        let mut sender = Sender::new(&model, Role::MailRelay, Timestamp::from_seconds(0), &clock);
        for minute in 0..30_000 {
            let at = Timestamp::from_seconds(minute * 60);
            sender.advance(&model, &clock, model.amber, at);
            sender.deliver(
                &model,
                model.amber,
                at,
                &Marks { novel: Some(minute % 9 == 0), ..Marks::default() },
            );
        }
        let old = postcard::to_allocvec(&sender).unwrap();
        let mut older = sender.clone();
        older.learned.slow = StoredSlow::default();
        assert_ne!(older, sender, "three weeks make a reference");
        assert_eq!(Sender::from_blob(&old), Some(older.clone()), "as an older version wrote it");
        older.learned_role = Some(Box::new(LearnedRole { since: sender.last_at, before: Role::Device }));
        let role = postcard::to_allocvec(older.learned_role.as_deref().unwrap()).unwrap();
        assert_eq!(Sender::from_blob(&[&old[..], &role].concat()), Some(older), "with a learned role");
        assert_eq!(Sender::from_blob(&sender.to_blob().unwrap()), Some(sender.clone()));
        sender.learned_role = Some(Box::new(LearnedRole { since: sender.last_at, before: Role::Device }));
        assert_eq!(Sender::from_blob(&sender.to_blob().unwrap()), Some(sender.clone()));
        assert_eq!(Sender::from_blob(&old[..old.len() - 1]), None);
    }
}
