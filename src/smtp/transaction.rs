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
    /// Whether its acceptance was seen, or is only not known to be missing.
    seen: bool,
}

/// The envelope as the server has it.
#[derive(Debug, Default)]
pub struct Transaction {
    open: bool,
    reverse_path: Option<ReversePath>,
    /// MAIL was refused: what RCPT is then told stands for that.
    mail_refusal: Option<Reply>,
    /// DATA was refused: final, unless the client tries again and succeeds.
    data_refusal: Option<(Timestamp, Reply)>,
    recipients: Vec<Recipient>,
    /// Accepted beyond what is kept.
    beyond: u32,
    /// Part of the envelope may have been missed.
    uncertain: bool,
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
        Transaction { uncertain: true, ..Transaction::default() }
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
        self.uncertain = true;
    }

    /// Whether forward-paths wait for their verdict.
    pub fn has_recipients(&self) -> bool {
        !self.recipients.is_empty() || self.beyond > 0
    }

    /// RCPT was accepted, or (`seen` false) its answer is not known.
    pub fn accept(&mut self, path: Option<Mailbox>, seen: bool) {
        self.open = true;
        if self.recipients.len() < limits::RECIPIENTS_KEPT_MAX {
            self.recipients.push(Recipient { path, seen });
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
        self.delivery(responder, path, Some(reply))
    }

    /// DATA was refused.
    pub fn refuse_data(&mut self, at: Timestamp, reply: &ServerReply) {
        self.data_refusal = Some((at, reply.to_reply()));
    }

    /// The message was offered and perhaps answered: every forward-path gets its verdict.
    pub fn settle(&mut self, responder: IpAddr, outcome: Outcome<'_>, outlet: &mut Outlet<'_>) {
        let reply = outcome.reply.map(ServerReply::to_reply);
        let queue_id = outcome.reply.filter(|reply| reply.class() == 2).and_then(ServerReply::queue_id);
        let recipients = std::mem::take(&mut self.recipients);
        let kept = recipients.len() as u32;
        for recipient in recipients {
            let reply = reply.clone().filter(|_| recipient.seen);
            let delivery = self.delivery(responder, recipient.path, reply);
            outlet.deliver(Delivery { queue_id: queue_id.clone(), ..delivery });
        }
        for _ in 0..self.beyond {
            outlet.deliver(self.delivery(responder, None, reply.clone()));
        }
        let accepted = outcome.reply.map(|reply| reply.class() == 2);
        if kept == 0 && self.uncertain && accepted == Some(true) {
            // Whoever it was for was not captured, but somebody was.
            outlet.deliver(Delivery {
                queue_id: queue_id.clone(),
                ..self.delivery(responder, None, reply.clone())
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
        if let Some((at, reply)) = self.data_refusal.take() {
            for recipient in std::mem::take(&mut self.recipients) {
                let reply = Some(reply.clone()).filter(|_| recipient.seen);
                outlet.deliver_at(at, self.delivery(responder, recipient.path, reply));
            }
            for _ in 0..self.beyond {
                outlet.deliver_at(at, self.delivery(responder, None, Some(reply.clone())));
            }
        } else if self.has_recipients() {
            outlet.counters.transactions_abandoned += 1;
            let given_up = (self.recipients.len() as u64).saturating_add(u64::from(self.beyond));
            outlet.counters.recipients_abandoned += given_up;
        }
        *self = Transaction::default();
    }

    fn delivery(&self, responder: IpAddr, path: Option<Mailbox>, reply: Option<Reply>) -> Delivery {
        Delivery {
            responder: Some(responder),
            reverse_path: self.reverse_path.clone(),
            forward_path: path,
            reply,
            retry: None,
            queue_id: None,
        }
    }
}
