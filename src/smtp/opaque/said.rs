//! What one turn of a hidden dialogue may have been.
//!
//! *In*: a [`Turn`], a server's replies, a client's habit, where the dialogue stands. *Out*: where it may lead, how likely
//! that is, and what it counts. *Bound*: a fixed number of ways, and those of an envelope. *Spec*: RFC 5321 section 4.1,
//! RFC 3030 section 2, RFC 3461 section 4.2.

use super::envelope::Opening;
use super::replies::{Replies, ReplyKind, Size};
use std::f64::consts::PI;

/// What the client said until the server answered, and the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Turn {
    /// Octets of the client's text.
    pub client_bytes: u32,
    /// Octets of the server's text.
    pub server_bytes: u32,
    /// By how much both may be wrong.
    pub slack_bytes: u16,
}

impl Turn {
    /// Both, one after the other.
    pub fn and(self, next: Turn) -> Turn {
        Turn {
            client_bytes: self.client_bytes.saturating_add(next.client_bytes),
            server_bytes: self.server_bytes.saturating_add(next.server_bytes),
            slack_bytes: self.slack_bytes.saturating_add(next.slack_bytes),
        }
    }
}

/// Where a dialogue stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing was said under TLS.
    #[default]
    Start,
    /// Between two envelopes.
    Idle,
    /// MAIL is granted.
    Mailed,
    /// At least one RCPT is granted.
    Named,
    /// All RCPT so far are refused.
    Unnamed,
    /// DATA is granted.
    Granted,
    /// A chunk of the message is taken, and it was not the last.
    Chunking,
    /// QUIT was said.
    Over,
}

/// Share of replies that are none of the usual.
const STRAY_SHARE: f64 = 0.005;
/// Spread of these, as a logarithm.
const STRAY_SPREAD: f64 = 0.8;
/// Squared deviations within which a reply is one of the usual without a doubt.
const NEAR: f64 = 4.0;
/// What nobody would say.
const LN_NEVER: f64 = -40.0;

/// What a turn adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub messages: u32,
    pub recipients: u32,
    pub refused: u32,
}

pub(super) const NOTHING: Counts = Counts { messages: 0, recipients: 0, refused: 0 };
const MESSAGE: Counts = Counts { messages: 1, ..NOTHING };
const RECIPIENT: Counts = Counts { recipients: 1, ..NOTHING };
const REFUSED: Counts = Counts { recipients: 1, refused: 1, ..NOTHING };

/// One turn, and what the server's replies would be long.
pub(super) struct Said<'a> {
    pub turn: Turn,
    pub replies: &'a Replies,
    pub habit: &'a Habit,
}

/// Takes one of the things a turn may have been: where it leads, its logarithm, what it counts.
pub(super) type Tell<'a> = &'a mut dyn FnMut(State, f64, Counts);

impl Said<'_> {
    /// Everything the turn may have been, from a state: where it leads, its logarithmic likelihood, what it counts.
    pub fn possible(&self, state: State, tell: Tell) {
        match state {
            State::Start => self.at_start(tell),
            State::Idle => self.at_idle(tell),
            State::Mailed => {
                self.recipient(-0.5, -2.3, State::Unnamed, tell);
                self.envelope(Opening::Recipients, -1.2, tell);
                self.six(-4.0, State::Idle, tell);
            }
            State::Named => {
                self.recipient(-0.9, -2.8, State::Named, tell);
                self.envelope(Opening::Recipients, -3.0, tell);
                match self.habit.chunks {
                    true => self.chunk(-0.7, tell),
                    false => self.data(-0.7, tell),
                }
                self.six(-4.5, State::Idle, tell);
            }
            State::Unnamed => {
                self.recipient(-0.9, -1.5, State::Unnamed, tell);
                self.envelope(Opening::Recipients, -3.0, tell);
                tell(State::Idle, -3.0 + self.is_six() + self.reply(ReplyKind::NoRecipients), NOTHING);
                self.six(-1.6, State::Idle, tell);
                self.quit(-2.3, tell);
                self.mail(-4.0, tell);
            }
            State::Granted => self.message(tell),
            State::Chunking => {
                self.chunk(-0.1, tell);
                self.six(-4.0, State::Idle, tell);
            }
            State::Over => tell(State::Over, -5.0 + self.anything(), NOTHING),
        }
    }

    fn at_start(&self, tell: Tell) {
        let (client, server) = (f64::from(self.turn.client_bytes), f64::from(self.turn.server_bytes));
        let hello =
            ln_normal_of_ln(client, HELLO_BYTES, 0.4) + ln_normal_of_ln(server, HELLO_REPLY_BYTES.0, 0.7);
        tell(State::Idle, -0.1 + hello, NOTHING);
        tell(State::Idle, -6.0 + self.anything(), NOTHING);
        self.envelope(Opening::Hello, -4.0, tell);
    }

    fn at_idle(&self, tell: Tell) {
        self.mail(-1.6, tell);
        self.envelope(Opening::Mail, -0.9, tell);
        self.quit(-1.6, tell);
        self.six(-3.0, State::Idle, tell);
        let (client, server) = (f64::from(self.turn.client_bytes), f64::from(self.turn.server_bytes));
        // AUTH, VRFY, a second EHLO, or a command the server does not know.
        let other = ln_normal_of_ln(client, 30.0, 0.7) + ln_normal_of_ln(server, 60.0, 1.0);
        tell(State::Idle, -4.5 + other, NOTHING);
    }

    /// MAIL alone.
    fn mail(&self, ln: f64, tell: Tell) {
        let client = ln + ln_normal_of_ln(f64::from(self.turn.client_bytes), MAIL_BYTES, MAIL_SPREAD);
        let address = self.turn.client_bytes.saturating_sub(MAIL_WORDS_BYTES);
        tell(State::Mailed, client + self.echoed(ReplyKind::Mail, address.into()), NOTHING);
        tell(State::Idle, client - 4.0 + self.reply(ReplyKind::Refused), NOTHING);
    }

    /// RCPT alone.
    fn recipient(&self, ln_granted: f64, ln_refused: f64, refused: State, tell: Tell) {
        let bytes = f64::from(self.turn.client_bytes);
        let client = self.habit.ln_recipients(1.0, bytes, 0.0);
        let address = self.habit.address_bytes(bytes);
        tell(State::Named, client + ln_granted + self.echoed(ReplyKind::Recipient, address), RECIPIENT);
        tell(refused, client + ln_refused + self.echoed(ReplyKind::Refused, address), REFUSED);
    }

    /// DATA alone.
    fn data(&self, ln: f64, tell: Tell) {
        tell(State::Granted, ln + self.is_six() + self.reply(ReplyKind::GoAhead), NOTHING);
        tell(State::Idle, ln - 5.0 + self.is_six() + self.reply(ReplyKind::Refused), NOTHING);
    }

    /// A chunk of a message, behind an envelope that was answered.
    fn chunk(&self, ln: f64, tell: Tell) {
        let client = ln + ln_message(f64::from(self.turn.client_bytes));
        tell(State::Chunking, client - 1.5 + self.reply(ReplyKind::Chunk), NOTHING);
        tell(State::Idle, client - 0.5 + self.reply(ReplyKind::LastChunk), MESSAGE);
        tell(State::Over, client - 1.5 + self.sum(&[ReplyKind::LastChunk, ReplyKind::Bye]), MESSAGE);
        tell(State::Idle, client - 3.5 + self.reply(ReplyKind::Refused), MESSAGE);
    }

    /// The message after DATA, alone or with QUIT behind it.
    fn message(&self, tell: Tell) {
        let client = ln_message(f64::from(self.turn.client_bytes));
        tell(State::Idle, client - 0.4 + self.reply(ReplyKind::Queued), MESSAGE);
        tell(State::Over, client - 1.4 + self.sum(&[ReplyKind::Queued, ReplyKind::Bye]), MESSAGE);
        tell(State::Idle, client - 3.0 + self.reply(ReplyKind::Refused), MESSAGE);
    }

    fn quit(&self, ln: f64, tell: Tell) {
        tell(State::Over, ln + self.is_six() + self.reply(ReplyKind::Bye), NOTHING);
    }

    /// RSET or NOOP: six octets too.
    fn six(&self, ln: f64, to: State, tell: Tell) {
        tell(to, ln + self.is_six() + self.reply(ReplyKind::Reset), NOTHING);
    }

    /// Something nobody expects here.
    fn anything(&self) -> f64 {
        let (client, server) = (f64::from(self.turn.client_bytes), f64::from(self.turn.server_bytes));
        ln_normal_of_ln(client, 60.0, 2.5) + ln_normal_of_ln(server, 60.0, 1.5)
    }

    fn is_six(&self) -> f64 {
        let off = f64::from(self.turn.client_bytes) - 6.0;
        if off.abs() <= f64::from(self.turn.slack_bytes) {
            -(1.0 + 2.0 * f64::from(self.turn.slack_bytes)).ln()
        } else {
            LN_NEVER
        }
    }

    fn reply(&self, kind: ReplyKind) -> f64 {
        self.sum(&[kind])
    }

    fn sum(&self, kinds: &[ReplyKind]) -> f64 {
        let sizes = kinds.iter().map(|kind| self.replies.of(*kind));
        let (mean, variance) = sizes.fold((0.0, 0.0), |(mean, variance), size| {
            (mean + f64::from(size.mean), variance + f64::from(size.deviation).powi(2))
        });
        self.answered(mean, variance)
    }

    /// A reply that may repeat an address of so many octets.
    fn echoed(&self, kind: ReplyKind, address: f64) -> f64 {
        let (mean, deviation) = moments(self.replies.of(kind), address);
        self.answered(mean, deviation * deviation)
    }

    /// How well the server's octets fit replies of so many, now and then of any.
    pub fn answered(&self, mean: f64, variance: f64) -> f64 {
        let seen = f64::from(self.turn.server_bytes);
        let variance = variance + 0.05 + f64::from(self.turn.slack_bytes).powi(2);
        let off = seen - mean;
        let distance = off * off / variance;
        // Near the mean the rest of the mixture does not show, and far from it only the rest does.
        if distance < NEAR {
            return -0.5 * (distance + (2.0 * PI * variance).ln());
        }
        let stray = STRAY_SHARE.ln() + ln_normal_of_ln(seen, mean, STRAY_SPREAD);
        stray.max(-0.5 * (distance + (2.0 * PI * variance).ln()))
    }
}

/// Length of EHLO.
pub(super) const HELLO_BYTES: f64 = 26.0;
/// Mean and deviation of the reply to it.
pub(super) const HELLO_REPLY_BYTES: (f64, f64) = (200.0, 120.0);

/// Length of a MAIL command, and its spread as a logarithm.
pub(super) const MAIL_BYTES: f64 = 50.0;
pub(super) const MAIL_SPREAD: f64 = 0.35;
/// Octets of it beside the address: the words, and mostly a size.
pub(super) const MAIL_WORDS_BYTES: u32 = 24;

/// How a client names recipients.
pub(super) struct Habit {
    /// Length of a RCPT command.
    pub recipient_bytes: f64,
    /// Octets of it beside the address, and how often the address stands in it.
    words_bytes: f64,
    times: f64,
    /// Whether it sends messages in chunks (RFC 3030), not behind DATA.
    pub chunks: bool,
}

const fn habit(recipient_bytes: f64, words_bytes: f64, times: f64, chunks: bool) -> Habit {
    Habit { recipient_bytes, words_bytes, times, chunks }
}

/// RCPT alone, and with the original recipient behind it (RFC 3461 section 4.2); with DATA, and with chunks: whoever sends
/// chunks sends all in chunks. How likely, as a logarithm.
pub(super) const HABITS: [(&Habit, f64); 4] = [
    (&habit(36.0, 12.0, 1.0, false), -0.7),
    (&habit(75.0, 26.0, 2.0, false), -1.5),
    (&habit(36.0, 12.0, 1.0, true), -1.9),
    (&habit(75.0, 26.0, 2.0, true), -2.7),
];

/// Spread of the length of RCPT commands, as a share: of all of an envelope together, and of each.
const SHARED_SPREAD: f64 = 0.2;
const OWN_SPREAD: f64 = 0.25;

impl Habit {
    /// Logarithmic likelihood of the octets of so many RCPT commands, beside something of which the length is known to
    /// within `spread`.
    pub fn ln_recipients(&self, recipients: f64, client: f64, spread: f64) -> f64 {
        let shared = recipients * self.recipient_bytes * SHARED_SPREAD;
        let own = self.recipient_bytes * OWN_SPREAD;
        let variance = shared * shared + recipients * own * own + spread * spread;
        normal(client - recipients * self.recipient_bytes, variance).max(f64::MIN_POSITIVE).ln()
    }

    /// Octets of the address in a RCPT command.
    pub fn address_bytes(&self, command_bytes: f64) -> f64 {
        ((command_bytes - self.words_bytes) / self.times).max(1.0)
    }
}

/// Mean and deviation of a reply that may repeat an address of so many octets.
pub(super) fn moments(size: Size, address: f64) -> (f64, f64) {
    let echo = if size.echoes { address } else { 0.0 };
    (f64::from(size.mean) + echo, f64::from(size.deviation))
}

/// Logarithmic likelihood of the octets of a message: from a line to an attachment.
pub(super) fn ln_message(bytes: f64) -> f64 {
    ln_normal_of_ln(bytes, 5_000.0, 1.9)
}

fn normal(off: f64, variance: f64) -> f64 {
    (-0.5 * off * off / variance).exp() / (2.0 * PI * variance).sqrt()
}

/// Logarithm of the density of a size whose logarithm is normal about `median`.
pub(super) fn ln_normal_of_ln(size: f64, median: f64, spread: f64) -> f64 {
    if size < 1.0 {
        return LN_NEVER;
    }
    let off = (size / median).ln() / spread;
    -0.5 * off * off - (size * spread * (2.0 * PI).sqrt()).ln()
}
