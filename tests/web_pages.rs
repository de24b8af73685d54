//! Every page and each action of the dashboard, in a real browser, over the demo world.
//!
//! With `PORTREEVE_SCREENSHOTS=DIR` (as `make screenshots` does) it also keeps a picture of each page.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod web_support;

use fantoccini::Locator;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use web_support::*;

/// Path, what its heading holds, file of its picture.
const PAGES: &[(&str, &str, &str)] = &[
    ("/", "open incident", "now"),
    ("/incidents", "Incidents", "incidents"),
    ("/senders", "Senders", "senders"),
    ("/blocks", "Blocks", "blocks"),
    ("/planned", "Planned mailings", "planned"),
    ("/settings", "Settings", "settings"),
    ("/api", "HTTP API", "api"),
];

async fn heading(browser: &Browser) -> String {
    browser.client.find(Locator::Css("h1")).await.unwrap().text().await.unwrap()
}

async fn clean(browser: &Browser, page: &str) {
    let nothing = json!({ "ran": 0, "refused": [], "foreign": [] });
    assert_eq!(browser.misdeeds().await, nothing, "{page}");
}

/// Waits until a script gives true.
async fn until(browser: &Browser, script: &str) {
    for _ in 0..100 {
        // Between two pages there is nothing to ask.
        if browser.client.execute(script, Vec::new()).await.is_ok_and(|value| value == Value::Bool(true)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never true: {script}");
}

fn pictures() -> Option<PathBuf> {
    let directory = PathBuf::from(std::env::var_os("PORTREEVE_SCREENSHOTS")?);
    std::fs::create_dir_all(&directory).unwrap();
    Some(directory)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_and_each_action_works() {
    let Some(browser) = Browser::start().await else { return };
    let demo = Demo::start();
    let pictures = pictures();
    for (path, says, name) in PAGES {
        browser.open(demo.address, path).await;
        assert!(heading(&browser).await.contains(says), "{path}");
        clean(&browser, path).await;
        if let Some(directory) = &pictures {
            browser.picture(1280, &directory.join(format!("{name}.png"))).await;
        }
    }
    if let Some(directory) = &pictures {
        browser.scheme("dark");
        browser.open(demo.address, "/").await;
        browser.picture(1280, &directory.join("now-dark.png")).await;
        browser.scheme("light");
        browser.picture(390, &directory.join("now-phone.png")).await;
    }
    incident(&browser, &demo, pictures.as_deref()).await;
    senders(&browser, &demo, pictures.as_deref()).await;
    blocks(&browser, &demo).await;
    mailings(&browser, &demo).await;
    keyboard(&browser, &demo).await;
    live(&browser, &demo).await;
}

async fn incident(browser: &Browser, demo: &Demo, pictures: Option<&std::path::Path>) {
    let listed = get(demo.address, "/api/v1/incidents?state=open", &[]).json();
    let id = |place: usize| listed["rows"][place]["id"].as_str().unwrap().to_owned();
    browser.open(demo.address, "/").await;
    browser.client.find(Locator::Css(".incidents .title a")).await.unwrap().click().await.unwrap();
    for part in
        ["Messages by the hour", "Why this is a hijack", "How far it got", "What to do now", "Examples"]
    {
        let found =
            format!("return [...document.querySelectorAll('h2')].some((h) => h.textContent === '{part}')");
        assert_eq!(browser.run(&found).await, Value::Bool(true), "{part}");
    }
    assert_eq!(browser.run("return document.querySelectorAll('.alarm').length > 0").await, Value::Bool(true));
    clean(browser, "incident").await;
    if let Some(directory) = pictures {
        browser.picture(1280, &directory.join("incident.png")).await;
        browser.picture(390, &directory.join("incident-phone.png")).await;
    }

    // Times are in the viewer's zone; UTC is on hover.
    let time = "const t = document.querySelector('main time'); const at = new Date(t.dateTime.slice(0, 23) + 'Z');
        return [t.title.endsWith('UTC'), t.textContent.includes(at.toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' }))]";
    assert_eq!(browser.run(time).await, json!([true, true]));

    for (place, button, word) in [(0, "It is a hijack", "confirmed"), (1, "False alarm", "false alarm")] {
        browser.open(demo.address, &format!("/incident/{}", id(place))).await;
        browser
            .client
            .find(Locator::Css("textarea"))
            .await
            .unwrap()
            .send_keys("asked the owner <b>")
            .await
            .unwrap();
        let press = format!(
            "[...document.querySelectorAll('button')].find((b) => b.textContent === '{button}').click()"
        );
        browser.run(&press).await;
        until(browser, &format!("return document.querySelector('#verdict').textContent.includes('{word}')"))
            .await;
        let story = get(demo.address, &format!("/api/v1/incidents/{}", id(place)), &[]).json();
        assert_eq!(story["reviews"][0]["reason"], "asked the owner <b>");
    }
    let kept = get(demo.address, &format!("/api/v1/incidents/{}/alert.json", id(0)), &[]);
    assert_eq!(kept.json()["incident"]["id"], json!(id(0)));
    let report = get(demo.address, &format!("/api/v1/incidents/{}/xarf.json", id(0)), &[]);
    assert_eq!(report.json()["xarf_version"], "4.2.0");
    assert!(report.header("content-disposition").unwrap().starts_with("attachment"));
}

async fn senders(browser: &Browser, demo: &Demo, pictures: Option<&std::path::Path>) {
    browser.open(demo.address, "/senders").await;
    let rows = "return document.querySelectorAll('tbody tr').length";
    let all = browser.run(rows).await.as_u64().unwrap();
    assert!(all > 50, "{all}");
    let search = browser.client.find(Locator::Css("input[type=search]")).await.unwrap();
    search.send_keys("203.0.113.\n").await.unwrap();
    until(browser, "return location.search.includes('203.0.113.')").await;
    let found =
        browser.run("return [...document.querySelectorAll('td.name a')].map((a) => a.textContent)").await;
    let found: Vec<String> = serde_json::from_value(found).unwrap();
    assert!(!found.is_empty() && found.iter().all(|name| name.contains("203.0.113.")), "{found:?}");
    browser.run("[...document.querySelectorAll('th a')].find((a) => a.textContent.startsWith('Messages')).click()").await;
    until(browser, "return location.search.includes('sort=messages')").await;
    let sorted = "const n = [...document.querySelectorAll('tbody tr')].map((r) => +r.children[3].textContent.replaceAll(',', ''));
        return n.every((v, i) => i === 0 || v <= n[i - 1])";
    assert_eq!(browser.run(sorted).await, Value::Bool(true));
    browser.client.find(Locator::Css("td.name a")).await.unwrap().click().await.unwrap();
    until(browser, "return location.pathname.startsWith('/sender/')").await;
    assert_eq!(browser.run("return document.querySelectorAll('svg.heat rect').length % 168").await, json!(0));
    clean(browser, "sender").await;
    if let Some(directory) = pictures {
        browser.picture(1280, &directory.join("sender.png")).await;
    }
}

async fn blocks(browser: &Browser, demo: &Demo) {
    browser.open(demo.address, "/blocks?net=10.20.0.0%2F16").await;
    assert_eq!(browser.run("return document.querySelectorAll('svg.map a').length").await, json!(256));
    let near = "const a = [...document.querySelectorAll('svg.map a')].find((a) => a.getAttribute('href').includes('10.20.100.'));
        a.dispatchEvent(new MouseEvent('click', { bubbles: true, cancelable: true }))";
    browser.run(near).await;
    until(browser, "return location.search.includes('10.20.100.0')").await;
    assert_eq!(browser.run("return document.querySelectorAll('svg.map rect').length").await, json!(256));
    clean(browser, "blocks").await;
}

async fn mailings(browser: &Browser, demo: &Demo) {
    browser.open(demo.address, "/planned").await;
    let fill = "const set = (name, value) => { document.querySelector(`[name=${name}]`).value = value; };
        set('sender', '203.0.113.30'); set('from', '2030-03-01T08:00'); set('until', '2030-03-01T12:00');
        set('recipients_max', '25000'); set('reason', 'Spring newsletter');
        document.querySelector('form[action=\"/planned\"] button').click()";
    browser.run(fill).await;
    until(
        browser,
        "return document.querySelector('tbody')?.textContent.includes('Spring newsletter') ?? false",
    )
    .await;
    let listed = get(demo.address, "/api/v1/planned", &[]).json();
    // The viewer is in Berlin: eight o'clock there is seven in UTC.
    assert_eq!(listed[0]["from"], json!(1_898_578_800_000_000_i64), "{listed}");
    browser.run("document.querySelector('form[action$=\"/cancel\"] button').click()").await;
    until(browser, "return document.querySelector('tbody')?.textContent.includes('called off') ?? false")
        .await;
    clean(browser, "planned").await;
}

async fn keyboard(browser: &Browser, demo: &Demo) {
    browser.open(demo.address, "/").await;
    let press = |key: &str| {
        format!("document.dispatchEvent(new KeyboardEvent('keydown', {{ key: '{key}', bubbles: true }}));")
    };
    browser.run(&press("j").replace("document.dispatch", "document.body.dispatch")).await;
    let focused = "return document.activeElement.matches('.incidents .title a')";
    assert_eq!(browser.run(focused).await, Value::Bool(true));
    browser
        .run(&format!("{}{}", press("g"), press("s")).replace("document.dispatch", "document.body.dispatch"))
        .await;
    until(browser, "return location.pathname === '/senders'").await;
    // Every page can be reached and left by Tab: the first stop is the way past the navigation.
    let first = "return document.querySelector('a[href]').textContent";
    assert_eq!(browser.run(first).await, json!("Skip to content"));
}

/// What happens elsewhere shows on a page that is open.
async fn live(browser: &Browser, demo: &Demo) {
    let listed = get(demo.address, "/api/v1/incidents?state=unreviewed", &[]).json();
    let id = listed["rows"][0]["id"].as_str().unwrap();
    browser.open(demo.address, &format!("/incident/{id}")).await;
    until(browser, "return document.querySelector('#pulse').textContent === 'live'").await;
    let path = format!("/api/v1/incidents/{id}/dismiss");
    let told =
        post(demo.address, &path, &[("content-type", "application/json")], "{\"reason\": \"a drill\"}");
    assert_eq!(told.status, 202, "{}", told.body);
    until(browser, "return document.querySelector('main').textContent.includes('a drill')").await;
    clean(browser, "live").await;
}
