//! Who may look and act: a password for people, a token for programs, sessions between.
//!
//! *In*: a password or a token, a cookie. *Out*: [`Caller`]. *Bound*: `limits::WEB_SESSIONS_MAX` sessions,
//! `limits::WEB_LOGINS_PER_MINUTE_MAX` attempts. *Spec*: Argon2 (RFC 9106), cookies (RFC 6265).

use crate::limits;
use crate::sink::secret::Secret;
use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// A session that was not used for so long ends.
const SESSION_IDLE: Duration = Duration::from_secs(12 * 3_600);

/// What lets people and programs in.
#[derive(Default)]
pub struct Secrets {
    /// Argon2 hash of the password in PHC form.
    password_hash: Option<String>,
    /// Token, kept as its digest so that its length does not show in the time a comparison takes.
    token_digest: Option<[u8; 32]>,
}

/// Who called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A browser with this form token; on loopback without secrets everybody has the same.
    Browser {
        /// What its forms must carry (CSRF).
        form_token: String,
    },
    /// A program with the token.
    Program,
}

impl Secrets {
    /// From a password (plain or hashed) and a token.
    pub fn new(password: Option<Secret>, token: Option<Secret>) -> Result<Secrets, String> {
        let password_hash = password.map(|password| hash_of(password.expose())).transpose()?;
        if token.as_ref().is_some_and(|token| token.expose().len() < 16) {
            return Err("web.token: use at least 16 characters".into());
        }
        Ok(Secrets { password_hash, token_digest: token.map(|token| digest(token.expose())) })
    }

    /// Whether anybody on this machine is let in.
    pub fn is_open(&self) -> bool {
        self.password_hash.is_none() && self.token_digest.is_none()
    }

    /// Whether a password can be given.
    pub fn has_password(&self) -> bool {
        self.password_hash.is_some()
    }

    /// Checks a password. Slow on purpose: call it off the event loop, one at a time.
    pub fn password_fits(&self, password: &str) -> bool {
        let Some(hash) = &self.password_hash else { return false };
        PasswordHash::new(hash)
            .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
    }

    /// Checks a token.
    pub fn token_fits(&self, token: &str) -> bool {
        self.token_digest.is_some_and(|known| bool::from(known.ct_eq(&digest(token))))
    }
}

fn hash_of(password: &str) -> Result<String, String> {
    if password.starts_with("$argon2") {
        return PasswordHash::new(password)
            .map(|_| password.to_owned())
            .map_err(|error| format!("web.password: this Argon2 hash cannot be read: {error}"));
    }
    if password.chars().count() < 8 {
        return Err("web.password: use at least 8 characters".into());
    }
    let salt = SaltString::encode_b64(&random::<16>()?).map_err(|error| error.to_string())?;
    Argon2::default()
        .hash_password(password.as_bytes(), &salt)
        .map(|hash| hash.to_string())
        .map_err(|error| format!("web.password: {error}"))
}

fn digest(text: &str) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::digest(text.as_bytes()).into()
}

/// Bytes that nobody can guess.
pub fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| format!("no random numbers: {error}"))?;
    Ok(bytes)
}

/// As many hexadecimal digits.
fn random_name() -> Result<String, String> {
    Ok(random::<24>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

struct Session {
    form_token: String,
    used_at: Instant,
}

/// Sessions of people who gave the password, and the attempts of those who did not.
pub struct Sessions {
    /// By the digest of the cookie: a copy of this table opens nothing.
    open: BTreeMap<[u8; 32], Session>,
    /// Form token of a dashboard that asks nobody who they are.
    pub shared_form_token: String,
    attempts: u32,
    attempts_since: Instant,
}

impl Sessions {
    /// None.
    pub fn new(now: Instant) -> Result<Sessions, String> {
        Ok(Sessions {
            open: BTreeMap::new(),
            shared_form_token: random_name()?,
            attempts: 0,
            attempts_since: now,
        })
    }

    /// Whether another password may be tried now; counts it.
    pub fn may_try(&mut self, now: Instant) -> bool {
        if now.duration_since(self.attempts_since) >= Duration::from_secs(60) {
            (self.attempts, self.attempts_since) = (0, now);
        }
        self.attempts = self.attempts.saturating_add(1);
        self.attempts <= limits::WEB_LOGINS_PER_MINUTE_MAX
    }

    /// Opens a session and gives its cookie. The one that was unused longest makes room.
    pub fn begin(&mut self, now: Instant) -> Result<String, String> {
        self.open.retain(|_, session| now.duration_since(session.used_at) < SESSION_IDLE);
        if self.open.len() >= limits::WEB_SESSIONS_MAX
            && let Some(oldest) = self.open.iter().min_by_key(|(_, s)| s.used_at).map(|(key, _)| *key)
        {
            self.open.remove(&oldest);
        }
        let cookie = random_name()?;
        self.open.insert(digest(&cookie), Session { form_token: random_name()?, used_at: now });
        Ok(cookie)
    }

    /// The browser of a cookie.
    pub fn find(&mut self, cookie: &str, now: Instant) -> Option<Caller> {
        let session = self.open.get_mut(&digest(cookie))?;
        if now.duration_since(session.used_at) >= SESSION_IDLE {
            return None;
        }
        session.used_at = now;
        Some(Caller::Browser { form_token: session.form_token.clone() })
    }

    /// Ends a session.
    pub fn end(&mut self, cookie: &str) {
        self.open.remove(&digest(cookie));
    }
}

/// Whether a form carries the token of its browser.
pub fn form_fits(caller: &Caller, given: &str) -> bool {
    match caller {
        Caller::Program => true,
        Caller::Browser { form_token } => bool::from(form_token.as_bytes().ct_eq(given.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Secret::required("web.password", Some(file.path()), None).unwrap()
    }

    #[test]
    fn a_password_fits_plain_and_hashed_and_nothing_else_does() {
        let plain = Secrets::new(Some(secret("a long password")), None).unwrap();
        assert!(plain.password_fits("a long password") && !plain.password_fits("a long passwor"));
        let hash = plain.password_hash.clone().unwrap();
        let hashed = Secrets::new(Some(secret(&hash)), None).unwrap();
        assert!(hashed.password_fits("a long password") && !hashed.password_fits(&hash));
        assert!(Secrets::new(Some(secret("short")), None).is_err());
        assert!(!Secrets::default().password_fits("") && !Secrets::default().token_fits(""));
    }

    #[test]
    fn sessions_end_and_stay_few() {
        let start = Instant::now();
        let mut sessions = Sessions::new(start).unwrap();
        let first = sessions.begin(start).unwrap();
        assert!(sessions.find(&first, start).is_some() && sessions.find("guess", start).is_none());
        assert!(sessions.find(&first, start + SESSION_IDLE).is_none());
        for second in 0..2 * limits::WEB_SESSIONS_MAX as u64 {
            sessions.begin(start + Duration::from_millis(second)).unwrap();
        }
        assert!(sessions.open.len() <= limits::WEB_SESSIONS_MAX);
        assert!(sessions.find(&first, start).is_none(), "the one unused longest made room");
    }

    #[test]
    fn guessing_is_slowed_down() {
        let start = Instant::now();
        let mut sessions = Sessions::new(start).unwrap();
        let allowed = (0..100).filter(|_| sessions.may_try(start)).count();
        assert_eq!(allowed, limits::WEB_LOGINS_PER_MINUTE_MAX as usize);
        assert!(sessions.may_try(start + Duration::from_secs(61)));
    }
}
