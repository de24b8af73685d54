//! Log lines become observations: one dialect a file, one joining for all.
//!
//! ```text
//!  line ─▶ dialect.split ─▶ stamp, host, text ─▶ dialect.read ─▶ Part ─▶ queue ─▶ Observation
//! ```
//!
//! *In*: lines, in the order of their file. *Out*: [`Observation`](crate::observation::Observation)s and
//! exact counters. *Bound*: `limits::OPEN_MESSAGES_MAX`, `limits::DEFERRED_RECIPIENTS_MAX`,
//! `limits::LOG_LINE_BYTES_MAX`. *Spec*: docs/architecture.md, logs; each dialect names its own.
//!
//! A sender writes part of most lines. So every field is read from a side that the MTA controls, and
//! where two readings remain, none is taken: the field is `None` and the line counted as ambiguous.

mod custom;
mod dovecot;
mod exchange;
mod exchange_protocol;
mod exim;
pub mod fields;
mod haraka;
mod hmailserver;
mod joining;
mod json;
mod kept;
mod kumomta;
mod mailenable;
mod microsoft365;
mod opensmtpd;
mod postfix;
mod powermta;
mod qmail;
mod queue;
mod road;
mod rspamd;
mod sendmail;
mod sessions;
pub mod stamp;
mod suricata;
pub mod syslog;
mod table;
mod transcript;
mod zeek;

pub use custom::{Patterns, PatternsError, custom_dialect};
pub use kept::Note;
pub use road::{LogCounters, LogRoad, LogSettings, LogSource, SourceId};

use crate::mail::Reply;
use stamp::Stamp;
use std::net::IpAddr;

/// An MTA's way to write its log.
pub struct Dialect {
    /// What the user calls it: `postfix`.
    pub name: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    /// Takes the head off a line: when, where, which program.
    pub(crate) split: for<'l> fn(&mut Memory, &'l [u8]) -> Option<Line<'l>>,
    /// Whether it is the dialect of a syslog program.
    pub(crate) claims: fn(program: &[u8]) -> bool,
    /// Whether a line is surely of this dialect by its own form. Dialects that are read through syslog only
    /// are recognised as such.
    pub(crate) recognises: fn(line: &[u8]) -> bool,
    /// What the line says.
    pub(crate) read: fn(&Line, &mut Memory, Emit) -> Fate,
    /// Whether its lines may carry a client's words as they were sent, passwords among them. No sample is
    /// taken of such lines.
    pub(crate) verbatim: bool,
    /// What a user-defined dialect goes by.
    pub(crate) patterns: Option<&'static Patterns>,
}

/// Takes what a line says, with the queue id it says it of; the id is empty where there is none.
pub(crate) type Emit<'e> = &'e mut dyn FnMut(&[u8], Part);

/// Every dialect that is known. The first is for files in which several programs write.
pub const DIALECTS: &[Dialect] = &[
    Dialect {
        name: "syslog",
        about: "the log of a machine: each line is read by the dialect of the program that wrote it",
        split: |_, line| syslog::split(line),
        claims: |_| false,
        recognises: syslog::is_surely,
        read: |line, memory, emit| match program_dialect(line.program) {
            Some(dialect) => (dialect.read)(line, memory, emit),
            None => Fate::Ignored,
        },
        verbatim: false,
        patterns: None,
    },
    postfix::DIALECT,
    exim::DIALECT,
    sendmail::DIALECT,
    opensmtpd::DIALECT,
    qmail::DIALECT,
    dovecot::DIALECT,
    exchange::DIALECT,
    exchange_protocol::DIALECT,
    microsoft365::DIALECT,
    kumomta::DIALECT,
    powermta::DIALECT,
    haraka::DIALECT,
    mailenable::DIALECT,
    hmailserver::DIALECT,
    rspamd::DIALECT,
    zeek::DIALECT,
    suricata::DIALECT,
];

/// The dialect of a user's choice.
pub fn dialect_named(name: &str) -> Option<&'static Dialect> {
    DIALECTS.iter().find(|dialect| dialect.name.eq_ignore_ascii_case(name))
}

/// The dialect of a syslog program.
fn program_dialect(program: &[u8]) -> Option<&'static Dialect> {
    DIALECTS.iter().find(|dialect| (dialect.claims)(program))
}

/// A line without its head.
#[derive(Clone, Copy, Debug)]
pub struct Line<'l> {
    /// When; `None` where the line has no stamp.
    pub stamp: Option<Stamp>,
    /// The machine that wrote it; `None` where the line does not say.
    pub host: Option<&'l [u8]>,
    /// The program that wrote it; empty where the log has only one.
    pub program: &'l [u8],
    /// The process that wrote it; `None` where the line does not say.
    pub pid: Option<&'l [u8]>,
    /// What it wrote.
    pub text: &'l [u8],
}

/// What a dialect remembers of one source between its lines.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// What the columns are called, where a header said it.
    pub(crate) columns: table::Columns,
    /// Sessions and deliveries under way, by what their lines have in common.
    pub(crate) sessions: sessions::Sessions,
    /// What a user-defined dialect goes by.
    pub(crate) patterns: Option<&'static Patterns>,
}

impl Memory {
    /// What a restart must not lose: a header is read once, at the beginning of a file.
    fn kept(&self) -> Vec<u8> {
        if self.columns == table::Columns::default() {
            return Vec::new();
        }
        postcard::to_allocvec(&self.columns).unwrap_or_default()
    }

    /// Takes back what was kept.
    fn restore(&mut self, kept: &[u8]) {
        if let Ok(columns) = postcard::from_bytes(kept) {
            self.columns = columns;
        }
    }
}

/// What became of a line. Every line has exactly one fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It said something about a message or a login.
    Parsed,
    /// It is understood to be of no interest, or written by another program.
    Ignored,
    /// It should have said something and could not be read.
    Unparsed,
    /// It was read, but a sender's text allows a second reading: the doubtful fields were left out.
    Ambiguous,
}

/// What one line says about one message (or, without a queue id, about a client).
#[derive(Debug)]
pub enum Part<'l> {
    /// Where the message came from. Several lines may say parts of it.
    Origin(Origin<'l>),
    /// What became of one recipient.
    Outcome(Outcome<'l>),
    /// The message left the queue.
    Removed,
    /// The message, or one recipient of it, was given up after its time in the queue.
    Expired,
    /// Our MTA refused a client's command or message.
    Rejected,
    /// A filter saw the message on its way in. Where the MTA's own log is read too, that one says the rest.
    Filtered {
        /// Who hands it in.
        origin: Origin<'l>,
        /// For whom.
        forward_paths: &'l [&'l [u8]],
    },
    /// A transaction as another sensor saw it on the wire.
    Seen(Seen<'l>),
    /// Somebody logged in, or tried to.
    Login {
        /// The name that was given.
        account: Option<&'l [u8]>,
        /// From where.
        client: Option<IpAddr>,
        /// Whether it was right.
        succeeded: bool,
    },
}

/// Where a message came from; `None` where the line does not say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin<'l> {
    /// Whether the message begins with this line: what was known under its id belongs to an older one.
    pub begins: bool,
    /// Who handed it in.
    pub client: Option<IpAddr>,
    /// Authenticated submitter.
    pub account: Option<&'l [u8]>,
    /// The client as a content filter passed it on (XFORWARD); believed from our own machines only.
    pub original_client: Option<IpAddr>,
    /// The id of the message that a content filter handed in again.
    pub original_id: Option<&'l [u8]>,
    /// Argument of MAIL, without its brackets; empty is the null path.
    pub reverse_path: Option<&'l [u8]>,
    /// Bytes.
    pub size_bytes: Option<u64>,
    /// How many recipients it is for.
    pub recipients: Option<u32>,
    /// Its `Message-ID:`, with or without angle brackets.
    pub message_id: Option<&'l [u8]>,
}

/// One SMTP transaction, second hand from the wire. `None` where the sensor did not see it.
#[derive(Clone, Debug)]
pub struct Seen<'l> {
    /// The side that opened the connection.
    pub originator: IpAddr,
    /// The side that answered.
    pub responder: IpAddr,
    /// Name given in HELO or EHLO.
    pub helo: Option<&'l [u8]>,
    /// Whether the rest of the session went under TLS.
    pub tls: bool,
    /// Argument of MAIL, without its brackets; empty is the null path.
    pub reverse_path: Option<&'l [u8]>,
    /// Arguments of RCPT, without brackets. Whether one was refused, such records do not say.
    pub forward_paths: &'l [&'l [u8]],
    /// The last answer of the session, which is the one to end-of-data where nothing followed.
    pub reply: Option<Reply>,
}

/// What became of one recipient.
#[derive(Clone, Debug)]
pub struct Outcome<'l> {
    /// What the same line says about the origin.
    pub origin: Origin<'l>,
    /// The recipient, without brackets; `None` where it could not be told.
    pub forward_path: Option<&'l [u8]>,
    /// How it was to be delivered.
    pub route: Route,
    /// The server that answered.
    pub responder: Option<IpAddr>,
    /// The server that was tried in vain.
    pub attempted: Option<IpAddr>,
    /// What the MTA made of it.
    pub status: Status,
    /// What was answered; `None` where it could not be told.
    pub reply: Option<Reply>,
    /// Under which id the next server has taken it, where it says so.
    pub passed_to: Option<&'l [u8]>,
    /// The address it left from, where the line says so; believed where it is one of ours.
    pub egress: Option<IpAddr>,
}

/// How a recipient is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To another server.
    Remote,
    /// To a mailbox, program or file of this machine.
    Local,
    /// To nowhere, by configuration.
    Discarded,
}

/// What the MTA made of a delivery attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Delivered.
    Sent,
    /// To be tried again.
    Deferred,
    /// Given up.
    Bounced,
    /// Only the address was to be verified.
    Probed,
    /// The line can be read in two ways.
    Unknown,
}

impl Outcome<'_> {
    /// An outcome of which nothing is sure but that there was one.
    pub fn unknown() -> Outcome<'static> {
        Outcome {
            origin: Origin::default(),
            forward_path: None,
            route: Route::Remote,
            responder: None,
            attempted: None,
            status: Status::Unknown,
            reply: None,
            passed_to: None,
            egress: None,
        }
    }
}

impl Status {
    /// What a reply code makes of a delivery.
    pub(crate) fn of_code(code: u16) -> Status {
        match code / 100 {
            2 => Status::Sent,
            4 => Status::Deferred,
            5 => Status::Bounced,
            _ => Status::Unknown,
        }
    }

    /// The class of enhanced status (RFC 3463) that it stands for.
    pub(crate) fn class(self) -> Option<u8> {
        match self {
            Status::Sent => Some(2),
            Status::Deferred => Some(4),
            Status::Bounced => Some(5),
            Status::Probed | Status::Unknown => None,
        }
    }
}

/// Reads one line in isolation and prints what it says.
#[cfg(test)]
fn says(dialect: &Dialect, line: &str) -> (Fate, Vec<String>) {
    says_on(dialect, &mut Memory::default(), line)
}

/// Reads one line after others.
#[cfg(test)]
fn says_on(dialect: &Dialect, memory: &mut Memory, line: &str) -> (Fate, Vec<String>) {
    let head = (dialect.split)(memory, line.as_bytes()).unwrap();
    let mut parts = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let maybe = |bytes: Option<&[u8]>| bytes.map_or("?".into(), text);
    let fate = (dialect.read)(&head, memory, &mut |id, part| {
        parts.push(match part {
            Part::Origin(o) => format!(
                "{} origin begins={} client={:?} account={} original={:?}/{} from={} size={:?} rcpts={:?}",
                text(id),
                o.begins,
                o.client,
                maybe(o.account),
                o.original_client,
                maybe(o.original_id),
                maybe(o.reverse_path),
                o.size_bytes,
                o.recipients
            ),
            Part::Outcome(o) => format!(
                "{} to={} {:?} {:?} by={:?} tried={:?} code={:?} enhanced={} as={}",
                text(id),
                maybe(o.forward_path),
                o.route,
                o.status,
                o.responder,
                o.attempted,
                o.reply.as_ref().and_then(|reply| reply.code),
                o.reply
                    .as_ref()
                    .and_then(|reply| reply.enhanced)
                    .map_or("?".into(), |e| format!("{}.{}.{}", e.class, e.subject, e.detail)),
                maybe(o.passed_to)
            ),
            Part::Login { account, client, succeeded } => {
                format!("{} login {} {client:?} {succeeded}", text(id), maybe(account))
            }
            Part::Filtered { origin, forward_paths } => format!(
                "{} filtered client={:?} account={} from={} to={:?}",
                text(id),
                origin.client,
                maybe(origin.account),
                maybe(origin.reverse_path),
                forward_paths.iter().map(|path| text(path)).collect::<Vec<_>>()
            ),
            Part::Seen(seen) => format!(
                "{} seen {} to {} helo={} tls={} from={} to={:?} code={:?}",
                text(id),
                seen.originator,
                seen.responder,
                maybe(seen.helo),
                seen.tls,
                maybe(seen.reverse_path),
                seen.forward_paths.iter().map(|path| text(path)).collect::<Vec<_>>(),
                seen.reply.as_ref().and_then(|reply| reply.code)
            ),
            Part::Removed => format!("{} removed", text(id)),
            Part::Expired => format!("{} expired", text(id)),
            Part::Rejected => format!("{} rejected", text(id)),
        })
    });
    (fate, parts)
}
