//! The kinds of world that can be simulated.
//!
//! *Out*: [`SCENARIOS`]. A new one is one row.

use super::SimulateError;
use super::hijacks::KINDS;
use super::truth::HijackKind;

/// A kind of world.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub says: &'static str,
    /// First day: year, month, day.
    pub(super) first_day: (i16, i8, i8),
    /// How many days it lasts.
    pub(super) days: u32,
    /// Days on which only everyday mail is sent.
    pub(super) calm_days: u32,
    /// People with accounts.
    pub(super) accounts: u32,
    /// Fewest and most people that a person writes to again and again.
    pub(super) contacts: (u64, u64),
    /// Domains of receivers beside the big providers.
    pub(super) domains: usize,
    /// Readers of the newsletter.
    pub(super) subscribers: usize,
    /// Customers who get invoices.
    pub(super) customers: usize,
    /// Mails of the application on a mean working day.
    pub(super) orders_per_day: f64,
    /// Share of the receivers that offer STARTTLS.
    pub(super) starttls: f64,
    /// Kinds of hijack that happen, in turn.
    pub(super) kinds: &'static [HijackKind],
    /// How often each kind happens.
    pub(super) hijacks_of_a_kind: u32,
    /// Most messages of one attack.
    pub(super) attack_messages_max: u64,
}

/// All scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "company",
        says: "Five weeks of a company with 400 accounts: every hijack twice, all benign bursts",
        first_day: (2026, 2, 25),
        days: 35,
        calm_days: 14,
        accounts: 400,
        contacts: (15, 120),
        domains: 600,
        subscribers: 8_000,
        customers: 2_500,
        orders_per_day: 1_200.0,
        starttls: 0.33,
        kinds: KINDS,
        hijacks_of_a_kind: 2,
        attack_messages_max: 6_000,
    },
    Scenario {
        name: "demo",
        says: "Eleven days of a small company: every hijack once, all benign bursts",
        first_day: (2026, 3, 23),
        days: 11,
        calm_days: 6,
        accounts: 40,
        contacts: (8, 30),
        domains: 220,
        subscribers: 550,
        customers: 220,
        orders_per_day: 110.0,
        starttls: 0.33,
        kinds: KINDS,
        hijacks_of_a_kind: 1,
        attack_messages_max: 400,
    },
    Scenario {
        name: "small",
        says: "Eleven days of a very small company, cheap enough for hundreds of seeds: every hijack once",
        first_day: (2026, 3, 23),
        days: 11,
        calm_days: 6,
        accounts: 16,
        contacts: (6, 20),
        domains: 150,
        subscribers: 250,
        customers: 80,
        orders_per_day: 60.0,
        starttls: 0.33,
        kinds: KINDS,
        hijacks_of_a_kind: 1,
        attack_messages_max: 200,
    },
    Scenario {
        name: "quiet",
        says: "Two weeks of a company without a hijack: benign bursts only",
        first_day: (2026, 3, 18),
        days: 14,
        calm_days: 6,
        accounts: 120,
        contacts: (8, 60),
        domains: 300,
        subscribers: 2_000,
        customers: 600,
        orders_per_day: 400.0,
        starttls: 0.33,
        kinds: &[],
        hijacks_of_a_kind: 0,
        attack_messages_max: 0,
    },
    Scenario {
        name: "encrypted",
        says: "Two weeks in which nearly all receivers take STARTTLS: the wire shows little but the outside",
        first_day: (2026, 3, 18),
        days: 14,
        calm_days: 7,
        accounts: 60,
        contacts: (8, 40),
        domains: 250,
        subscribers: 600,
        customers: 250,
        orders_per_day: 150.0,
        starttls: 0.95,
        kinds: KINDS,
        hijacks_of_a_kind: 1,
        attack_messages_max: 600,
    },
    Scenario {
        name: "hard",
        says: "Three weeks of attacks at the limit: clean lists, one message an address, a few an hour",
        first_day: (2026, 3, 11),
        days: 21,
        calm_days: 12,
        accounts: 80,
        contacts: (8, 60),
        domains: 300,
        subscribers: 800,
        customers: 300,
        orders_per_day: 250.0,
        starttls: 0.33,
        kinds: &[
            HijackKind::LowAndSlow,
            HijackKind::SlowRamp,
            HijackKind::CleanList,
            HijackKind::Snowshoe,
            HijackKind::StarttlsOnly,
        ],
        hijacks_of_a_kind: 2,
        attack_messages_max: 800,
    },
];

/// The row of a name.
pub(super) fn scenario(name: &str) -> Result<&'static Scenario, SimulateError> {
    SCENARIOS.iter().find(|scenario| scenario.name == name).ok_or_else(|| {
        let known: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        SimulateError::Scenario(name.to_owned(), known.join(", "))
    })
}
