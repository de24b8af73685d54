//! The end of a message in the octets after DATA.
//!
//! *In*: octets in any pieces. *Out*: where the message ends, and where servers disagree about that.
//! *Bound*: three octets of memory. *Spec*: RFC 5321 section 4.1.1.4: CRLF, dot, CRLF and nothing else;
//! for what else is taken as an end, CVE-2023-51764, -51765, -51766 (SMTP smuggling).

/// An end that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// CRLF, dot, CRLF.
    Strict,
    /// A dot alone between other line ends: to some servers an end, to others text.
    Suspect,
    /// A dot right after missing octets, and then CRLF: an end, if those ended in CRLF.
    Perhaps,
}

/// Looks for the end of one message.
#[derive(Debug)]
pub struct EndFinder {
    /// The last two octets: a message may begin with its end.
    before: [u16; 2],
    /// Inside a possible end.
    state: State,
    /// Octets looked at, the end included.
    bytes: u64,
    /// Octets before the dot found last.
    dot_at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Text,
    /// A dot after a line end: which end that and CRLF make.
    Dot(End),
    /// The same, and then CR.
    DotCr(End),
}

/// Stands for an octet that is missing.
const MISSING: u16 = 256;
const CR: u16 = b'\r' as u16;
const LF: u16 = b'\n' as u16;

impl Default for EndFinder {
    fn default() -> EndFinder {
        EndFinder { before: [CR, LF], state: State::Text, bytes: 0, dot_at: 0 }
    }
}

impl EndFinder {
    /// Looks at octets. Gives how many were taken, and the end that the last of them completes.
    pub fn feed(&mut self, bytes: &[u8]) -> (usize, Option<End>) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let (state, end, taken) = match self.state {
                State::Text => match self.next_dot(bytes, at) {
                    Some(dot) => {
                        let end = match self.two_before(bytes, dot) {
                            [CR, LF] => End::Strict,
                            [_, MISSING] | [MISSING, LF] => End::Perhaps,
                            _ => End::Suspect,
                        };
                        self.dot_at = self.bytes + dot as u64;
                        (State::Dot(end), None, dot + 1 - at)
                    }
                    None => (State::Text, None, bytes.len() - at),
                },
                State::Dot(end) => match byte {
                    b'\r' => (State::DotCr(end), None, 1),
                    b'\n' | 0 => (State::Text, Some(End::Suspect), 1),
                    _ => (State::Text, None, 0),
                },
                // The octet after CR belongs to what follows, unless it is LF.
                State::DotCr(end) => match byte {
                    b'\n' => (State::Text, Some(end), 1),
                    _ => (State::Text, Some(End::Suspect), 0),
                },
            };
            self.state = state;
            at += taken;
            if end.is_some() {
                self.remember(bytes, at);
                return (at, end);
            }
        }
        self.remember(bytes, at);
        (at, None)
    }

    /// Octets of the message before the end that was found last.
    pub fn message_bytes(&self) -> u64 {
        self.dot_at
    }

    /// Octets so far, whatever they are.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Octets are missing: what comes next may be the middle of a line.
    pub fn gap(&mut self) {
        self.before = [MISSING, MISSING];
        self.state = State::Text;
    }

    fn remember(&mut self, bytes: &[u8], taken: usize) {
        self.bytes += taken as u64;
        self.before = self.two_before(bytes, taken);
    }

    fn two_before(&self, bytes: &[u8], at: usize) -> [u16; 2] {
        let octet = |back: usize| match at.checked_sub(back) {
            Some(i) => bytes.get(i).copied().map_or(MISSING, u16::from),
            None => self.before[2 - (back - at)],
        };
        [octet(2), octet(1)]
    }

    /// The next dot after CR, LF or NUL.
    fn next_dot(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let ends_line = |byte: u8| matches!(byte, b'\n' | b'\r' | 0);
        let before = self.two_before(bytes, from)[1];
        if bytes.get(from) == Some(&b'.') && u8::try_from(before).map_or(true, ends_line) {
            return Some(from);
        }
        let first = from + 1;
        memchr::memchr_iter(b'.', bytes.get(first..)?)
            .map(|at| first + at)
            .find(|dot| bytes.get(dot - 1).is_some_and(|before| ends_line(*before)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All ends in a text, with the offset after each.
    fn ends(pieces: &[&[u8]]) -> Vec<(u64, End)> {
        let (mut finder, mut out) = (EndFinder::default(), Vec::new());
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let (taken, end) = finder.feed(rest);
                out.extend(end.map(|end| (finder.bytes(), end)));
                rest = &rest[taken..];
            }
        }
        out
    }

    #[test]
    fn strict_ends() {
        assert_eq!(ends(&[b".\r\n"]), [(3, End::Strict)]);
        assert_eq!(ends(&[b"a\r\n..\r\n.x\r\n.\r\n"]), [(14, End::Strict)]);
        assert_eq!(ends(&[&[&[b'x'; 200][..], b".\r\n\r\n.\r\n"].concat()]), [(208, End::Strict)]);
    }

    #[test]
    fn every_other_pair_of_line_ends_is_suspect_at_every_split() {
        for left in ["\r\n", "\n", "\r", "\0", "\r\n\0", "\n\n", "\r\r"] {
            for right in ["\r\n", "\n", "\r", "\0"] {
                let strict = (left, right) == ("\r\n", "\r\n");
                let text = format!("some text{left}.{right}QUIT");
                let whole = ends(&[text.as_bytes()]);
                let end = if strict { End::Strict } else { End::Suspect };
                let at = (text.len() - 4) as u64;
                assert_eq!(whole, [(at, end)], "{text:?}");
                for split in 0..text.len() {
                    let (a, b) = text.as_bytes().split_at(split);
                    assert_eq!(ends(&[a, b]), whole, "{text:?} at {split}");
                }
            }
        }
    }
}
