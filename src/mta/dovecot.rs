//! Dovecot: who logs in with it. Its delivery agents are not outbound.
//!
//! *In*: syslog lines of `dovecot`, or of its login programs where it writes its own file. *Out*: logins.
//! *Bound*: linear in the line. *Spec*: `login_log_format_elements` of Dovecot's settings.
//!
//! Which text is whose: the name is the client's and stands in brackets; what follows it (method, addresses)
//! is Dovecot's, and is read from the right. Lines of the auth process speak of the same attempts a second
//! time, and may quote passwords: they are not read.

use super::fields::{self, rsplit_once, split_once};
use super::{Dialect, Emit, Fate, Line, Memory, Part, syslog};

pub(super) const DIALECT: Dialect = Dialect {
    name: "dovecot",
    about: "Dovecot's logins (imap, pop3, submission, managesieve)",
    split: |_, line| syslog::split(line),
    claims: |program| program == b"dovecot" || program.ends_with(b"-login"),
    recognises: |_| false,
    read,
    verbatim: true,
    patterns: None,
};

fn read(line: &Line, _: &mut Memory, emit: Emit) -> Fate {
    let Some(words) = login_words(line) else { return Fate::Ignored };
    let words = words.strip_prefix(b"Info: ").unwrap_or(words);
    // Dovecot's own words end where its list of facts begins.
    let begins = [&b": user=<"[..], b": method=", b": rip="];
    let Some(at) = begins.iter().filter_map(|start| memchr::memmem::find(words, start)).min() else {
        return Fate::Ignored;
    };
    let (what, facts) = words.split_at(at);
    let succeeded = match what {
        b"Login" => true,
        _ if memchr::memmem::find(what, b"auth failed").is_some() => false,
        _ => return Fate::Ignored,
    };
    let read = || {
        // The last one: what a client calls itself stands before it.
        let (before, rest) = rsplit_once(facts, b" rip=")?;
        let client = fields::address(rest.split(|byte| *byte == b',').next()?)?;
        let before = rsplit_once(before, b">, method=").map_or(before, |(name, _)| name);
        let name = before.strip_prefix(b": user=<").unwrap_or_default();
        Some((name.strip_suffix(b">,").unwrap_or(name), client))
    };
    let Some((account, client)) = read() else { return Fate::Unparsed };
    let account = Some(account).filter(|name| !name.is_empty());
    emit(&[], Part::Login { account, client: Some(client), succeeded });
    Fate::Parsed
}

/// What a login process says: `dovecot: imap-login: …` or `imap-login: …`.
fn login_words<'l>(line: &Line<'l>) -> Option<&'l [u8]> {
    if line.program.ends_with(b"-login") {
        return Some(line.text);
    }
    let (process, words) = split_once(line.text, b": ")?;
    process.ends_with(b"-login").then_some(words)
}

#[cfg(test)]
mod tests {
    use super::super::says;
    use super::*;

    fn read(line: &str) -> (Fate, Vec<String>) {
        says(&DIALECT, &format!("Nov 24 20:14:01 mx1 {line}"))
    }

    #[test]
    fn logins() {
        for (line, expected) in [
            (
                "dovecot: imap-login: Login: user=<bob@x>, method=PLAIN, rip=192.0.2.9, lip=198.51.100.1, mpid=7, TLS, session=<a>",
                " login bob@x Some(192.0.2.9) true",
            ),
            (
                "dovecot[241]: submission-login: Login aborted: Connection closed (auth failed, 3 attempts in 16 secs) (auth_failed): user=<test>, method=PLAIN, rip=2001:db8::1, lip=203.0.113.104, TLS",
                " login test Some(2001:db8::1) false",
            ),
            (
                "pop3-login: Info: Aborted login (auth failed, 1 attempts): user=<>, rip=192.0.2.9",
                " login ? Some(192.0.2.9) false",
            ),
            // The name imitates what follows it.
            (
                "dovecot: imap-login: Disconnected (auth failed, 1 attempts): user=<x>, method=PLAIN, rip=192.0.2.66, lip=1.1.1.1, y>, method=PLAIN, rip=192.0.2.9, lip=198.51.100.1",
                " login x>, method=PLAIN, rip=192.0.2.66, lip=1.1.1.1, y Some(192.0.2.9) false",
            ),
        ] {
            assert_eq!(read(line), (Fate::Parsed, vec![expected.to_owned()]), "{line}");
        }
    }

    #[test]
    fn what_is_no_login_is_ignored() {
        for line in [
            "dovecot: imap-login: Disconnected (no auth attempts in 10 secs): user=<>, rip=192.0.2.9, lip=198.51.100.1",
            "dovecot: auth: sql(bob,192.0.2.9): Password mismatch (given password: geheim)",
            "dovecot: lmtp(bob): saved mail to INBOX",
        ] {
            assert_eq!(read(line), (Fate::Ignored, vec![]), "{line}");
        }
    }
}
