//! Text that somebody outside wrote. It has no `Display`: only encoders may print it.

use serde::{Deserialize, Serialize};

/// Bytes written by a sender, a receiver or an attacker: HELO names, paths, reply texts, queue ids.
///
/// Deliberately without `Display`. Print it through [`Untrusted::escaped`] (terminals, diagnostics)
/// or let a JSON encoder take [`Untrusted::to_lossy`].
///
/// ```compile_fail,E0277
/// let helo = portreeve::mail::Untrusted::from("mail.example.org");
/// println!("{helo}");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Untrusted(Box<[u8]>);

impl Untrusted {
    /// Keeps a copy of at most `bytes_max` bytes.
    pub fn bounded(bytes: &[u8], bytes_max: usize) -> Untrusted {
        Untrusted(bytes[..bytes.len().min(bytes_max)].into())
    }

    /// The bytes as they were seen.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// UTF-8 with control, bidirectional and invisible characters replaced by U+FFFD, for structured encoders.
    pub fn to_lossy(&self) -> String {
        String::from_utf8_lossy(&self.0)
            .chars()
            .map(|c| if is_deceptive(c) { char::REPLACEMENT_CHARACTER } else { c })
            .collect()
    }

    /// Printable on a terminal: everything deceptive or not UTF-8 becomes `\xNN` or `\u{N}`.
    pub fn escaped(&self) -> String {
        let mut out = String::with_capacity(self.0.len());
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if is_deceptive(c) || c == '\\' { out.extend(c.escape_default()) } else { out.push(c) }
            }
            for byte in chunk.invalid() {
                out.push_str(&format!("\\x{byte:02x}"));
            }
        }
        out
    }
}

impl std::fmt::Debug for Untrusted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.escaped())
    }
}

impl From<&str> for Untrusted {
    fn from(text: &str) -> Untrusted {
        Untrusted(text.as_bytes().into())
    }
}

/// Characters that move the cursor, reorder or hide text: C0, C1, line and paragraph separators, bidirectional
/// controls, and whatever else is invisible (Unicode's Default_Ignorable_Code_Point and interlinear marks).
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c as u32, 0xad | 0x34f | 0x61c | 0x115f | 0x1160 | 0x17b4 | 0x17b5 | 0x180b..=0x180f
            | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0x3164 | 0xfe00..=0xfe0f | 0xfeff | 0xffa0
            | 0xfff0..=0xfffb | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a | 0xe0000..=0xe0fff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_a_cursor_survives() {
        let hostile = Untrusted::bounded("a\u{1b}[2Jb\u{202e}c\r\n\u{200b}".as_bytes(), 100);
        assert_eq!(hostile.escaped(), "a\\u{1b}[2Jb\\u{202e}c\\r\\n\\u{200b}");
        assert!(!hostile.to_lossy().chars().any(is_deceptive));
        assert_eq!(Untrusted::bounded(b"\xff\xfe", 9).escaped(), "\\xff\\xfe");
    }
}
