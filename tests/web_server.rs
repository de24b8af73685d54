//! The dashboard's door: who is let in, what is refused, what slow and greedy callers cost, how fast the first page is.
//!
//! The long form of the figures: `PORTREEVE_WEB_SENDERS=100000 PORTREEVE_WEB_INCIDENTS=10000 cargo test --release
//! --test web_server -- --nocapture first_page`.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod store_support;
mod web_support;

use portreeve::engine::incident::Change;
use portreeve::store::{AlertRow, Store};
use portreeve::time::CivilClock;
use portreeve::web::{API_ROUTES, About, Dashboard, OPENAPI, Running, Settings, WebConfig};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use store_support::*;
use web_support::{get, post, raw};

const JSON: (&str, &str) = ("content-type", "application/json");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// A state with a few senders and incidents.
fn state(senders: u32, incidents: i64) -> (tempfile::TempDir, Store, portreeve::engine::Engine) {
    let directory = quick_directory();
    let mut store = Store::open(directory.path()).unwrap();
    let mut engine = engine(store.key);
    feed(&mut engine, senders, 0);
    let rows: Vec<AlertRow> = (0..incidents).map(|n| AlertRow::of(&incident(n))).collect();
    store.commit(&mut engine, &[], &rows).unwrap();
    (directory, store, engine)
}

/// Alert of incident number `n`: nine of ten are closed.
fn incident(n: i64) -> portreeve::alert::Alert {
    let mut alert = alert(n);
    alert.id = format!("{n:016x}-0");
    alert.incident.id = format!("{n:016x}");
    alert.change = if n % 10 == 0 { Change::Opened } else { Change::Closed };
    alert.sender.kind = "address".into();
    alert.sender.name = format!("10.0.{}.{}", n / 250 % 250, n % 250);
    alert.severity.name = ["low", "medium", "high", "critical"][n as usize % 4].into();
    alert
}

fn about(state: &Path) -> About {
    About {
        state: state.to_owned(),
        sensor: "test".into(),
        networks: vec!["10.0.0.0/8".parse().unwrap()],
        clock: CivilClock::utc(),
        configuration: Vec::new(),
        watched: false,
    }
}

fn open_to_all(state: &Path) -> Running {
    Dashboard::new(Settings::loopback(0), about(state)).unwrap().start(axum::Router::new()).unwrap()
}

fn with_secrets(state: &Path, secrets: &Path) -> Running {
    std::fs::write(secrets.join("password"), "correct horse battery\n").unwrap();
    std::fs::write(secrets.join("token"), "0123456789abcdef-token\n").unwrap();
    let config = WebConfig {
        listen: Some("127.0.0.1:0".parse().unwrap()),
        hosts: vec!["mailwatch.example".into()],
        password_file: Some(secrets.join("password")),
        token_file: Some(secrets.join("token")),
        ..WebConfig::default()
    };
    let settings = config.settings().unwrap().unwrap();
    Dashboard::new(settings, about(state)).unwrap().start(axum::Router::new()).unwrap()
}

#[test]
fn nothing_is_shown_or_changed_without_a_secret() {
    let (directory, _store, _engine) = state(3, 3);
    let running = with_secrets(directory.path(), directory.path());
    let to = running.address;
    for path in [
        "/",
        "/incidents",
        "/senders",
        "/blocks",
        "/planned",
        "/settings",
        "/api",
        "/incident/0000000000000000",
    ] {
        let answer = get(to, path, &[]);
        assert_eq!((answer.status, answer.header("location")), (303, Some("/login")), "{path}");
        assert!(!answer.body.contains("10.0."), "{path}");
    }
    for route in API_ROUTES {
        let path = route.path.replace("{id}", "0000000000000000").replace("{kind}", "address");
        let path = path.replace("{name}", "10.0.0.1").replace("{number}", "1");
        let answer = if route.method == "get" { get(to, &path, &[]) } else { post(to, &path, &[JSON], "{}") };
        assert_eq!(answer.status, 401, "{} {path}", route.method);
        let wrong = get(to, &path, &[("authorization", "Bearer 0123456789abcdef-tokem")]);
        assert_eq!(wrong.status, 401, "{path}");
    }
    let act = post(to, "/incident/0000000000000000/dismiss", &[FORM], "reason=x");
    assert_eq!(act.status, 303);
    assert_eq!(post(to, "/login", &[FORM], "password=wrong").status, 403);
    assert_eq!(get(to, "/login", &[]).status, 200);

    let entered = post(to, "/login", &[FORM], "password=correct+horse+battery");
    assert_eq!((entered.status, entered.header("location")), (303, Some("/")));
    let cookie = entered.header("set-cookie").unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let with = ("cookie", cookie.as_str());
    let page = get(to, "/incident/0000000000000000", &[with]);
    assert_eq!(page.status, 200);
    let token = page.body.split("name=\"form-token\" content=\"").nth(1).unwrap().split('"').next().unwrap();
    let path = "/incident/0000000000000000/dismiss";
    assert_eq!(post(to, path, &[with, FORM], "reason=x").status, 403, "without the form's token");
    assert_eq!(post(to, path, &[with, FORM], "reason=x&form_token=abc").status, 403);
    let body = format!("reason=x&form_token={token}");
    assert_eq!(post(to, path, &[with, FORM, ("origin", "http://evil.example")], &body).status, 403);
    assert_eq!(post(to, path, &[with, FORM], &body).status, 303);
    assert!(get(to, "/incident/0000000000000000", &[with]).body.contains("called a false alarm"));

    assert_eq!(post(to, "/logout", &[with, FORM], &format!("form_token={token}")).status, 303);
    assert_eq!(get(to, "/", &[with]).status, 303, "the session is gone");
    let program = ("authorization", "Bearer 0123456789abcdef-token");
    assert_eq!(get(to, "/api/v1/incidents", &[program]).json()["total"], 3);
}

#[test]
fn on_loopback_other_sites_still_cannot_act() {
    let (directory, _store, _engine) = state(1, 1);
    let running = open_to_all(directory.path());
    let (to, path) = (running.address, "/api/v1/incidents/0000000000000000/confirm");
    let body = "{\"reason\": \"x\"}";
    for headers in [
        &[JSON, ("origin", "http://evil.example")][..],
        &[JSON, ("sec-fetch-site", "cross-site")][..],
        &[("content-type", "text/plain")][..],
        &[("host", "evil.example"), JSON][..],
    ] {
        let answer = post(to, path, headers, body);
        assert!([403, 421].contains(&answer.status), "{headers:?}: {}", answer.status);
    }
    assert_eq!(get(to, "/", &[("host", "rebound.example")]).status, 421);
    assert_eq!(
        get(to, "/api/v1/incidents/0000000000000000", &[]).json()["reviews"].as_array().unwrap().len(),
        0
    );
    assert_eq!(post(to, path, &[JSON], body).status, 202, "a program on this machine may");
    assert_eq!(post(to, path, &[JSON], "{\"reason\": \" \"}").status, 422);
}

#[test]
fn every_answer_bears_the_safety_headers_and_limits_hold() {
    let (directory, _store, _engine) = state(1, 1);
    let running = open_to_all(directory.path());
    let to = running.address;
    for path in ["/", "/nothing", "/api/v1/nothing", "/login", "/assets/0/style.css", "/api/v1/status"] {
        let answer = get(to, path, &[]);
        let policy = answer.header("content-security-policy").unwrap_or_default();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
    }
    let page = get(to, "/", &[]).body;
    assert!(!page.contains("style=\"") && !page.contains("<style") && !page.contains("onclick"));
    for asset in page.split("\"/assets/").skip(1) {
        let path = format!("/assets/{}", asset.split('"').next().unwrap());
        assert_eq!(get(to, &path, &[]).status, 200, "{path}");
    }
    let long = "x".repeat(20 << 10);
    assert_eq!(get(to, "/", &[("x-long", &long)]).status, 431);
    let many: Vec<(String, String)> = (0..100).map(|n| (format!("x-{n}"), "1".into())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(get(to, "/", &many).status, 431);
    assert_eq!(post(to, "/planned", &[FORM], &long).status, 413);
    assert_eq!(raw(to, b"PUT / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").status, 405);
    assert_eq!(get(to, &format!("/senders?q={}", "%F0%9F%92%A3".repeat(900)), &[]).status, 200);
    for path in
        ["/sender/address/x", "/sender/x/y", "/incident/%00", "/blocks?net=%27", "/senders?page=99999999999"]
    {
        assert!((200..500).contains(&get(to, path, &[]).status), "{path}");
    }
}

#[test]
fn the_description_names_exactly_the_routes_there_are() {
    let (directory, _store, _engine) = state(2, 2);
    let running = open_to_all(directory.path());
    let source = std::fs::read_to_string("src/web/api.rs").unwrap();
    let mut routed: Vec<(String, String)> = Vec::new();
    for line in source.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")) {
        let (path, handlers) = line.split_once('"').unwrap();
        for method in ["get", "post"].iter().filter(|method| handlers.contains(&format!("{method}("))) {
            routed.push(((*method).to_owned(), path.to_owned()));
        }
    }
    routed.sort();
    let mut told: Vec<_> = API_ROUTES.iter().map(|r| (r.method.to_owned(), r.path.to_owned())).collect();
    told.sort();
    assert_eq!(told, routed);
    let served = get(running.address, "/api/v1/openapi.json", &[]).json();
    assert_eq!(served, *OPENAPI);
    assert_eq!(
        std::fs::read_to_string("docs/openapi.json").unwrap().trim_end(),
        format!("{:#}", *OPENAPI),
        "docs/openapi.json is out of date: curl …/api/v1/openapi.json | jq . > docs/openapi.json"
    );
    for route in API_ROUTES.iter().filter(|route| route.method == "get" && !route.path.ends_with("/events")) {
        let path = route.path.replace("{id}", "0000000000000000").replace("{kind}", "address");
        let path = path.replace("{name}", "10.0.0.1").replace("{number}", "1");
        let answer = get(running.address, &path, &[]);
        let known = route.path != "/api/v1/actions/{number}";
        assert_eq!(answer.status, if known { 200 } else { 404 }, "{path}: {}", answer.body);
        answer.json();
    }
}

#[test]
fn a_thousand_slow_callers_keep_nobody_out() {
    let (directory, _store, _engine) = state(1, 1);
    let running = open_to_all(directory.path());
    let mut slow = Vec::new();
    for _ in 0..campaign("PORTREEVE_WEB_SLOW", 1_000) {
        let Ok(mut stream) = TcpStream::connect_timeout(&running.address, Duration::from_secs(5)) else {
            break;
        };
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ");
        slow.push(stream);
    }
    assert!(slow.len() >= 500, "only {} connections could be made", slow.len());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                slow.iter_mut().for_each(|stream| drop(stream.write_all(b"a")));
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        let begun = Instant::now();
        let answer = get(running.address, "/", &[]);
        stop.store(true, Ordering::Relaxed);
        assert_eq!(answer.status, 200);
        eprintln!("answered in {:?} behind the slow ones", begun.elapsed());
    });
    // Whoever was slow was shown out.
    let mut out = 0;
    for stream in &mut slow {
        let _ = stream.set_read_timeout(Some(Duration::from_millis(1)));
        out += u32::from(matches!(stream.read(&mut [0; 1]), Ok(0)) || stream.write_all(b"a").is_err());
    }
    assert!(out > 0);
}

#[test]
fn the_first_page_is_small_and_quick_and_ingest_does_not_wait() {
    let senders = campaign("PORTREEVE_WEB_SENDERS", 5_000) as u32;
    let incidents = campaign("PORTREEVE_WEB_INCIDENTS", 1_000) as i64;
    let (directory, mut store, mut engine) = state(senders, incidents);
    let running = open_to_all(directory.path());
    let to = running.address;
    let timed = |path: &str| {
        let mut times: Vec<Duration> = Vec::new();
        let mut size = 0;
        for _ in 0..11 {
            let begun = Instant::now();
            let answer = get(to, path, &[]);
            times.push(begun.elapsed());
            assert_eq!(answer.status, 200, "{path}");
            size = answer.head.len() + 4 + answer.body.len();
        }
        times.sort();
        eprintln!("{path}: {size} octets, median {:?}, slowest {:?}", times[5], times[10]);
        (size, times[5])
    };
    let (page, median) = timed("/");
    let assets: usize = get(to, "/", &[])
        .body
        .split("\"/assets/")
        .skip(1)
        .map(|asset| get(to, &format!("/assets/{}", asset.split('"').next().unwrap()), &[]).body.len())
        .sum();
    eprintln!(
        "first page with style and script: {} octets; {senders} senders, {incidents} incidents",
        page + assets
    );
    assert!(page + assets <= 100 << 10, "{page} + {assets}");
    assert!(median < Duration::from_millis(200), "{median:?}");
    for path in
        ["/incidents", "/senders", "/senders?q=10.0.1&sort=usual", "/blocks", "/sender/address/10.0.0.1"]
    {
        timed(path);
    }

    // Commits of a busy second, alone and while four browsers ask without pause.
    let mut round = 0;
    let mut commits = |count: usize| {
        let mut times: Vec<Duration> = (0..count)
            .map(|_| {
                round += 1;
                feed(&mut engine, 200.min(senders), 60 * round);
                let begun = Instant::now();
                store.commit(&mut engine, &[], &[]).unwrap();
                begun.elapsed()
            })
            .collect();
        times.sort();
        (times[times.len() / 2], times[times.len() - 1])
    };
    let count = campaign("PORTREEVE_WEB_COMMITS", 20) as usize;
    let alone = commits(count);
    let stop = AtomicBool::new(false);
    let asked = AtomicU64::new(0);
    let together = std::thread::scope(|scope| {
        for path in ["/", "/senders", "/incidents", "/blocks"] {
            let (stop, asked) = (&stop, &asked);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    get(to, path, &[]);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let together = commits(count);
        stop.store(true, Ordering::Relaxed);
        together
    });
    eprintln!(
        "commit median, slowest: alone {alone:?}; under {} pages {together:?}",
        asked.load(Ordering::Relaxed)
    );
}
