//! Python's own HTTP server and JSON reader as a Splunk collector and an Elasticsearch: a second opinion on what is
//! sent. Skipped where python3 is not installed.

#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

mod sink_support;

use sink_support::*;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Answers as the real services do: HEC checks its token and its envelope, `_bulk` keeps documents by id and
/// refuses a second `create`. At the end it prints what it holds.
const SERVER: &str = r#"
import http.server, json, sys, threading

store, events, odd = {}, [], []

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(200, {"store": len(store), "events": len(events), "odd": odd,
                          "ids": sorted(store), "event_ids": sorted(e["id"] for e in events)})
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode("utf-8")
        if self.path == "/services/collector/event":
            if self.headers["Authorization"] != "Splunk tok-1":
                return self.answer(403, {"text": "Invalid token", "code": 4})
            decoder, at = json.JSONDecoder(), 0
            while at < len(body):
                event, at = decoder.raw_decode(body, at)
                if set(event) - {"time", "host", "source", "sourcetype", "index", "event", "fields"}:
                    odd.append(sorted(event))
                events.append(event["event"])
            return self.answer(200, {"text": "Success", "code": 0})
        if self.path == "/_bulk":
            if self.headers["Content-Type"] != "application/x-ndjson" or not body.endswith("\n"):
                return self.answer(400, {"error": {"type": "illegal_argument_exception"}, "status": 400})
            lines, items = body.split("\n")[:-1], []
            for action, document in zip(lines[::2], lines[1::2]):
                target = json.loads(action)["create"]
                json.loads(document)
                status = 409 if target["_id"] in store else 201
                store.setdefault(target["_id"], document)
                items.append({"create": {"_index": target["_index"], "_id": target["_id"], "status": status}})
            return self.answer(200, {"took": 1, "errors": any(i["create"]["status"] > 299 for i in items), "items": items})
        self.answer(404, {"error": "no handler found for uri"})

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

struct Python {
    process: Child,
    port: u16,
}

impl Python {
    fn start() -> Option<Python> {
        let process = Command::new("python3").args(["-c", SERVER]).stdout(Stdio::piped()).spawn();
        let Ok(mut process) = process else {
            eprintln!("skipped: python3 is not installed");
            return None;
        };
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Some(Python { port: line.trim().parse().unwrap(), process })
    }

    fn holds(&self) -> serde_json::Value {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn python_takes_every_event_and_document_once() {
    let Some(python) = Python::start() else { return };
    let mut world = World::new();
    let token = world.path().join("token");
    std::fs::write(&token, "tok-1\n").unwrap();
    let url = format!("http://127.0.0.1:{}", python.port);
    let common = "allow_networks = [\"127.0.0.1/32\"]";
    let sinks = [
        config(&format!("type = \"splunk\"\nurl = \"{url}\"\ntoken_file = {token:?}\n{common}")),
        config(&format!("type = \"elastic\"\nurl = \"{url}\"\n{common}")),
    ];
    world.register(&sinks);
    world.commit(500);
    for status in world.deliver(&sinks, 60) {
        assert_eq!(
            (status.delivered, status.dead, status.trouble.as_deref()),
            (500, 0, None),
            "{}",
            status.name
        );
    }
    let held = python.holds();
    assert_eq!((&held["store"], &held["events"]), (&500.into(), &500.into()));
    assert_eq!(held["odd"].as_array().unwrap().len(), 0, "{held}");
    let mut ids: Vec<String> = world.alerts().into_iter().map(|alert| alert.id).collect();
    ids.sort();
    assert_eq!(held["ids"], serde_json::json!(ids));
    assert_eq!(held["event_ids"], serde_json::json!(ids));
}

/// The file as it arrives, read by jq and checked against the schema that we publish.
#[test]
fn jq_reads_every_alert_of_the_file_and_the_schema_holds() {
    let mut world = World::new();
    let path = world.path().join("alerts.ndjson");
    let sinks = [config(&format!("type = \"file\"\npath = {path:?}"))];
    world.register(&sinks);
    world.commit(1_000);
    assert_eq!(world.deliver(&sinks, 60)[0].delivered, 1_000);
    let schema = jsonschema::validator_for(&portreeve::alert::schema()).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let ids: Vec<String> = world.alerts().into_iter().map(|alert| alert.id).collect();
    for (line, id) in text.lines().zip(&ids) {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(schema.is_valid(&value) && value["id"] == **id, "{line}");
    }
    let jq = Command::new("jq").args(["-e", "-r", ".id"]).arg(&path).output();
    let Ok(output) = jq else {
        eprintln!("skipped the rest: jq is not installed");
        return;
    };
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().collect::<Vec<_>>(), ids);
}
