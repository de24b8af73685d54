//! The ones to beat, each written anew from its published rule. No code of theirs is used.
//!
//! *In*: what each would see of one sender's mail. *Out*: a score, and the score at which it alarms as published.
//! *Spec*: the source of each rule stands in its row.

mod counting;
mod forecasts;
mod nemea;
mod ntopng;
mod spot;
mod zeek;

/// One delivery as the peers see it.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Seconds since the history or world began.
    pub at: f64,
    /// Stands for the recipient.
    pub recipient: u64,
    /// Stands for the mail server that was called.
    pub server: u64,
    /// Refused for good.
    pub refused: bool,
    /// Whether the sender is a mail server that also takes mail.
    pub serves: bool,
}

/// Takes deliveries of one sender in order of time, gives a score.
pub type Judge = Box<dyn FnMut(&Seen) -> f64>;

/// One of the ones to beat.
pub struct Peer {
    /// Name in tables.
    pub name: &'static str,
    /// Where its rule is published.
    pub source: &'static str,
    /// It alarms at this score as published.
    pub published: f64,
    /// A judge without memories.
    pub make: fn() -> Judge,
}

/// All of them.
pub const PEERS: &[Peer] = &[
    Peer {
        name: "fixed hourly limit",
        source: "120 messages an hour (nodehost's outbound limit)",
        published: 120.0,
        make: counting::hourly,
    },
    Peer {
        name: "policyd 10/min, 150/day",
        source: "Postfix Rate Limiter's defaults: more than 10 a minute or 150 a day",
        published: 1.0 + 1e-9,
        make: counting::policyd,
    },
    Peer {
        name: "failed rcpt >= 100/h",
        source: "100 failed recipients an hour (DuoCircle's outbound limit)",
        published: 100.0,
        make: counting::failed,
    },
    Peer {
        name: "EWMA z > 3",
        source: "Roberts, Technometrics 1959: hourly counts, weight 0.1, 3 standard deviations",
        published: 3.0,
        make: forecasts::ewma,
    },
    Peer {
        name: "Holt-Winters",
        source: "Brutlag, LISA 2000: seasonal hourly counts, deviations above 3",
        published: 3.0,
        make: forecasts::holt_winters,
    },
    Peer {
        name: "NEMEA smtp_spam",
        source: "CESNET NEMEA smtp_spam_detector: logistic score of one five-minute cycle above 0.9",
        published: 0.9,
        make: nemea::judge,
    },
    Peer {
        name: "ntopng servers > 5",
        source: "ntopng smtp_contacts: more than 5 servers, hosts that take mail skipped",
        published: 6.0,
        make: ntopng::judge,
    },
    Peer {
        name: "Zeek ladder",
        source: "zkg smtp-url-analysis: distinct recipients in four hours, first rung 50",
        published: 50.0,
        make: zeek::judge,
    },
    Peer {
        name: "SPOT on rejects",
        source: "Duan et al., INFOCOM 2009: sequential probability ratio test, 0.2 against 0.9, both errors 0.01",
        published: spot::PUBLISHED,
        make: spot::judge,
    },
];
