//! A labelled world: a company's mail as Postfix logs and as captures, with the truth beside it.
//!
//! *In*: a scenario and a seed. *Out*: `portreeve.toml`, `logs/`, `captures/`, `truth.json`, the same octets
//! for the same seed. *Bound*: memory holds the mail that waits and the connections under way. *Spec*: the
//! workload of docs/detection.md.
//!
//! One queue of events drives everything in time order; frames and lines of later moments wait in their own
//! queues and are written as soon as nothing earlier can come.

mod calendar;
mod captures;
mod content;
mod dialogue;
mod draw;
mod frames;
mod hijacks;
mod inbound;
mod lines;
pub mod load;
mod mta;
mod names;
mod postfix;
mod receivers;
mod runs;
mod scenarios;
pub mod score;
mod sources;
mod spamware;
mod styles;
mod talk;
mod tls;
pub mod truth;
mod visit;
mod world;

use crate::time::{MICROS_PER_HOUR, Timestamp};
use calendar::Calendar;
use captures::{Captures, FILE_OCTETS_MAX};
use draw::Dice;
use jiff::civil::{Date, date};
use lines::{Lines, Stamp};
use receivers::Receivers;
use scenarios::scenario;
pub use scenarios::{SCENARIOS, Scenario};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use truth::Truth;
use visit::Ledger;
use world::{RELAY_1, RELAY_2, World};

/// What to simulate.
#[derive(Clone, Debug)]
pub struct SimulateSettings {
    /// The world's seed.
    pub seed: u64,
    /// Name of a row of [`SCENARIOS`].
    pub scenario: String,
    /// Days instead of the scenario's own number; at least 6.
    pub days: Option<u32>,
    /// Accounts instead of the scenario's own number; at least 8.
    pub accounts: Option<u32>,
}

/// Why a world could not be written. One line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// No such scenario.
    #[error("scenario {0:?} is unknown: use one of {1}")]
    Scenario(String, String),
    /// Too short or too small a world.
    #[error("{0}")]
    TooSmall(String),
    /// A world is there already.
    #[error("{0} is not an empty directory: name a new one")]
    NotEmpty(PathBuf),
    /// The disk refused.
    #[error("cannot write the world: {0}")]
    Write(#[source] std::io::Error),
    /// The time zone is missing.
    #[error("cannot load the time zone of the world: {0}")]
    Calendar(String),
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Frames in the captures.
    pub frames: u64,
    /// Octets of the captures.
    pub capture_bytes: u64,
    /// Lines of the logs.
    pub log_lines: u64,
    /// The truth that was written beside them.
    pub truth: Truth,
}

/// Something that happens at a moment.
enum Event {
    /// Everyday mail of the hour that begins, for one source.
    Hour(usize),
    /// Mails for one mail server.
    Mail { machine: usize, mails: Vec<mta::Mail> },
    /// A mail is tried again.
    Retry { machine: usize, entry: Box<mta::Queued> },
    /// The next batch of a mailing.
    Run(usize),
    /// The next message of a campaign.
    Campaign(usize),
    /// The plan turns.
    Turn(runs::Turn),
    /// Strangers knock at a relay.
    Noise(usize),
    /// A person writes to a colleague.
    Internal { machine: usize, mail: sources::Internal },
    /// Somebody outside writes to the company.
    Inbound,
}

/// Everything that a world consists of while it runs.
struct Director {
    scenario: Scenario,
    calendar: Calendar,
    world: World,
    receivers: Receivers,
    sources: Vec<sources::Source>,
    runs: Vec<runs::Run>,
    campaigns: Vec<hijacks::Campaign>,
    /// The benign burst of the new mail server, while it is one.
    commissioned: Option<usize>,
    events: BTreeMap<(i64, u64), Event>,
    order: u64,
    captures: Captures,
    logs: Vec<Lines>,
    /// The world ends when its logs have so many lines.
    lines_max: u64,
    ledger: Ledger,
    ports: BTreeMap<IpAddr, u32>,
    dice: Dice,
}

/// Writes a world below `out`, which must be an empty or a new directory.
pub fn simulate(settings: &SimulateSettings, out: &Path) -> Result<Summary, SimulateError> {
    let mut scenario = scenario(&settings.scenario)?.clone();
    scenario.days = settings.days.unwrap_or(scenario.days);
    scenario.accounts = settings.accounts.unwrap_or(scenario.accounts);
    if scenario.days < 6 || scenario.days > 366 {
        return Err(SimulateError::TooSmall("a world lasts 6 to 366 days".into()));
    }
    if scenario.accounts < 8 || scenario.accounts > 20_000 {
        return Err(SimulateError::TooSmall("a world has 8 to 20000 accounts".into()));
    }
    if out.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(SimulateError::NotEmpty(out.to_owned()));
    }
    std::fs::create_dir_all(out.join("captures")).map_err(SimulateError::Write)?;
    let mut director = Director::new(settings.seed, scenario, out)?;
    director.plan(settings.seed);
    director.play()?;
    director.write_down(settings, out)
}

impl Director {
    fn new(seed: u64, scenario: Scenario, out: &Path) -> Result<Director, SimulateError> {
        let (year, month, day) = scenario.first_day;
        let first: Date = date(year, month, day);
        let calendar = Calendar::new(first, scenario.days)?;
        let world = World::new(seed, scenario.accounts);
        let receivers = Receivers::new(seed, scenario.domains, scenario.starttls);
        let sources = sources::sources(seed, &scenario, &world, &receivers);
        let captures = out.join("captures");
        let weeks: Vec<u32> = calendar.weekdays(6).into_iter().filter(|day| *day > 0).collect();
        let cuts = weeks.iter().map(|day| calendar.at(*day, 0.0)).collect();
        let rotations: Vec<i64> = weeks.iter().map(|day| calendar.at(*day, 6.42)).collect();
        let log = |machine: usize, stamp| {
            let name = &world.machines[machine].name;
            Lines::new(&out.join("logs").join(name), name, stamp, rotations.clone())
        };
        let logs = vec![log(RELAY_1, Stamp::Classic), log(RELAY_2, Stamp::Rfc3339)];
        Ok(Director {
            scenario,
            calendar,
            world,
            receivers,
            sources,
            runs: Vec::new(),
            campaigns: Vec::new(),
            commissioned: None,
            events: BTreeMap::new(),
            order: 0,
            captures: Captures::new(&captures, cuts, FILE_OCTETS_MAX),
            lines_max: u64::MAX,
            logs,
            ledger: Ledger::default(),
            ports: BTreeMap::new(),
            dice: Dice::new(seed, "director"),
        })
    }

    /// Puts on the calendar what is to happen.
    fn plan(&mut self, seed: u64) {
        let start = self.calendar.start();
        for source in 0..self.sources.len() {
            self.schedule(start, Event::Hour(source));
        }
        for machine in [RELAY_1, RELAY_2] {
            self.schedule(start + 60_000_000, Event::Noise(machine));
        }
        self.schedule(start, Event::Inbound);
        let calm = self.scenario.calm_days.min(self.scenario.days / 2);
        let days: Vec<u32> = (calm..self.scenario.days).collect();
        self.plan_runs(seed, &days);
        // The last day is left to what began before it.
        self.plan_hijacks(seed, &days[..days.len() - 1]);
    }

    fn log_lines(&self) -> u64 {
        self.logs.iter().map(|log| log.count).sum()
    }

    fn schedule(&mut self, at: i64, event: Event) {
        self.order += 1;
        self.events.insert((at, self.order), event);
    }

    fn play(&mut self) -> Result<(), SimulateError> {
        let end = self.calendar.end();
        let mut dice = Dice::new(self.dice.bits(), "noise");
        while let Some(((at, _), event)) = self.events.pop_first() {
            if at >= end || self.log_lines() >= self.lines_max {
                break;
            }
            // A log line may be stamped a little before the event that causes it.
            let settled = at - 1_000_000;
            self.captures.write_until(settled)?;
            for log in &mut self.logs {
                log.write_until(&self.calendar, settled)?;
            }
            match event {
                Event::Hour(source) => {
                    self.hour(source, at);
                    self.schedule(at + MICROS_PER_HOUR, Event::Hour(source));
                }
                Event::Mail { machine, mails } => self.submit(machine, mails, at),
                Event::Retry { machine, entry } => self.retry(machine, *entry, at),
                Event::Run(run) => self.run(run, at),
                Event::Campaign(campaign) => self.strike(campaign, at),
                Event::Turn(turn) => self.turn(turn),
                Event::Internal { machine, mail } => self.log_internal(machine, &mail, at),
                Event::Inbound => {
                    self.inbound(&mut dice, at);
                    let wait = dice.exponential(86_400e6 / f64::from(2 * self.scenario.accounts)) as i64;
                    self.schedule(at + wait, Event::Inbound);
                }
                Event::Noise(machine) => {
                    self.noise(machine, &mut dice, at);
                    let wait = dice.exponential(900e6) as i64;
                    self.schedule(at + wait, Event::Noise(machine));
                }
            }
        }
        self.captures.finish()?;
        for log in &mut self.logs {
            log.finish(&self.calendar)?;
        }
        Ok(())
    }

    fn write_down(mut self, settings: &SimulateSettings, out: &Path) -> Result<Summary, SimulateError> {
        let end = Timestamp::from_micros(self.calendar.end());
        for hijack in &mut self.ledger.hijacks {
            hijack.deliveries.sort();
            if let (Some(first), Some(last)) = (hijack.deliveries.first(), hijack.deliveries.last()) {
                (hijack.start, hijack.end) = (*first, *last);
            }
        }
        let truth = Truth {
            scenario: self.scenario.name.to_owned(),
            seed: settings.seed,
            start: Timestamp::from_micros(self.calendar.start()),
            end,
            senders: self.ledger.senders(&self.world.declared()),
            sender_days: self.ledger.sender_days(end),
            hijacks: std::mem::take(&mut self.ledger.hijacks),
            benign: std::mem::take(&mut self.ledger.benign),
        };
        let json = serde_json::to_string_pretty(&truth).map_err(std::io::Error::from);
        let json = json.map_err(SimulateError::Write)?;
        std::fs::write(out.join("truth.json"), json + "\n").map_err(SimulateError::Write)?;
        std::fs::write(out.join("portreeve.toml"), self.world.config()).map_err(SimulateError::Write)?;
        Ok(Summary {
            log_lines: self.log_lines(),
            frames: self.captures.frames,
            capture_bytes: self.captures.octets,
            truth,
        })
    }
}
