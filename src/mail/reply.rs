//! The server's answer and what it means for one recipient (RFC 5321 section 4.2, RFC 3463).

use super::text::Untrusted;
use serde::{Deserialize, Serialize};

/// An enhanced mail system status code, `class.subject.detail` (RFC 3463).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct EnhancedStatus {
    /// 2 success, 4 persistent transient failure, 5 permanent failure.
    pub class: u8,
    /// What it is about: 1 addressing, 2 mailbox, 3 system, 4 network, 5 protocol, 6 content, 7 policy.
    pub subject: u16,
    /// The precise condition.
    pub detail: u16,
}

impl EnhancedStatus {
    /// Reads `5.1.1` at the start of a text; what follows must not be a digit or another dot.
    /// Returns the status and the number of bytes it took.
    pub fn parse_prefix(text: &[u8]) -> Option<(EnhancedStatus, usize)> {
        let class = match text.first()? {
            b'2' => 2,
            b'4' => 4,
            b'5' => 5,
            _ => return None,
        };
        let rest = text.get(1..)?.strip_prefix(b".")?;
        let (subject, subject_bytes) = leading_number(rest)?;
        let rest = rest[subject_bytes..].strip_prefix(b".")?;
        let (detail, detail_bytes) = leading_number(rest)?;
        if rest.get(detail_bytes) == Some(&b'.') {
            return None;
        }
        Some((EnhancedStatus { class, subject, detail }, 3 + subject_bytes + detail_bytes))
    }
}

/// One to three digits at the start of a text (RFC 3463 section 2: at most three).
fn leading_number(text: &[u8]) -> Option<(u16, usize)> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    if !(1..=3).contains(&digits) {
        return None;
    }
    let value = text[..digits].iter().fold(0u16, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    Some((value, digits))
}

/// What the receiving side answered about one delivery.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Reply {
    /// Three-digit code; `None` where a log gives only the enhanced status or none was ever received.
    pub code: Option<u16>,
    /// Enhanced status; `None` where the server gave none.
    pub enhanced: Option<EnhancedStatus>,
    /// The words, bounded by `limits::REPLY_TEXT_BYTES_MAX`.
    pub text: Option<Untrusted>,
}

/// What the final answer means for one recipient.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Taken: 2xx.
    Accepted,
    /// Not now: 4xx, time-outs, greylisting.
    Deferred,
    /// The mailbox or its domain does not exist: 5.1.x in substance.
    NoSuchRecipient,
    /// Refused because of who we are: a blocklist or our reputation.
    Blocked,
    /// Refused by a rule about this message or sender: 5.7.x in substance.
    Policy,
    /// Any other permanent failure: mailbox full, too large, protocol error.
    OtherPermanent,
}

impl Reply {
    /// Classifies the answer. `None` where neither code nor enhanced status was seen.
    ///
    /// Order of trust: the class (2, 4, 5) decides success and permanence; for permanent failures the
    /// words name a blocklist before anything else, because many receivers put it under any code;
    /// then the enhanced status; then the words, for servers that send no status.
    pub fn verdict(&self) -> Option<Verdict> {
        let class = match (self.code, self.enhanced) {
            (Some(code), _) => code / 100,
            (None, Some(status)) => u16::from(status.class),
            (None, None) => return None,
        };
        match class {
            2 => return Some(Verdict::Accepted),
            // 354 only opens the data phase; 4xx is 'not now'. Any other class is no final answer.
            4 => return Some(Verdict::Deferred),
            5 => {}
            _ => return None,
        }
        let text = self.text.as_ref().map_or(&[][..], |text| text.as_bytes()).to_ascii_lowercase();
        let says =
            |words: &[&str]| words.iter().any(|word| memchr::memmem::find(&text, word.as_bytes()).is_some());
        if says(BLOCKED_WORDS) {
            return Some(Verdict::Blocked);
        }
        let (subject, detail) = self.enhanced.map_or((0, 0), |s| (s.subject, s.detail));
        Some(match (subject, detail) {
            (1, 1 | 2 | 3 | 6 | 10) | (1, 0) | (2, 1) => Verdict::NoSuchRecipient,
            (2, 2 | 3) | (3 | 5, _) => Verdict::OtherPermanent,
            (4, 3 | 4) => Verdict::NoSuchRecipient,
            _ if says(NO_SUCH_RECIPIENT_WORDS) => Verdict::NoSuchRecipient,
            (7, _) => Verdict::Policy,
            _ if says(POLICY_WORDS) => Verdict::Policy,
            // RFC 5321 section 4.2.3: 550 and 551 to RCPT speak of the mailbox, 554 of the transaction.
            _ => Verdict::OtherPermanent,
        })
    }
}

/// Words by which receivers say that our address is on a list or has a bad name.
const BLOCKED_WORDS: &[&str] = &[
    "spamhaus",
    "spamcop",
    "barracuda",
    "blocklist",
    "block list",
    "blacklist",
    "black list",
    "dnsbl",
    "sorbs",
    "uceprotect",
    "reputation",
    "rbl",
    "listed at",
    "listed in",
    "listed on",
    "blocked using",
    "your ip",
    "your network",
    "banned sending",
];
/// Words by which receivers say that the mailbox or domain does not exist.
const NO_SUCH_RECIPIENT_WORDS: &[&str] = &[
    "user unknown",
    "unknown user",
    "no such user",
    "no such recipient",
    "unknown recipient",
    "does not exist",
    "doesn't exist",
    "no mailbox",
    "mailbox not found",
    "mailbox unavailable",
    "unknown or illegal alias",
    "recipient not found",
    "invalid recipient",
    "recipient unknown",
    "no such address",
    "address unknown",
    "host not found",
    "domain not found",
    "account is disabled",
    "inactive user",
    "not a known user",
    "unrouteable address",
    "unknown mailbox",
    "no such mailbox",
];
/// Words of refusals by content or rule where no 5.7.x status says so.
const POLICY_WORDS: &[&str] = &[
    "spam",
    "policy",
    "rejected for",
    "content rejected",
    "virus",
    "not permitted",
    "denied",
    "dmarc",
    "spf",
    "prohibited",
    "suspicious",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(line: &str) -> Option<Verdict> {
        let (code, text) = line.split_at(3);
        let text = text.trim_start_matches([' ', '-']);
        let enhanced = EnhancedStatus::parse_prefix(text.as_bytes()).map(|(status, _)| status);
        Reply { code: code.parse().ok(), enhanced, text: Some(text.into()) }.verdict()
    }

    #[test]
    fn replies_a_mail_person_knows() {
        use Verdict::*;
        for (line, expected) in [
            ("250 2.1.5 Ok", Some(Accepted)),
            ("451 4.7.1 Greylisted, try again in 5 minutes", Some(Deferred)),
            (
                "550 5.1.1 <x@y>: Recipient address rejected: User unknown in virtual mailbox table",
                Some(NoSuchRecipient),
            ),
            ("550 No such user here", Some(NoSuchRecipient)),
            ("550 5.7.1 Service unavailable; client host blocked using zen.spamhaus.org", Some(Blocked)),
            ("554 5.7.1 Message rejected as spam", Some(Policy)),
            ("554 Message looks like spam", Some(Policy)),
            ("552 5.2.2 Mailbox full", Some(OtherPermanent)),
            ("354 go ahead", None),
        ] {
            assert_eq!(verdict(line), expected, "{line}");
        }
    }

    #[test]
    fn enhanced_status_is_not_an_address() {
        assert_eq!(EnhancedStatus::parse_prefix(b"5.1.1 x").map(|(_, n)| n), Some(5));
        assert_eq!(EnhancedStatus::parse_prefix(b"5.1.1.1 x"), None);
        assert_eq!(EnhancedStatus::parse_prefix(b"3.1.1"), None);
        assert_eq!(EnhancedStatus::parse_prefix(b"5.1"), None);
    }
}
