//! Syslog out of a byte stream: frames that begin with their length, or lines.
//!
//! *In*: bytes, cut anywhere. *Out*: messages, without their ends. *Bound*: `limits::LOG_LINE_BYTES_MAX` a
//! message, the rest is skipped and counted. *Spec*: RFC 6587 sections 3.4.1 and 3.4.2.
//!
//! A sender may mix both forms. A frame is taken for a counted one only where `<` follows its length: lines
//! that begin with a year begin with digits too.

use crate::limits;

/// Digits of a length that are believed.
const LENGTH_DIGITS_MAX: usize = 9;

/// Takes messages out of one connection.
#[derive(Debug, Default)]
pub struct Framing {
    state: State,
    /// What is kept of the message at hand.
    message: Vec<u8>,
    overlong: u64,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// Before a message.
    #[default]
    Between,
    /// In what may be a length.
    Length(usize),
    /// After a length and its blank.
    Counted(usize),
    /// In a counted message of which so many octets are missing.
    Body(usize),
    /// In a line.
    Line,
}

impl Framing {
    /// Takes the next bytes; hands out each message that is whole.
    pub fn push(&mut self, mut bytes: &[u8], take: &mut dyn FnMut(&[u8])) {
        while let Some(&first) = bytes.first() {
            let used = match self.state {
                State::Body(missing) => self.body(missing, bytes, take),
                State::Line => self.line(bytes, take),
                state => {
                    self.beginning(state, first);
                    1
                }
            };
            bytes = bytes.get(used..).unwrap_or_default();
            if matches!(self.state, State::Body(0)) {
                self.hand_out(take);
            }
        }
    }

    /// The connection has ended: what is left is all there will be.
    pub fn finish(&mut self, take: &mut dyn FnMut(&[u8])) {
        self.hand_out(take);
    }

    /// Messages that were longer than is kept.
    pub fn overlong(&self) -> u64 {
        self.overlong
    }

    /// One byte before it is known what kind of message this is.
    fn beginning(&mut self, state: State, byte: u8) {
        self.state = match (state, byte) {
            (State::Between, b'\n' | b'\r' | 0) => return,
            (State::Between, b'1'..=b'9') => State::Length(usize::from(byte - b'0')),
            (State::Length(length), b'0'..=b'9') if self.message.len() < LENGTH_DIGITS_MAX => {
                State::Length(length * 10 + usize::from(byte - b'0'))
            }
            (State::Length(length), b' ') => State::Counted(length),
            (State::Counted(length), b'<') => {
                self.message.clear();
                State::Body(length - 1)
            }
            // The end of a line that was too short to be told from a length.
            (State::Length(_) | State::Counted(_), b'\n') => State::Between,
            _ => State::Line,
        };
        match self.state {
            State::Between => self.message.clear(),
            _ => self.message.push(byte),
        }
    }

    fn body(&mut self, missing: usize, bytes: &[u8], take: &mut dyn FnMut(&[u8])) -> usize {
        let used = missing.min(bytes.len());
        self.keep(bytes.get(..used).unwrap_or_default());
        self.state = State::Body(missing - used);
        if used == missing {
            self.hand_out(take);
        }
        used
    }

    fn line(&mut self, bytes: &[u8], take: &mut dyn FnMut(&[u8])) -> usize {
        let end = memchr::memchr2(b'\n', 0, bytes);
        let used = end.unwrap_or(bytes.len());
        self.keep(bytes.get(..used).unwrap_or_default());
        if end.is_some() {
            self.hand_out(take);
        }
        used + usize::from(end.is_some())
    }

    /// Keeps up to one byte more than a message may have, so that it is known to be too long.
    fn keep(&mut self, bytes: &[u8]) {
        let room = (limits::LOG_LINE_BYTES_MAX + 1).saturating_sub(self.message.len());
        self.message.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
    }

    fn hand_out(&mut self, take: &mut dyn FnMut(&[u8])) {
        self.state = State::Between;
        if self.message.len() > limits::LOG_LINE_BYTES_MAX {
            self.overlong += 1;
            self.message.truncate(limits::LOG_LINE_BYTES_MAX);
        }
        let end = self.message.iter().rev().take_while(|byte| matches!(byte, b'\n' | b'\r' | 0)).count();
        let message = self.message.get(..self.message.len() - end).unwrap_or_default();
        if !message.is_empty() {
            take(message);
        }
        self.message.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn messages(pieces: &[&[u8]]) -> Vec<String> {
        let (mut framing, mut out) = (Framing::default(), Vec::new());
        let mut take = |message: &[u8]| out.push(String::from_utf8_lossy(message).into_owned());
        for piece in pieces {
            framing.push(piece, &mut take);
        }
        framing.finish(&mut take);
        out
    }

    #[test]
    fn counted_frames_and_lines() {
        assert_eq!(messages(&[b"5 <1>ab6 <1>a\nb\n3 <1>"]), ["<1>ab", "<1>a\nb", "<1>"]);
        assert_eq!(messages(&[b"<1>ab\n<2>cd\r\n\n\0<3>e"]), ["<1>ab", "<2>cd", "<3>e"]);
        assert_eq!(
            messages(&[b"2013 Jun 10 06:27:30 h x: y\n7\n12 \n1 x\n"]),
            ["2013 Jun 10 06:27:30 h x: y", "1 x"]
        );
        assert_eq!(messages(&[b"99999999999999 <1>x\n<2>y"]), ["99999999999999 <1>x", "<2>y"]);
        assert_eq!(messages(&[b"1 <"]), ["<"]);
    }

    #[test]
    fn what_is_too_long_is_cut_and_counted() {
        let body = "x".repeat(40_000);
        for text in [format!("40001 <{body}<1>after\n"), format!("<{body}\n<1>after\n")] {
            let (mut framing, mut out) = (Framing::default(), Vec::new());
            framing.push(text.as_bytes(), &mut |message| out.push(message.len()));
            assert_eq!(out, [limits::LOG_LINE_BYTES_MAX, 8]);
            assert_eq!(framing.overlong(), 1);
        }
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            parts in prop::collection::vec(
                prop_oneof![
                    "[0-9]{1,3} ", "[0-9]{1,3} <", "<1>[a-z]{0,9}\n", "\n", "[0-9]{4} Jun [a-z]{3}\n", ".{0,5}"
                ],
                0..20,
            ),
            cuts in prop::collection::vec(0usize..200, 0..20),
        ) {
            let text = parts.concat();
            let whole = messages(&[text.as_bytes()]);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([text.len()]) {
                pieces.push(&text.as_bytes()[from..cut]);
                from = cut;
            }
            prop_assert_eq!(messages(&pieces), whole);
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            prop_assert_eq!(messages(&bytes), messages(&[text.as_bytes()]));
        }
    }
}
