//! What a message carried: facts about it, never its text.
//!
//! *In*: the first octets of a message. *Out*: [`Content`]. *Bound*: `WireSettings::content_bytes_max` for
//! one message, `limits::EXCERPTS_TOTAL_BYTES_MAX` for all, lists as in `limits`. *Spec*: RFC 5322,
//! RFC 2045 to 2047 (by mail-parser); similarity is SimHash (Charikar, STOC 2002) over three words.

use super::attachment;
use crate::limits;
use crate::mail::{Mailbox, Untrusted, registrable_domain};
use crate::observation::{Content, digest};
use crate::time::Timestamp;
use linkify::{LinkFinder, LinkKind};
use mail_parser::{Address, HeaderName, HeaderValue, Message, MessageParser, PartType};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Octets that all excerpts together hold.
pub type Held = Arc<AtomicUsize>;

/// The first octets of a message.
#[derive(Debug)]
pub struct Excerpt {
    bytes: Vec<u8>,
    bytes_max: usize,
    /// Lines that begin with a dot have two (RFC 5321 section 4.5.2).
    stuffed: bool,
    /// More octets came than are kept, or some are missing.
    cut: bool,
    /// Octets that this excerpt counts for in `held`.
    counted: usize,
    held: Held,
}

impl Excerpt {
    /// An empty one, of at most `bytes_max` octets.
    pub fn new(bytes_max: usize, stuffed: bool, held: &Held) -> Excerpt {
        Excerpt { bytes: Vec::new(), bytes_max, stuffed, cut: false, counted: 0, held: Arc::clone(held) }
    }

    /// Octets of the message, in order.
    pub fn add(&mut self, bytes: &[u8]) {
        if self.cut || bytes.is_empty() {
            return;
        }
        let free = limits::EXCERPTS_TOTAL_BYTES_MAX.saturating_sub(self.held.load(Ordering::Relaxed));
        let take = bytes.len().min(self.bytes_max - self.bytes.len()).min(free);
        self.cut = take < bytes.len();
        self.bytes.extend_from_slice(bytes.get(..take).unwrap_or_default());
        self.counted += take;
        self.held.fetch_add(take, Ordering::Relaxed);
    }

    /// Octets are missing: what comes after them is not read.
    pub fn gap(&mut self) {
        self.cut = true;
    }

    /// What is kept.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether more came than is kept.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// The facts of the message, which without its end was so long.
    pub fn read(mut self, message_bytes: u64) -> Option<Box<Content>> {
        self.bytes.truncate(usize::try_from(message_bytes).unwrap_or(usize::MAX).min(self.bytes.len()));
        self.cut |= (self.bytes.len() as u64) < message_bytes;
        if self.stuffed && memchr::memmem::find(&self.bytes, b"\n..").is_some() {
            let plain = unstuffed(&self.bytes);
            return content_of(&plain, self.cut);
        }
        content_of(&self.bytes, self.cut)
    }
}

impl Drop for Excerpt {
    fn drop(&mut self) {
        self.held.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

fn unstuffed(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut from = 0;
    for at in memchr::memmem::find_iter(bytes, b"\n..") {
        out.extend_from_slice(bytes.get(from..at + 2).unwrap_or_default());
        from = at + 3;
    }
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
    out
}

/// The facts of a message.
fn content_of(bytes: &[u8], cut: bool) -> Option<Box<Content>> {
    let message = MessageParser::default().parse(bytes)?;
    let mut content = Content {
        from_domain: message.from().and_then(first_domain),
        reply_to_domain: message.reply_to().and_then(first_domain),
        message_id: message.message_id().map(|id| digest(id.as_bytes())),
        subject: message.subject().map(|subject| digest(subject.trim().as_bytes())),
        date: message.date().map(|date| Timestamp::from_seconds(date.to_timestamp())),
        cut,
        ..Content::default()
    };
    header_facts(&message, &mut content);
    body_facts(&message, &mut content);
    for part in message.attachments().take(limits::ATTACHMENTS_MAX) {
        let whole = !(cut && part.offset_end as usize >= bytes.len());
        content.attachments.push(attachment::of(part, whole));
    }
    Some(Box::new(content))
}

fn header_facts(message: &Message<'_>, content: &mut Content) {
    for header in message.headers() {
        let text = || match &header.value {
            HeaderValue::Text(text) => Some(text.trim()),
            HeaderValue::TextList(list) => list.first().map(|text| text.trim()),
            _ => None,
        };
        let kept = || text().map(|text| Untrusted::bounded(text.as_bytes(), limits::HEADER_BYTES_MAX));
        match &header.name {
            HeaderName::Received => content.received_count = content.received_count.saturating_add(1),
            HeaderName::ListId | HeaderName::ListUnsubscribe => content.list = true,
            HeaderName::Other(name) if is(name, "X-Mailer") || is(name, "User-Agent") => {
                content.mailer = content.mailer.take().or_else(kept);
            }
            HeaderName::Other(name) if is(name, "X-Originating-IP") => {
                content.originating_ip = content.originating_ip.or_else(|| text().and_then(address));
            }
            HeaderName::Other(name) if is(name, "X-PHP-Script") || is(name, "X-PHP-Originating-Script") => {
                content.php_script = content.php_script.take().or_else(kept);
            }
            _ => {}
        }
    }
}

fn is(name: &str, wanted: &str) -> bool {
    name.eq_ignore_ascii_case(wanted)
}

/// `[192.0.2.1]` or `192.0.2.1`.
fn address(text: &str) -> Option<IpAddr> {
    text.trim_matches(|c: char| matches!(c, '[' | ']' | ' ')).parse().ok()
}

fn first_domain(address: &Address<'_>) -> Option<Untrusted> {
    let mailbox = Mailbox::parse(address.first()?.address()?.as_bytes())?;
    let domain = mailbox.domain().to_ascii_lowercase();
    (!domain.is_empty()).then(|| Untrusted::bounded(&domain, limits::HELO_BYTES_MAX))
}

fn body_facts(message: &Message<'_>, content: &mut Content) {
    let mut words = String::new();
    let mut domains = BTreeSet::new();
    for part in 0..message.text_body_count() {
        if let Some(text) = message.body_text(part) {
            links(&text, &mut domains);
            normalise(&text, &mut words);
        }
    }
    for part in message.html_bodies() {
        if let PartType::Html(html) = &part.body {
            content.deceptive_link |= anchors(html, &mut domains);
        }
    }
    if !words.is_empty() {
        content.body = Some(digest(words.as_bytes()));
        content.similarity = similarity(&words);
    }
    let bounded = |domain: Vec<u8>| Untrusted::bounded(&domain, limits::HELO_BYTES_MAX);
    content.url_domains = domains.into_iter().map(bounded).take(limits::URL_DOMAINS_MAX).collect();
}

/// Lower-case words with one blank between them; digits become 0, since numbers differ from copy to copy.
fn normalise(text: &str, words: &mut String) {
    let mut blank = true;
    for c in text.chars() {
        if !c.is_alphanumeric() {
            blank = true;
            continue;
        }
        if std::mem::take(&mut blank) && !words.is_empty() {
            words.push(' ');
        }
        if c.is_numeric() { words.push('0') } else { words.extend(c.to_lowercase()) }
    }
}

/// SimHash of all runs of three words.
fn similarity(words: &str) -> Option<u64> {
    let words = words.split(' ').collect::<Vec<_>>();
    if words.len() < 3 {
        return None;
    }
    let mut votes = [0i32; 64];
    for three in words.windows(3) {
        let joined = three.iter().fold(0u64, |hash, word| mix(hash ^ digest(word.as_bytes())));
        for (bit, vote) in votes.iter_mut().enumerate() {
            *vote = vote.saturating_add(if joined >> bit & 1 == 1 { 1 } else { -1 });
        }
    }
    Some(votes.iter().enumerate().fold(0, |hash, (bit, vote)| hash | u64::from(*vote > 0) << bit))
}

/// Spreads every bit over all (the finaliser of SplitMix64; Steele, Lea, Flood 2014).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The domains of the URLs in a text.
fn links(text: &str, domains: &mut BTreeSet<Vec<u8>>) {
    let mut finder = LinkFinder::new();
    finder.kinds(&[LinkKind::Url]);
    for link in finder.links(text) {
        domains.extend(domain_of(link.as_str()));
    }
}

/// Octets after `href` in which its tag must end, and after that the text that it shows.
const TAG_BYTES_MAX: usize = 2_048;
const SHOWN_BYTES_MAX: usize = 512;

/// The domains that the links of a page lead to. Says whether one shows another domain than it leads to.
fn anchors(html: &str, domains: &mut BTreeSet<Vec<u8>>) -> bool {
    let lower = html.to_ascii_lowercase();
    let mut shown = LinkFinder::new();
    shown.kinds(&[LinkKind::Url]).url_must_have_scheme(false);
    let (mut deceptive, mut looked_at) = (false, 0);
    for at in memchr::memmem::find_iter(lower.as_bytes(), b"href") {
        let tag = window(html, at + 4, TAG_BYTES_MAX);
        let Some(target) = attribute(tag).and_then(domain_of) else { continue };
        if let Some(text_at) = tag.find('>').map(|end| at + 5 + end)
            // Of several in one tag, the first counts; so no text is read twice.
            && text_at > looked_at
        {
            looked_at = text_at;
            let text = window(&lower, text_at, SHOWN_BYTES_MAX);
            let claim = shown.links(&text[..shown_bytes(text)]).next();
            let claim = claim.and_then(|link| domain_of(link.as_str()));
            deceptive |= claim.is_some_and(|claim| claim != target);
        }
        domains.insert(target);
    }
    deceptive
}

/// At most so many octets from `at` on, whole characters.
fn window(text: &str, at: usize, bytes_max: usize) -> &str {
    text.get(at..text.floor_char_boundary(at.saturating_add(bytes_max))).unwrap_or_default()
}

/// How much of a text in lower case a link shows: until a tag is closed, or the next link begins.
fn shown_bytes(text: &str) -> usize {
    let ends = |at: &usize| matches!(text.as_bytes().get(at + 1), Some(b'/' | b'a'));
    memchr::memchr_iter(b'<', text.as_bytes()).find(ends).unwrap_or(0)
}

/// The value in `="…"`, `='…'` or `=…`.
fn attribute(rest: &str) -> Option<&str> {
    let value = rest.trim_start().strip_prefix('=')?.trim_start();
    match value.chars().next()? {
        quote @ ('"' | '\'') => value.get(1..)?.split(quote).next(),
        _ => value.split(|c: char| c.is_ascii_whitespace() || c == '>').next(),
    }
}

/// The registrable domain, or the address, of a URL's host.
fn domain_of(url: &str) -> Option<Vec<u8>> {
    let url = url.trim();
    let rest = match url.split_once("://") {
        Some((_, rest)) => rest,
        None if url.contains(':') || url.starts_with(['#', '/']) => return None,
        None => url,
    };
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = if host.starts_with('[') { host } else { host.split(':').next()? };
    let fits =
        host.contains('.') && host.len() <= limits::HELO_BYTES_MAX && !host.contains(char::is_whitespace);
    fits.then(|| registrable_domain(host.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(message: &str) -> Content {
        let message = message.replace('\n', "\r\n");
        let mut excerpt = Excerpt::new(1 << 16, true, &Held::default());
        message.as_bytes().chunks(7).for_each(|piece| excerpt.add(piece));
        *excerpt.read(message.len() as u64).unwrap()
    }

    #[test]
    fn headers() {
        let content = content(
            "Received: from a\nReceived: from b\nFrom: \"x\" <Boss@Mail.Example.ORG>\n\
             Reply-To: <thief@evil.example>\nSubject: =?utf-8?q?Caf=C3=A9?=\nMessage-ID: <1@x>\n\
             Date: Tue, 24 Nov 2026 09:30:00 +0100\nX-Mailer: Bulk 1.0\nX-Originating-IP: [192.0.2.7]\n\
             X-PHP-Originating-Script: 33:mail.php\nList-Unsubscribe: <mailto:x@y>\n\ntext\n",
        );
        let text = |text: &Option<Untrusted>| text.as_ref().map(Untrusted::escaped).unwrap_or_default();
        assert_eq!(text(&content.from_domain), "mail.example.org");
        assert_eq!(text(&content.reply_to_domain), "evil.example");
        assert_eq!(content.subject, Some(digest("Café".as_bytes())));
        assert_eq!(content.message_id, Some(digest(b"1@x")));
        assert_eq!(content.date, Timestamp::parse_rfc3339("2026-11-24T08:30:00Z"));
        assert_eq!(text(&content.mailer), "Bulk 1.0");
        assert_eq!(content.originating_ip, "192.0.2.7".parse().ok());
        assert_eq!(text(&content.php_script), "33:mail.php");
        assert_eq!((content.received_count, content.list, content.cut), (2, true, false));
    }

    #[test]
    fn bodies_that_differ_in_numbers_are_one_and_near_ones_are_near() {
        let body = |text: &str| content(&format!("Subject: x\n\n{text}\n"));
        let long = "Dear customer your account was limited please confirm your details within the next hours \
                    or it will be closed for ever and all your money goes back to the bank of origin";
        let (one, two) = (body(&format!("{long} 4711")), body(&format!("  {}  0815 ", long.to_uppercase())));
        assert_eq!((one.body, one.similarity), (two.body, two.similarity));
        let near = body(&format!("{long} dear Bob"));
        let far = body(
            "Hello Anna, lunch at noon tomorrow? The new place at the corner has fresh fish on Fridays.",
        );
        let distance = |other: &Content| (one.similarity.unwrap() ^ other.similarity.unwrap()).count_ones();
        assert!(distance(&near) < 12 && distance(&far) > 18, "{} {}", distance(&near), distance(&far));
    }

    #[test]
    fn links_and_what_they_show() {
        let html = |html: &str| {
            let content = content(&format!("Content-Type: text/html\n\n{html}\n"));
            let domains = content.url_domains.iter().map(Untrusted::escaped).collect::<Vec<_>>().join(" ");
            (domains, content.deceptive_link)
        };
        assert_eq!(
            html("<a href=\"http://login.evil.example.com/x\">https://www.bank.co.uk/</a>"),
            ("bank.co.uk example.com".into(), true)
        );
        assert_eq!(html("<A HREF='https://a.bank.co.uk/'>bank.co.uk</A>"), ("bank.co.uk".into(), false));
        assert_eq!(html("<a href=mailto:x@y.example>write</a>"), (String::new(), false));
        let text = content("Subject: x\n\nsee http://192.0.2.9:8080/a and hxxp://a.example.net\n");
        assert_eq!(text.url_domains[0].escaped(), "192.0.2.9");
    }

    #[test]
    fn a_cut_says_so_and_stuffed_dots_are_taken_off() {
        let held = Held::default();
        let mut excerpt = Excerpt::new(20, true, &held);
        excerpt.add(b"Subject: x\r\n\r\n..dot and more than fits");
        assert_eq!(held.load(Ordering::Relaxed), 20);
        assert!(excerpt.read(39).unwrap().cut);
        assert_eq!(held.load(Ordering::Relaxed), 0);
        assert_eq!(unstuffed(b"a\n..b\n...c\n.d"), b"a\n.b\n..c\n.d");
    }
}
