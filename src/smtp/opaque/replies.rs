//! How long a server's replies are: what tells, from outside, what it said.
//!
//! *In*: replies in clear, with their octets. *Out*: [`Replies`] of a server. *Bound*: two generations of
//! `limits::REPLY_SIZES_MAX` servers. *Spec*: RFC 5321 section 4.3.2 for which replies there are; the words are those that
//! each MTA has built in.

use crate::limits;
use std::collections::HashMap;
use std::net::IpAddr;

/// Length of a reply with its line ends, octets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// Mean.
    pub mean: f32,
    /// Standard deviation; 0 where the words never change.
    pub deviation: f32,
    /// Whether it repeats the address of the command: it is longer by that.
    pub echoes: bool,
}

/// Replies that tell what became of mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyKind {
    /// MAIL is granted.
    Mail,
    /// RCPT is granted.
    Recipient,
    /// DATA is granted.
    GoAhead,
    /// The message after DATA is taken.
    Queued,
    /// The last chunk of a message is taken, and the message with it.
    LastChunk,
    /// A chunk before the last is taken.
    Chunk,
    /// RSET.
    Reset,
    /// QUIT.
    Bye,
    /// RCPT is refused.
    Refused,
    /// DATA without a recipient.
    NoRecipients,
}

/// Number of kinds.
pub const REPLY_KINDS: usize = 10;

/// Lengths of one server's replies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Replies {
    sizes: [Size; REPLY_KINDS],
}

impl Replies {
    /// Length of a kind.
    pub fn of(&self, kind: ReplyKind) -> Size {
        self.sizes[kind as usize]
    }
}

/// What a server is that says so in its greeting.
struct Dialect {
    /// Words of the greeting.
    words: &'static [u8],
    replies: Replies,
}

/// A dialect by its words, the mean and deviation of each kind of reply, and which kinds repeat the address.
const fn dialect(words: &'static [u8], sizes: [(f32, f32); REPLY_KINDS], echoes: &[ReplyKind]) -> Dialect {
    let mut replies = Replies { sizes: [Size { mean: 0.0, deviation: 0.0, echoes: false }; REPLY_KINDS] };
    let mut kind = 0;
    while kind < REPLY_KINDS {
        replies.sizes[kind].mean = sizes[kind].0;
        replies.sizes[kind].deviation = sizes[kind].1;
        kind += 1;
    }
    let mut at = 0;
    while at < echoes.len() {
        replies.sizes[echoes[at] as usize].echoes = true;
        at += 1;
    }
    Dialect { words, replies }
}

/// Kinds of replies in the order of [`ReplyKind`]: MAIL, RCPT, DATA; the message by DATA, by its last chunk, a chunk
/// before; RSET, QUIT; a refusal, and DATA without a recipient.
#[rustfmt::skip]
const DIALECTS: [Dialect; 7] = [
    dialect(b"Postfix", [
        (14.0, 0.0), (14.0, 0.0), (37.0, 0.0), (42.0, 3.0), (54.0, 2.5), (25.3, 0.7),
        (14.0, 0.0), (15.0, 0.0), (75.0, 20.0), (38.0, 0.5),
    ], &[ReplyKind::Refused]),
    dialect(b"Exim", [
        (8.0, 0.0), (14.0, 0.0), (56.0, 0.0), (31.0, 4.0), (65.0, 4.0), (29.3, 0.7),
        (14.0, 0.0), (42.0, 8.0), (42.0, 20.0), (125.0, 45.0),
    ], &[]),
    dialect(b"OpenSMTPD", [
        (14.0, 0.0), (51.0, 0.0), (50.0, 0.0), (50.0, 1.0), (50.0, 5.0), (40.0, 10.0),
        (23.0, 0.0), (15.0, 0.0), (27.0, 6.0), (50.0, 15.0),
    ], &[ReplyKind::Refused]),
    dialect(b"Sendmail", [
        (27.0, 3.0), (30.0, 3.0), (45.0, 8.0), (56.0, 3.0), (60.0, 10.0), (40.0, 10.0),
        (23.0, 1.0), (46.0, 10.0), (30.0, 8.0), (38.0, 6.0),
    ], &[ReplyKind::Mail, ReplyKind::Recipient, ReplyKind::Refused]),
    dialect(b"Microsoft ESMTP", [
        (21.0, 0.0), (24.0, 0.0), (46.0, 0.0), (170.0, 40.0), (170.0, 40.0), (45.0, 10.0),
        (21.0, 2.0), (48.0, 8.0), (100.0, 30.0), (35.0, 8.0),
    ], &[]),
    dialect(b"gsmtp", [
        (62.0, 8.0), (62.0, 8.0), (62.0, 8.0), (75.0, 10.0), (75.0, 10.0), (62.0, 15.0),
        (62.0, 8.0), (75.0, 10.0), (350.0, 90.0), (70.0, 15.0),
    ], &[]),
    // A server of which nothing is known names itself by nothing.
    dialect(b"", [
        (22.0, 11.0), (24.0, 11.0), (42.0, 10.0), (48.0, 18.0), (58.0, 18.0), (35.0, 12.0),
        (20.0, 8.0), (30.0, 15.0), (80.0, 35.0), (45.0, 15.0),
    ], &[]),
];

/// Which MTA a server says it is: a place in the table of dialects.
pub fn dialect_of(greeting: &[u8]) -> Option<u8> {
    let named = |dialect: &Dialect| {
        !dialect.words.is_empty() && memchr::memmem::find(greeting, dialect.words).is_some()
    };
    DIALECTS.iter().position(named).map(|place| place as u8)
}

/// How much likelier the replies learned of this very server are than those of any other MTA, and those of the MTA that
/// it says it is: natural logarithms.
const LN_LEARNED: f64 = 4.0;
const LN_NAMED: f64 = 4.0;
/// The same of a server of which nothing is known: most of those that do not say what they are.
const LN_UNKNOWN: f64 = 1.5;

/// Replies that a server may give, each with the logarithm of how likely they are his beforehand.
pub fn candidates(dialect: Option<u8>, learned: Option<&Lengths>) -> Vec<(Replies, f64)> {
    let unknown = &DIALECTS[DIALECTS.len() - 1];
    let named = dialect.and_then(|place| DIALECTS.get(usize::from(place)));
    let learned = learned.map(|lengths| (lengths.replies(named.unwrap_or(unknown)), LN_LEARNED));
    match (learned, named) {
        (Some(learned), _) => vec![learned, (unknown.replies, LN_UNKNOWN)],
        (None, Some(named)) => vec![(named.replies, LN_NAMED), (unknown.replies, LN_UNKNOWN)],
        (None, None) => {
            let known = DIALECTS.iter().filter(|dialect| !dialect.words.is_empty());
            let mut all: Vec<_> = known.map(|dialect| (dialect.replies, 0.0)).collect();
            all.push((unknown.replies, LN_UNKNOWN));
            all
        }
    }
}

/// Lengths of the replies of one session in clear, the last of each kind, octets, each with that of the address in the
/// command; 0 where none was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard([(u16, u16); REPLY_KINDS]);

impl Heard {
    /// Takes a reply, and the octets of the address that it may repeat.
    pub fn note(&mut self, kind: ReplyKind, octets: u32, address: usize) {
        let bounded = |octets: usize| octets.try_into().unwrap_or(u16::MAX);
        self.0[kind as usize] = (bounded(octets as usize), bounded(address));
    }
}

/// Lengths of a server's replies as far as they were seen in clear.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lengths {
    kinds: [Learned; REPLY_KINDS],
}

/// Mean and spread of one kind: of the whole reply, and of what it is longer than the address.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Learned {
    count: u16,
    whole: Moments,
    beyond: Moments,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Moments {
    mean: f32,
    variance: f32,
}

impl Moments {
    /// Welford's, with weights (West 1979).
    fn note(&mut self, value: f32, weight: f32) {
        let off = value - self.mean;
        self.mean += weight * off;
        self.variance = (1.0 - weight) * (self.variance + weight * off * off);
    }
}

/// Weight of one more reply, once many were seen: servers are updated and change their words.
const WEIGHT_MIN: f32 = 0.05;
/// Replies of a kind after which its length is known.
const KNOWN_FROM: u16 = 2;

impl Lengths {
    fn note(&mut self, heard: &Heard) {
        for (learned, (octets, address)) in
            self.kinds.iter_mut().zip(heard.0).filter(|(_, heard)| heard.0 > 0)
        {
            learned.count = learned.count.saturating_add(1);
            let weight = (1.0 / f32::from(learned.count)).max(WEIGHT_MIN);
            learned.whole.note(f32::from(octets), weight);
            learned.beyond.note(f32::from(octets) - f32::from(address), weight);
        }
    }

    /// What was learned, and for the rest what is usual.
    fn replies(&self, otherwise: &Dialect) -> Replies {
        let mut replies = otherwise.replies;
        for (size, learned) in replies.sizes.iter_mut().zip(&self.kinds) {
            if learned.count >= KNOWN_FROM {
                // Addresses differ: where the rest differs less than the whole, the address is in it.
                let echoes = learned.beyond.variance < learned.whole.variance;
                let Moments { mean, variance } = if echoes { learned.beyond } else { learned.whole };
                // Few alike may be so by chance.
                let count = f32::from(learned.count);
                let doubt = 2.0 * size.deviation * size.deviation / (count * (count + 1.0));
                *size = Size { mean, deviation: (variance.max(0.0) + doubt).sqrt(), echoes };
            }
        }
        replies
    }
}

/// Lengths of many servers' replies. Two generations: when the younger is full, the older goes.
#[derive(Debug, Default)]
pub struct Servers {
    young: HashMap<IpAddr, Lengths>,
    old: HashMap<IpAddr, Lengths>,
    /// Servers that were forgotten because there were too many.
    pub forgotten: u64,
}

impl Servers {
    /// Takes what a session in clear showed of a server.
    pub fn learn(&mut self, server: IpAddr, heard: &Heard) {
        if *heard == Heard::default() {
            return;
        }
        if let Some(lengths) = self.young.get_mut(&server) {
            return lengths.note(heard);
        }
        if self.young.len() >= limits::REPLY_SIZES_MAX {
            let older = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            self.forgotten += older.len() as u64;
        }
        let mut lengths = self.old.remove(&server).unwrap_or_default();
        lengths.note(heard);
        self.young.insert(server, lengths);
    }

    /// What is known of a server.
    pub fn of(&self, server: IpAddr) -> Option<&Lengths> {
        self.young.get(&server).or_else(|| self.old.get(&server))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_known_by_its_greeting() {
        for (greeting, words) in [
            (&b"mx.example.org ESMTP Postfix (Debian)"[..], &b"Postfix"[..]),
            (b"mx.example.org ESMTP Exim 4.96 Sat, 28 Nov 2026", b"Exim"),
            (b"AM4PEPF0.mail.example Microsoft ESMTP MAIL Service ready", b"Microsoft ESMTP"),
        ] {
            let place = dialect_of(greeting).unwrap();
            assert_eq!(DIALECTS[usize::from(place)].words, words);
        }
        assert_eq!(dialect_of(b"mx.example.org ESMTP"), None);
    }

    #[test]
    fn lengths_are_learned_and_outweigh_the_built_in_words() {
        let mut servers = Servers::default();
        let server = "192.0.2.1".parse().unwrap();
        for address in [20, 31, 25] {
            let mut session = Heard::default();
            session.note(ReplyKind::Recipient, 30, address);
            session.note(ReplyKind::Refused, 60 + address as u32, address);
            servers.learn(server, &session);
        }
        let (replies, ln_prior) = candidates(dialect_of(b"ESMTP Postfix"), servers.of(server))[0];
        let size = |mean, echoes| Size { mean, deviation: 0.0, echoes };
        assert_eq!((replies.of(ReplyKind::Recipient), ln_prior), (size(30.0, false), LN_LEARNED));
        let refused = replies.of(ReplyKind::Refused);
        assert_eq!((refused.mean, refused.echoes), (60.0, true));
        assert!((5.0..10.0).contains(&refused.deviation), "three alike are not sure: {refused:?}");
        assert_eq!(replies.of(ReplyKind::GoAhead), size(37.0, false), "never seen: as its MTA has it");
        assert_eq!(candidates(None, None).len(), DIALECTS.len());
    }

    #[test]
    fn more_servers_than_are_kept_push_out_the_oldest() {
        let mut session = Heard::default();
        session.note(ReplyKind::Mail, 14, 20);
        let mut servers = Servers::default();
        for number in 0..2 * limits::REPLY_SIZES_MAX as u32 + 1 {
            servers.learn(IpAddr::from(number.to_be_bytes()), &session);
        }
        assert_eq!(servers.forgotten, limits::REPLY_SIZES_MAX as u64);
        assert!(servers.of(IpAddr::from([0, 0, 0, 0])).is_none());
        assert!(servers.of(IpAddr::from((2 * limits::REPLY_SIZES_MAX as u32).to_be_bytes())).is_some());
    }
}
