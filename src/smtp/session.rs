//! One SMTP session: two streams of octets become transactions.
//!
//! *In*: [`Event`]s of one connection, in the order of cause and effect. *Out*: observations.
//! *Bound*: `limits::PENDING_COMMANDS_MAX`, `limits::WAITING_CLIENT_BYTES_MAX`, one line a side.
//! *Spec*: RFC 5321, RFC 2920, RFC 3030, RFC 3207, RFC 4954.
//!
//! Every command takes a slot in a queue, whatever it is, and every reply takes the first slot out; the
//! envelope changes when the reply comes, because that is when the server changed it. Where the meaning
//! of the client's next octets hangs on a reply (DATA, AUTH, STARTTLS), they wait for it.
//!
//! After missing octets it is not known which reply belongs to which command. Slots are then doubtful:
//! they get no answer, until a reply that only one of them can have had, or the next command of a client
//! that waits for its answers. So an acceptance is never invented.

use super::Outlet;
use super::auth::AuthState;
use super::command::{Command, Secret};
use super::data::End;
use super::line::Lines;
use super::opaque::OpaqueWatch;
use super::opaque::replies::Heard;
use super::pending::{MessageEnd, Pending, Sending, Slot};
use super::reply::ServerReply;
use super::starttls::begins_tls;
use super::transaction::Transaction;
use crate::flow::{Event, Side};
use crate::limits;
use crate::mail::Untrusted;
use crate::observation::{Machine, Oddity, SenderKeys, Tls, digest};
use crate::time::Timestamp;
use std::collections::VecDeque;
use std::net::IpAddr;

/// What the client's next octets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Command lines.
    Command,
    /// After missing octets: lines of which only certain commands are believed.
    Lost,
    /// Unknown until the last command is answered.
    Held,
    /// An answer to a challenge of AUTH.
    AuthLine,
    /// The same, if the challenge was sent, which was not seen.
    PerhapsAuthLine,
    /// A message.
    Data,
    /// A message, if DATA was granted, which was not seen: the first line tells.
    PerhapsData,
    /// A chunk of a message: octets left, and whether it is the last.
    Chunk(u64, bool),
    /// TLS, or whatever else follows a granted STARTTLS.
    Opaque,
}

/// A session.
#[derive(Debug)]
pub struct Session {
    pub(super) responder: IpAddr,
    pub(super) responder_port: u16,
    pub(super) opened_at: Timestamp,
    pub(super) keys: SenderKeys,
    pub(super) mode: Mode,
    pub(super) lines: Lines,
    /// Client octets that wait for a reply, from `held_from` on.
    pub(super) held: Vec<u8>,
    pub(super) held_from: usize,
    /// Octets are missing after those that wait.
    pub(super) held_gap: bool,
    /// Octets of the server are missing since they wait.
    pub(super) held_blind: bool,
    pub(super) sending: Sending,
    pub(super) server_lines: Lines,
    /// Octets are missing: the next line of the server may lack its beginning.
    pub(super) server_mid_line: bool,
    pub(super) reply: ServerReply,
    /// The reply to the client's greeting was taken as complete although more lines were promised; and
    /// whether any of those have come.
    pub(super) reply_cut: Option<bool>,
    pub(super) greeting_awaited: bool,
    pub(super) pending: VecDeque<Slot>,
    /// How many of these are [`Pending::Missing`].
    pub(super) missing: u32,
    /// The client does not wait for each answer.
    pub(super) pipelines: bool,
    /// The server has said something since commands went missing.
    pub(super) answered_since_gap: bool,
    /// The server has said something since the client waits for it.
    pub(super) answered_since_wait: bool,
    /// What is read now was said before octets of the server went missing.
    pub(super) releasing_blind: bool,
    /// Times that what followed a suspect end was read again as commands.
    pub(super) rereads: u32,
    pub(super) transaction: Transaction,
    /// The server may take chunks, for all that was seen.
    pub(super) chunking: bool,
    pub(super) auth: Option<AuthState>,
    pub(super) tls: Tls,
    pub(super) opaque: Option<Box<OpaqueWatch>>,
    /// Which MTA the server's greeting names.
    pub(super) dialect: Option<u8>,
    /// Lengths of its replies.
    pub(super) heard: Heard,
    /// STARTTLS was asked for, and what the server said was not seen.
    pub(super) starttls_unanswered: bool,
    /// What is said now is for a proxy.
    pub(super) proxied: bool,
    pub(super) client_spoke: bool,
    pub(super) server_spoke: bool,
    pub(super) helo: Option<Untrusted>,
    pub(super) messages: u32,
    pub(super) recipients: u32,
    pub(super) recipients_refused: u32,
    pub(super) gap_bytes: u64,
    pub(super) oddities: Vec<Oddity>,
    pub(super) quit: bool,
    /// The server said that it closes, or did.
    pub(super) closing: bool,
}

impl Session {
    /// A session that begins now.
    pub fn new(
        originator: IpAddr,
        (responder, responder_port): (IpAddr, u16),
        syn: Option<u64>,
        at: Timestamp,
    ) -> Session {
        Session {
            responder,
            responder_port,
            opened_at: at,
            keys: SenderKeys {
                address: Some(originator),
                machine: Machine { helo: None, syn },
                ..SenderKeys::default()
            },
            mode: Mode::Command,
            lines: Lines::default(),
            held: Vec::new(),
            held_from: 0,
            held_gap: false,
            held_blind: false,
            sending: Sending::default(),
            server_lines: Lines::default(),
            server_mid_line: false,
            reply: ServerReply::default(),
            reply_cut: None,
            greeting_awaited: true,
            pending: VecDeque::new(),
            missing: 0,
            pipelines: false,
            answered_since_gap: false,
            answered_since_wait: false,
            releasing_blind: false,
            rereads: 0,
            transaction: Transaction::default(),
            chunking: false,
            auth: None,
            tls: Tls::Clear,
            opaque: None,
            dialect: None,
            heard: Heard::default(),
            starttls_unanswered: false,
            proxied: false,
            client_spoke: false,
            server_spoke: false,
            helo: None,
            messages: 0,
            recipients: 0,
            recipients_refused: 0,
            gap_bytes: 0,
            oddities: Vec::new(),
            quit: false,
            closing: false,
        }
    }

    /// A session that was picked up in its middle.
    pub fn midstream(
        originator: IpAddr,
        responder: (IpAddr, u16),
        at: Timestamp,
        outlet: &mut Outlet<'_>,
    ) -> Session {
        let mut session = Session::new(originator, responder, None, at);
        session.mode = Mode::Lost;
        session.chunking = true;
        session.greeting_awaited = false;
        session.transaction = Transaction::unseen();
        session.push_missing();
        session.odd(Oddity::MidStream, outlet);
        session
    }

    /// Looks at a little of each part that the next octets need, so that it is on its way from memory while the connection
    /// still sorts them.
    pub(super) fn warm(&self) -> usize {
        usize::from(self.quit)
            + usize::from(self.mode == Mode::Lost)
            + self.lines.partial().len()
            + self.pending.len()
    }

    /// Takes what happened.
    pub fn event(&mut self, event: Event<'_>, outlet: &mut Outlet<'_>) {
        let before = outlet.out.len();
        match event {
            Event::Opened => {}
            Event::Bytes(Side::Originator, bytes) if self.hear_proxy_client(bytes, outlet) => {}
            Event::Bytes(Side::Originator, bytes) => self.hear_client(bytes, outlet),
            Event::Bytes(Side::Responder, bytes) => {
                self.server_spoke = true;
                let bytes = self.hear_proxy_server(bytes);
                match &mut self.opaque {
                    Some(opaque) => opaque.bytes(Side::Responder, bytes),
                    None => self.hear_server(bytes, outlet),
                }
            }
            Event::Gap(side, bytes) => self.gap(side, bytes, outlet),
            Event::Finished(Side::Responder) => self.closing = true,
            Event::Finished(Side::Originator) | Event::Reset => {}
        }
        self.sign(before, outlet);
    }

    /// Counts broken manners and notes them once.
    pub(super) fn odd(&mut self, oddity: Oddity, outlet: &mut Outlet<'_>) {
        *outlet.counters.oddities.entry(oddity).or_default() += 1;
        if let Err(at) = self.oddities.binary_search(&oddity) {
            self.oddities.insert(at, oddity);
        }
    }

    /// Passes on what the connection itself found.
    pub fn note(&mut self, oddity: Oddity, outlet: &mut Outlet<'_>) {
        self.odd(oddity, outlet);
    }

    /// Puts the sender's name under what was observed.
    pub(super) fn sign(&self, from: usize, outlet: &mut Outlet<'_>) {
        for observation in outlet.out.iter_mut().skip(from) {
            observation.sender = self.keys.clone();
        }
    }

    pub(super) fn set_helo(&mut self, name: Untrusted) {
        self.keys.machine.helo = Some(digest(name.as_bytes()));
        self.helo = Some(name);
    }

    pub(super) fn set_account(&mut self, name: Option<Untrusted>) {
        self.keys.account = name.or(self.keys.account.take());
    }

    pub(super) fn hear_client(&mut self, bytes: &[u8], outlet: &mut Outlet<'_>) {
        if let Some(opaque) = &mut self.opaque {
            if self.mode == Mode::Opaque && !opaque.has_begun() && !begins_tls(bytes) {
                return self.plain_after_starttls(bytes, outlet);
            }
            return opaque.bytes(Side::Originator, bytes);
        }
        if self.pending.is_empty() {
            // The client goes on: whoever saw an end of data earlier would have answered by now.
            self.sending.suspect = self.sending.suspect.take().filter(|_| self.mode == Mode::Data);
        }
        if !std::mem::replace(&mut self.client_spoke, true) && begins_tls(bytes) {
            if self.responder_port != 465 {
                self.odd(Oddity::UnexpectedTls, outlet);
            }
            return self.begin_opaque(bytes, outlet);
        }
        let unseen = self.pending.back().is_some_and(|slot| slot.doubtful);
        if self.mode == Mode::Held && (unseen || (self.is_in_doubt() && self.answered_since_wait)) {
            // Nobody goes on before such a reply: it was among the missing octets, or among those that
            // came and could not be given to a command.
            self.answer_none(outlet);
            self.release(outlet);
        }
        if self.mode == Mode::Held || self.held_from < self.held.len() {
            return self.hold(bytes, outlet);
        }
        let taken = self.read_client(bytes, outlet);
        let rest = bytes.get(taken..).unwrap_or_default();
        if !rest.is_empty() {
            self.hold(rest, outlet);
        }
        if outlet.one_sided {
            self.answer_none(outlet);
            self.release(outlet);
        }
    }

    /// Reads client octets. Gives how many were taken: fewer than all where the rest has to wait.
    pub(super) fn read_client(&mut self, bytes: &[u8], outlet: &mut Outlet<'_>) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() && self.mode != Mode::Held {
            match self.mode {
                Mode::Held => break,
                Mode::Opaque => {
                    if let Some(opaque) = &mut self.opaque {
                        opaque.bytes(Side::Originator, rest);
                    }
                    rest = &[];
                }
                Mode::Data => self.read_message(&mut rest, outlet),
                Mode::PerhapsData => {
                    let line = rest.split(|b| *b == b'\n').next().unwrap_or(rest);
                    self.mode = if Command::is_certain(line) { Mode::Command } else { Mode::Data };
                }
                Mode::Chunk(left, last) => {
                    let take = (rest.len() as u64).min(left);
                    if let Some(excerpt) = &mut self.sending.excerpt {
                        excerpt.add(rest.get(..take as usize).unwrap_or_default());
                    }
                    rest = rest.get(take as usize..).unwrap_or_default();
                    self.sending.chunk_bytes += take;
                    self.mode = if take == left { Mode::Command } else { Mode::Chunk(left - take, last) };
                    if take == left {
                        self.end_of_chunk(last);
                    }
                }
                Mode::AuthLine => {
                    let Some(secret) = self.lines.next(&mut rest, |line| Secret::new(line.text)) else {
                        break;
                    };
                    if let Some(auth) = &mut self.auth {
                        auth.answer(&secret);
                    }
                    self.wait_for(Pending::Auth);
                }
                Mode::PerhapsAuthLine => {
                    let read = self.lines.next(&mut rest, |line| {
                        Command::is_certain(line.text).then(|| Command::parse(line.text))
                    });
                    if let Some(Some(command)) = read {
                        self.mode = Mode::Command;
                        self.command(command, outlet);
                    }
                }
                Mode::Command | Mode::Lost => self.read_command(&mut rest, outlet),
            }
        }
        bytes.len() - rest.len()
    }

    pub(super) fn read_message(&mut self, rest: &mut &[u8], outlet: &mut Outlet<'_>) {
        let (taken, end) = self.sending.finder.feed(rest);
        if let Some((_, after)) = &mut self.sending.suspect {
            let room = limits::WAITING_CLIENT_BYTES_MAX.saturating_sub(after.len());
            after.extend_from_slice(rest.get(..taken.min(room)).unwrap_or_default());
        }
        if let Some(excerpt) = &mut self.sending.excerpt {
            excerpt.add(rest.get(..taken).unwrap_or_default());
        }
        *rest = rest.get(taken..).unwrap_or_default();
        match end {
            None => {}
            Some(End::Perhaps) => self.sending.suspect = Some((0, Vec::new())),
            Some(End::Suspect) => {
                self.odd(Oddity::SmugglingSuspect, outlet);
                let size_bytes = self.sending.finder.message_bytes();
                if self.sending.gap {
                    self.sending.suspect = None;
                }
                if self.rereads < limits::REREADS_MAX {
                    self.sending.suspect.get_or_insert((size_bytes, Vec::new()));
                }
            }
            Some(End::Strict) => {
                self.mode = Mode::Command;
                if self.sending.answered {
                    self.sending = Sending::default();
                    return;
                }
                let bytes = self.sending.finder.message_bytes();
                let end = self.sending.end(bytes, self.closing);
                let suspect = self.sending.suspect.take();
                self.sending = Sending { suspect, ..Sending::default() };
                self.push(Pending::EndOfData(end));
            }
        }
    }

    pub(super) fn read_command(&mut self, rest: &mut &[u8], outlet: &mut Outlet<'_>) {
        if !self.lines.is_mid_line() && begins_tls(rest) && rest.len() > 2 {
            if !self.starttls_unanswered {
                self.odd(Oddity::UnexpectedTls, outlet);
            }
            self.begin_opaque(rest, outlet);
            *rest = &[];
            return;
        }
        if self.pending.len() >= limits::PENDING_COMMANDS_MAX {
            self.odd(Oddity::TooManyPendingCommands, outlet);
            self.mode = Mode::Held;
            return;
        }
        let lost = self.mode == Mode::Lost;
        let read = self.lines.next(rest, |line| {
            let command = (!lost || Command::is_certain(line.text)).then(|| Command::parse(line.text));
            (command, line.text == b".", line.bare, line.cut)
        });
        let Some((command, dot, bare, cut)) = read else { return };
        if cut {
            self.odd(Oddity::LineTooLong, outlet);
        }
        match command {
            Some(command) => {
                if bare {
                    self.odd(Oddity::BareLineFeed, outlet);
                }
                self.mode = Mode::Command;
                self.command(command, outlet);
            }
            // Picked up inside a message: this is its end.
            None if dot => {
                self.mode = Mode::Command;
                self.resume(outlet);
                self.push(Pending::EndOfData(MessageEnd::unseen(self.closing)));
            }
            // The rest of a command, perhaps: its reply is still to come.
            None => self.answered_since_gap = false,
        }
    }

    pub(super) fn command(&mut self, command: Command, outlet: &mut Outlet<'_>) {
        self.resume(outlet);
        self.close_open_reply(outlet);
        self.pipelines |= !self.pending.is_empty() && !self.is_in_doubt();
        match command {
            Command::Hello(name) => self.push(Pending::Hello(name)),
            Command::Mail(path) => self.push(Pending::Mail(path)),
            Command::Recipient(path) => {
                self.recipients = self.recipients.saturating_add(1);
                outlet.counters.recipients_offered += 1;
                self.push(Pending::Recipient(path));
            }
            Command::Data => self.wait_for(Pending::Data),
            Command::StartTls => self.wait_for(Pending::StartTls),
            Command::Auth { mechanism, initial } => {
                self.auth = Some(AuthState::begin(mechanism, initial.as_ref()));
                self.wait_for(Pending::Auth);
            }
            Command::Chunk(Some((size, last))) => self.chunk(size, last, outlet),
            Command::Chunk(None) => {
                self.odd(Oddity::BadChunkSize, outlet);
                self.push(Pending::Other);
            }
            Command::Reset => self.push(Pending::Reset),
            Command::Quit => self.push(Pending::Quit),
            Command::Neutral => self.push(Pending::Other),
            Command::Unknown => {
                self.odd(Oddity::UnknownCommand, outlet);
                self.push(Pending::Other);
            }
        }
    }

    pub(super) fn push(&mut self, what: Pending) {
        // What was said before octets of the server went missing may have been answered among them.
        let slot = Slot::after(self.pending.back(), what, self.releasing_blind);
        self.pending.push_back(slot);
    }

    pub(super) fn wait_for(&mut self, what: Pending) {
        self.push(what);
        self.mode = Mode::Held;
        self.answered_since_wait = false;
    }
}
