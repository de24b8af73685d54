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
use super::data::{End, EndFinder};
use super::line::Lines;
use super::opaque::OpaqueWatch;
use super::reply::ServerReply;
use super::transaction::Transaction;
use crate::flow::{Event, Side};
use crate::limits;
use crate::mail::{Mailbox, ReversePath, Untrusted};
use crate::observation::{Fact, Machine, Oddity, SenderKeys, SessionEnd, Tls, digest};
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

/// A command that waits for its reply.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) what: Pending,
    /// Missing octets make it unsure which reply is its.
    pub(super) doubtful: bool,
}

/// What a reply will answer.
#[derive(Debug)]
pub(super) enum Pending {
    Hello(Untrusted),
    Mail(ReversePath),
    Recipient(Option<Mailbox>),
    Data,
    EndOfData(MessageEnd),
    Chunk(Option<MessageEnd>),
    Reset,
    Quit,
    StartTls,
    Auth,
    Other,
    /// Any number of commands in missing octets.
    Missing,
}

/// What is known of a message when its end is sent.
#[derive(Debug)]
pub(super) struct MessageEnd {
    /// `None` where octets are missing.
    pub(super) size_bytes: Option<u64>,
    /// The server had already closed: there will be no answer.
    pub(super) after_close: bool,
}

/// The message that is being sent.
#[derive(Debug, Default)]
pub(super) struct Sending {
    pub(super) finder: EndFinder,
    /// Octets of earlier chunks.
    pub(super) chunk_bytes: u64,
    /// Octets are missing.
    pub(super) gap: bool,
    /// The server has answered before the end.
    pub(super) answered: bool,
    /// The first end that is no strict one: octets of the message before it, and what came after it,
    /// which are commands to some servers.
    pub(super) suspect: Option<(u64, Vec<u8>)>,
}

/// A session.
#[derive(Debug)]
pub struct Session {
    pub(super) responder: IpAddr,
    responder_port: u16,
    opened_at: Timestamp,
    keys: SenderKeys,
    pub(super) mode: Mode,
    lines: Lines,
    /// Client octets that wait for a reply, from `held_from` on.
    held: Vec<u8>,
    held_from: usize,
    /// Octets are missing after those that wait.
    held_gap: bool,
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
    /// The client does not wait for each answer.
    pipelines: bool,
    pub(super) transaction: Transaction,
    pub(super) auth: Option<AuthState>,
    pub(super) tls: Tls,
    opaque: Option<Box<OpaqueWatch>>,
    /// STARTTLS was asked for, and what the server said was not seen.
    pub(super) starttls_unanswered: bool,
    client_spoke: bool,
    server_spoke: bool,
    pub(super) helo: Option<Untrusted>,
    pub(super) messages: u32,
    pub(super) recipients: u32,
    pub(super) recipients_refused: u32,
    gap_bytes: u64,
    oddities: Vec<Oddity>,
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
            sending: Sending::default(),
            server_lines: Lines::default(),
            server_mid_line: false,
            reply: ServerReply::default(),
            reply_cut: None,
            greeting_awaited: true,
            pending: VecDeque::new(),
            pipelines: false,
            transaction: Transaction::default(),
            auth: None,
            tls: Tls::Clear,
            opaque: None,
            starttls_unanswered: false,
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
        session.greeting_awaited = false;
        session.transaction = Transaction::unseen();
        session.pending.push_back(Slot { what: Pending::Missing, doubtful: true });
        session.odd(Oddity::MidStream, outlet);
        session
    }

    /// Takes what happened.
    pub fn event(&mut self, event: Event<'_>, outlet: &mut Outlet<'_>) {
        let before = outlet.out.len();
        match event {
            Event::Opened => {}
            Event::Bytes(Side::Originator, bytes) => self.hear_client(bytes, outlet),
            Event::Bytes(Side::Responder, bytes) => {
                self.server_spoke = true;
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

    /// The connection is over.
    pub fn finish(mut self, ended: SessionEnd, outlet: &mut Outlet<'_>) {
        let before = outlet.out.len();
        // No reply will come: what waited for one is read as if only this side were captured.
        outlet.one_sided = true;
        self.answer_none(outlet);
        self.release(outlet);
        self.transaction.abandon(self.responder, outlet);
        if self.client_spoke || self.server_spoke {
            let session = crate::observation::Session {
                responder: self.responder,
                opened_at: self.opened_at,
                helo: self.helo.take(),
                tls: self.tls,
                opaque: self.opaque.as_ref().map(|opaque| opaque.seen()),
                messages: self.messages,
                recipients: self.recipients,
                recipients_refused: self.recipients_refused,
                ended: if self.quit { SessionEnd::Quit } else { ended },
                gap_bytes: self.gap_bytes,
                oddities: std::mem::take(&mut self.oddities),
            };
            outlet.counters.sessions += 1;
            outlet.push(outlet.at, Fact::Session(session));
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
    fn sign(&self, from: usize, outlet: &mut Outlet<'_>) {
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

    fn hear_client(&mut self, bytes: &[u8], outlet: &mut Outlet<'_>) {
        if let Some(opaque) = &mut self.opaque {
            if self.mode == Mode::Opaque && opaque.seen().originator_bytes == 0 && !begins_tls(bytes) {
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
            return self.begin_opaque(bytes);
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
    fn read_client(&mut self, bytes: &[u8], outlet: &mut Outlet<'_>) -> usize {
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

    fn read_message(&mut self, rest: &mut &[u8], outlet: &mut Outlet<'_>) {
        let (taken, end) = self.sending.finder.feed(rest);
        if let Some((_, after)) = &mut self.sending.suspect {
            let room = limits::WAITING_CLIENT_BYTES_MAX.saturating_sub(after.len());
            after.extend_from_slice(rest.get(..taken.min(room)).unwrap_or_default());
        }
        *rest = rest.get(taken..).unwrap_or_default();
        match end {
            None => {}
            Some(End::Suspect) => {
                self.odd(Oddity::SmugglingSuspect, outlet);
                let size_bytes = self.sending.finder.message_bytes();
                self.sending.suspect.get_or_insert((size_bytes, Vec::new()));
            }
            Some(End::Strict) => {
                self.mode = Mode::Command;
                if self.sending.answered {
                    self.sending = Sending::default();
                    return;
                }
                let size_bytes = (!self.sending.gap).then(|| self.sending.finder.message_bytes());
                let end = MessageEnd { size_bytes, after_close: self.closing };
                let suspect = self.sending.suspect.take();
                self.sending = Sending { suspect, ..Sending::default() };
                self.push(Pending::EndOfData(end));
            }
        }
    }

    fn read_command(&mut self, rest: &mut &[u8], outlet: &mut Outlet<'_>) {
        if !self.lines.is_mid_line() && begins_tls(rest) && rest.len() > 2 {
            if !self.starttls_unanswered {
                self.odd(Oddity::UnexpectedTls, outlet);
            }
            self.begin_opaque(rest);
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
                let end = MessageEnd { size_bytes: None, after_close: self.closing };
                self.push(Pending::EndOfData(end));
            }
            None => {}
        }
    }

    /// Before a new command is taken after missing octets: a client that waits has had all its answers.
    fn resume(&mut self, outlet: &mut Outlet<'_>) {
        if !self.pipelines && self.pending.front().is_some_and(|slot| slot.doubtful) {
            self.answer_none(outlet);
        }
    }

    /// A client that waits for answers goes on after `220 name` without a line end, or after `250-name` and
    /// nothing more: to it, that was the answer, and what the server says next answers the next command.
    fn close_open_reply(&mut self, outlet: &mut Outlet<'_>) {
        if self.pipelines || self.pending.len() + usize::from(self.greeting_awaited) != 1 {
            return;
        }
        self.close_open_line(outlet);
        let greeting = self.pending.len() == 1
            && self.pending.front().is_some_and(|slot| matches!(slot.what, Pending::Hello(_)));
        if greeting && self.reply.is_open() && !self.server_lines.is_mid_line() {
            self.reply.abandon();
            self.reply_cut = Some(false);
            self.odd(Oddity::NotAReply, outlet);
            self.answer_front(outlet);
        }
    }

    fn command(&mut self, command: Command, outlet: &mut Outlet<'_>) {
        self.resume(outlet);
        self.close_open_reply(outlet);
        self.pipelines |= self.pending.back().is_some_and(|slot| !slot.doubtful);
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
            Command::Chunk(Some((0, last))) => self.end_of_chunk(last),
            Command::Chunk(Some((size, last))) => self.mode = Mode::Chunk(size, last),
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

    fn end_of_chunk(&mut self, last: bool) {
        let size_bytes = (!self.sending.gap).then_some(self.sending.chunk_bytes);
        let end = last.then_some(MessageEnd { size_bytes, after_close: self.closing });
        if last {
            self.sending = Sending::default();
        }
        self.push(Pending::Chunk(end));
    }

    fn push(&mut self, what: Pending) {
        self.pending.push_back(Slot { what, doubtful: false });
    }

    fn wait_for(&mut self, what: Pending) {
        self.push(what);
        self.mode = Mode::Held;
    }

    fn hold(&mut self, bytes: &[u8], outlet: &mut Outlet<'_>) {
        if self.held_gap {
            return;
        }
        if self.held_from > limits::WAITING_CLIENT_BYTES_MAX {
            self.held.drain(..self.held_from);
            self.held_from = 0;
        }
        self.held.extend_from_slice(bytes);
        if outlet.one_sided {
            self.answer_none(outlet);
            return self.release(outlet);
        }
        if self.held.len() - self.held_from <= limits::WAITING_CLIENT_BYTES_MAX {
            return;
        }
        // Nobody sends so much before an answer by mistake: then the answer was yes.
        match self.pending.back().map(|slot| &slot.what) {
            Some(Pending::Data) => {
                self.mode = Mode::Data;
                self.sending = Sending::default();
            }
            Some(Pending::StartTls) if begins_tls(self.held.get(self.held_from..).unwrap_or_default()) => {
                self.answer_none(outlet);
            }
            _ => {
                self.odd(Oddity::TooManyPendingCommands, outlet);
                self.held.clear();
                self.held_from = 0;
                self.lose(outlet);
            }
        }
        self.release(outlet);
    }

    /// Reads on where nothing has to wait any more.
    pub(super) fn release(&mut self, outlet: &mut Outlet<'_>) {
        let waits = self
            .pending
            .back()
            .is_some_and(|slot| matches!(slot.what, Pending::Data | Pending::StartTls | Pending::Auth));
        if self.mode == Mode::Held && !waits && self.pending.len() < limits::PENDING_COMMANDS_MAX {
            self.mode = Mode::Command;
        }
        while self.mode != Mode::Held && self.held_from < self.held.len() {
            let held = std::mem::take(&mut self.held);
            let taken = self.read_client(held.get(self.held_from..).unwrap_or_default(), outlet);
            self.held = held;
            self.held_from += taken;
            if outlet.one_sided {
                self.answer_none(outlet);
            }
            if taken == 0 {
                break;
            }
        }
        if self.held_from >= self.held.len() && self.mode != Mode::Held {
            self.held = Vec::new();
            self.held_from = 0;
            if std::mem::take(&mut self.held_gap) {
                self.client_gap(0, outlet);
            }
        }
    }

    /// Reads again, as commands, what was taken for text; what has to wait comes before what waits.
    pub(super) fn reread_client(&mut self, bytes: &[u8], outlet: &mut Outlet<'_>) {
        let taken = self.read_client(bytes, outlet);
        let rest = bytes.get(taken..).unwrap_or_default();
        self.held = [rest, self.held.get(self.held_from..).unwrap_or_default()].concat();
        self.held_from = 0;
    }

    pub(super) fn opaque_hear_server(&mut self, bytes: &[u8]) {
        if let Some(opaque) = &mut self.opaque {
            opaque.bytes(Side::Responder, bytes);
        }
    }

    fn gap(&mut self, side: Side, bytes: u64, outlet: &mut Outlet<'_>) {
        self.gap_bytes = self.gap_bytes.saturating_add(bytes);
        self.odd(Oddity::Gap, outlet);
        if let Some(opaque) = &mut self.opaque {
            return opaque.gap(side, bytes);
        }
        match side {
            Side::Originator => self.client_gap(bytes, outlet),
            Side::Responder => {
                self.server_lines.forget();
                self.server_mid_line = true;
                self.reply.abandon();
                self.greeting_awaited = false;
                self.pending.iter_mut().for_each(|slot| slot.doubtful = true);
            }
        }
    }

    fn client_gap(&mut self, bytes: u64, outlet: &mut Outlet<'_>) {
        match self.mode {
            Mode::Held => self.held_gap = true,
            Mode::Opaque => {}
            Mode::Data | Mode::PerhapsData => {
                self.mode = Mode::Data;
                self.sending.gap = true;
                self.sending.finder.gap();
                self.sending.suspect = None;
            }
            Mode::Chunk(left, last) if bytes < left => {
                self.sending.gap = true;
                self.sending.chunk_bytes += bytes;
                self.mode = Mode::Chunk(left - bytes, last);
            }
            Mode::Chunk(left, last) => {
                self.sending.gap = true;
                self.end_of_chunk(last);
                if bytes > left {
                    self.lose(outlet);
                } else {
                    self.mode = Mode::Command;
                }
            }
            Mode::Command | Mode::Lost | Mode::AuthLine | Mode::PerhapsAuthLine => self.lose(outlet),
        }
    }

    /// Step is lost: what the client says next may be anything.
    fn lose(&mut self, outlet: &mut Outlet<'_>) {
        self.lines.forget();
        self.mode = Mode::Lost;
        self.auth = None;
        self.transaction.doubt();
        if self.pending.len() >= limits::PENDING_COMMANDS_MAX {
            self.answer_none(outlet);
            self.mode = Mode::Lost;
        }
        self.pending.push_back(Slot { what: Pending::Missing, doubtful: true });
    }

    /// STARTTLS was granted, or TLS began without it.
    pub(super) fn begin_opaque(&mut self, bytes: &[u8]) {
        let mut opaque = OpaqueWatch::default();
        opaque.bytes(Side::Originator, bytes);
        self.opaque = Some(Box::new(opaque));
        self.tls = Tls::Started;
        self.mode = Mode::Opaque;
        self.client_spoke = true;
    }

    /// STARTTLS was granted.
    pub(super) fn grant_starttls(&mut self, outlet: &mut Outlet<'_>) {
        let held = std::mem::take(&mut self.held);
        let waiting = held.get(self.held_from..).unwrap_or_default();
        self.held_from = 0;
        let plain = !waiting.is_empty() && !begins_tls(waiting);
        // What is sent in clear behind STARTTLS must be forgotten by the server (RFC 3207 section 4.2).
        self.begin_opaque(if plain { &[] } else { waiting });
        if plain {
            self.odd(Oddity::PlaintextAfterStarttls, outlet);
        }
    }

    /// STARTTLS was granted, but what comes is no TLS.
    fn plain_after_starttls(&mut self, bytes: &[u8], outlet: &mut Outlet<'_>) {
        self.odd(Oddity::PlaintextAfterStarttls, outlet);
        let line = bytes.split(|b| *b == b'\n').next().unwrap_or(bytes);
        if Command::is_certain(line) {
            self.opaque = None;
            self.mode = Mode::Command;
            return self.hear_client(bytes, outlet);
        }
        if let Some(opaque) = &mut self.opaque {
            opaque.bytes(Side::Originator, bytes);
        }
    }
}

/// Whether octets begin with a TLS handshake record, or an SSL 2 greeting.
fn begins_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [0x16, 3, ..] | [0x16] | [0x80, _, 1, ..])
}
