//! Messages: headers and a small body, alike within one mailing or campaign and different between people.
//!
//! *In*: what kind of letter, from whom, to whom. *Out*: octets with CRLF line ends and no line that is a
//! lone dot. *Spec*: RFC 5322, RFC 2045.

use super::draw::{Dice, mix};
use super::names;

/// What kind of mail it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// One person writes to another.
    Personal,
    /// An application confirms something.
    Transaction,
    /// A newsletter issue.
    Newsletter,
    /// An invoice with an attached PDF.
    Invoice,
    /// A monitoring system speaks.
    Alarm,
    /// A notification that mail could not be delivered.
    Bounce,
    /// A spam campaign.
    Spam,
}

/// A letter before it is addressed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Letter {
    /// What kind.
    pub(super) kind: Kind,
    /// Letters of one template are alike: the issue of a newsletter, the wave of a campaign.
    pub(super) template: u64,
}

/// What stands on the envelope and before the letter.
pub(super) struct Address<'a> {
    /// Head of the company's domain.
    pub(super) company: &'a str,
    /// Reverse-path; empty for the null path.
    pub(super) from: &'a str,
    /// First forward-path.
    pub(super) to: &'a str,
    /// `Date:`.
    pub(super) date: &'a str,
    /// Trace headers of the servers that had it before, with their line ends.
    pub(super) trace: &'a str,
    /// `Message-ID:`, without its brackets.
    pub(super) message_id: &'a str,
}

/// Writes the letter.
pub(super) fn compose(letter: Letter, address: &Address<'_>, dice: &mut Dice) -> Vec<u8> {
    let Address { company, from, to, date, trace, message_id } = *address;
    let serial = dice.bits();
    let from = if from.is_empty() { format!("MAILER-DAEMON@{company}.example") } else { from.to_owned() };
    let mut out = String::with_capacity(2_000);
    out.push_str(trace);
    let mut header = |name: &str, value: &str| {
        out.push_str(name);
        out.push_str(": ");
        out.push_str(value);
        out.push_str("\r\n");
    };
    header("From", &format!("<{from}>"));
    header("To", &format!("<{to}>"));
    header("Subject", &subject(letter, serial));
    header("Date", date);
    header("Message-ID", &format!("<{message_id}>"));
    header("MIME-Version", "1.0");
    match letter.kind {
        Kind::Newsletter => {
            header("List-Unsubscribe", &format!("<https://www.{company}.example/u/{:x}>", serial >> 40));
            header("List-Id", &format!("<news.{company}.example>"));
        }
        Kind::Bounce => header("Auto-Submitted", "auto-replied"),
        Kind::Personal => header("User-Agent", "Mozilla Thunderbird"),
        _ => {}
    }
    if letter.kind == Kind::Invoice {
        header("Content-Type", "multipart/mixed; boundary=\"=_part\"");
        out.push_str("\r\n--=_part\r\n");
    }
    let html = matches!(letter.kind, Kind::Transaction | Kind::Newsletter | Kind::Spam);
    let kind = if html { "html" } else { "plain" };
    out.push_str(&format!("Content-Type: text/{kind}; charset=utf-8\r\n\r\n"));
    if html {
        out.push_str("<html><body style=\"margin:0;font-family:Arial,sans-serif\">\r\n");
        out.push_str("<table width=\"600\" cellpadding=\"0\" cellspacing=\"0\"><tr><td>\r\n");
    }
    text(&mut out, letter, html, company, serial);
    if html {
        out.push_str("</td></tr></table></body></html>\r\n");
    }
    if letter.kind == Kind::Invoice {
        attach(&mut out, dice);
    }
    out.into_bytes()
}

fn subject(letter: Letter, serial: u64) -> String {
    let chosen = |list: &[&str], by: u64| list[(mix(by) % list.len() as u64) as usize].to_owned();
    match letter.kind {
        Kind::Personal => chosen(names::SUBJECTS, serial),
        Kind::Transaction => format!("Ihre Bestellung {}", serial % 900_000 + 100_000),
        Kind::Newsletter => format!("Neuigkeiten, Ausgabe {}", letter.template % 1_000),
        Kind::Invoice => format!("Rechnung {}", serial % 90_000 + 10_000),
        Kind::Alarm => format!("PROBLEM: srv{:02} CRITICAL", serial % 40),
        Kind::Bounce => "Undelivered Mail Returned to Sender".to_owned(),
        Kind::Spam => chosen(names::SPAM_SUBJECTS, letter.template),
    }
}

fn text(out: &mut String, letter: Letter, html: bool, company: &str, serial: u64) {
    let mut sentences = |list: &[&str], by: u64, count: u64| {
        for index in 0..count {
            let sentence = list[(mix(by.wrapping_add(index * 77)) % list.len() as u64) as usize];
            if html {
                out.push_str("<p style=\"color:#333333;line-height:1.4\">");
                out.push_str(sentence);
                out.push_str("</p>\r\n");
            } else {
                out.push_str(sentence);
                out.push_str("\r\n");
            }
        }
    };
    match letter.kind {
        Kind::Personal => sentences(names::SENTENCES, serial, 2 + serial % 12),
        Kind::Newsletter => sentences(names::SENTENCES, letter.template, 14),
        Kind::Spam => sentences(names::SPAM_SENTENCES, letter.template, 4 + letter.template % 5),
        _ => sentences(names::SENTENCES, letter.kind as u64, 5),
    }
    match letter.kind {
        Kind::Newsletter | Kind::Transaction => {
            let link = format!("https://www.{company}.example/s/{:x}", serial >> 44);
            out.push_str(&format!("<p><a href=\"{link}\">{link}</a></p>\r\n"));
        }
        Kind::Spam => {
            let head = names::DOMAIN_HEADS[(mix(letter.template) % 30) as usize];
            let host = format!("{head}-secure{}.example", letter.template % 97);
            let link = format!("http://{host}/?c={:x}", serial >> 40);
            out.push_str(&format!("<p><a href=\"{link}\">Click here / Hier klicken</a></p>\r\n"));
        }
        Kind::Alarm => out.push_str(&format!("load average {}.{:02}\r\n", serial % 90, serial % 97)),
        _ => {}
    }
}

/// A DKIM signature of the right form over nothing (RFC 6376 section 3.5).
pub(super) fn signature(domain: &str, at: i64, dice: &mut Dice) -> String {
    let (digest, first) = (base64(44, dice), base64(70, dice));
    let rest: String = (0..4).map(|_| format!("\t {}\r\n", base64(70, dice))).collect();
    format!(
        "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d={domain}; s=mail;\r\n\tt={}; \
         h=From:To:Subject:Date:Message-ID;\r\n\tbh={digest};\r\n\tb={first}\r\n{rest}",
        at.div_euclid(1_000_000)
    )
}

/// Random text in the alphabet of base64.
pub(super) fn base64(length: usize, dice: &mut Dice) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let bits = dice.bits();
        let left = (length - text.len()).min(10);
        text.extend((0..left).map(|n| char::from(ALPHABET[(bits >> (6 * n)) as usize & 63])));
    }
    text
}

/// A small PDF of random content.
fn attach(out: &mut String, dice: &mut Dice) {
    out.push_str("--=_part\r\nContent-Type: application/pdf; name=\"rechnung.pdf\"\r\n");
    out.push_str("Content-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQK");
    for _ in 0..dice.whole(10, 30) {
        out.push_str(&base64(72, dice));
        out.push_str("\r\n");
    }
    out.push_str("--=_part--\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_have_a_header_a_body_and_no_lone_dot() {
        let mut dice = Dice::new(1, "content");
        for kind in [Kind::Personal, Kind::Newsletter, Kind::Invoice, Kind::Alarm, Kind::Bounce, Kind::Spam] {
            let letter = Letter { kind, template: 5 };
            let address = Address {
                company: "nordwind",
                from: "a@b.example",
                to: "c@d.example",
                date: "now",
                trace: "",
                message_id: "1@b.example",
            };
            let bytes = compose(letter, &address, &mut dice);
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.contains("\r\n\r\n") && text.ends_with("\r\n"), "{text}");
            assert!(text.split("\r\n").all(|line| !line.starts_with('.') && !line.contains(['\r', '\n'])));
            assert!(text.split("\r\n").all(|line| line.len() <= 998));
        }
    }
}
