//! Whatever a sender writes, no page runs it: 500 strings as account, HELO, reverse-path, recipient's domain, server's
//! answer and queue id, looked at in a real browser.
//!
//! A subject and a HELO name are kept as digests only and cannot reach a page; they are fed all the same.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod alert_support;
mod store_support;
mod web_support;

use alert_support::change_with;
use portreeve::alert::Alert;
use portreeve::engine::incident::Change;
use portreeve::engine::sender::SenderId;
use portreeve::mail::{Mailbox, Reply, ReversePath, Untrusted};
use portreeve::observation::{Delivery, Fact, Machine, Observation, SenderKeys, Vantage, digest};
use portreeve::store::{AlertRow, Store};
use portreeve::time::{CivilClock, Timestamp};
use portreeve::web::{About, Dashboard, Settings};
use serde_json::json;
use store_support::{campaign, engine, quick_directory};
use web_support::Browser;

/// Ways to get a script run, each with a hole for what it runs.
const VECTORS: &[&str] = &[
    "<script>{}</script>",
    "<ScRiPt src=//198.51.100.1/x.js></ScRiPt>{}",
    "\"><script>{}</script>",
    "'><svg/onload={}>",
    "<img src=x onerror={}>",
    "<img src=http://198.51.100.1/p.png>{}",
    "\" onmouseover=\"{}\" autofocus onfocus=\"{}",
    "' style='background:url(//198.51.100.1/s)' onanimationstart='{}",
    "<iframe srcdoc='<script>parent.{}</script>'>",
    "<a href=javascript:{}>x</a>",
    "javascript:{}//@example.org",
    "</title><script>{}</script>",
    "</textarea><script>{}</script>",
    "</pre><script>{}</script>",
    "--><script>{}</script><!--",
    "<style>@import '//198.51.100.1/s.css';</style>{}",
    "<link rel=stylesheet href=//198.51.100.1/s.css>{}",
    "<meta http-equiv=refresh content='0;url=//198.51.100.1/'>{}",
    "<base href=//198.51.100.1/>{}",
    "<form action=//198.51.100.1/><input autofocus onfocus={}>",
    "<math><mtext></table><mglyph><style><img src=x onerror={}>",
    "<details open ontoggle={}>",
    "&lt;script&gt;{}&lt;/script&gt;",
    "%3Cscript%3E{}%3C/script%3E",
    "\u{ff1c}script\u{ff1e}{}\u{ff1c}/script\u{ff1e}",
    "${{}} {{{}}} <%= {} %>",
    "\u{202e}<script>{}</script>\u{2066}",
    "]]><script>{}</script>",
    "<template><script>{}</script></template>",
    "<svg><a xlink:href=javascript:{}><text y=9>x",
    "<object data=data:text/html,<script>{}</script>>",
    "<video><source onerror={}>",
];
const RUNS: &[&str] =
    &["window.__ran++", "alert(1)", "top.__ran=9", "fetch('//198.51.100.1/')", "eval('__ran++')"];

/// String number `n` of 500 and more.
fn hostile(n: usize) -> String {
    let run = RUNS[n / VECTORS.len() % RUNS.len()];
    let round = n / (VECTORS.len() * RUNS.len());
    format!("{}{}", VECTORS[n % VECTORS.len()].replace("{}", run), ["", " ", "\t", "\u{0}"][round % 4])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_hostile_strings_run_nothing() {
    let Some(browser) = Browser::start().await else { return };
    let strings: Vec<String> = (0..500).map(hostile).collect();
    let directory = quick_directory();
    let mut store = Store::open(directory.path()).unwrap();
    let mut judge = engine(store.key);
    let mut out = Vec::new();
    for (n, text) in strings.iter().enumerate() {
        judge.observe(&delivery(n as i64, text), &mut out);
    }
    // Eleven strings to an incident: name, four samples' texts and related senders.
    let mut ids = Vec::new();
    let mut rows = Vec::new();
    for n in 0..strings.len() {
        let mut next = n;
        let mut text = || {
            next += 1;
            strings[(next - 1) % strings.len()].clone().into_bytes()
        };
        let name = SenderId::Account(Untrusted::from(strings[n].as_str()));
        let mut change =
            change_with(if n % 2 == 0 { Change::Opened } else { Change::Closed }, name, &mut text);
        change.incident.id = n as u64;
        let alert = Alert::of(&change);
        ids.push(alert.incident.id.clone());
        rows.push(AlertRow::of(&alert));
    }
    store.commit(&mut judge, &[], &rows).unwrap();
    let about = About {
        state: directory.path().to_owned(),
        sensor: strings[0].clone(),
        networks: Vec::new(),
        clock: CivilClock::utc(),
        configuration: vec![(strings[1].clone(), vec![(strings[2].clone(), strings[3].clone())])],
        watched: false,
    };
    let running = Dashboard::new(Settings::loopback(0), about).unwrap().start(axum::Router::new()).unwrap();
    let mut paths: Vec<String> =
        ["/", "/blocks", "/planned", "/settings"].iter().map(|path| (*path).to_owned()).collect();
    paths.extend((0..5).map(|page| format!("/incidents?page={page}")));
    paths.extend((0..6).map(|page| format!("/senders?sort=name&page={page}")));
    // A page of each incident holds eleven strings: every eleventh shows all.
    paths.extend(ids.iter().step_by(11).map(|id| format!("/incident/{id}")));
    for n in (0..strings.len()).step_by(campaign("PORTREEVE_WEB_HOSTILE_STEP", 50) as usize) {
        let text = encoded(&strings[n]);
        paths.push(format!("/sender/account/{text}"));
        paths.push(format!("/senders?q={text}&kind={text}&sort={text}"));
        paths.push(format!("/incidents?sender={text}&state={text}&severity={text}"));
        paths.push(format!("/blocks?net={text}"));
    }
    let mut shown = 0;
    for path in &paths {
        browser.open(running.address, path).await;
        // Things that only happen when somebody moves over or focuses them are made to happen.
        let stirred = browser
            .run(
                "for (const e of document.querySelectorAll('main *')) {
                     for (const type of ['mouseover', 'focus', 'toggle', 'error', 'animationstart']) e.dispatchEvent(new Event(type));
                     if (/^javascript:/i.test(e.getAttribute('href') ?? '')) window.__ran += 1;
                 }
                 const own = [...document.scripts].filter((s) => !s.getAttribute('src')?.startsWith('/assets/')).length;
                 const foreign = document.querySelectorAll('img, iframe, object, embed, video, base, style, main link, main meta, [onerror], [onload], [onfocus], [onmouseover], [style]').length;
                 return { own, foreign, strings: document.body.textContent.split('script').length - 1 };",
            )
            .await;
        shown += stirred["strings"].as_u64().unwrap();
        assert_eq!((&stirred["own"], &stirred["foreign"]), (&json!(0), &json!(0)), "{path}");
        assert_eq!(browser.misdeeds().await, json!({ "ran": 0, "refused": [], "foreign": [] }), "{path}");
    }
    eprintln!("{} strings on {} pages, shown {shown} times: nothing ran", strings.len(), paths.len());
    assert!(shown > 500, "the strings were hardly shown: {shown}");
}

/// A delivery whose every foreign text is hostile.
fn delivery(n: i64, text: &str) -> Observation {
    let bytes = text.as_bytes();
    Observation {
        at: Timestamp::from_seconds(1_795_392_000 + n),
        vantage: Vantage::Log,
        sender: SenderKeys {
            address: Some("10.0.0.1".parse().unwrap()),
            account: Some(Untrusted::bounded(bytes, 255)),
            host: Some(Untrusted::bounded(bytes, 255)),
            machine: Machine { helo: Some(digest(bytes)), ..Machine::default() },
            ..SenderKeys::default()
        },
        fact: Fact::Delivery(Delivery {
            responder: Some("198.51.100.25".parse().unwrap()),
            reverse_path: Some(ReversePath::parse(bytes)),
            forward_path: Mailbox::parse(b"who@example.net"),
            reply: Some(Reply {
                code: Some(550),
                text: Some(Untrusted::bounded(bytes, 255)),
                ..Reply::default()
            }),
            retry: None,
            queue_id: Some(Untrusted::bounded(bytes, 128)),
            message_id: None,
        }),
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
