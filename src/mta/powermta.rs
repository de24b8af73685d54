//! PowerMTA's accounting files; Haraka's accounting plugin, which uses the same names between tabs.
//!
//! *In*: values between commas or tabs, with a header or in the default order. *Out*: parts. *Bound*: linear in
//! the line. *Spec*: "Accounting", PowerMTA User's Guide: record types `d` delivered, `b` bounced, `t` tried in
//! vain (`df` in Haraka's), `r` received, `rb` bounce reported later, `f` complaint.
//!
//! A file whose header leaves out the time cannot be placed in time and is counted as unparsed.

use super::fields::{self, rsplit_once};
use super::sessions::plain_reply;
use super::stamp::take_iso;
use super::table::{Columns, Row};
use super::{Dialect, Emit, Fate, Line, Memory, Origin, Outcome, Part, Route, Status, json};
use crate::mail::{EnhancedStatus, Reply};

pub(super) const DIALECT: Dialect = Dialect {
    name: "powermta",
    about: "PowerMTA's accounting files, Haraka's accounting plugin",
    split,
    claims: |_| false,
    recognises: |line| {
        row(line).is_some_and(|row| {
            is_header(&row)
                || (status(&row).is_some()
                    && row.len() > 4
                    && row.at(1).is_some_and(|time| take_iso(time).is_some()))
        })
    },
    read,
    verbatim: false,
    patterns: None,
};

/// The order of fields where no header says another.
const COLUMNS: &[&str] = &[
    "type",
    "timeLogged",
    "timeQueued",
    "orig",
    "rcpt",
    "orcpt",
    "dsnAction",
    "dsnStatus",
    "dsnDiag",
    "dsnMta",
    "bounceCat",
    "srcType",
    "srcMta",
    "dlvType",
    "dlvSourceIp",
    "dlvDestinationIp",
    "dlvEsmtpAvailable",
    "dlvSize",
    "vmta",
    "jobId",
    "envId",
];

fn row(line: &[u8]) -> Option<Row> {
    let tab = memchr::memchr2(b'\t', b',', line).and_then(|at| line.get(at)) == Some(&b'\t');
    if tab { Row::tabs(line) } else { Row::commas(line) }
}

fn is_header(row: &Row) -> bool {
    row.at(0) == Some(b"type") && Columns::of(row).place("rcpt").is_some()
}

/// What a record's type says; the outer `None` where it is none.
fn status(row: &Row) -> Option<Option<Status>> {
    match row.at(0)? {
        b"d" => Some(Some(Status::Sent)),
        b"b" => Some(Some(Status::Bounced)),
        b"t" | b"tq" | b"df" => Some(Some(Status::Deferred)),
        b"r" | b"rb" | b"rs" | b"f" => Some(None),
        _ => None,
    }
}

fn split<'l>(memory: &mut Memory, line: &'l [u8]) -> Option<Line<'l>> {
    let row = row(line)?;
    let stamp = if is_header(&row) {
        None
    } else {
        status(&row)?;
        let place = if memory.columns.is_empty() { Some(1) } else { memory.columns.place("timelogged") };
        place.and_then(|place| row.at(place)).and_then(take_iso).map(|(stamp, _)| stamp)
    };
    Some(Line { stamp, host: None, program: b"", pid: None, text: line })
}

fn read(line: &Line, memory: &mut Memory, emit: Emit) -> Fate {
    let Some(row) = row(line.text) else { return Fate::Unparsed };
    if is_header(&row) {
        memory.columns = Columns::of(&row);
        return Fate::Ignored;
    }
    // The line before has another time than this one: without a time of its own it has none.
    let Some(status) = status(&row).filter(|_| line.stamp.is_some()) else { return Fate::Unparsed };
    let Some(status) = status else { return Fate::Ignored };
    let known;
    let columns = if memory.columns.is_empty() {
        known = Columns::known(COLUMNS);
        &known
    } else {
        &memory.columns
    };
    let field = |name: &str| row.named(columns, name);
    let Some(recipient) = field("rcpt") else { return Fate::Unparsed };
    let responder = field("dlvdestinationip").or_else(|| field("destip")).and_then(json::endpoint);
    // `feeder.example.com (192.0.2.9)`
    let client =
        field("srcmta").and_then(|mta| rsplit_once(mta.strip_suffix(b")")?, b"(")).map(|(_, inside)| inside);
    let outcome = Outcome {
        origin: Origin {
            client: client.and_then(fields::address),
            reverse_path: field("orig").map(|path| if path == b"<>" { &[][..] } else { path }),
            size_bytes: field("dlvsize").and_then(fields::number),
            ..Origin::default()
        },
        forward_path: Some(recipient),
        route: match field("dlvtype") {
            Some(b"discard") => Route::Discarded,
            Some(kind) if kind != b"smtp" => Route::Local,
            _ => Route::Remote,
        },
        responder,
        attempted: responder,
        status,
        reply: Some(reply(field("dsndiag").or_else(|| field("dsnmsg")), field("dsnstatus"), status)),
        egress: field("dlvsourceip").or_else(|| field("srcip")).and_then(json::endpoint),
        ..Outcome::unknown()
    };
    // Haraka's job is one message; PowerMTA's is a campaign.
    let id = field("jobid").filter(|_| columns.place("dsnmsg").is_some()).unwrap_or_default();
    emit(id, Part::Outcome(outcome));
    Fate::Parsed
}

/// `smtp;550 5.1.1 unknown` and `5.1.1 (bad destination mailbox address)`.
fn reply(words: Option<&[u8]>, status_text: Option<&[u8]>, status: Status) -> Reply {
    let words = words.unwrap_or_default();
    let words = words.strip_prefix(b"smtp;").unwrap_or(words).trim_ascii();
    let enhanced = status_text.and_then(EnhancedStatus::parse_prefix).map(|(enhanced, _)| enhanced);
    let enhanced = enhanced.filter(|enhanced| Some(enhanced.class) == status.class());
    match fields::reply(words).filter(|reply| reply.code.map(Status::of_code) == Some(status)) {
        Some(reply) => Reply { enhanced: reply.enhanced.or(enhanced), ..reply },
        None => Reply {
            code: None,
            enhanced: enhanced.or(plain_reply(status.class()).enhanced),
            text: Some(fields::reply_text(words)).filter(|text| !text.as_bytes().is_empty()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::{says, says_on};
    use super::*;

    #[test]
    fn with_a_header_and_without() {
        let row = "b,2026-09-21 12:00:00+0000,2026-09-21 11:59:00+0000,bob@example.com,a@example.net,,failed,5.1.1 (bad mailbox),\"smtp;550 5.1.1 no, \"\"you\"\"\",mx (198.51.100.1),bad-mailbox,smtp,feeder (192.0.2.9),smtp,203.0.113.7,198.51.100.1,x,1234,vmta,job,env";
        let expected = "to=a@example.net Remote Bounced by=Some(198.51.100.1) tried=Some(198.51.100.1) code=Some(550) enhanced=5.1.1 as=?";
        assert!((DIALECT.recognises)(row.as_bytes()));
        assert_eq!(says(&DIALECT, row).1, [format!(" {expected}")]);
        let mut memory = Memory::default();
        assert_eq!(says_on(&DIALECT, &mut memory, "type,rcpt,timeLogged,dsnStatus,dsnDiag").0, Fate::Ignored);
        assert_eq!(
            says_on(&DIALECT, &mut memory, "t,a@example.net,2026-09-21 12:00:00+0000,4.4.1 (no answer),").1,
            [" to=a@example.net Remote Deferred by=None tried=None code=None enhanced=4.4.1 as=?"]
        );
    }

    #[test]
    fn harakas_plugin() {
        let mut memory = Memory::default();
        let header =
            "type\ttimeLogged\ttimeQueued\trcpt\tsrcMta\tsrcIp\tvmta\tjobId\tdsnStatus\tdsnMsg\tdestIp";
        assert_eq!(says_on(&DIALECT, &mut memory, header).0, Fate::Ignored);
        let row = "d\t2026-09-21 12:00:00\t2026-09-21 11:59:00\ta@example.net\tpc\t203.0.113.7\t\t1B01.1\t250\t250 ok\t198.51.100.1";
        assert_eq!(
            says_on(&DIALECT, &mut memory, row).1,
            [
                "1B01.1 to=a@example.net Remote Sent by=Some(198.51.100.1) tried=Some(198.51.100.1) code=Some(250) enhanced=? as=?"
            ]
        );
    }

    #[test]
    fn a_record_without_a_time_is_not_placed() {
        let mut memory = Memory::default();
        says_on(&DIALECT, &mut memory, "type,rcpt,header_x-sp-message-id");
        assert_eq!(says_on(&DIALECT, &mut memory, "d,a@example.net,1"), (Fate::Unparsed, vec![]));
    }
}
