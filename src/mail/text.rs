//! Text that somebody outside wrote. It has no `Display`: only encoders may print it.

use serde::{Deserialize, Serialize};

/// Bytes written by a sender, a receiver or an attacker: HELO names, paths, reply texts, queue ids.
///
/// Deliberately without `Display`. Print it through [`Untrusted::escaped`] (terminals, diagnostics)
/// or let a JSON encoder take [`Untrusted::to_lossy`].
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

/// Characters that move the cursor, reorder or hide text: C0, C1, bidirectional controls, zero width.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
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
