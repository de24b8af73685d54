//! Lines out of octets that arrive in any pieces.
//!
//! *In*: octets. *Out*: lines without their end, borrowed where they lie whole in one piece.
//! *Bound*: `limits::LINE_BYTES_MAX`; what is longer is cut, and the cut is said. *Spec*: RFC 5321
//! section 2.3.8, but LF alone ends a line too, as most servers have it.

use crate::limits;

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its text without CR and LF.
    pub text: &'a [u8],
    /// It ended with LF alone.
    pub bare: bool,
    /// It was longer than is kept.
    pub cut: bool,
}

/// The beginning of a line whose end has not come.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
    cut: bool,
}

impl Lines {
    /// Takes the next line off `bytes` and shows it to `read`. `None` where no line ends in them; they
    /// are then kept and `bytes` is empty.
    pub fn next<R>(&mut self, bytes: &mut &[u8], read: impl FnOnce(Line<'_>) -> R) -> Option<R> {
        let Some(at) = memchr::memchr(b'\n', bytes) else {
            self.keep(bytes);
            *bytes = &[];
            return None;
        };
        let (text, after) = bytes.split_at(at);
        *bytes = after.get(1..).unwrap_or_default();
        if self.partial.is_empty() && !self.cut {
            let cut = text.len() > limits::LINE_BYTES_MAX;
            let kept = text.get(..limits::LINE_BYTES_MAX).unwrap_or(text);
            let ended = text.strip_suffix(b"\r");
            let kept = if cut { kept } else { ended.unwrap_or(kept) };
            return Some(read(Line { text: kept, bare: ended.is_none(), cut }));
        }
        let last = text.last().or(self.partial.last()).copied();
        self.keep(text);
        let text = self.partial.strip_suffix(b"\r").unwrap_or(&self.partial);
        let result = read(Line { text, bare: last != Some(b'\r'), cut: self.cut });
        self.forget();
        Some(result)
    }

    /// Whether the beginning of a line waits.
    pub fn is_mid_line(&self) -> bool {
        !self.partial.is_empty() || self.cut
    }

    /// The beginning that waits.
    pub fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// Lets go of the beginning; overwritten, as it may hold a password.
    pub fn forget(&mut self) {
        self.partial.fill(0);
        self.partial.clear();
        self.cut = false;
        if self.partial.capacity() > 512 {
            self.partial = Vec::new();
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = limits::LINE_BYTES_MAX.saturating_sub(self.partial.len());
        self.cut |= bytes.len() > room;
        self.partial.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_split_gives_the_same_lines() {
        let text = b"EHLO a\r\nbare\n\r\nlast\r\n";
        let read = |pieces: &[&[u8]]| {
            let (mut lines, mut out) = (Lines::default(), Vec::new());
            for piece in pieces {
                let mut rest = *piece;
                while !rest.is_empty() {
                    lines.next(&mut rest, |line| out.push((line.text.to_vec(), line.bare, line.cut)));
                }
            }
            out
        };
        let whole = read(&[text]);
        assert_eq!(whole.len(), 4);
        assert_eq!(whole[1], (b"bare".to_vec(), true, false));
        for at in 0..text.len() {
            assert_eq!(read(&[&text[..at], &text[at..]]), whole, "split at {at}");
        }
    }

    #[test]
    fn a_long_line_is_cut_and_said() {
        let long = [vec![b'x'; 10_000], b"\r\nQUIT\r\n".to_vec()].concat();
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        for piece in long.chunks(999) {
            let mut rest = piece;
            while !rest.is_empty() {
                lines.next(&mut rest, |line| out.push((line.text.len(), line.cut)));
            }
        }
        assert_eq!(out, [(limits::LINE_BYTES_MAX, true), (4, false)]);
    }
}
