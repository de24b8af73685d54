//! ★ The narrow waist. Both roads, wire and log, meet in one small owned type; nothing after it knows
//! packets or log lines, nothing before it knows statistics.
//!
//! Which address is the sender? On the wire, the originator's, where it is ours. In a log, the egress
//! address of the MTA that wrote the line; the submitting client and the account stand beside it.
//! `None` means *could not be seen*, never zero.

use crate::mail::{Mailbox, Reply, ReversePath, Untrusted};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// One thing that was seen, at one moment, from one vantage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Event time: of the packet that settled it, or of the log line.
    pub at: Timestamp,
    /// The road it came by.
    pub vantage: Vantage,
    /// Whose mail it is.
    pub sender: SenderKeys,
    /// What was seen.
    pub fact: Fact,
}

/// The road an observation came by (RFC 7011: observation point). Wire and log views of the same mail
/// are learned apart, so that nothing counts twice.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Vantage {
    /// Packets of an interface or a capture file.
    Wire,
    /// Lines of an MTA's log.
    Log,
}

/// Whose mail an observation is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SenderKeys {
    /// The company address that the mail leaves from.
    pub address: Option<IpAddr>,
    /// Authenticated submitter, from logs, or from AUTH seen in clear on the wire. Lower case.
    pub account: Option<Untrusted>,
    /// Who handed the mail to our MTA, from logs.
    pub client: Option<IpAddr>,
    /// Name of the MTA's machine, from logs; the sender where its address is not known. Lower case.
    pub host: Option<Untrusted>,
    /// What shows which machine speaks with this address.
    pub machine: Machine,
}

/// Traits by which one machine is told from another behind the same address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Machine {
    /// Digest of the name given in HELO/EHLO, lower case ([`digest`]).
    pub helo: Option<u64>,
    /// Digest of the SYN's shape: hop-limit bucket, window, MSS, order of options.
    pub syn: Option<u64>,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fact {
    /// A connection was tried.
    Attempt(Attempt),
    /// One forward-path got its one final verdict.
    Delivery(Delivery),
    /// One end-of-data was answered.
    Message(Message),
    /// One SMTP session ended.
    Session(Session),
    /// Somebody logged in to send mail, or tried to.
    Login(Login),
    /// What both roads together say about one piece of mail.
    Reconciled(Reconciled),
}

/// One piece of mail of a server whose packets and log are both seen. Who sent it, as far as the log knows, is in
/// [`SenderKeys`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reconciled {
    /// Whether both roads saw it.
    pub view: View,
    /// The delivery that only one road has, without its forward-path unless recipients are to be named. `None` where
    /// both have it (each told it already) and for a message under TLS.
    pub delivery: Option<Box<Delivery>>,
    /// Keyed digest of the forward-path; `None` for a message under TLS that no log has.
    pub recipient: Option<u64>,
    /// Domain of the forward-path of a delivery that only one road has.
    pub recipient_domain: Option<Untrusted>,
    /// The server that got it.
    pub responder: Option<IpAddr>,
    /// When it was seen on the road that has it.
    pub seen_at: Timestamp,
}

/// Which roads saw a piece of mail.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// Both, and the receiver's answer is the same, id and all.
    MatchedByReply,
    /// Both, for the same recipient, and the `Message-ID:` is the same.
    MatchedByMessageId,
    /// Both, at the same server, for the same recipient, within seconds.
    MatchedByPath,
    /// Both: the log names mail to this server while a session under TLS was open.
    MatchedBySession,
    /// It left the address, and the server's log, which was being written, does not know it.
    WireOnly,
    /// The log has it, and it never passed the sensor.
    LogOnly,
}

/// A SASL login at our MTA, from logs: who is in [`SenderKeys::account`], from where in
/// [`SenderKeys::client`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// Whether the password was right.
    pub succeeded: bool,
}

/// A connection tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The server that was called.
    pub responder: IpAddr,
    /// What came of it.
    pub outcome: AttemptOutcome,
}

/// What came of a connection attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttemptOutcome {
    /// The handshake was completed.
    Answered,
    /// The responder reset it.
    Refused,
    /// Nothing came back.
    Unanswered,
}

/// One forward-path with its one final verdict: the unit that a wire reply and a log line both supply.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// The server that answered; `None` where a log names no relay.
    pub responder: Option<IpAddr>,
    /// Argument of MAIL; `None` where it could not be seen.
    pub reverse_path: Option<ReversePath>,
    /// Argument of RCPT; `None` where it could not be seen.
    pub forward_path: Option<Mailbox>,
    /// The final answer: a refusal of RCPT, else the answer to end-of-data. `None` where it was not seen
    /// (one-sided capture, gap).
    pub reply: Option<Reply>,
    /// Whether the same delivery was tried before (a queue retry). `None` where one cannot tell.
    pub retry: Option<bool>,
    /// The MTA's local id of the message, from logs, or from the receiver's answer.
    pub queue_id: Option<Untrusted>,
    /// [`digest`] of the message's `Message-ID:` without its angle brackets, equal on both roads. `None` where it
    /// could not be seen: before end-of-data, without content, or in a log that does not tell it.
    pub message_id: Option<u64>,
}

/// One end-of-data that was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The server; `None` in logs (a message may go to several).
    pub responder: Option<IpAddr>,
    /// Forward-paths the message was for.
    pub recipients: u32,
    /// Size of the message as transferred, bytes; `None` where it was not seen whole.
    pub size_bytes: Option<u64>,
    /// Whether it was accepted; `None` where the answer was not seen.
    pub accepted: Option<bool>,
    /// The MTA's local id of the message, from logs, or from the receiver's answer.
    pub queue_id: Option<Untrusted>,
    /// What it carried; `None` where it could not be seen or content is switched off.
    pub content: Option<Box<Content>>,
}

/// What a message carried: facts, digests and counts, never its text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Domain of the `From:` header's first mailbox, lower case.
    pub from_domain: Option<Untrusted>,
    /// Domain of `Reply-To:`, lower case.
    pub reply_to_domain: Option<Untrusted>,
    /// [`digest`] of `Message-ID:` without its angle brackets.
    pub message_id: Option<u64>,
    /// [`digest`] of the decoded subject.
    pub subject: Option<u64>,
    /// `Date:`.
    pub date: Option<Timestamp>,
    /// `X-Mailer:` or `User-Agent:`.
    pub mailer: Option<Untrusted>,
    /// `X-Originating-IP:`.
    pub originating_ip: Option<IpAddr>,
    /// `X-PHP-Script:` or `X-PHP-Originating-Script:`.
    pub php_script: Option<Untrusted>,
    /// How many `Received:` headers it bears.
    pub received_count: u16,
    /// Whether it declares itself a mailing (`List-Id:` or `List-Unsubscribe:`).
    pub list: bool,
    /// [`digest`] of the normalised text of the body.
    pub body: Option<u64>,
    /// Similarity hash of the normalised text: near-equal texts differ in few bits (SimHash, Charikar 2002).
    pub similarity: Option<u64>,
    /// Registrable domains of the URLs in it, each once, sorted, lower case.
    pub url_domains: Vec<Untrusted>,
    /// Whether a link shows one registrable domain and leads to another.
    pub deceptive_link: bool,
    /// What was attached.
    pub attachments: Vec<Attachment>,
    /// Whether only the beginning of the message was read.
    pub cut: bool,
}

/// One attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its name.
    pub name: Option<Untrusted>,
    /// Its type by content, or else as declared, such as `application/zip`.
    pub mime_type: Untrusted,
    /// Size after decoding, bytes.
    pub size_bytes: u64,
    /// SHA-256 of the decoded bytes; `None` where they were cut.
    pub sha256: Option<[u8; 32]>,
    /// Runs when opened: a program, a script, a disk image, an office file with macros.
    pub executable: bool,
    /// An archive that needs a password.
    pub encrypted: bool,
}

/// One SMTP session that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// The server.
    pub responder: IpAddr,
    /// When the connection was opened (or first seen).
    pub opened_at: Timestamp,
    /// Name given in HELO or EHLO.
    pub helo: Option<Untrusted>,
    /// What was seen of TLS.
    pub tls: Tls,
    /// What could be told of a session under TLS; `None` where it stayed in clear.
    pub opaque: Option<Opaque>,
    /// What the client said of itself before the rest was hidden; `None` where it was not seen whole.
    pub client_hello: Option<Box<ClientHello>>,
    /// Transactions whose end-of-data was answered.
    pub messages: u32,
    /// Forward-paths offered in clear.
    pub recipients: u32,
    /// Forward-paths refused in clear.
    pub recipients_refused: u32,
    /// How it ended.
    pub ended: SessionEnd,
    /// Bytes missing from the capture inside this session.
    pub gap_bytes: u64,
    /// Names of the broken manners that were seen, each once, sorted.
    pub oddities: Vec<Oddity>,
}

/// A TLS client's first message (RFC 8446 section 4.1.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientHello {
    /// The server's name that it asks for (RFC 6066 section 3), lower case.
    pub server_name: Option<Untrusted>,
    /// JA4 of the client: which TLS library, in which setting, called. Equal for equal software.
    pub ja4: String,
}

/// What was seen of TLS in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tls {
    /// All in clear, STARTTLS not asked for.
    Clear,
    /// STARTTLS was asked for and refused.
    Refused,
    /// The session went under TLS.
    Started,
}

/// What the outside of a TLS session shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opaque {
    /// Bytes from the client after STARTTLS.
    pub originator_bytes: u64,
    /// Bytes from the server after STARTTLS.
    pub responder_bytes: u64,
    /// Messages that the rhythm of the records tells: ends of data that were answered.
    pub messages_estimated: u32,
    /// How far the number of messages may lie beside that: other readings of the rhythm that are not much less likely.
    pub messages_error: u32,
    /// Forward-paths that seem to have been offered.
    pub recipients_estimated: u32,
    /// Forward-paths that seem to have been refused.
    pub recipients_refused_estimated: u32,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionEnd {
    /// QUIT was sent.
    Quit,
    /// Closed with FIN, without QUIT.
    Closed,
    /// Reset.
    Reset,
    /// Silent for too long, or pushed out of a full table.
    Expired,
    /// The input ended first.
    InputEnded,
}

/// Broken protocol manners: counted and named, never an error (Zeek: weird).
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Oddity {
    /// A line longer than is kept.
    LineTooLong,
    /// A command nobody knows.
    UnknownCommand,
    /// A command where it does not belong, such as RCPT before MAIL.
    CommandOutOfPlace,
    /// Lines ended by LF alone.
    BareLineFeed,
    /// An end-of-data that servers disagree about (SMTP smuggling).
    SmugglingSuspect,
    /// BDAT with a size that is none.
    BadChunkSize,
    /// Plain text after STARTTLS was accepted.
    PlaintextAfterStarttls,
    /// A reply that no command asked for.
    ReplyWithoutCommand,
    /// Something that is no SMTP reply from the server's side.
    NotAReply,
    /// Bytes missing from the capture.
    Gap,
    /// Two versions of the same bytes.
    ConflictingOverlap,
    /// More pending commands than are kept.
    TooManyPendingCommands,
    /// More recipients in one transaction than are kept (they are still counted).
    TooManyRecipients,
    /// SMTP inside a proxy dialogue (SOCKS, HTTP CONNECT).
    Proxied,
    /// The session was first seen in its middle.
    MidStream,
    /// TLS without STARTTLS on a plain port.
    UnexpectedTls,
}

/// Digest of text for comparison within a run and across runs: FNV-1a over the lower-cased bytes.
/// Not keyed and not collision-proof: the engine keys whatever it stores.
pub fn digest(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
