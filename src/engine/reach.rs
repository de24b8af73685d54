//! What is counted of the mail since the change point beside its marks: whose it was, which way it left, whom it
//! reached, and when each stage of a hijack was first seen.
//!
//! *In*: deliveries, messages and pieces of the join, of a sender under suspicion. *Out*: counts that
//! [`super::trail`] tells. *Bound*: `limits::REACH_ORIGINS_MAX` origins, `limits::REACH_DOMAINS_MAX` domains,
//! `limits::REACH_WAYS_MAX` ways out; all is counted beyond that, and only not named.

use super::marks::{Marks, VerdictClass};
use super::reached::Recipient;
use super::sender::SenderId;
use super::top::Top;
use crate::company::Company;
use crate::limits;
use crate::mail::Untrusted;
use crate::observation::{Content, Delivery, Observation, SenderKeys, Vantage};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Whose mail it was, behind the address or account that sent it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Origin {
    /// An authenticated user.
    Account(Untrusted),
    /// Who handed it to the mail server, without a login.
    Client(IpAddr),
    /// The script that the message names as its maker.
    Script(Untrusted),
    /// The client of a web mailer, as the message names it.
    WebClient(IpAddr),
}

/// What usually happens one after the other when a sender is hijacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// A password was found by trying.
    PasswordGuessed = 0,
    /// The account logged in from a network never seen for it.
    NewNetworkLogin = 1,
    /// Mail came from a machine or network never seen for this sender.
    FirstForeignMail = 2,
    /// One letter went to many, or more mail than is normal.
    Blast = 3,
    /// Recipients did not exist.
    UnknownUsers = 4,
    /// Receivers refused by policy.
    ReceiversBlock = 5,
}

/// Stages.
pub const STAGES: [Stage; 6] = [
    Stage::PasswordGuessed,
    Stage::NewNetworkLogin,
    Stage::FirstForeignMail,
    Stage::Blast,
    Stage::UnknownUsers,
    Stage::ReceiversBlock,
];

/// Counts since the change point.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reach {
    /// Accounts and clients, as a log names them.
    pub origins: Top<Origin>,
    /// Scripts and web clients, as headers name them.
    pub headers: Top<Origin>,
    /// Where an account's mail left the company.
    pub ways: Top<SenderId>,
    /// Domains of recipients that accepted.
    pub domains: Top<Untrusted>,
    /// Of these recipients, such in the company's own domains. `None` where no domain is declared.
    pub inside: Option<u64>,
    stages: [Option<Timestamp>; STAGES.len()],
    over_usual_at: Option<Timestamp>,
    /// The first recipients by name, for the time when there is an incident; only where names are asked for.
    pub early: Vec<Recipient>,
}

impl Reach {
    /// Counts one delivery for the sender `id`. Of the wire alone nobody knows who handed it in, and that is no share.
    pub fn delivery(
        &mut self,
        id: &SenderId,
        observation: &Observation,
        delivery: &Delivery,
        verdict: Option<VerdictClass>,
        company: &Company,
    ) {
        let keys = &observation.sender;
        if !self.origin(id, keys) && observation.vantage == Vantage::Log {
            self.origins.add_unknown(1);
        }
        if let (SenderId::Account(_), Some(way)) = (id, way_out(keys)) {
            self.ways.add(&way, 1, limits::REACH_WAYS_MAX);
        }
        let Some(to) = delivery.forward_path.as_ref().filter(|_| verdict == Some(VerdictClass::Accepted))
        else {
            return;
        };
        let domain = Untrusted::bounded(&to.domain().to_ascii_lowercase(), limits::PATH_BYTES_MAX);
        self.domains.add(&domain, 1, limits::REACH_DOMAINS_MAX);
        if let Some(ours) = company.owns_mailbox(to) {
            *self.inside.get_or_insert(0) += u64::from(ours);
        }
    }

    /// Counts who handed a delivery in; `false` where that is not known.
    pub fn origin(&mut self, id: &SenderId, keys: &SenderKeys) -> bool {
        let account = keys.account.as_ref().filter(|_| !matches!(id, SenderId::Account(_)));
        let client = keys.client.filter(|client| !client.is_loopback() && keys.address != Some(*client));
        let origin = match (account, client) {
            (Some(account), _) => Origin::Account(account.clone()),
            (None, Some(client)) => Origin::Client(client),
            (None, None) => return false,
        };
        self.origins.add(&origin, 1, limits::REACH_ORIGINS_MAX);
        true
    }

    /// Counts what a message says of its maker, once for each of its recipients.
    pub fn content(&mut self, content: &Content, recipients: u32) {
        let script = content.php_script.as_ref().map(|script| Origin::Script(script.clone()));
        match script.or(content.originating_ip.map(Origin::WebClient)) {
            Some(origin) => self.headers.add(&origin, recipients, limits::REACH_ORIGINS_MAX),
            None => self.headers.add_unknown(recipients),
        }
    }

    /// Notes the stages that marks show. `same_letter` is that side mark's place.
    pub fn stages_of(&mut self, at: Timestamp, marks: &Marks, same_letter: Option<usize>) {
        let blast = same_letter.is_some_and(|place| marks.side.get(place) == Some(true));
        for (stage, seen) in [
            (Stage::FirstForeignMail, marks.foreign == Some(true)),
            (Stage::Blast, blast),
            (Stage::UnknownUsers, marks.verdict == Some(VerdictClass::NoSuchRecipient)),
            (Stage::ReceiversBlock, marks.verdict == Some(VerdictClass::Policy)),
        ] {
            if seen {
                self.stages[stage as usize].get_or_insert(at);
            }
        }
    }

    /// Notes when the messages since the change point were first more than is normal.
    pub fn over_usual(&mut self, at: Timestamp) {
        self.over_usual_at.get_or_insert(at);
    }

    /// Whether they were yet.
    pub fn is_over_usual(&self) -> bool {
        self.over_usual_at.is_some()
    }

    /// When a stage was first seen.
    pub fn stage_at(&self, stage: Stage) -> Option<Timestamp> {
        self.stages[stage as usize]
    }

    /// When there was first more mail than is normal.
    pub fn over_usual_at(&self) -> Option<Timestamp> {
        self.over_usual_at
    }
}

/// Where mail left the company.
fn way_out(keys: &SenderKeys) -> Option<SenderId> {
    match (keys.address, &keys.host) {
        (Some(address), _) => Some(SenderId::Address(address)),
        (None, Some(host)) => Some(SenderId::Host(host.clone())),
        (None, None) => None,
    }
}
