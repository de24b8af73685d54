//! ★ What a hidden dialogue most likely was, by how much each side said in turn.
//!
//! *In*: [`Turn`]s, and what a server's replies may be long. *Out*: [`Reading`]. *Bound*: the turns given. *Spec*: RFC 5321
//! section 4.1.4 for the order of commands; Viterbi 1967.
//!
//! SMTP is a small grammar, and its commands are of telling length: DATA is six octets, whoever says it. Each turn is
//! explained as one of the things a client may say at that point, and weighed by how well its length and that of the answer
//! fit; the likeliest explanation of the whole session is kept, and what others, little less likely, count differently.
//!
//! ```text
//!  Start ─EHLO─▶ Idle ─MAIL─▶ Mailed ─RCPT─▶ Named ─DATA─▶ Granted ─message─▶ Idle ─QUIT─▶ Over
//!                  └────────── all of it at once ───────────▲      └─message, QUIT──────▶ Over
//! ```

use super::replies::Replies;
use super::said::{Counts, HABITS, Habit, NOTHING, Said, State, Turn};

/// What a dialogue counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// Ends of data that were answered.
    pub messages: u32,
    /// How far other explanations that are not much less likely lie beside that.
    pub messages_error: u32,
    /// Forward-paths offered.
    pub recipients: u32,
    /// Of these, refused.
    pub recipients_refused: u32,
}

impl Reading {
    /// Both, one after the other.
    pub fn and(self, next: Reading) -> Reading {
        Reading {
            messages: self.messages.saturating_add(next.messages),
            messages_error: self.messages_error.saturating_add(next.messages_error),
            recipients: self.recipients.saturating_add(next.recipients),
            recipients_refused: self.recipients_refused.saturating_add(next.recipients_refused),
        }
    }
}

const STATES: usize = 8;
/// Answers that come before the client has said all that belongs together part one turn into several: so many are joined.
const JOINED_MAX: usize = 3;
/// Logarithm of the probability that a turn is such a part.
const LN_PART: f64 = -6.0;
/// An explanation less likely than the best by more than this is given up, nats.
const BEAM: f64 = 25.0;
/// Explanations within this of the best make the error, nats: one in twenty.
const RIVAL: f64 = 3.0;
/// One explanation of what was said so far.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Path {
    score: f64,
    messages: u32,
    recipients: u32,
    refused: u32,
}

/// The best explanation that ends in one state, and the best that counts other messages.
type Cell = [Option<Path>; 2];

fn offer(cell: &mut Cell, path: Path) {
    let better = |old: &Option<Path>| old.is_none_or(|old| path.score > old.score);
    if cell[0].is_some_and(|best| best.messages == path.messages) {
        if better(&cell[0]) {
            cell[0] = Some(path);
        }
    } else if better(&cell[0]) {
        cell[1] = cell[0].replace(path);
    } else if better(&cell[1]) {
        cell[1] = Some(path);
    }
}

/// Turns by which speakers are compared, and how many of them go on: most are wrong from the first envelope on.
const ROUNDS: [(usize, usize); 2] = [(8, 4), (24, 2)];

/// Who may be speaking: a server's replies, a client's habit, and how likely both are beforehand, as a logarithm.
type Speakers<'a> = (&'a Replies, &'a Habit, f64);

/// Reads what was said from a state on, and where it led. The likeliest speakers decide.
pub(super) fn read(from: State, turns: &[Turn], candidates: &[(Replies, f64)]) -> (Reading, State) {
    let mut speakers: Vec<Speakers> = Vec::new();
    for (replies, ln) in candidates {
        speakers.extend(HABITS.map(|(habit, ln_habit)| (replies, habit, ln + ln_habit)));
    }
    for (length, kept) in ROUNDS {
        if turns.len() > length && speakers.len() > kept {
            let first = &turns[..length];
            let best = |who: &Speakers| {
                explain(from, first, *who).iter().map(|(_, path)| path.score).fold(f64::MIN, f64::max)
            };
            let mut ranked: Vec<_> = speakers.iter().map(|who| (best(who), *who)).collect();
            ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
            speakers = ranked.into_iter().take(kept).map(|(_, who)| who).collect();
        }
    }
    let ends: Vec<(State, Path)> = speakers.into_iter().flat_map(|who| explain(from, turns, who)).collect();
    let best = ends.iter().copied().reduce(|a, b| if b.1.score > a.1.score { b } else { a });
    let Some((state, best)) = best else { return Default::default() };
    let rivals = ends.iter().map(|(_, path)| path).filter(|path| path.score >= best.score - RIVAL);
    let reading = Reading {
        messages: best.messages,
        messages_error: rivals.map(|path| path.messages.abs_diff(best.messages)).max().unwrap_or(0),
        recipients: best.recipients,
        recipients_refused: best.refused,
    };
    (reading, state)
}

/// All explanations that are worth a look, if these were the speakers, and where they end.
fn explain(from: State, turns: &[Turn], (replies, habit, ln): Speakers) -> Vec<(State, Path)> {
    let mut cells = Cells::default();
    cells[from as usize][0][0] = Some(Path { score: ln, messages: 0, recipients: 0, refused: 0 });
    for (at, turn) in turns.iter().enumerate() {
        let mut joined = [*turn; JOINED_MAX + 1];
        for more in 1..=JOINED_MAX.min(at) {
            joined[more] = turns[at - more].and(joined[more - 1]);
        }
        cells = step(&cells, &joined, (replies, habit));
    }
    let ends = ALL
        .iter()
        .flat_map(|state| cells[*state as usize][0].into_iter().flatten().map(|path| (*state, path)));
    ends.map(|(state, path)| (state, Path { score: path.score + ln_end(state), ..path })).collect()
}

/// Where sessions end: mostly behind QUIT, or where no mail is under way.
fn ln_end(state: State) -> f64 {
    match state {
        State::Over => -0.3,
        State::Idle => -1.6,
        _ => -4.0,
    }
}

type Cells = [[Cell; JOINED_MAX + 1]; STATES];

fn step(cells: &Cells, joined: &[Turn; JOINED_MAX + 1], (replies, habit): (&Replies, &Habit)) -> Cells {
    let scores = cells.iter().flatten().flat_map(|cell| cell[0]).map(|path| path.score);
    let floor = scores.fold(f64::MIN, f64::max) - BEAM;
    let mut next = Cells::default();
    for more in 0..=JOINED_MAX {
        let said = Said { turn: joined[more], replies, habit };
        for state in ALL {
            let cell = cells[state as usize][more];
            let alive = |path: &Path| path.score >= floor;
            if !cell[0].as_ref().is_some_and(alive) {
                continue;
            }
            said.possible(state, &mut |to, ln, counts| {
                for path in cell.into_iter().flatten().filter(alive) {
                    offer(&mut next[to as usize][0], path.counting(ln, counts));
                }
            });
            if more < JOINED_MAX && state != State::Over {
                // Where a whole is cut, is as likely here as there.
                let [client, server] = [joined[0].client_bytes, joined[0].server_bytes].map(f64::from);
                let ln = LN_PART - client.max(1.0).ln() - server.max(1.0).ln();
                for path in cell.into_iter().flatten().filter(alive) {
                    offer(&mut next[state as usize][more + 1], path.counting(ln, NOTHING));
                }
            }
        }
    }
    next
}

const ALL: [State; STATES] = [
    State::Start,
    State::Idle,
    State::Mailed,
    State::Named,
    State::Unnamed,
    State::Granted,
    State::Chunking,
    State::Over,
];

impl Path {
    fn counting(self, ln: f64, counts: Counts) -> Path {
        Path {
            score: self.score + ln,
            messages: self.messages.saturating_add(counts.messages),
            recipients: self.recipients.saturating_add(counts.recipients),
            refused: self.refused.saturating_add(counts.refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::replies::{candidates, dialect_of};
    use super::*;
    use proptest::prelude::*;

    /// A turn by the lines of both sides; a number stands for a text of so many octets.
    fn turn(client: &[&str], server: &[&str]) -> Turn {
        let octets =
            |lines: &[&str]| lines.iter().map(|line| line.parse().unwrap_or(line.len() as u32 + 2)).sum();
        Turn { client_bytes: octets(client), server_bytes: octets(server), slack_bytes: 0 }
    }

    fn counted(greeting: &str, turns: &[Turn]) -> [u32; 4] {
        let candidates = candidates(dialect_of(greeting.as_bytes()), None);
        let Reading { messages, recipients, recipients_refused, messages_error } =
            read(State::Start, turns, &candidates).0;
        [messages, recipients, recipients_refused, messages_error]
    }

    const EHLO: &str = "EHLO relay.example.net";
    const MAIL: &str = "MAIL FROM:<anna.lee@example.net> SIZE=2210";
    const TO: &str = "RCPT TO:<b.miller@example.org>";
    const NOBODY: &str = "RCPT TO:<nobody@example.org>";
    const NO_SUCH: &str =
        "550 5.1.1 <nobody@example.org>: Recipient address rejected: User unknown in virtual mailbox table";
    const GO: &str = "354 End data with <CR><LF>.<CR><LF>";
    const QUEUED: &str = "250 2.0.0 Ok: queued as 4Bfz12k3LmzQ";
    const BYE: &str = "221 2.0.0 Bye";

    #[test]
    fn postfix_says_the_envelope_at_once() {
        let turns = [
            turn(&[EHLO], &["151"]),
            turn(&[MAIL, TO, NOBODY, TO, TO, "DATA"], &["250 2.1.0 Ok", "42", NO_SUCH, GO]),
            turn(&["2200"], &[QUEUED]),
            turn(&[MAIL, NOBODY, "DATA"], &["250 2.1.0 Ok", NO_SUCH, "554 5.5.1 Error: no valid recipients"]),
            turn(&["RSET"], &["250 2.0.0 Ok"]),
            turn(&[MAIL, TO, "DATA"], &["250 2.1.0 Ok", "14", GO]),
            turn(&["48000"], &[QUEUED, BYE]),
        ];
        let [messages, recipients, refused, error] = counted("mx.example.org ESMTP Postfix", &turns);
        assert_eq!([messages, refused, error], [2, 2, 0]);
        // A longer refusal or one more acceptance: that is hard to tell.
        assert!(recipients.abs_diff(6) <= 1, "{recipients} recipients");
    }

    #[test]
    fn others_wait_for_each_answer() {
        let turns = [
            turn(&[EHLO], &["213"]),
            turn(&[MAIL], &["250 2.1.0 <anna.lee@example.net>... Sender ok"]),
            turn(&[TO], &["250 2.1.5 <b.miller@example.org>... Recipient ok"]),
            turn(&[NOBODY], &["550 5.1.1 <nobody@example.org>... User unknown"]),
            turn(&["DATA"], &["354 Enter mail, end with \".\" on a line by itself"]),
            turn(&["730"], &["250 2.0.0 4AS12345012345 Message accepted for delivery"]),
            turn(&["QUIT"], &["221 2.0.0 mx.example.org closing connection"]),
        ];
        assert_eq!(counted("mx.example.org ESMTP Sendmail 8.18.1", &turns)[..2], [1, 2]);
    }

    #[test]
    fn exim_says_the_first_chunk_with_the_envelope() {
        let (granted, chunk) = ("250 Accepted", "250 431 byte chunk received");
        let last = ["250- 8290 byte chunk, total 8721", "250 OK id=1tGxyz-000ABC-0a"];
        let turns = [
            turn(&[EHLO], &["159"]),
            turn(&[MAIL, TO, TO, "BDAT 431", "431"], &["250 OK", granted, granted, chunk]),
            turn(&["BDAT 8290 LAST", "8290"], &last),
            turn(&[MAIL, TO, "BDAT 1200 LAST", "1200"], &["250 OK", granted, last[0], last[1]]),
            turn(&["QUIT"], &["221 mx.example.org closing connection"]),
        ];
        assert_eq!(counted("mx.example.org ESMTP Exim 4.98", &turns)[..3], [2, 3, 0]);
    }

    #[test]
    fn a_server_that_does_not_name_itself_is_found_by_its_answers() {
        let turns = [
            turn(&[EHLO], &["190"]),
            turn(&[MAIL], &["250 ok"]),
            turn(&[TO], &["250 ok"]),
            turn(&[TO], &["250 ok"]),
            turn(&["DATA"], &["354 go ahead"]),
            turn(&["5200"], &["250 ok 1795912069 qp 4711"]),
            turn(&["QUIT"], &["221 mx.example.org"]),
        ];
        assert_eq!(counted("mx.example.org ESMTP", &turns)[..2], [1, 2]);
    }

    #[test]
    fn answers_that_come_early_part_a_turn() {
        let turns = [
            turn(&[EHLO], &["151"]),
            turn(&[MAIL, TO, TO], &["250 2.1.0 Ok"]),
            turn(&[TO, "DATA"], &["42", GO]),
            turn(&["5200"], &[QUEUED, BYE]),
        ];
        assert_eq!(counted("mx.example.org ESMTP Postfix", &turns)[..2], [1, 3]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Whoever sends what: no more messages than turns, no more refusals than recipients, in bounded time.
        #[test]
        fn anything_is_read(
            turns in prop::collection::vec((0u32..70_000, 0u32..3_000, prop_oneof![9 => Just(0u16), 1 => any::<u16>()]), 0..30),
        ) {
            let turns: Vec<_> = turns
                .into_iter()
                .map(|(client_bytes, server_bytes, slack_bytes)| Turn { client_bytes, server_bytes, slack_bytes })
                .collect();
            let [messages, recipients, refused, _] = counted("ESMTP", &turns);
            prop_assert!(messages as usize <= turns.len() && refused <= recipients);
        }
    }
}
