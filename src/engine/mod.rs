//! ★ Observations become statistics and incidents.
//!
//! *In*: [`Observation`]s in event time. *Out*: [`IncidentChange`]s. *Bound*: `limits::SENDERS_MAX` senders,
//! two generations of `limits::REMEMBERED_MAX` recipients a road. *Spec*: docs/detection.md.
//!
//! No I/O, no clock, no knowledge of packets or log lines: a pure function of state and event.
//!
//! ```text
//!  observation ─▶ judge.rs ── who, marks ─▶ sender.rs ── detector.rs, baseline.rs ─▶ decide.rs ─▶ incident
//!                    └─ roads.rs: what the company knows      └─ packed between deliveries
//! ```

pub mod baseline;
pub mod blocks;
mod contents;
pub mod counts;
pub mod course;
mod decide;
pub mod detector;
pub mod episode;
pub mod evidence;
mod familiarity;
pub mod feedback;
pub mod incident;
mod judge;
pub mod marks;
pub mod memory;
pub mod model;
mod open;
pub mod packed;
pub mod persist;
pub mod planned;
pub mod reach;
pub mod reached;
pub mod recent;
mod roads;
pub mod roles;
pub mod samples;
pub mod season;
pub mod sender;
pub mod slow;
mod tables;
pub mod top;
pub mod trail;
pub mod unlogged;
pub mod volume;
pub mod wakes;

use crate::company::Company;
use crate::observation::{Fact, Observation, Tls, Vantage};
use crate::time::Timestamp;
use feedback::Leniency;
use incident::{Incident, IncidentChange};
use ipnet::IpNet;
use memory::InstallKey;
use model::Model;
use open::OpenIncidents;
use planned::Plan;
use roads::Road;
use roles::RoleChange;
use season::Season;
use sender::{Sender, SenderId, SenderKey};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use wakes::Wakes;

/// What the user may set.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The false-alarm budget.
    pub false_alarms_per_1000_sender_days: f64,
    /// The budget of the second tier, unexplained volume; 0 leaves it off.
    pub volume_alarms_per_1000_sender_days: f64,
    /// How long a new install only learns what is new and what is foreign, days.
    pub settling_days: f64,
    /// Extra evidence asked for on the first moment of a new install, nats; it falls to nothing while it settles.
    pub unsettled_margin_nats: f64,
    /// Quiet time after which an incident is closed, hours.
    pub close_after_hours: f64,
    /// Whether examples name recipients; otherwise a keyed digest stands for each.
    pub recipients_named: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            false_alarms_per_1000_sender_days: 1.0,
            volume_alarms_per_1000_sender_days: 0.0,
            settling_days: 3.0,
            unsettled_margin_nats: 20.0,
            close_after_hours: 6.0,
            recipients_named: false,
        }
    }
}

/// What the engine counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EngineCounters {
    /// Observations taken.
    pub observations: u64,
    /// Deliveries judged.
    pub deliveries: u64,
    /// Messages under TLS judged by their outside.
    pub hidden_messages: u64,
    /// Deliveries known as retries of one already judged.
    pub retries: u64,
    /// Observations older than what their sender had already reached; judged as of then.
    pub late: u64,
    /// Senders not profiled because the table was full.
    pub senders_refused: u64,
    /// Incidents opened.
    pub incidents_opened: u64,
    /// Days on which a sender was judged, over all senders.
    pub sender_days: u64,
    /// Deliveries that a planned mailing covered.
    pub planned: u64,
    /// Incidents that people confirmed.
    pub confirmed: u64,
    /// Incidents that people dismissed: false alarms.
    pub dismissed: u64,
    /// Times an undeclared sender was found to have another role.
    pub role_changes: u64,
}

impl EngineCounters {
    /// What was counted beyond an earlier moment, by name.
    pub fn since(&self, earlier: &EngineCounters) -> [(&'static str, u64); 12] {
        let more = |now: u64, then: u64| now.saturating_sub(then);
        [
            ("observations", more(self.observations, earlier.observations)),
            ("deliveries", more(self.deliveries, earlier.deliveries)),
            ("hidden_messages", more(self.hidden_messages, earlier.hidden_messages)),
            ("retries", more(self.retries, earlier.retries)),
            ("late", more(self.late, earlier.late)),
            ("senders_refused", more(self.senders_refused, earlier.senders_refused)),
            ("incidents_opened", more(self.incidents_opened, earlier.incidents_opened)),
            ("sender_days", more(self.sender_days, earlier.sender_days)),
            ("planned", more(self.planned, earlier.planned)),
            ("confirmed", more(self.confirmed, earlier.confirmed)),
            ("dismissed", more(self.dismissed, earlier.dismissed)),
            ("role_changes", more(self.role_changes, earlier.role_changes)),
        ]
    }
}

/// The judge.
pub struct Engine {
    company: Arc<Company>,
    model: Model,
    settings: Settings,
    key: InstallKey,
    senders: HashMap<SenderKey, Box<Sender>>,
    changed: Vec<SenderKey>,
    /// Hours that ended with messages in them, for the store; `None` where nobody asks for them.
    closed_hours: Option<Vec<persist::ClosedHour>>,
    /// Recipients of incidents, for the store; `None` where nobody asks for them.
    reached: Option<Vec<reached::Reached>>,
    roads: [Road; 2],
    seasons: [Season; 2],
    incidents: OpenIncidents,
    wakes: BTreeMap<(Vantage, IpNet), Wakes>,
    plans: Vec<Plan>,
    leniencies: Vec<Leniency>,
    role_changes: Vec<RoleChange>,
    ledger: unlogged::Ledger,
    logins: trail::Logins,
    now: Timestamp,
    swept_hour: i64,
    counters: EngineCounters,
}

impl Engine {
    /// A judge without memories.
    pub fn new(company: Arc<Company>, model: Model, settings: Settings, key: InstallKey) -> Engine {
        Engine {
            company,
            model,
            settings,
            key,
            senders: HashMap::new(),
            changed: Vec::new(),
            closed_hours: None,
            reached: None,
            roads: [Road::default(), Road::default()],
            seasons: [Season::default(), Season::default()],
            incidents: OpenIncidents::default(),
            wakes: BTreeMap::new(),
            plans: Vec::new(),
            leniencies: Vec::new(),
            role_changes: Vec::new(),
            ledger: unlogged::Ledger::default(),
            logins: trail::Logins::default(),
            now: Timestamp::from_micros(i64::MIN),
            swept_hour: i64::MIN,
            counters: EngineCounters::default(),
        }
    }

    /// Counters so far.
    pub fn counters(&self) -> EngineCounters {
        self.counters
    }

    /// What everybody on a road sends together, against what they are known for: below 1 on holidays.
    pub fn common_factor(&self, vantage: Vantage) -> f64 {
        self.seasons[vantage as usize].common_factor()
    }

    /// The latest moment seen.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Incidents that are open.
    pub fn open_incidents(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.values()
    }

    /// How many senders are profiled.
    pub fn sender_count(&self) -> usize {
        self.senders.len()
    }

    /// All senders, in a stable order.
    pub fn senders(&self) -> Vec<(&SenderKey, &Sender)> {
        let mut list: Vec<_> = self.senders.iter().map(|(key, sender)| (key, &**sender)).collect();
        list.sort_by(|a, b| a.0.cmp(b.0));
        list
    }

    /// The model in use.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Takes over another company and other settings. What was learned stays.
    pub fn reconfigure(&mut self, company: Arc<Company>, settings: Settings) {
        self.company = company;
        self.settings = settings;
        for (key, sender) in &mut self.senders {
            roles::declare(&self.company, &key.id, sender);
        }
    }

    /// Says that time went on though nothing was seen: incidents that were quiet for long enough close. Before the
    /// first observation there is no time to go on from. Replays never call this: there, only events move time.
    pub fn advance(&mut self, now: Timestamp, out: &mut Vec<IncidentChange>) {
        if self.now.as_micros() == i64::MIN || now <= self.now {
            return;
        }
        self.now = now;
        if self.now.hour_index() != self.swept_hour {
            self.sweep(out);
        }
    }

    /// Takes one observation; pushes what it changed.
    pub fn observe(&mut self, observation: &Observation, out: &mut Vec<IncidentChange>) {
        self.counters.observations += 1;
        self.now = self.now.max(observation.at);
        if self.now.hour_index() != self.swept_hour {
            self.sweep(out);
        }
        self.pass(observation);
        match &observation.fact {
            Fact::Delivery(delivery) => self.delivery(observation, delivery, out),
            Fact::Session(session) if session.tls == Tls::Started => self.hidden(observation, session, out),
            Fact::Reconciled(fact) => self.reconciled(observation, fact, out),
            Fact::Message(message) => self.message(observation, message, out),
            Fact::Login(login) => self.login(observation, *login, out),
            Fact::Session(_) | Fact::Attempt(_) => {}
        }
    }

    /// Lets the season of a road reach an observation. Once a day its members are counted anew.
    fn pass(&mut self, observation: &Observation) {
        let season = &mut self.seasons[observation.vantage as usize];
        if !season.reach(observation.at.hour_index(), &self.company.clock) {
            return;
        }
        season.recount();
        for (key, sender) in &self.senders {
            if key.vantage == observation.vantage && !matches!(key.id, SenderId::Block(_)) {
                season.count(sender, || sender.week(&self.model));
            }
        }
    }
}
