//! An envelope that is said at once: how many recipients it may have, and how many of them the server refused.
//!
//! *In*: a turn. *Out*: what it may have been, for each number of recipients and refusals. *Bound*: `TRIED_MAX` numbers of
//! recipients for each way to close an envelope, five of refusals for each. *Spec*: RFC 2920 section 3.1, RFC 3030 section 2.

use super::replies::ReplyKind;
use super::said::{
    Counts, HELLO_BYTES, HELLO_REPLY_BYTES, Habit, MAIL_BYTES, MAIL_SPREAD, MAIL_WORDS_BYTES, Said, State,
    Tell, Turn, ln_message, ln_normal_of_ln, moments,
};

/// How an envelope begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// EHLO in front of it.
    Hello,
    /// MAIL.
    Mail,
    /// MAIL was granted before.
    Recipients,
}

/// What follows the envelope in the same turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Close {
    /// Nothing: the client waits.
    Open,
    /// DATA.
    Data,
    /// A chunk of the message, not its last.
    Chunk,
    /// The whole message as a chunk.
    LastChunk,
    /// The same, and QUIT.
    LastChunkAndQuit,
}

impl Close {
    /// Whether a message, or part of one, is in the turn.
    fn has_message(self) -> bool {
        matches!(self, Close::Chunk | Close::LastChunk | Close::LastChunkAndQuit)
    }
}

/// How clients close an envelope that is said at once, how likely as a logarithm: those that say DATA, and those that
/// send chunks.
const WITH_DATA: &[(Close, f64)] = &[(Close::Data, -0.2), (Close::Open, -2.0)];
const WITH_CHUNKS: &[(Close, f64)] =
    &[(Close::Chunk, -1.2), (Close::LastChunk, -1.2), (Close::LastChunkAndQuit, -1.6), (Close::Open, -2.0)];

/// Spread of the length of addresses in one envelope, as a share.
const ADDRESS_SPREAD: f64 = 0.3;

/// An envelope less likely than anything at all by more than this is not looked into, nats.
const UNLIKELY: f64 = 8.0;
/// No reply is shorter, with its line end.
const REPLY_BYTES_MIN: f64 = 5.0;
/// RCPT commands of an envelope are between so many times the usual length.
const SHORT: f64 = 0.45;
const LONG: f64 = 2.2;
/// So many numbers of recipients are tried for an envelope at the most.
const TRIED_MAX: u32 = 32;

impl Said<'_> {
    /// Several commands at once, of which at least one is RCPT.
    pub fn envelope(&self, opening: Opening, ln: f64, tell: Tell) {
        let client = f64::from(self.turn.client_bytes);
        let floor = ln_normal_of_ln(client, 60.0, 2.5) - UNLIKELY;
        for &(close, ln_close) in if self.habit.chunks { WITH_CHUNKS } else { WITH_DATA } {
            let (first, last) = self.recipients_possible(opening, close);
            let stride = ((last.saturating_sub(first)) / TRIED_MAX).max(1);
            for recipients in (first..=last).step_by(stride as usize) {
                // A single RCPT is told of where it is the usual.
                if opening == Opening::Recipients && close == Close::Open && recipients == 1 {
                    continue;
                }
                let envelope = Envelope { opening, close, recipients };
                let said = envelope.ln_said(client, self.habit) + f64::from(stride).ln();
                if said > floor {
                    self.answers(&envelope, ln + ln_close + said, tell);
                }
            }
        }
    }

    /// How many RCPT commands a turn may hold, by its octets and those of the answer.
    fn recipients_possible(&self, opening: Opening, close: Close) -> (u32, u32) {
        let rest =
            f64::from(self.turn.client_bytes) - Envelope { opening, close, recipients: 1 }.others_bytes();
        let usual = self.habit.recipient_bytes;
        let of = |kind| f64::from(self.replies.of(kind).mean - self.replies.of(kind).deviation);
        let shortest = of(ReplyKind::Recipient).min(of(ReplyKind::Refused)).max(REPLY_BYTES_MIN);
        let last = (rest / (usual * SHORT)).min(f64::from(self.turn.server_bytes) / shortest);
        let first = if close.has_message() { 1.0 } else { rest / (usual * LONG) };
        (first.max(1.0) as u32, last as u32 + 1)
    }

    /// What the server may have answered to an envelope: how many it refused.
    fn answers(&self, envelope: &Envelope, ln: f64, tell: Tell) {
        let recipients = envelope.recipients;
        let address = self.habit.address_bytes(envelope.recipient_bytes(self.turn, self.habit));
        // How many refusals would make up for what is more than all granted.
        let (all, _) = self.expected(envelope, 0, address);
        let of = |kind| moments(self.replies.of(kind), address).0;
        let per_refusal = of(ReplyKind::Refused) - of(ReplyKind::Recipient);
        let excess = f64::from(self.turn.server_bytes) - all;
        let likely = if per_refusal.abs() < 1.0 { 0.0 } else { excess / per_refusal };
        let likely = likely.clamp(0.0, f64::from(recipients)).round() as u32;
        let mut tried = [0, recipients, likely.saturating_sub(1), likely, (likely + 1).min(recipients)];
        tried.sort_unstable();
        let mut last = None;
        for refused in tried {
            if last.replace(refused) == Some(refused) {
                continue;
            }
            let (mean, variance) = self.expected(envelope, refused, address);
            let score = ln + ln_refused(recipients, refused) + self.answered(mean, variance);
            let none = refused == recipients;
            let (to, messages) = match envelope.close {
                Close::Open if none => (State::Unnamed, 0),
                Close::Open => (State::Named, 0),
                Close::Data if !none => (State::Granted, 0),
                Close::Chunk if !none => (State::Chunking, 0),
                Close::LastChunkAndQuit => (State::Over, 1),
                // The last chunk ends the data, whether anybody was to get it or not.
                Close::LastChunk => (State::Idle, 1),
                Close::Data | Close::Chunk => (State::Idle, 0),
            };
            tell(to, score, Counts { messages, recipients, refused });
        }
    }

    /// Mean and variance of the answer to an envelope, where addresses have so many octets.
    fn expected(&self, envelope: &Envelope, refused: u32, address: f64) -> (f64, f64) {
        let granted = f64::from(envelope.recipients - refused);
        let refused = f64::from(refused);
        let of = |kind| moments(self.replies.of(kind), address);
        // Replies of one kind have the same words: their lengths err together. Addresses in them err each for itself.
        let together = |number: f64, kind| {
            let (mean, deviation) = of(kind);
            let echo = if self.replies.of(kind).echoes { address * ADDRESS_SPREAD } else { 0.0 };
            (number * mean, (number * deviation).hypot(number.sqrt() * echo))
        };
        let end = match envelope.close {
            Close::Open => None,
            _ if granted == 0.0 => Some(ReplyKind::NoRecipients),
            Close::Data => Some(ReplyKind::GoAhead),
            Close::Chunk => Some(ReplyKind::Chunk),
            Close::LastChunk | Close::LastChunkAndQuit => Some(ReplyKind::LastChunk),
        };
        let has = |which: bool, part| if which { part } else { (0.0, 0.0) };
        let sender = moments(self.replies.of(ReplyKind::Mail), MAIL_BYTES - f64::from(MAIL_WORDS_BYTES));
        let parts = [
            together(granted, ReplyKind::Recipient),
            together(refused, ReplyKind::Refused),
            has(envelope.opening != Opening::Recipients, sender),
            has(envelope.opening == Opening::Hello, HELLO_REPLY_BYTES),
            end.map_or((0.0, 0.0), of),
            has(envelope.close == Close::LastChunkAndQuit, of(ReplyKind::Bye)),
        ];
        parts.iter().fold((0.0, 0.0), |(mean, variance), part| (mean + part.0, variance + part.1 * part.1))
    }
}

/// Several commands said at once.
struct Envelope {
    opening: Opening,
    close: Close,
    recipients: u32,
}

impl Envelope {
    /// Octets beside the RCPT commands and a message.
    fn others_bytes(&self) -> f64 {
        let opening = match self.opening {
            Opening::Hello => HELLO_BYTES + MAIL_BYTES,
            Opening::Mail => MAIL_BYTES,
            Opening::Recipients => 0.0,
        };
        opening
            + match self.close {
                Close::Open => 0.0,
                Close::Data => 6.0,
                Close::Chunk | Close::LastChunk => 14.0,
                Close::LastChunkAndQuit => 20.0,
            }
    }

    /// Octets of one RCPT command, by how much was said.
    fn recipient_bytes(&self, turn: Turn, habit: &Habit) -> f64 {
        if self.close.has_message() {
            return habit.recipient_bytes;
        }
        (f64::from(turn.client_bytes) - self.others_bytes()) / f64::from(self.recipients)
    }

    /// Logarithm of how likely a client says so many recipients, in so many octets.
    fn ln_said(&self, client: f64, habit: &Habit) -> f64 {
        let recipients = f64::from(self.recipients);
        let spread = if self.opening == Opening::Recipients { 0.0 } else { MAIL_BYTES * MAIL_SPREAD };
        // Most messages are for one; few for many (Zipf).
        let number = -0.7 - 1.7 * recipients.ln();
        let rest = client - self.others_bytes();
        number
            + if self.close.has_message() {
                ln_message(rest - recipients * habit.recipient_bytes)
            } else {
                habit.ln_recipients(recipients, rest, spread)
            }
    }
}

/// Logarithm of the share of envelopes in which so many recipients are refused.
fn ln_refused(recipients: u32, refused: u32) -> f64 {
    match refused {
        0 => -0.2,
        all if all == recipients => -2.3,
        _ => -2.3 - f64::from(recipients - 1).max(1.0).ln(),
    }
}
