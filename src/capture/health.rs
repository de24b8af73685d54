//! Whether a capture sees what it should: packets lost, a mirror that shows one direction only, mail that went under
//! TLS all at once, an interface that went away.
//!
//! *In*: what was counted so far, now and then. *Out*: totals to publish, and [`Notice`]s that begin and end.
//! *Bound*: a few numbers. *Spec*: none; the shares are ours and stand below.
//!
//! A sensor that is blind and does not say so is worse than none. Nothing here reads a clock.

use super::LiveStats;
use crate::time::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// Shortest span that is judged, seconds.
const SPAN_SECONDS_MIN: f64 = 10.0;
/// Share of lost packets that is no longer passed over.
const LOST_SHARE: f64 = 0.001;
/// Connections with content in a span before their directions are judged.
const FLOWS_MIN: u64 = 20;
/// Share of connections seen from one side only that makes a one-way mirror; well above what asymmetric
/// routes of single destinations cause.
const ONE_WAY_SHARE: f64 = 0.9;
/// Sessions in a span, and before it, before the share of TLS is judged.
const SESSIONS_MIN: u64 = 30;
const SESSIONS_BEFORE_MIN: u64 = 200;
/// Rise of the share of TLS within one span that counts as sudden.
const TLS_RISE: f64 = 0.3;
/// Sessions over which the usual share of TLS is learned.
const TLS_MEMORY_SESSIONS: f64 = 5_000.0;

/// What the wire road has counted about what can be seen. All numbers only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sight {
    /// Frames taken.
    pub packets: u64,
    /// Connections with content of both ends.
    pub flows_two_way: u64,
    /// Connections with content of the client only.
    pub flows_originator_only: u64,
    /// Connections with content of the server only.
    pub flows_responder_only: u64,
    /// Sessions that ended.
    pub sessions: u64,
    /// Of these, under TLS.
    pub sessions_tls: u64,
}

/// A way of being blind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Blindness {
    /// The kernel dropped packets, because we were too slow.
    KernelDrops,
    /// The interface or its driver dropped packets.
    InterfaceDrops,
    /// The mirror shows what clients say and not what servers answer.
    NoAnswers,
    /// The mirror shows what servers answer and not what clients say.
    OnlyAnswers,
    /// A much larger share of sessions than before goes under TLS.
    SuddenTls,
    /// The interface is down or gone.
    InterfaceDown,
}

/// Something began or ended that makes the sensor blind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Notice {
    /// What it is.
    pub what: Blindness,
    /// When it was found out.
    pub at: Timestamp,
    /// It began, or else it ended.
    pub began: bool,
    /// The share that tells: lost packets, one-sided flows or sessions under TLS in the span; 1 for an interface
    /// that is down.
    pub share: f64,
    /// One sentence for a person.
    pub text: String,
}

/// What is published of one interface. Totals go on through a reopened interface.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Health {
    /// Name of the interface.
    pub interface: String,
    /// Packets that passed the filter.
    pub received: u64,
    /// Packets that the kernel dropped, because we were too slow.
    pub dropped: u64,
    /// Packets that the interface or its driver dropped.
    pub if_dropped: u64,
    /// Times the interface was opened again after it had gone.
    pub reopened: u64,
    /// Seconds without an interface.
    pub blind_seconds: f64,
    /// What the road has seen.
    pub sight: Sight,
    /// What is wrong now, and since when.
    pub active: BTreeMap<Blindness, Timestamp>,
    /// The last numbers of the interface.
    #[serde(skip)]
    stats: LiveStats,
    /// Usual share of sessions under TLS, and over how many it was learned.
    #[serde(skip)]
    usual_tls: (f64, u64),
    /// Where the span that is being judged began.
    #[serde(skip)]
    span: Option<Span>,
    #[serde(skip)]
    down_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    began_at: Timestamp,
    received: u64,
    dropped: u64,
    if_dropped: u64,
    sight: Sight,
}

impl Health {
    /// Nothing is known yet.
    pub fn new(interface: &str) -> Health {
        Health { interface: interface.to_owned(), ..Health::default() }
    }

    /// Takes all that is known of an interface now: [`Live::down_for`](super::Live::down_for) and the numbers. Call it
    /// once a second or so, with time that does not jump.
    pub fn look(&mut self, at: Timestamp, is_down: bool, stats: LiveStats, sight: Sight) -> Vec<Notice> {
        let mut notices = if is_down { self.down(at) } else { self.up(at) };
        notices.extend(self.update(at, stats, sight));
        notices
    }

    /// Takes the numbers of now, which go on through a reopened interface.
    pub fn update(&mut self, at: Timestamp, stats: LiveStats, sight: Sight) -> Vec<Notice> {
        // libpcap counts in 32 bits.
        let grown = |now: u32, before: u32| u64::from(now.wrapping_sub(before));
        self.received += grown(stats.received, self.stats.received);
        self.dropped += grown(stats.dropped, self.stats.dropped);
        self.if_dropped += grown(stats.if_dropped, self.stats.if_dropped);
        (self.stats, self.sight) = (stats, sight);
        let (received, dropped, if_dropped) = (self.received, self.dropped, self.if_dropped);
        let now = Span { began_at: at, received, dropped, if_dropped, sight };
        let Some(before) = self.span else {
            self.span = Some(now);
            return Vec::new();
        };
        if at.seconds_since(before.began_at) < SPAN_SECONDS_MIN {
            return Vec::new();
        }
        self.span = Some(now);
        self.judge(before, now)
    }

    /// The interface went away.
    pub fn down(&mut self, at: Timestamp) -> Vec<Notice> {
        self.down_at = self.down_at.or(Some(at));
        self.turn(Blindness::InterfaceDown, at, Some((true, 1.0))).into_iter().collect()
    }

    /// The interface is there, perhaps again.
    pub fn up(&mut self, at: Timestamp) -> Vec<Notice> {
        if let Some(down_at) = self.down_at.take() {
            self.reopened += 1;
            self.blind_seconds += at.seconds_since(down_at).max(0.0);
        }
        self.turn(Blindness::InterfaceDown, at, Some((false, 0.0))).into_iter().collect()
    }

    fn judge(&mut self, before: Span, now: Span) -> Vec<Notice> {
        let at = now.began_at;
        let lost = |now: u64, then: u64| {
            let packets = self.received - before.received;
            let lost = now - then;
            let share = lost as f64 / packets.max(lost).max(1) as f64;
            Some((share > LOST_SHARE, share))
        };
        let (kernel, interface) =
            (lost(now.dropped, before.dropped), lost(now.if_dropped, before.if_dropped));
        let (a, b) = (now.sight, before.sight);
        let grown = |now: u64, then: u64| now.saturating_sub(then);
        let asks = grown(a.flows_originator_only, b.flows_originator_only);
        let answers = grown(a.flows_responder_only, b.flows_responder_only);
        let flows = asks + answers + grown(a.flows_two_way, b.flows_two_way);
        let one_way = |one: u64| {
            let share = one as f64 / flows.max(1) as f64;
            (flows >= FLOWS_MIN).then_some((share >= ONE_WAY_SHARE, share))
        };
        let tls = self.tls(grown(a.sessions, b.sessions), grown(a.sessions_tls, b.sessions_tls));
        let found = [
            (Blindness::KernelDrops, kernel),
            (Blindness::InterfaceDrops, interface),
            (Blindness::NoAnswers, one_way(asks)),
            (Blindness::OnlyAnswers, one_way(answers)),
            (Blindness::SuddenTls, tls),
        ];
        found.into_iter().filter_map(|(what, state)| self.turn(what, at, state)).collect()
    }

    /// Whether the share of TLS has risen suddenly. Learns the usual share, slowly.
    fn tls(&mut self, sessions: u64, under_tls: u64) -> Option<(bool, f64)> {
        let (usual, learned) = self.usual_tls;
        let share = under_tls as f64 / sessions.max(1) as f64;
        let weight = sessions as f64 / (learned as f64 + sessions as f64).clamp(1.0, TLS_MEMORY_SESSIONS);
        self.usual_tls = (usual + (share - usual) * weight.min(1.0), learned + sessions);
        (sessions >= SESSIONS_MIN && learned >= SESSIONS_BEFORE_MIN)
            .then_some((share - usual >= TLS_RISE, share))
    }

    /// Notes that something holds, or no longer; `None` where it could not be judged.
    fn turn(&mut self, what: Blindness, at: Timestamp, state: Option<(bool, f64)>) -> Option<Notice> {
        let (holds, share) = state?;
        if holds == self.active.contains_key(&what) {
            return None;
        }
        if holds {
            self.active.insert(what, at);
        } else {
            self.active.remove(&what);
        }
        let text = format!("{}: {}", self.interface, what.says(holds, share));
        Some(Notice { what, at, began: holds, share, text })
    }
}

impl Blindness {
    fn says(self, holds: bool, share: f64) -> String {
        let percent = share * 100.0;
        match (self, holds) {
            (Blindness::KernelDrops, true) => format!(
                "the kernel dropped {percent:.1} % of the packets: give the sensor more processor or a narrower filter"
            ),
            (Blindness::InterfaceDrops, true) => {
                format!(
                    "the interface dropped {percent:.1} % of the packets: check the card and the span port"
                )
            }
            (Blindness::NoAnswers, true) => format!(
                "{percent:.0} % of the connections show no answer of the server: mirror both directions"
            ),
            (Blindness::OnlyAnswers, true) => format!(
                "{percent:.0} % of the connections show only the server's answers: mirror both directions"
            ),
            (Blindness::SuddenTls, true) => format!(
                "{percent:.0} % of the sessions are under TLS, far more than before: recipients cannot be seen there"
            ),
            (Blindness::InterfaceDown, true) => {
                "the interface is down: nothing is seen until it comes back".into()
            }
            (Blindness::KernelDrops | Blindness::InterfaceDrops, false) => {
                "packets are no longer lost".into()
            }
            (Blindness::NoAnswers | Blindness::OnlyAnswers, false) => "both directions are seen again".into(),
            (Blindness::SuddenTls, false) => "the share of TLS is what is usual now".into(),
            (Blindness::InterfaceDown, false) => "the interface is back".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The notices of a course of numbers, eleven seconds apart.
    fn course(steps: &[(LiveStats, Sight)]) -> Vec<(Blindness, bool)> {
        let mut health = Health::new("span0");
        let mut out = Vec::new();
        for (i, (stats, sight)) in steps.iter().enumerate() {
            let at = Timestamp::from_seconds(1_000 + 11 * i as i64);
            out.extend(
                health.update(at, *stats, *sight).into_iter().map(|notice| (notice.what, notice.began)),
            );
        }
        out
    }

    fn stats(received: u32, dropped: u32) -> LiveStats {
        LiveStats { received, dropped, if_dropped: 0 }
    }

    #[test]
    fn lost_packets_are_noticed_and_their_end_too() {
        let sight = Sight::default();
        let found = course(&[
            (stats(0, 0), sight),
            (stats(10_000, 5), sight),
            (stats(20_000, 105), sight),
            (stats(30_000, 105), sight),
        ]);
        assert_eq!(found, [(Blindness::KernelDrops, true), (Blindness::KernelDrops, false)]);
    }

    #[test]
    fn counters_of_32_bits_may_wrap() {
        let mut health = Health::new("span0");
        for received in [u32::MAX - 5, 4] {
            health.update(Timestamp::from_seconds(1), stats(received, 0), Sight::default());
        }
        assert_eq!(health.received, u64::from(u32::MAX) + 5);
    }

    #[test]
    fn a_one_way_mirror_is_noticed_only_among_enough_flows() {
        let asks = |flows_originator_only| Sight { flows_originator_only, ..Sight::default() };
        let found = course(&[(stats(0, 0), asks(0)), (stats(0, 0), asks(19)), (stats(0, 0), asks(39))]);
        assert_eq!(found, [(Blindness::NoAnswers, true)]);
        let both = Sight { flows_originator_only: 5, flows_two_way: 40, ..Sight::default() };
        assert_eq!(course(&[(stats(0, 0), asks(0)), (stats(0, 0), both)]), []);
    }

    #[test]
    fn a_sudden_share_of_tls_is_noticed_and_a_usual_one_is_not() {
        let sight =
            |sessions, sessions_tls| (stats(0, 0), Sight { sessions, sessions_tls, ..Sight::default() });
        let usual = course(&[sight(0, 0), sight(300, 270), sight(600, 540)]);
        assert_eq!(usual, []);
        let sudden = course(&[sight(0, 0), sight(300, 30), sight(400, 120)]);
        assert_eq!(sudden, [(Blindness::SuddenTls, true)]);
    }

    #[test]
    fn an_interface_that_goes_and_comes_is_counted() {
        let mut health = Health::new("span0");
        let at = Timestamp::from_seconds;
        assert_eq!(health.down(at(5)).len(), 1);
        assert_eq!(health.down(at(6)).len(), 0);
        assert!(!health.up(at(15))[0].began);
        assert_eq!((health.reopened, health.blind_seconds), (1, 10.0));
    }

    #[test]
    fn numbers_go_on_through_an_interface_that_was_away() {
        let mut health = Health::new("span0");
        let at = Timestamp::from_seconds;
        for (second, is_down, received) in [(1, false, 100), (2, true, 100), (3, false, 150)] {
            health.look(at(second), is_down, stats(received, 0), Sight::default());
        }
        assert_eq!((health.received, health.reopened), (150, 1));
    }
}
