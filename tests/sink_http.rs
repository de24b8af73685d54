//! Webhook, Splunk and Elastic against servers that answer as the real ones do; the guard; secrets.

#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

mod sink_support;

use hmac::{Hmac, Mac};
use portreeve::alert::Alert;
use portreeve::sink;
use portreeve::store::outbox::Outbox;
use serde_json::{Value, json};
use sink_support::*;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

const LOCAL: &str = "allow_networks = [\"127.0.0.0/8\"]\ntimeout_seconds = 5";

/// Writes a secret where only a file may hold it.
fn secret(world: &World, text: &str) -> String {
    let path = world.path().join("secret");
    std::fs::write(&path, text).unwrap();
    format!("{path:?}")
}

#[test]
fn a_webhook_is_signed_and_carries_its_id() {
    let server = HttpServer::start(|_| answer("204 No Content", ""));
    let mut world = World::new();
    let file = secret(&world, "shared-secret\n");
    let sinks = [config(&format!(
        "type = \"webhook\"\nurl = \"{}/hook?a=1\"\nformat = \"ecs\"\nsecret_file = {file}\ntoken_file = {file}\n{LOCAL}",
        server.url()
    ))];
    world.register(&sinks);
    world.commit(450);
    let status = &world.deliver(&sinks, 60)[0];
    assert_eq!((status.delivered, status.trouble.as_deref()), (450, None));
    let requests = server.requests();
    assert_eq!(requests.len(), 450);
    let mut ids = BTreeSet::new();
    for request in &requests {
        assert_eq!(request.path, "/hook?a=1");
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(request.header("authorization"), Some("Bearer shared-secret"));
        let value: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(request.header("idempotency-key"), value["event"]["id"].as_str());
        ids.insert(value["event"]["id"].as_str().unwrap().to_owned());
        let digits = request.header("x-portreeve-signature").unwrap().strip_prefix("sha256=").unwrap();
        let signature: Vec<u8> =
            (0..32).map(|n| u8::from_str_radix(&digits[2 * n..2 * n + 2], 16).unwrap()).collect();
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"shared-secret").unwrap();
        mac.update(&request.body);
        mac.verify_slice(&signature).unwrap();
    }
    assert_eq!(ids, world.alerts().into_iter().map(|alert| alert.id).collect());
}

#[test]
fn a_refused_letter_is_put_aside_and_the_others_get_through() {
    let poison = alert(7).id;
    let bad = poison.clone();
    let server = HttpServer::start(move |request| {
        if request.header("idempotency-key") == Some(&bad) {
            answer("422 Unprocessable Content", "{\"error\":\"no\\u001b[2J thanks\u{1b}\"}")
        } else {
            answer("200 OK", "{}")
        }
    });
    let mut world = World::new();
    let sinks =
        [config(&format!("type = \"webhook\"\nurl = \"{}\"\nname = \"hook\"\n{LOCAL}", server.url()))];
    world.register(&sinks);
    world.commit(20);
    let status = &world.deliver(&sinks, 60)[0];
    assert_eq!((status.delivered, status.dead), (19, 1));
    let dead = Outbox::open(world.path()).unwrap().dead_letters("hook").unwrap();
    assert_eq!(dead[0].id, poison);
    assert!(dead[0].reason.starts_with("422: ") && !dead[0].reason.contains('\u{1b}'), "{}", dead[0].reason);
}

#[test]
fn a_server_without_right_or_room_is_waited_for() {
    for status in [
        "401 Unauthorized",
        "403 Forbidden",
        "404 Not Found",
        "429 Too Many Requests",
        "503 Busy",
        "302 Found",
    ] {
        let turns = Mutex::new(0);
        let server = HttpServer::start(move |_| {
            let mut turns = turns.lock().unwrap();
            *turns += 1;
            if *turns <= 30 { answer(status, "later") } else { answer("200 OK", "") }
        });
        let mut world = World::new();
        let sinks =
            [config(&format!("type = \"webhook\"\nurl = \"{}\"\nconnections = 1\n{LOCAL}", server.url()))];
        world.register(&sinks);
        world.commit(3);
        let status = &world.deliver(&sinks, 60)[0];
        assert_eq!((status.delivered, status.dead, status.failures), (3, 0, 30));
    }
}

#[test]
fn redirects_are_never_followed() {
    let secret_place = HttpServer::start(|_| answer("200 OK", "metadata"));
    let location = format!("Location: {}/latest/meta-data/\r\n", secret_place.url());
    let server = HttpServer::start(move |_| {
        format!("HTTP/1.1 307 Temporary Redirect\r\n{location}Content-Length: 0\r\n\r\n").into_bytes()
    });
    let mut world = World::new();
    let sinks = [config(&format!("type = \"webhook\"\nurl = \"{}\"\n{LOCAL}", server.url()))];
    world.register(&sinks);
    world.commit(1);
    let status = &world.deliver(&sinks, 1)[0];
    assert!(status.failures > 1 && status.trouble.as_ref().unwrap().starts_with("307"), "{status:?}");
    assert!(secret_place.requests().is_empty());
}

/// Every way to write an address that must not be reached.
#[test]
fn sixty_ways_to_the_inside_are_all_blocked() {
    let server = HttpServer::start(|_| answer("200 OK", ""));
    let port = server.address.port();
    let hosts = [
        "127.0.0.1",
        "localhost",
        "127.1",
        "127.0.1",
        "0",
        "0.0.0.0",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.0.0.1.",
        "localhost.",
        "LOCALHOST",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fe80::1%25lo]",
        "[fc00::1]",
        "[fd00::1]",
        "[fec0::1]",
        "[ff02::1]",
        "[2001:db8::1]",
        "[2001::1]",
        "[100::1]",
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::169.254.169.254]",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "169.16689662",
        "10.0.0.1",
        "10.1",
        "167772161",
        "172.16.0.1",
        "172.31.255.254",
        "192.168.0.1",
        "192.168.1",
        "3232235521",
        "100.64.0.1",
        "100.127.255.254",
        "192.0.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "198.19.255.254",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "0.0.0.1",
        "127.255.255.254",
        "127.127.127.127",
    ];
    assert!(hosts.len() >= 60);
    for host in hosts {
        let mut world = World::new();
        let text = format!("type = \"webhook\"\nurl = \"http://{host}:{port}/\"\ntimeout_seconds = 2");
        let sink = config(&text);
        // A URL that is not even read is as good as one that is refused when connecting.
        if sink::open(&sink).is_err() {
            continue;
        }
        let sinks = [sink];
        world.register(&sinks);
        world.commit(1);
        let delivery = world.start(&sinks);
        while delivery.statuses()[0].failures == 0 && delivery.statuses()[0].delivered == 0 {
            std::thread::yield_now();
        }
        let status = &delivery.finish(Duration::ZERO)[0];
        assert_eq!(status.delivered, 0, "{host}");
        let trouble = status.trouble.as_ref().unwrap();
        assert!(
            trouble.contains("is not a public address")
                || trouble.contains("lookup")
                || trouble.contains("name"),
            "{host}: {trouble}"
        );
    }
    assert!(server.requests().is_empty());
    for bad in
        ["ftp://x/", "file:///etc/passwd", "gopher://127.0.0.1/", "http://user:canary@127.0.0.1/", "//x", "x"]
    {
        let error = sink::open(&config(&format!("type = \"webhook\"\nurl = \"{bad}\""))).err().unwrap();
        assert!(!error.contains("canary"), "{error}");
    }
}

#[test]
fn splunk_gets_its_envelope_and_its_errors_are_understood() {
    // Error shapes of the HTTP Event Collector: text and code beside the HTTP status.
    let answers = Mutex::new(vec![
        answer("503 Service Unavailable", "{\"text\":\"Server is busy\",\"code\":9}"),
        answer("403 Forbidden", "{\"text\":\"Invalid token\",\"code\":4}"),
        answer("500 Internal Server Error", "{\"text\":\"Internal server error\",\"code\":8}"),
    ]);
    let bad = alert(130).id;
    let server = HttpServer::start(move |request| {
        if let Some(answer) = answers.lock().unwrap().pop() {
            return answer;
        }
        let body = String::from_utf8(request.body.clone()).unwrap();
        if body.contains(&bad) {
            return answer(
                "400 Bad Request",
                "{\"text\":\"Invalid data format\",\"code\":6,\"invalid-event-number\":0}",
            );
        }
        answer("200 OK", "{\"text\":\"Success\",\"code\":0}")
    });
    let mut world = World::new();
    let file = secret(&world, "0f0f-token");
    let sinks = [config(&format!(
        "type = \"splunk\"\nurl = \"{}\"\ntoken_file = {file}\nindex = \"mail\"\nname = \"hec\"\n{LOCAL}",
        server.url()
    ))];
    world.register(&sinks);
    world.commit(250);
    let status = &world.deliver(&sinks, 60)[0];
    assert_eq!((status.delivered, status.dead), (249, 1), "{status:?}");
    let mut seen = Vec::new();
    for request in server.requests() {
        assert_eq!(request.path, "/services/collector/event");
        assert_eq!(request.header("authorization"), Some("Splunk 0f0f-token"));
        let events = serde_json::Deserializer::from_slice(&request.body).into_iter::<Value>();
        for event in events {
            let event = event.unwrap();
            assert_eq!((&event["index"], &event["sourcetype"]), (&json!("mail"), &json!("portreeve:alert")));
            let native: Alert = serde_json::from_value(event["event"].clone()).unwrap();
            assert_eq!(
                event["time"].as_f64().unwrap(),
                portreeve::alert::event_at(&native).unwrap().as_seconds_f64()
            );
            seen.push(native.id);
        }
    }
    let seen: BTreeSet<String> = seen.into_iter().collect();
    assert_eq!(seen.len(), 250);
}

#[test]
fn elastic_errors_are_read_item_by_item() {
    let stored: &'static Mutex<BTreeSet<String>> = Box::leak(Box::new(Mutex::new(BTreeSet::new())));
    let (bad, slow) = (alert(3).id, alert(11).id);
    let turns = Mutex::new(0);
    let dead_id = bad.clone();
    let server = HttpServer::start(move |request| {
        let body = String::from_utf8(request.body.clone()).unwrap();
        let lines: Vec<Value> = body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(body.ends_with('\n'));
        let mut turns = turns.lock().unwrap();
        *turns += 1;
        let items: Vec<Value> = lines
            .chunks(2)
            .map(|pair| {
                let id = pair[0]["create"]["_id"].as_str().unwrap().to_owned();
                assert_eq!(pair[0]["create"]["_index"], "portreeve-alerts");
                assert_eq!(pair[1]["event"]["id"], json!(id));
                let mut stored = stored.lock().unwrap();
                let (status, error) = if id == bad {
                    (400, json!({"type": "document_parsing_exception", "reason": "failed to parse field"}))
                } else if id == slow && *turns < 5 {
                    (429, json!({"type": "es_rejected_execution_exception", "reason": "queue full"}))
                } else if !stored.insert(id.clone()) {
                    (409, json!({"type": "version_conflict_engine_exception", "reason": "document already exists"}))
                } else {
                    (201, Value::Null)
                };
                let mut result = json!({"_index": "portreeve-alerts", "_id": id, "status": status});
                if !error.is_null() {
                    result["error"] = error;
                }
                json!({ "create": result })
            })
            .collect();
        let whole = json!({"took": 3, "errors": true, "items": items}).to_string();
        // Now and then an answer is lost although the documents were stored.
        if *turns == 2 {
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n{\"took\"".to_vec()
        } else {
            answer("200 OK", &whole)
        }
    });
    let mut world = World::new();
    let file = secret(&world, "QUJDOkRFRg==");
    let sinks = [config(&format!(
        "type = \"elastic\"\nurl = \"{}\"\napi_key_file = {file}\nname = \"es\"\nallow_networks = [\"127.0.0.0/8\"]\ntimeout_seconds = 0.3",
        server.url()
    ))];
    world.register(&sinks);
    world.commit(30);
    let status = &world.deliver(&sinks, 60)[0];
    assert_eq!((status.delivered, status.dead), (29, 1), "{status:?}");
    let all: BTreeSet<String> =
        world.alerts().into_iter().map(|alert| alert.id).filter(|id| *id != dead_id).collect();
    assert_eq!(*stored.lock().unwrap(), all);
    let dead = Outbox::open(world.path()).unwrap().dead_letters("es").unwrap();
    assert_eq!(dead[0].reason, "400: document_parsing_exception: failed to parse field");
    assert_eq!(server.requests()[0].header("authorization"), Some("ApiKey QUJDOkRFRg=="));
}

/// Settings that hold a secret in the open are not even possible; what is read stays in memory.
#[test]
fn secrets_reach_the_receiver_and_nothing_else() {
    let canary = "CANARY-b1f0c3";
    let server = HttpServer::start(|_| answer("403 Forbidden", "{\"text\":\"Invalid token\",\"code\":4}"));
    let mut world = World::new();
    let secrets = tempfile::tempdir().unwrap();
    let file = secrets.path().join("token");
    std::fs::write(&file, canary).unwrap();
    let mut texts = Vec::new();
    for kind in ["splunk", "webhook"] {
        let sink =
            config(&format!("type = {kind:?}\nurl = \"{}\"\ntoken_file = {file:?}\n{LOCAL}", server.url()));
        texts.push(format!("{sink:?}"));
        let sinks = [sink];
        world.register(&sinks);
        world.commit(2);
        let statuses = world.deliver(&sinks, 1);
        texts.push(format!("{statuses:?}"));
        assert!(statuses[0].failures > 0);
    }
    let told = server.requests();
    assert!(told.iter().any(|request| request.header("authorization").is_some_and(|h| h.contains(canary))));
    assert!(texts.iter().all(|text| !text.contains(canary)), "{texts:?}");
    for entry in std::fs::read_dir(world.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(memchr::memmem::find(&bytes, canary.as_bytes()).is_none());
    }
    let error = portreeve::config::Config::parse(&format!(
        "[[sink]]\ntype = \"splunk\"\nurl = \"x\"\ntoken = {canary:?}"
    ));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("token_file"), "{error}");
    let arguments = std::fs::read("/proc/self/cmdline").unwrap();
    assert!(memchr::memmem::find(&arguments, canary.as_bytes()).is_none());
}
