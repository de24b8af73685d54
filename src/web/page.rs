//! The frame of every page, and the small pieces that pages share: times, numbers, senders, severities.
//!
//! *In*: values. *Out*: HTML, escaped by maud wherever a value goes in. *Spec*: HTML; no inline script or style,
//! since the content policy forbids both.

use super::assets;
use crate::alert::Severity;
use crate::time::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Places of the navigation: path, name, key that goes there.
const PLACES: &[(&str, &str, char)] = &[
    ("/", "Now", 'n'),
    ("/incidents", "Incidents", 'i'),
    ("/senders", "Senders", 's'),
    ("/blocks", "Blocks", 'b'),
    ("/planned", "Planned mailings", 'p'),
    ("/settings", "Settings", 'c'),
];

/// What the frame shows beside the content.
pub struct Frame<'a> {
    /// Title of the window.
    pub title: &'a str,
    /// Path of the place in the navigation that this page belongs to.
    pub place: &'a str,
    /// Token that forms must carry; `None` where nobody is logged in.
    pub form_token: Option<&'a str>,
    /// Whether there is a session to end.
    pub can_leave: bool,
    /// What sensor this is.
    pub sensor: &'a str,
    /// Whether pages follow the event stream.
    pub live: bool,
}

/// A whole page.
pub fn page(frame: &Frame, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(frame.title, frame.form_token))
            body data-live[frame.live] {
                a.skip href="#content" { "Skip to content" }
                header.top {
                    a.brand href="/" { (assets::MARK) span { "portreeve" } }
                    nav aria-label="Pages" {
                        @for (path, name, key) in PLACES {
                            a href=(path) data-key=(key) aria-current=[(*path == frame.place).then_some("page")] { (name) }
                        }
                    }
                    div.where {
                        span.sensor { (frame.sensor) }
                        span #pulse.pulse hidden role="status" { "live" }
                        @if frame.can_leave {
                            form method="post" action="/logout" { (token(frame.form_token)) button.plain { "Log out" } }
                        }
                    }
                }
                main #content tabindex="-1" { (content) }
                footer {
                    p {
                        "Times are shown in " span #zone { "UTC" } ". "
                        a href="/api" { "HTTP API" } " · keys: " kbd { "g" } " then "
                        @for (_, name, key) in PLACES { kbd title=(name) { (key) } " " }
                        "· " kbd { "/" } " search"
                    }
                }
            }
        }
    }
}

/// A page without navigation: logins and refusals.
pub fn bare(title: &str, text: &str) -> Markup {
    bare_with(title, &html! { p { (text) } p { a href="/" { "To the first page" } } })
}

/// A page without navigation, with content of its own.
pub fn bare_with(title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(title, None))
            body.bare {
                main #content {
                    p.brand { (assets::MARK) span { "portreeve" } }
                    h1 { (title) }
                    (content)
                }
            }
        }
    }
}

fn head(title: &str, form_token: Option<&str>) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            @if let Some(token) = form_token { meta name="form-token" content=(token); }
            title { (title) " · portreeve" }
            link rel="icon" href=(assets::path("mark.svg")) type="image/svg+xml";
            link rel="stylesheet" href=(assets::path("style.css"));
            script src=(assets::path("script.js")) defer {}
        }
    }
}

/// The hidden field that every form which acts must have.
pub fn token(form_token: Option<&str>) -> Markup {
    html! { @if let Some(token) = form_token { input type="hidden" name="form_token" value=(token); } }
}

/// A moment: UTC for reading without scripts, the viewer's zone where scripts run, UTC on hover.
pub fn time(at: Timestamp) -> Markup {
    let exact = at.to_rfc3339();
    let (day, clock) = (exact.get(..10).unwrap_or(&exact), exact.get(11..16).unwrap_or_default());
    html! {
        time datetime=(exact) title=(format!("{day} {} UTC", exact.get(11..19).unwrap_or_default())) { (day) " " (clock) }
    }
}

/// A moment of the record, as written there.
pub fn stamp(text: &str) -> Markup {
    Timestamp::parse_rfc3339(text).map_or_else(|| html! { (text) }, time)
}

/// Thousands apart by a thin gap that no line breaks at.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len());
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A quantity with as many digits as say something.
pub fn quantity(value: f64) -> String {
    match value.abs() {
        v if !v.is_finite() => "–".into(),
        v if v >= 100.0 => number(value.round().max(0.0) as u64),
        v if v >= 10.0 => format!("{value:.0}"),
        0.0 => "0".into(),
        v if v >= 0.095 => trimmed(format!("{value:.1}")),
        _ => trimmed(format!("{value:.2}")),
    }
}

fn trimmed(text: String) -> String {
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// A share of 0 to 1 in percent.
pub fn percent(share: f64) -> String {
    let value = share * 100.0;
    match value {
        v if !v.is_finite() => "–".into(),
        v if v > 0.0 && v < 0.1 => "< 0.1 %".into(),
        v if v > 0.0 && v < 9.95 => format!("{} %", trimmed(format!("{v:.1}"))),
        v => format!("{v:.0} %"),
    }
}

/// `3 messages`, `1 message`.
pub fn count(value: u64, one: &str, many: &str) -> String {
    if value == 1 { format!("1 {one}") } else { format!("{} {many}", number(value)) }
}

/// How long, in the largest unit that fits.
pub fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5_400.0 => format!("{:.0} min", s / 60.0),
        s if s < 48.0 * 3_600.0 => format!("{:.1} h", s / 3_600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

/// How bad, as a word with a colour of its own and a shape that needs none.
pub fn severity(severity: &str) -> Markup {
    let (class, bars) = match severity {
        "critical" => ("critical", 4),
        "high" => ("high", 3),
        "medium" => ("medium", 2),
        _ => ("low", 1),
    };
    html! {
        span class=(format!("severity {class}")) {
            svg width="14" height="12" viewBox="0 0 14 12" aria-hidden="true" {
                @for bar in 0..4 {
                    rect x=(bar * 4 - bar / 4) y=(9 - bar * 3) width="2.6" height=(3 + bar * 3) class=(if bar < bars { "on" } else { "off" }) {}
                }
            }
            (class)
        }
    }
}

/// As [`severity`], of a record.
pub fn severity_of(record: &Severity) -> Markup {
    severity(&record.name)
}

/// Where a sender's page is.
pub fn sender_path(kind: &str, name: &str) -> String {
    format!("/sender/{}/{}", encoded(kind), encoded(name))
}

/// A sender with a link to its page.
pub fn sender(kind: &str, name: &str) -> Markup {
    html! { a.sender href=(sender_path(kind, name)) { bdi { (name) } } }
}

/// What kind of sender, in words.
pub fn kind_word(kind: &str) -> &'static str {
    match kind {
        "address" => "address",
        "account" => "account",
        "block" => "block",
        "host" => "mail server",
        "sensor" => "sensor",
        _ => "sender",
    }
}

/// A role, in words.
pub fn role_word(role: &str) -> &'static str {
    match role {
        "mail_relay" => "mail server",
        "bulk_sender" => "bulk mailer",
        "application" => "application",
        "device" => "device",
        "workstation" => "person",
        "unused" => "silent address",
        _ => "unknown",
    }
}

/// One part of a path (RFC 3986: everything but unreserved characters is escaped).
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// A picture that is part of the program.
pub const fn own(svg: &'static str) -> PreEscaped<&'static str> {
    PreEscaped(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0.0, 0.02, 0.14, 1.0, 3.25, 12.4, 1234.0].map(quantity),
            ["0", "0.02", "0.1", "1", "3.2", "12", "1,234"]
        );
        assert_eq!(
            [0.0, 0.0004, 0.046, 0.75, 1.0].map(percent),
            ["0 %", "< 0.1 %", "4.6 %", "75 %", "100 %"]
        );
        assert_eq!([3.0, 120.0, 7_200.0, 400_000.0].map(span), ["3 s", "2 min", "2.0 h", "4.6 days"]);
    }

    #[test]
    fn a_name_stays_one_part_of_its_path() {
        assert_eq!(sender_path("block", "192.0.2.0/24"), "/sender/block/192.0.2.0%2F24");
        assert_eq!(encoded("a\"b<ü"), "a%22b%3C%C3%BC");
    }
}
