//! What the clients send: visits (a session's letters), drawn from a seed.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// One message for one or more recipients. Servers know `n…`, and refuse `unknown…` and mail from `refused-…`.
#[derive(Clone, Serialize)]
pub struct Letter {
    pub from: String,
    pub to: Vec<String>,
    pub text: String,
}

/// What a client says in one session.
pub type Visit = Vec<Letter>;

const LETTERS_MAX: usize = 6;
const RECIPIENTS_MAX: f64 = 12.0;
const SIZE_BYTES: [f64; 2] = [400.0, 60_000.0];
const UNKNOWN_SHARE: f64 = 0.12;
const ALL_UNKNOWN_SHARE: f64 = 0.04;
/// Letters that the server refuses at their end.
const REFUSED_SHARE: f64 = 0.03;
const WITHOUT_MAIL_SHARE: f64 = 0.06;
const DOMAINS: [&str; 6] = [
    "example.org",
    "mail.example.org",
    "x.example.org",
    "department-of-works.example.org",
    "lists.example.org",
    "northern-branch.example.org",
];

/// Draws visits. Every reverse-path holds the word `route`, where a client's MTA may be told the way.
pub fn visits(count: u64, without_mail: bool, dice: &mut ChaCha8Rng) -> Vec<Visit> {
    (0..count)
        .map(|_| {
            if without_mail && dice.random_bool(WITHOUT_MAIL_SHARE) {
                return Vec::new();
            }
            (0..dice.random_range(1..=LETTERS_MAX)).map(|_| letter(dice)).collect()
        })
        .collect()
}

fn letter(dice: &mut ChaCha8Rng) -> Letter {
    let refused = if dice.random_bool(REFUSED_SHARE) { "refused-" } else { "" };
    let from = format!("{refused}route-{}@client.example.net", word(dice, 2, 14));
    let unknown_share = if dice.random_bool(ALL_UNKNOWN_SHARE) { 1.0 } else { UNKNOWN_SHARE };
    let count = log_uniform(1.0, RECIPIENTS_MAX + 1.0, dice) as usize;
    let to = (0..count)
        .map(|at| {
            let known = if dice.random_bool(unknown_share) { "unknown" } else { "n" };
            // Numbered: a client sends to no recipient twice.
            format!("{known}{}{at}@{}", word(dice, 1, 16), DOMAINS[dice.random_range(0..DOMAINS.len())])
        })
        .collect();
    Letter { text: text(&from, log_uniform(SIZE_BYTES[0], SIZE_BYTES[1], dice) as usize, dice), from, to }
}

fn log_uniform(low: f64, high: f64, dice: &mut ChaCha8Rng) -> f64 {
    dice.random_range(low.ln()..high.ln()).exp()
}

fn word(dice: &mut ChaCha8Rng, short: usize, long: usize) -> String {
    (0..dice.random_range(short..=long)).map(|_| dice.random_range('a'..='z')).collect()
}

/// A whole message of about that size.
fn text(from: &str, size_bytes: usize, dice: &mut ChaCha8Rng) -> String {
    let mut text = format!(
        "From: <{from}>\r\nTo: undisclosed-recipients:;\r\nDate: Sat, 28 Nov 2026 12:00:00 +0000\r\n\
         Message-ID: <{}@client.example.net>\r\nSubject: {}\r\n\r\n",
        word(dice, 20, 30),
        word(dice, 4, 40)
    );
    while text.len() < size_bytes {
        let room = (size_bytes - text.len()).clamp(2, 76);
        text.push_str(&word(dice, 1, room));
        text.push_str("\r\n");
    }
    text
}
