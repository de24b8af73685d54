//! One SMTP session, spoken out: greeting, transactions, replies, good bye, in clear or under TLS.
//!
//! *In*: who calls whom, and what the receiver will say to each recipient. *Out*: frames, and the moment
//! and words of each recipient's final answer. *Spec*: RFC 5321, RFC 2920 (pipelining), RFC 3207 (STARTTLS).

use super::draw::Dice;
use super::frames::End;
use super::receivers::{Answer, Judgement, Provider};
use super::talk::{Ending, Talk};
use super::tls;
use std::fmt::Write;

/// How a client behaves.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Manners {
    /// Greets with EHLO (else HELO).
    pub(super) ehlo: bool,
    /// Uses PIPELINING where it is offered.
    pub(super) pipelines: bool,
    /// Uses STARTTLS where it is offered.
    pub(super) starttls: bool,
    /// Probability of a QUIT at the end.
    pub(super) quits: f64,
    /// Tells TLS libraries apart.
    pub(super) library: u64,
}

/// Manners of a mail server.
pub(super) const MTA: Manners =
    Manners { ehlo: true, pipelines: true, starttls: true, quits: 1.0, library: 0 };

/// Who calls.
pub(super) struct Caller<'a> {
    /// Its end of the connection.
    pub(super) end: End,
    /// Name it greets with.
    pub(super) helo: &'a str,
    /// How it behaves.
    pub(super) manners: Manners,
}

/// One message offered.
pub(super) struct Offer<'a> {
    /// Argument of MAIL; empty for the null path.
    pub(super) reverse_path: &'a str,
    /// Arguments of RCPT.
    pub(super) recipients: Vec<String>,
    /// What the receiver will say.
    pub(super) judgement: Judgement,
    /// The message.
    pub(super) body: &'a [u8],
}

/// The final answer to one recipient.
pub(super) struct Said {
    /// When it passed the sensor.
    pub(super) at: i64,
    /// What it means.
    pub(super) answer: Answer,
    /// Its words, lines joined by blanks.
    pub(super) words: String,
    /// Whether it answered the end of the data (else RCPT).
    pub(super) after_data: bool,
}

/// A session that was held.
pub(super) struct Held {
    /// Its frames.
    pub(super) talk: Talk,
    /// Whether it went under TLS.
    pub(super) tls: bool,
    /// For each offer the answer to each recipient.
    pub(super) said: Vec<Vec<Said>>,
    /// When the server's greeting was seen.
    pub(super) greeted_at: i64,
}

/// A session under way.
struct Speech<'a> {
    talk: Talk,
    tls: bool,
    caller: &'a Caller<'a>,
    provider: &'a Provider,
    dice: &'a mut Dice,
    /// When the last reply was seen whole.
    answered_at: i64,
}

/// Holds a session from the handshake to the end.
pub(super) fn hold(
    caller: &Caller<'_>,
    provider: &Provider,
    server: End,
    at: i64,
    offers: Vec<Offer<'_>>,
    dice: &mut Dice,
) -> Held {
    let talk = Talk::open(caller.end.clone(), server, at, dice, provider.rtt_us);
    let mut speech = Speech { talk, tls: false, caller, provider, dice, answered_at: at };
    let greeted_at = speech.greet();
    let mut said = Vec::with_capacity(offers.len());
    for (index, offer) in offers.iter().enumerate() {
        if index > 0 && speech.dice.chance(0.2) {
            speech.say("RSET\r\n");
            speech.hear("250 2.0.0 Ok", "");
        }
        said.push(speech.transact(offer));
    }
    speech.leave();
    Held { talk: speech.talk, tls: speech.tls, said, greeted_at }
}

impl Speech<'_> {
    fn greet(&mut self) -> i64 {
        self.hear(self.provider.style.banner, "");
        let greeted_at = self.answered_at;
        self.hello();
        if self.caller.manners.ehlo && self.caller.manners.starttls && self.provider.starttls {
            self.say("STARTTLS\r\n");
            self.hear("220 2.0.0 Ready to start TLS", "");
            let hello = tls::client_hello(&self.provider.host, self.caller.manners.library, self.dice);
            self.talk.client(400, &hello, self.dice);
            let certificate = self.dice.whole(1_900, 3_900) as usize;
            let flight = tls::server_flight(certificate, self.dice);
            self.talk.server(1_500, &flight, self.dice);
            let finished = tls::client_finished(self.dice);
            self.talk.client(900, &finished, self.dice);
            self.tls = true;
            self.hello();
        }
        greeted_at
    }

    fn hello(&mut self) {
        let verb = if self.caller.manners.ehlo { "EHLO" } else { "HELO" };
        self.say(&format!("{verb} {}\r\n", self.caller.helo));
        if !self.caller.manners.ehlo {
            self.hear(self.provider.style.helo, "");
            return;
        }
        let mut reply = self.provider.style.ehlo.to_owned();
        if self.provider.pipelining {
            reply = insert_line(&reply, "250-PIPELINING");
        }
        if self.provider.starttls && !self.tls {
            reply = insert_line(&reply, "250-STARTTLS");
        }
        self.hear(&reply, "");
    }

    /// One transaction; the answer to each recipient.
    fn transact(&mut self, offer: &Offer<'_>) -> Vec<Said> {
        let style = self.provider.style;
        let sizes = self.caller.manners.ehlo && style.ehlo.contains("SIZE");
        let size = if sizes { format!(" SIZE={}", offer.body.len()) } else { String::new() };
        let mail = format!("MAIL FROM:<{}>{size}\r\n", offer.reverse_path);
        let rcpt = |to: &String| format!("RCPT TO:<{to}>\r\n");
        let texts: Vec<&str> = offer.judgement.recipients.iter().map(|answer| answer.text(style)).collect();
        let taken = offer.judgement.recipients.iter().filter(|answer| **answer == Answer::Accepted).count();
        let mut said = Vec::with_capacity(texts.len());
        if self.caller.manners.pipelines && self.provider.pipelining && self.caller.manners.ehlo {
            let mut group = mail;
            offer.recipients.iter().for_each(|to| group.push_str(&rcpt(to)));
            group.push_str("DATA\r\n");
            self.say(&group);
            let mut replies = self.filled(style.mail_ok, "");
            let mut words = Vec::with_capacity(texts.len());
            for (to, text) in offer.recipients.iter().zip(&texts) {
                let reply = self.filled(text, to);
                words.push(joined(&reply));
                replies.push_str(&reply);
            }
            let last = if taken > 0 { style.go_ahead } else { style.no_recipients };
            replies.push_str(&self.filled(last, ""));
            self.hear_text(&replies);
            said.extend(words.into_iter().map(|words| (words, self.answered_at)));
        } else {
            self.say(&mail);
            self.hear(style.mail_ok, "");
            for (to, text) in offer.recipients.iter().zip(&texts) {
                self.say(&rcpt(to));
                let words = joined(&self.hear(text, to));
                said.push((words, self.answered_at));
            }
            if taken > 0 {
                self.say("DATA\r\n");
                self.hear(style.go_ahead, "");
            }
        }
        let (words, at_end) = if taken > 0 { self.data(offer) } else { (String::new(), self.answered_at) };
        let answers = offer.judgement.recipients.iter().zip(said);
        answers
            .map(|(answer, (refusal, at))| match answer {
                Answer::Accepted => {
                    Said { at: at_end, answer: offer.judgement.data, words: words.clone(), after_data: true }
                }
                _ => Said { at, answer: *answer, words: refusal, after_data: false },
            })
            .collect()
    }

    fn data(&mut self, offer: &Offer<'_>) -> (String, i64) {
        let style = self.provider.style;
        let mut body = offer.body.to_vec();
        body.extend_from_slice(b".\r\n");
        self.write(300, &body);
        let text = match offer.judgement.data {
            Answer::Accepted => style.queued,
            other => other.text(style),
        };
        let to = offer.recipients.first().map_or("", String::as_str).to_owned();
        let words = self.hear(text, &to);
        (joined(&words), self.answered_at)
    }

    fn leave(&mut self) {
        if self.dice.chance(self.caller.manners.quits) {
            self.say("QUIT\r\n");
            self.hear(self.provider.style.bye, "");
            self.talk.close(Ending::Quit);
        } else {
            let how = if self.dice.chance(0.5) { Ending::Closed } else { Ending::Reset };
            self.talk.close(how);
        }
    }

    fn say(&mut self, text: &str) {
        let think = self.dice.whole(150, 900) as i64;
        self.write(think, text.as_bytes());
    }

    fn write(&mut self, think: i64, bytes: &[u8]) {
        if self.tls {
            let records = tls::hidden(bytes.len(), self.dice);
            self.talk.client(think, &records, self.dice);
        } else {
            self.talk.client(think, bytes, self.dice);
        }
    }

    /// The server says a reply of its style; returns it as sent.
    fn hear(&mut self, template: &str, to: &str) -> String {
        let text = self.filled(template, to);
        self.hear_text(&text);
        text
    }

    fn hear_text(&mut self, text: &str) {
        let think = self.dice.exponential(6_000.0) as i64 + 200;
        if self.tls {
            let records = tls::hidden(text.len(), self.dice);
            self.talk.server(think, &records, self.dice);
        } else {
            self.talk.server(think, text.as_bytes(), self.dice);
        }
        self.answered_at = self.talk.last_frame_at();
        if self.dice.chance(0.4) {
            self.talk.acknowledge();
        }
    }

    fn filled(&mut self, template: &str, to: &str) -> String {
        let mut out = String::with_capacity(template.len() + 32);
        let mut rest = template;
        while let Some(open) = rest.find('{') {
            out.push_str(&rest[..open]);
            let Some(close) = rest[open..].find('}') else { break };
            match &rest[open + 1..open + close] {
                "host" => out.push_str(&self.provider.host),
                "client" => out.push_str(self.caller.helo),
                "rcpt" => out.push_str(to),
                "ip" => {
                    let _ = write!(out, "{}", self.caller.end.ip);
                }
                _ => {
                    let _ = write!(out, "{:010X}", self.dice.bits() >> 24);
                }
            }
            rest = &rest[open + close + 1..];
        }
        out.push_str(rest);
        out.push('|');
        out.replace('|', "\r\n")
    }
}

/// Puts a line before the last one of a multi-line reply.
fn insert_line(reply: &str, line: &str) -> String {
    match reply.rsplit_once('|') {
        Some((head, last)) => format!("{head}|{line}|{last}"),
        None => format!("{line}|{reply}"),
    }
}

/// A reply as a mail server's log prints it: its lines joined by blanks.
fn joined(reply: &str) -> String {
    reply.trim_end().replace("\r\n", " ")
}
