//! Detectors over many histories: scores of honest days and bursts, trails of attacks.
//!
//! *In*: seeds and sizes. *Out*: for every detector what it says of the same histories. *Bound*: one history in memory.

use crate::attacks::{self, KINDS, Kind};
use crate::histories::{self, Cause, Class, DAY, History, POPULATION, Sent, WARM_DAYS};
use crate::ours;
use crate::peers::{PEERS, Seen};
use crate::random::Random;
use crate::score::{SCORED_DAYS, Trail};
use portreeve::engine::model::Model;
use std::collections::{BTreeMap, BTreeSet};

/// A detector at work on one history.
pub type Judge<'a> = Box<dyn FnMut(&Sent) -> f64 + 'a>;

/// How many detectors [`judges`] gives.
const DETECTORS: usize = PEERS.len() + 2;

/// Detectors: ours, then the peers in their order, then our second tier.
pub fn judges(model: &Model, class: Class) -> Vec<Judge<'_>> {
    let mut list: Vec<Judge> = vec![ours::judge(model, class)];
    for peer in PEERS {
        let mut judge = (peer.make)();
        let mut known = Recipients::new(class);
        list.push(Box::new(move |sent| judge(&known.see(sent))));
    }
    list.push(ours::volume(model, class));
    list
}

/// Gives deliveries recipients: a history only says which are new.
struct Recipients {
    serves: bool,
    known: u64,
}

impl Recipients {
    fn new(class: Class) -> Recipients {
        Recipients { serves: matches!(class, Class::Office | Class::Relay), known: 1 }
    }

    fn see(&mut self, sent: &Sent) -> Seen {
        let recipient = if sent.novel {
            self.known += 1;
            self.known
        } else {
            // One of those written to before, spread by the moment.
            1 + scatter(sent.at.to_bits()) % self.known
        };
        // Four in ten mailboxes are at five big providers, the others at a server of their own.
        let place = scatter(recipient);
        let server = if place % 10 < 4 { place % 5 } else { recipient + 10 };
        Seen { at: sent.at, recipient, server, refused: sent.failed(), serves: self.serves }
    }
}

/// SplitMix64's last step.
fn scatter(value: u64) -> u64 {
    let mixed = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// What detectors say of honest senders.
#[derive(Default)]
pub struct Honest {
    /// Greatest score of each scored day, by detector.
    pub days: Vec<Vec<f64>>,
    /// The same by class, ours only.
    pub days_of: BTreeMap<Class, Vec<f64>>,
    /// Greatest score of each burst, by cause and detector.
    pub bursts: BTreeMap<Cause, Vec<Vec<f64>>>,
}

/// A bursty day counts as one event of its cause.
pub fn honest(model: &Model, seed: u64, share: f64) -> Honest {
    let mut out = Honest { days: vec![Vec::new(); DETECTORS], ..Honest::default() };
    let mut part = 0;
    for (class, count) in POPULATION.into_iter().chain([(Class::Account, 500)]) {
        for _ in 0..(count as f64 * share).ceil() as usize {
            part += 1;
            let mut rng = Random::part(seed, part);
            let history = histories::draw(&mut rng, class, true);
            let scores: Vec<DayScores> =
                judges(model, class).into_iter().map(|judge| day_scores(judge, &history)).collect();
            for (all, of_history) in out.days.iter_mut().zip(&scores) {
                all.extend(of_history.days);
            }
            out.days_of.entry(class).or_default().extend(scores[0].days);
            let causes: BTreeSet<Cause> = scores[0].bursts.keys().map(|(cause, _)| *cause).collect();
            for cause in &causes {
                let lists = out.bursts.entry(*cause).or_insert_with(|| vec![Vec::new(); DETECTORS]);
                for (list, of_history) in lists.iter_mut().zip(&scores) {
                    let of_cause = of_history.bursts.iter().filter(|((of, _), _)| of == cause);
                    list.extend(of_cause.map(|(_, score)| *score));
                }
            }
        }
    }
    out
}

struct DayScores {
    days: [f64; SCORED_DAYS],
    bursts: BTreeMap<(Cause, usize), f64>,
}

fn day_scores(mut judge: Judge, history: &History) -> DayScores {
    let mut out = DayScores { days: [f64::NEG_INFINITY; SCORED_DAYS], bursts: BTreeMap::new() };
    for sent in &history.sent {
        let score = judge(sent);
        let day = (sent.at / DAY) as usize;
        let Some(scored) = day.checked_sub(WARM_DAYS).filter(|day| *day < SCORED_DAYS) else { continue };
        out.days[scored] = out.days[scored].max(score);
        if sent.cause != Cause::Ordinary {
            let most = out.bursts.entry((sent.cause, day)).or_insert(f64::NEG_INFINITY);
            *most = most.max(score);
        }
    }
    out
}

/// Trails of attacks, by detector.
pub fn attacked(model: &Model, seed: u64, per_kind: usize) -> Vec<Vec<Trail>> {
    let mut out: Vec<Vec<Trail>> = (0..DETECTORS).map(|_| Vec::new()).collect();
    for (index, kind) in KINDS.into_iter().enumerate() {
        for number in 0..per_kind {
            let mut rng = Random::part(seed, (index * 100_000 + number) as u64);
            let Some((class, history, attack)) = draw_attack(&mut rng, kind) else { continue };
            for (trails, mut judge) in out.iter_mut().zip(judges(model, class)) {
                trails.push(Trail::follow(&mut judge, &history, &attack));
            }
        }
    }
    out
}

/// A victim and its attack.
fn draw_attack(rng: &mut Random, kind: Kind) -> Option<(Class, History, attacks::Attack)> {
    let victims = kind.victims();
    let class = victims[rng.below(victims.len())];
    let mut history = histories::draw(rng, class, false);
    let attack = attacks::merge(rng, kind, &mut history)?;
    Some((class, history, attack))
}

/// Low-and-slow attacks on a person's account behind a relay, at the account.
pub fn low_and_slow_accounts(model: &Model, seed: u64, count: usize) -> Vec<Trail> {
    (0..count)
        .filter_map(|number| {
            let mut rng = Random::part(seed, 9_000_000 + number as u64);
            let mut history = histories::draw(&mut rng, Class::Account, false);
            let attack = attacks::merge(&mut rng, Kind::LowSlow, &mut history)?;
            Some(Trail::follow(&mut ours::judge(model, Class::Account), &history, &attack))
        })
        .collect()
}
