//! One mail transaction: from an answered MAIL to the answer to its end-of-data.
//!
//! *In*: commands with their replies, in order. *Out*: [`Delivery`] for each forward-path and [`Message`].
//! *Bound*: `limits::RECIPIENTS_KEPT_MAX` forward-paths are kept; all are counted. *Spec*: RFC 5321
//! sections 3.3 and 4.1.1.

use super::Outlet;
use super::reply::ServerReply;
use crate::limits;
use crate::mail::{Mailbox, Reply, ReversePath};
use crate::observation::{Content, Delivery, Message};
use crate::time::Timestamp;
use std::net::IpAddr;

/// A forward-path that may become a delivery.
#[derive(Debug)]
struct Recipient {
    path: Option<Mailbox>,
    /// Whether its acceptance was seen.
    seen: bool,
    /// What was missing before it was accepted.
    before: Losses,
}

/// What has gone missing of a transaction.
#[derive(Clone, Copy, Debug, Default)]
struct Losses {
    /// Gaps in what the client said.
    gaps: u32,
    /// Replies that came for commands in those gaps.
    replies: u32,
    /// Gaps in what the server said.
    blinds: u32,
}

/// Fewest replies by which one transaction is ended and the next one has a recipient: to RSET, MAIL and RCPT,
/// or to the first two where RCPT was seen.
const REPLIES_TO_ANOTHER: u32 = 3;

/// The envelope as the server has it.
#[derive(Debug, Default)]
pub struct Transaction {
    open: bool,
    reverse_path: Option<ReversePath>,
    /// MAIL was refused: what RCPT is then told stands for that.
    mail_refusal: Option<Reply>,
    /// DATA was refused, for so many forward-paths: final, unless the client tries again and succeeds.
    data_refusal: Option<(Timestamp, Reply, usize)>,
    recipients: Vec<Recipient>,
    /// Accepted beyond what is kept.
    beyond: u32,
    losses: Losses,
    /// DATA was granted.
    confirmed: bool,
}

/// What end-of-data brought.
#[derive(Debug, Default)]
pub struct Outcome<'a> {
    /// The answer; `None` where it was not seen.
    pub reply: Option<&'a ServerReply>,
    /// Octets of the message; `None` where some are missing.
    pub size_bytes: Option<u64>,
    /// What it carried.
    pub content: Option<Box<Content>>,
}

impl Transaction {
    /// A transaction whose beginning was not seen.
    pub fn unseen() -> Transaction {
        Transaction { losses: Losses { gaps: 1, ..Losses::default() }, ..Transaction::default() }
    }

    /// MAIL was accepted, or its answer not seen.
    pub fn begin(&mut self, path: ReversePath) {
        *self = Transaction { open: true, reverse_path: Some(path), ..Transaction::default() };
    }

    /// MAIL was refused.
    pub fn refuse(&mut self, path: ReversePath, reply: &ServerReply) {
        if !self.open {
            self.reverse_path = Some(path);
            self.mail_refusal = Some(reply.to_reply());
        }
    }

    /// Octets are missing that may have held commands of this transaction.
    pub fn doubt(&mut self) {
        self.losses.gaps = self.losses.gaps.saturating_add(1);
        self.confirmed = false;
    }

    /// A reply came that belongs to missing octets.
    pub fn reply_in_gap(&mut self) {
        self.losses.replies = self.losses.replies.saturating_add(1);
    }

    /// Octets of the server are missing.
    pub fn blind(&mut self) {
        self.losses.blinds = self.losses.blinds.saturating_add(1);
    }

    /// DATA was granted: the server has a transaction with recipients.
    pub fn confirm(&mut self) {
        self.confirmed = true;
    }

    /// Whether missing octets may hold the end of the transaction in which a recipient was accepted, so that
    /// a verdict is another one's. A success, or a go-ahead, shows that there is a transaction at all.
    fn may_be_another(&self, before: Losses, success: bool) -> bool {
        let since = |now: u32, then: u32| now.saturating_sub(then);
        let seen_later = self.recipients.last().is_some_and(|last| last.before.replies > before.replies);
        let replies_min = match success || self.confirmed {
            true => REPLIES_TO_ANOTHER - u32::from(seen_later),
            false => 1,
        };
        since(self.losses.gaps, before.gaps) > 0
            && (since(self.losses.blinds, before.blinds) > 0
                || since(self.losses.replies, before.replies) >= replies_min)
    }

    /// The argument of MAIL for a recipient before whom so much went missing: not known where RSET and another MAIL may
    /// be among that.
    fn reverse_path(&self, before: Losses) -> Option<ReversePath> {
        let another = before.gaps > 0 && (before.blinds > 0 || before.replies >= REPLIES_TO_ANOTHER - 1);
        self.reverse_path.clone().filter(|_| !another)
    }

    /// Whether forward-paths wait for their verdict.
    pub fn has_recipients(&self) -> bool {
        !self.recipients.is_empty() || self.beyond > 0
    }

    /// RCPT was accepted, or (`seen` false) its answer is not known; octets went missing since it was said.
    pub fn accept(&mut self, path: Option<Mailbox>, seen: bool, before_gap: bool) {
        self.open = true;
        if self.recipients.len() < limits::RECIPIENTS_KEPT_MAX {
            let gaps = self.losses.gaps.saturating_sub(u32::from(before_gap));
            self.recipients.push(Recipient { path, seen, before: Losses { gaps, ..self.losses } });
        } else {
            self.beyond = self.beyond.saturating_add(1);
        }
    }

    /// Whether more forward-paths were accepted than are kept.
    pub fn is_beyond(&self) -> bool {
        self.beyond > 0
    }

    /// RCPT was refused: that is final.
    pub fn refused_recipient(
        &self,
        responder: IpAddr,
        path: Option<Mailbox>,
        reply: &ServerReply,
    ) -> Delivery {
        // RFC 5321 section 4.1.4: after a refused MAIL the server says 503 to RCPT; the reason is MAIL's.
        let reason = self.mail_refusal.as_ref().filter(|_| reply.code() == 503);
        let reply = reason.cloned().unwrap_or_else(|| reply.to_reply());
        self.delivery(responder, path, Some(reply), self.losses)
    }

    /// DATA was refused.
    pub fn refuse_data(&mut self, at: Timestamp, reply: &ServerReply) {
        let first = self.recipients.first().map(|first| first.before);
        if first.is_some_and(|first| self.may_be_another(first, false)) {
            return;
        }
        self.data_refusal = Some((at, reply.to_reply(), self.recipients.len()));
    }

    /// The message was offered and perhaps answered: every forward-path gets its verdict.
    pub fn settle(&mut self, responder: IpAddr, outcome: Outcome<'_>, outlet: &mut Outlet<'_>) {
        let reply = outcome.reply.map(ServerReply::to_reply);
        let queue_id = outcome.reply.filter(|reply| reply.class() == 2).and_then(ServerReply::queue_id);
        let message_id = outcome.content.as_ref().and_then(|content| content.message_id);
        let success = outcome.reply.is_some_and(|reply| reply.class() == 2);
        let whose = |recipient: &Recipient| recipient.seen && !self.may_be_another(recipient.before, success);
        let certain = self.recipients.iter().map(whose).collect::<Vec<_>>();
        let recipients = std::mem::take(&mut self.recipients);
        let kept = recipients.len() as u32;
        for (recipient, certain) in recipients.into_iter().zip(certain) {
            let reply = reply.clone().filter(|_| certain);
            let delivery = self.delivery(responder, recipient.path, reply, recipient.before);
            outlet.deliver(Delivery { queue_id: queue_id.clone(), message_id, ..delivery });
        }
        for _ in 0..self.beyond {
            outlet.deliver(Delivery {
                message_id,
                ..self.delivery(responder, None, reply.clone(), self.losses)
            });
        }
        let accepted = outcome.reply.map(|reply| reply.class() == 2);
        if kept == 0 && self.losses.gaps > 0 && accepted == Some(true) {
            // Whoever it was for was not captured, but somebody was.
            outlet.deliver(Delivery {
                queue_id: queue_id.clone(),
                message_id,
                ..self.delivery(responder, None, reply.clone(), self.losses)
            });
        }
        outlet.message(Message {
            responder: Some(responder),
            recipients: kept.saturating_add(self.beyond),
            size_bytes: outcome.size_bytes,
            accepted,
            queue_id,
            content: outcome.content,
        });
        *self = Transaction::default();
    }

    /// Given up before its end-of-data: RSET, a new greeting or the end of the session.
    pub fn abandon(&mut self, responder: IpAddr, outlet: &mut Outlet<'_>) {
        let mut recipients = std::mem::take(&mut self.recipients);
        let mut given_up = recipients.len() as u64 + u64::from(self.beyond);
        if let Some((at, reply, refused)) = self.data_refusal.take() {
            given_up = (recipients.len() - refused.min(recipients.len())) as u64;
            for recipient in recipients.drain(..refused.min(recipients.len())) {
                let reply = Some(reply.clone()).filter(|_| recipient.seen);
                let delivery = self.delivery(responder, recipient.path, reply, recipient.before);
                outlet.deliver_at(at, delivery);
            }
            for _ in 0..self.beyond {
                outlet.deliver_at(at, self.delivery(responder, None, Some(reply.clone()), self.losses));
            }
        }
        if given_up > 0 {
            outlet.counters.transactions_abandoned += 1;
            outlet.counters.recipients_abandoned += given_up;
        }
        *self = Transaction::default();
    }

    fn delivery(
        &self,
        responder: IpAddr,
        path: Option<Mailbox>,
        reply: Option<Reply>,
        before: Losses,
    ) -> Delivery {
        Delivery {
            responder: Some(responder),
            reverse_path: self.reverse_path(before),
            forward_path: path,
            reply,
            retry: None,
            queue_id: None,
            message_id: None,
        }
    }
}
