//! What is true of a simulated world: who sent what, which bursts were benign, which were hijacks.
//!
//! *Out*: [`Truth`], written as `truth.json` and read by `score`.

use crate::alert::SenderName;
use crate::company::Role;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The label of a world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// Name of the scenario.
    pub scenario: String,
    /// Seed of the world.
    pub seed: u64,
    /// First moment.
    pub start: Timestamp,
    /// Last moment.
    pub end: Timestamp,
    /// Everybody who sent mail.
    pub senders: Vec<TruthSender>,
    /// Attacks.
    pub hijacks: Vec<Hijack>,
    /// Bursts that are no attack.
    pub benign: Vec<BenignBurst>,
    /// Sum over the senders that sent legitimate mail of the days from their first mail to the end.
    pub sender_days: u64,
}

/// One sender and what of its mail each road can show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TruthSender {
    /// Address or account.
    pub sender: SenderName,
    /// What it is for; `None` for addresses that should be silent.
    pub role: Option<Role>,
    /// Seen as packets.
    pub wire: Tally,
    /// Seen as log lines.
    pub log: Tally,
}

/// Counts of what a road shows, tries again included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Connections that were answered.
    pub sessions: u64,
    /// Connections that nobody answered.
    pub unanswered: u64,
    /// Connections that were reset at once.
    pub connections_refused: u64,
    /// Recipients that got a final answer in clear.
    pub deliveries: u64,
    /// Of these accepted.
    pub accepted: u64,
    /// Of these refused because the mailbox does not exist.
    pub no_such_recipient: u64,
    /// Of these refused for the sender's address or the content.
    pub refused: u64,
    /// Of these deferred.
    pub deferred: u64,
    /// Of these refused for another reason.
    pub other: u64,
    /// Messages whose transaction was hidden by TLS.
    pub hidden_messages: u64,
}

/// The kinds of hijack. The name is what `truth.json` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HijackKind {
    /// Another machine blasts with a mail server's address.
    LoudBlast,
    /// A workstation's malware mails straight to the receivers.
    WorkstationDirect,
    /// Many silent addresses of a /24 send a little each.
    DormantBlock,
    /// A stolen password: submission through the relay from foreign networks.
    AccountTakeover,
    /// A stolen password used sparingly over days.
    LowAndSlow,
    /// A host that never mailed sends under STARTTLS only.
    StarttlsOnly,
    /// Another address of one /64 for each session.
    Ipv6Rotation,
    /// A script on a server, or malware on a person's own machine, that mails more every day.
    SlowRamp,
    /// One message from each of many silent addresses of a /24.
    Snowshoe,
    /// A stolen password and a clean list: hardly a refusal, in office hours.
    CleanList,
}

/// Roads by which an attack could be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenBy {
    /// First tries with a final answer that the wire shows in clear.
    pub wire: u64,
    /// First tries with a final answer under TLS.
    pub wire_hidden: u64,
    /// First tries with a final answer in a log.
    pub log: u64,
}

/// One attack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hijack {
    /// Its name in this world.
    pub id: String,
    /// What kind it is.
    pub kind: HijackKind,
    /// Who may rightly be accused: addresses, accounts, blocks.
    pub senders: Vec<SenderName>,
    /// First delivery.
    pub start: Timestamp,
    /// Last delivery.
    pub end: Timestamp,
    /// What each road shows of it.
    pub seen_by: SeenBy,
    /// When each of its deliveries first got an answer, in order.
    pub deliveries: Vec<Timestamp>,
    /// How many of these were accepted.
    pub accepted: u64,
}

/// A burst that is no attack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenignBurst {
    /// What it is.
    pub kind: String,
    /// Who takes part.
    pub senders: Vec<SenderName>,
    /// When it begins.
    pub start: Timestamp,
    /// When it ends.
    pub end: Timestamp,
    /// Recipients that first got an answer in it.
    pub deliveries: u64,
}

/// The sender that is an address.
pub(super) fn address_name(address: IpAddr) -> SenderName {
    SenderName { kind: "address".into(), name: address.to_string() }
}

/// The sender that is an account.
pub(super) fn account_name(login: &str) -> SenderName {
    SenderName { kind: "account".into(), name: login.to_ascii_lowercase() }
}
