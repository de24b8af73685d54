//! The user name of an AUTH dialogue. The password is never kept.
//!
//! *In*: the command and the client's answers to challenges. *Out*: the name, lower case, once the server
//! has accepted it. *Bound*: `limits::ACCOUNT_BYTES_MAX`. *Spec*: RFC 4954, RFC 4616, RFC 4648.

use super::command::{Mechanism, Secret};
use crate::limits;
use crate::mail::Untrusted;

/// An AUTH dialogue that has not ended.
#[derive(Debug)]
pub struct AuthState {
    mechanism: Mechanism,
    name: Option<Untrusted>,
    /// LOGIN asks for the name first; what comes second is the password.
    answers: u32,
}

impl AuthState {
    /// The command came.
    pub fn begin(mechanism: Mechanism, initial: Option<&Secret>) -> AuthState {
        let mut state = AuthState { mechanism, name: None, answers: 0 };
        if let Some(initial) = initial {
            state.answer(initial);
        }
        state
    }

    /// The client answered a challenge.
    pub fn answer(&mut self, line: &Secret) {
        let first = self.answers == 0;
        self.answers = self.answers.saturating_add(1);
        // One character stands for an empty initial response (RFC 4954 section 4).
        if !first || matches!(line.as_bytes(), b"=" | b"*") {
            return;
        }
        self.name = match self.mechanism {
            Mechanism::Plain => decode(line.as_bytes()).and_then(|plain| {
                // authorization identity, NUL, authentication identity, NUL, password
                let mut parts = plain.as_bytes().split(|b| *b == 0);
                let authorization = parts.next()?;
                let authentication = parts.next()?;
                name(if authentication.is_empty() { authorization } else { authentication })
            }),
            Mechanism::Login => decode(line.as_bytes()).and_then(|login| name(login.as_bytes())),
            Mechanism::Other => None,
        };
    }

    /// The server accepted: who it was.
    pub fn into_name(self) -> Option<Untrusted> {
        self.name
    }
}

fn name(text: &[u8]) -> Option<Untrusted> {
    let text = text.trim_ascii();
    (!text.is_empty()).then(|| Untrusted::bounded(&text.to_ascii_lowercase(), limits::ACCOUNT_BYTES_MAX))
}

/// Base64 of RFC 4648 section 4. `None` where it is none.
fn decode(text: &[u8]) -> Option<Secret> {
    let text = text.trim_ascii();
    let text = text.strip_suffix(b"==").or(text.strip_suffix(b"=")).unwrap_or(text);
    let mut out = Vec::with_capacity(text.len());
    let (mut bits, mut held) = (0u32, 0);
    for byte in text {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0x00ff_ffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    let secret = Secret::new(&out);
    out.fill(0);
    Some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_and_never_the_password() {
        let plain = Secret::new(b"AGFsaWNlQEV4YW1wbGUub3JnAHMzY3JldA==");
        let state = AuthState::begin(Mechanism::Plain, Some(&plain));
        assert!(!format!("{state:?} {plain:?}").contains("s3cret"));
        assert_eq!(state.into_name(), Some("alice@example.org".into()));

        let mut state = AuthState::begin(Mechanism::Login, None);
        state.answer(&Secret::new(b"Qk9C"));
        state.answer(&Secret::new(b"czNjcmV0"));
        assert_eq!(state.into_name(), Some("bob".into()));

        let mut state = AuthState::begin(Mechanism::Other, None);
        state.answer(&Secret::new(b"Qk9C"));
        assert_eq!(state.into_name(), None);
    }
}
