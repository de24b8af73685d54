//! SMTP dialogues as some MTAs log them: one line a command or an answer. Exchange's protocol logs, MailEnable
//! and hMailServer share this reading.
//!
//! *In*: what one side said, in the order of the log. *Out*: parts. *Bound*: see [`super::sessions`].
//! *Spec*: RFC 5321 sections 3.3 and 4.2, RFC 2920 (answers come in the order of commands), RFC 4954.
//!
//! A client's password may stand in such a log as it was sent. What a client says during AUTH is looked at
//! only for its user name, and nothing of it is kept.

use super::fields::{self, split_once, take_path};
use super::sessions::{Awaited, Pending, Recipient, Session, Sessions};
use super::{Emit, Fate, Origin, Outcome, Part, Status};
use crate::limits;
use crate::mail::Reply;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::net::IpAddr;

/// Which side of the dialogue we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Our MTA hands mail to another.
    Client,
    /// A client hands mail to our MTA.
    Server,
}

/// One line of a dialogue.
pub(super) struct Utterance<'l> {
    /// Session it belongs to.
    pub(super) session: &'l [u8],
    /// Who we are in it.
    pub(super) side: Side,
    /// The other side.
    pub(super) peer: Option<IpAddr>,
    /// Our own end, where mail leaves from.
    pub(super) own: Option<IpAddr>,
    /// The message's id, where the log has one.
    pub(super) message: Option<&'l [u8]>,
}

/// Takes a command of the client's.
pub(super) fn command(of: &Utterance, text: &[u8], sessions: &mut Sessions, emit: Emit) -> Fate {
    let session = sessions.get_or_begin(of.session);
    session.peer = of.peer.or(session.peer);
    if session.awaited != Awaited::Command {
        if session.awaited == Awaited::UserName && of.side == Side::Server {
            session.account = decoded(text);
        }
        session.awaited = Awaited::Command;
        sessions.wait(of.session, Pending::Auth);
        return Fate::Parsed;
    }
    let text = text.trim_ascii();
    let verb = text.split(|byte| matches!(byte, b' ' | b':')).next().unwrap_or_default().to_ascii_uppercase();
    let pending = match verb.as_slice() {
        b"MAIL" => {
            session.reset();
            session.reverse_path = argument(text).map(Session::kept);
            Pending::Mail
        }
        b"RCPT" => Pending::Rcpt(argument(text).map(Session::kept).unwrap_or_default()),
        b"DATA" => Pending::Data,
        b"BDAT" if text.to_ascii_uppercase().ends_with(b" LAST") => Pending::EndOfData,
        b"AUTH" => {
            // A name of an attempt before does not stand for this one.
            session.account = if of.side == Side::Server { initial_response(text) } else { None };
            Pending::Auth
        }
        b"EHLO" | b"HELO" | b"RSET" => {
            session.reset();
            Pending::Other
        }
        // The lines of a message, where a log shows that they were sent.
        b"." | b"[nl]." => return Fate::Ignored,
        _ => Pending::Other,
    };
    let _ = emit;
    sessions.wait(of.session, pending);
    Fate::Parsed
}

/// Takes an answer of the server's.
pub(super) fn answer(of: &Utterance, text: &[u8], sessions: &mut Sessions, emit: Emit) -> Fate {
    let Some(reply) = fields::reply(text.trim_ascii_start()) else { return Fate::Ignored };
    let Some(code) = reply.code else { return Fate::Ignored };
    // A line of an answer that goes on.
    if text.trim_ascii_start().get(3) == Some(&b'-') {
        return Fate::Ignored;
    }
    let session = sessions.get_or_begin(of.session);
    session.peer = of.peer.or(session.peer);
    let Some(command) = session.pending.pop_front() else { return Fate::Ignored };
    match (of.side, command) {
        (_, Pending::Data) if code / 100 == 3 => {
            session.pending.push_front(Pending::EndOfData);
            Fate::Parsed
        }
        (_, Pending::Auth) if code == 334 => {
            session.awaited = match decoded(text.get(4..).unwrap_or_default()) {
                Some(prompt) if prompt.to_ascii_lowercase().starts_with(b"user") => Awaited::UserName,
                _ => Awaited::Secret,
            };
            Fate::Parsed
        }
        (Side::Server, Pending::Auth) => login(session, code, emit),
        (Side::Client, Pending::Rcpt(path)) => {
            if code / 100 == 2 {
                sessions.add_recipient(of.session, &path, true);
            } else {
                let outcome = outcome(of, session, Some(&path), &reply);
                emit(&id(of, session), Part::Outcome(outcome));
            }
            Fate::Parsed
        }
        (Side::Client, Pending::Data | Pending::EndOfData) => end(of, session, &reply, emit),
        (Side::Server, Pending::Mail | Pending::Rcpt(_) | Pending::Data | Pending::EndOfData)
            if code >= 400 =>
        {
            emit(&[], Part::Rejected);
            Fate::Parsed
        }
        (Side::Server, Pending::Rcpt(path)) => {
            sessions.add_recipient(of.session, &path, true);
            Fate::Parsed
        }
        (Side::Server, Pending::EndOfData) => arrived(of, session, text, emit),
        (Side::Client, Pending::Mail) if code >= 400 => {
            session.reset();
            Fate::Parsed
        }
        _ => Fate::Parsed,
    }
}

/// What was written into the log beside the dialogue: who logged in.
pub(super) fn logged_in(of: &Utterance, account: &[u8], sessions: &mut Sessions, emit: Emit) -> Fate {
    let session = sessions.get_or_begin(of.session);
    session.peer = of.peer.or(session.peer);
    session.account = Some(Session::kept(account));
    // The 235 that follows says the same again.
    session
        .pending
        .iter_mut()
        .filter(|command| **command == Pending::Auth)
        .for_each(|command| *command = Pending::Other);
    emit(&[], Part::Login { account: Some(account), client: session.peer, succeeded: true });
    Fate::Parsed
}

fn login(session: &mut Session, code: u16, emit: Emit) -> Fate {
    let succeeded = match code {
        235 => true,
        535 | 530 | 534 | 538 | 454 => false,
        // Cancelled, not offered or misspelt: nothing was tried.
        _ => {
            session.account = None;
            return Fate::Parsed;
        }
    };
    emit(&[], Part::Login { account: session.account.as_deref(), client: session.peer, succeeded });
    if !succeeded {
        session.account = None;
    }
    Fate::Parsed
}

/// The id of the transaction at hand: the MTA's own, or the session's with a number.
fn id(of: &Utterance, session: &Session) -> Vec<u8> {
    match of.message {
        Some(id) => id.to_vec(),
        None => [of.session, b".", session.transactions.saturating_add(1).to_string().as_bytes()].concat(),
    }
}

fn outcome<'l>(of: &Utterance, session: &'l Session, path: Option<&'l [u8]>, reply: &Reply) -> Outcome<'l> {
    let recipients = u32::try_from(session.recipients.len()).unwrap_or(u32::MAX).max(1);
    Outcome {
        origin: Origin {
            reverse_path: session.reverse_path.as_deref(),
            recipients: Some(recipients),
            ..Origin::default()
        },
        forward_path: path,
        responder: session.peer,
        attempted: session.peer,
        status: reply.code.map_or(Status::Unknown, Status::of_code),
        reply: Some(reply.clone()),
        egress: of.own,
        ..Outcome::unknown()
    }
}

/// End-of-data, or DATA, was answered: that is the answer for every recipient that was not refused before.
fn end(of: &Utterance, session: &mut Session, reply: &Reply, emit: Emit) -> Fate {
    let id = id(of, session);
    for Recipient { forward_path, accepted } in &session.recipients {
        if *accepted {
            emit(&id, Part::Outcome(outcome(of, session, Some(forward_path), reply)));
        }
    }
    // An MTA's own id lives on in its queue.
    if of.message.is_none() {
        emit(&id, Part::Removed);
    }
    session.transactions = session.transactions.saturating_add(1);
    session.reset();
    Fate::Parsed
}

/// A message was taken from a client. Exchange says under which id: `[InternalId=5450313518243, Hostname=…]`.
fn arrived(of: &Utterance, session: &mut Session, text: &[u8], emit: Emit) -> Fate {
    let internal = fields::rsplit_once(text, b"[InternalId=").and_then(|(_, rest)| {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        rest.get(..digits).filter(|digits| !digits.is_empty())
    });
    if let Some(id) = of.message.or(internal) {
        emit(
            id,
            Part::Origin(Origin {
                begins: true,
                client: session.peer,
                account: session.account.as_deref(),
                reverse_path: session.reverse_path.as_deref(),
                recipients: u32::try_from(session.recipients.len()).ok().filter(|count| *count > 0),
                ..Origin::default()
            }),
        );
    }
    session.transactions = session.transactions.saturating_add(1);
    session.reset();
    Fate::Parsed
}

/// The path of `MAIL FROM:<path> SIZE=9`, `RCPT TO: <path>`, `MAIL FROM:path`.
fn argument(text: &[u8]) -> Option<&[u8]> {
    let (_, rest) = split_once(text, b":")?;
    let rest = rest.trim_ascii_start();
    match rest.strip_prefix(b"<") {
        Some(rest) => take_path(rest).map(|(path, _)| path),
        None => rest.split(|byte| *byte == b' ').next(),
    }
}

/// The user name in `AUTH PLAIN base64` (RFC 4616: authorization, NUL, name, NUL, password), `AUTH LOGIN base64`.
fn initial_response(text: &[u8]) -> Option<Box<[u8]>> {
    let mut words = text.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).skip(1);
    let mechanism = words.next()?.to_ascii_uppercase();
    let response = words.next()?;
    match mechanism.as_slice() {
        b"LOGIN" => decoded(response),
        b"PLAIN" => {
            let all = decoded(response)?;
            all.split(|byte| *byte == 0).nth(1).filter(|name| !name.is_empty()).map(Session::kept)
        }
        _ => None,
    }
}

fn decoded(text: &[u8]) -> Option<Box<[u8]>> {
    let text = text.trim_ascii();
    if text.is_empty() || text.len() > 4 * limits::ACCOUNT_BYTES_MAX {
        return None;
    }
    STANDARD.decode(text).ok().map(Vec::into_boxed_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_end_where_their_quotes_say() {
        for (text, expected) in [
            ("MAIL FROM:<a@b> SIZE=5", "a@b"),
            ("RCPT TO: <\"x> y\"@b>", "\"x> y\"@b"),
            ("MAIL FROM:a@b SIZE=5", "a@b"),
            ("MAIL FROM:<>", ""),
        ] {
            assert_eq!(argument(text.as_bytes()), Some(expected.as_bytes()));
        }
        assert_eq!(argument(b"RSET"), None);
    }

    #[test]
    fn only_the_name_is_taken_from_an_initial_response() {
        assert_eq!(initial_response(b"AUTH PLAIN AGJvYgBnZWhlaW0=").as_deref(), Some(&b"bob"[..]));
        assert_eq!(initial_response(b"AUTH LOGIN Ym9i").as_deref(), Some(&b"bob"[..]));
        assert_eq!(initial_response(b"AUTH XOAUTH2 Ym9i"), None);
        assert_eq!(initial_response(b"AUTH PLAIN"), None);
    }
}
