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
}

const fn size(mean: f32, deviation: f32) -> Size {
    Size { mean, deviation }
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
    /// The message is taken.
    Queued,
    /// QUIT.
    Bye,
    /// RCPT is refused.
    Refused,
    /// DATA without a recipient.
    NoRecipients,
}

/// Number of kinds.
pub const REPLY_KINDS: usize = 7;

/// Lengths of one server's replies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Replies {
    sizes: [Size; REPLY_KINDS],
    /// Whether the replies to MAIL and RCPT repeat the address: they are longer by it.
    pub echoes: bool,
}

impl Replies {
    /// Length of a kind.
    pub fn of(&self, kind: ReplyKind) -> Size {
        self.sizes[kind as usize]
    }
}

/// What a server is that says so in its greeting: words of it, and its replies in the order of [`ReplyKind`].
struct Dialect {
    words: &'static [u8],
    replies: Replies,
}

const DIALECTS: [Dialect; 7] = [
    Dialect {
        words: b"Postfix",
        replies: Replies {
            sizes: [
                size(14.0, 0.0),
                size(14.0, 0.0),
                size(37.0, 0.0),
                size(41.0, 3.0),
                size(15.0, 0.0),
                size(95.0, 25.0),
                size(41.0, 1.0),
            ],
            echoes: false,
        },
    },
    Dialect {
        words: b"Exim",
        replies: Replies {
            sizes: [
                size(8.0, 0.0),
                size(14.0, 0.0),
                size(56.0, 0.0),
                size(33.0, 4.0),
                size(43.0, 10.0),
                size(50.0, 25.0),
                size(46.0, 3.0),
            ],
            echoes: false,
        },
    },
    Dialect {
        words: b"OpenSMTPD",
        replies: Replies {
            sizes: [
                size(14.0, 0.0),
                size(50.0, 0.0),
                size(50.0, 0.0),
                size(49.0, 2.0),
                size(15.0, 0.0),
                size(50.0, 15.0),
                size(40.0, 10.0),
            ],
            echoes: false,
        },
    },
    Dialect {
        words: b"Sendmail",
        replies: Replies {
            sizes: [
                size(8.0, 5.0),
                size(18.0, 3.0),
                size(45.0, 8.0),
                size(56.0, 3.0),
                size(45.0, 10.0),
                size(52.0, 10.0),
                size(38.0, 6.0),
            ],
            echoes: true,
        },
    },
    Dialect {
        words: b"Microsoft ESMTP",
        replies: Replies {
            sizes: [
                size(21.0, 0.0),
                size(24.0, 0.0),
                size(46.0, 0.0),
                size(170.0, 40.0),
                size(48.0, 8.0),
                size(100.0, 30.0),
                size(35.0, 8.0),
            ],
            echoes: false,
        },
    },
    Dialect {
        words: b"gsmtp",
        replies: Replies {
            sizes: [
                size(62.0, 8.0),
                size(62.0, 8.0),
                size(62.0, 8.0),
                size(75.0, 10.0),
                size(75.0, 10.0),
                size(350.0, 90.0),
                size(70.0, 15.0),
            ],
            echoes: false,
        },
    },
    // A server of which nothing is known; it names itself by nothing.
    Dialect {
        words: b"",
        replies: Replies {
            sizes: [
                size(22.0, 11.0),
                size(24.0, 11.0),
                size(42.0, 10.0),
                size(48.0, 18.0),
                size(30.0, 15.0),
                size(80.0, 40.0),
                size(42.0, 14.0),
            ],
            echoes: false,
        },
    },
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
    let named = dialect.and_then(|place| DIALECTS.get(usize::from(place)));
    let mut list: Vec<(Replies, f64)> = Vec::new();
    if let Some(lengths) = learned {
        list.push((lengths.replies(named.unwrap_or(&DIALECTS[DIALECTS.len() - 1])), LN_LEARNED));
    }
    for (place, known) in DIALECTS.iter().enumerate() {
        let unknown = known.words.is_empty();
        match dialect {
            Some(named) if usize::from(named) == place => list.push((known.replies, LN_NAMED)),
            Some(_) if !unknown => {}
            _ => list.push((known.replies, if unknown { LN_UNKNOWN } else { 0.0 })),
        }
    }
    list
}

/// Lengths of the replies of one session in clear, the last of each kind, octets; 0 where none was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard([u16; REPLY_KINDS]);

impl Heard {
    /// Takes a reply.
    pub fn note(&mut self, kind: ReplyKind, octets: u32) {
        self.0[kind as usize] = octets.try_into().unwrap_or(u16::MAX);
    }
}

/// Lengths of a server's replies as far as they were seen in clear.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lengths {
    kinds: [Learned; REPLY_KINDS],
}

/// Mean and spread of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Learned {
    count: u16,
    mean: f32,
    variance: f32,
}

/// Weight of one more reply, once many were seen: servers are updated and change their words.
const WEIGHT_MIN: f32 = 0.05;
/// Replies of a kind after which its length is known.
const KNOWN_FROM: u16 = 2;

impl Lengths {
    fn note(&mut self, heard: &Heard) {
        for (learned, octets) in self.kinds.iter_mut().zip(heard.0).filter(|(_, octets)| *octets > 0) {
            learned.count = learned.count.saturating_add(1);
            let weight = (1.0 / f32::from(learned.count)).max(WEIGHT_MIN);
            let off = f32::from(octets) - learned.mean;
            learned.mean += weight * off;
            // Welford's, with weights (West 1979).
            learned.variance = (1.0 - weight) * (learned.variance + weight * off * off);
        }
    }

    fn replies(&self, otherwise: &Dialect) -> Replies {
        let mut replies = otherwise.replies;
        for (size, learned) in replies.sizes.iter_mut().zip(&self.kinds) {
            if learned.count >= KNOWN_FROM {
                *size = Size { mean: learned.mean, deviation: learned.variance.max(0.0).sqrt() };
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
        for octets in [80, 100] {
            let mut session = Heard::default();
            session.note(ReplyKind::Recipient, 30);
            session.note(ReplyKind::Refused, octets);
            servers.learn(server, &session);
        }
        let (replies, ln_prior) = candidates(dialect_of(b"ESMTP Postfix"), servers.of(server))[0];
        assert_eq!((replies.of(ReplyKind::Recipient), ln_prior), (size(30.0, 0.0), LN_LEARNED));
        assert_eq!(replies.of(ReplyKind::Refused), size(90.0, 10.0));
        assert_eq!(replies.of(ReplyKind::GoAhead), size(37.0, 0.0), "never seen: as its MTA has it");
        assert_eq!(candidates(None, None).len(), DIALECTS.len());
    }

    #[test]
    fn more_servers_than_are_kept_push_out_the_oldest() {
        let mut session = Heard::default();
        session.note(ReplyKind::Mail, 14);
        let mut servers = Servers::default();
        for number in 0..2 * limits::REPLY_SIZES_MAX as u32 + 1 {
            servers.learn(IpAddr::from(number.to_be_bytes()), &session);
        }
        assert_eq!(servers.forgotten, limits::REPLY_SIZES_MAX as u64);
        assert!(servers.of(IpAddr::from([0, 0, 0, 0])).is_none());
        assert!(servers.of(IpAddr::from((2 * limits::REPLY_SIZES_MAX as u32).to_be_bytes())).is_some());
    }
}
