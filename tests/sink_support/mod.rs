//! A store with alerts, receivers to send them to, and patience for tests.

#![allow(clippy::unwrap_used)] // a test fails loudly
#![allow(dead_code, reason = "each test binary uses a part")]

#[path = "../store_support/mod.rs"]
mod store_support;
pub use store_support::*;

use portreeve::alert::Alert;
use portreeve::engine::Engine;
use portreeve::sink::delivery::{Delivery, Patience, SinkStatus};
use portreeve::sink::{self, SinkConfig};
use portreeve::store::Store;
use portreeve::store::outbox::Outbox;
use portreeve::time::Timestamp;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A store, its engine and the directory they live in.
pub struct World {
    pub directory: tempfile::TempDir,
    pub store: Store,
    pub engine: Engine,
    next: i64,
}

impl World {
    pub fn new() -> World {
        World::at(quick_directory())
    }

    pub fn at(directory: tempfile::TempDir) -> World {
        let store = Store::open(directory.path()).unwrap();
        let engine = engine(store.key);
        World { directory, store, engine, next: 0 }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Commits so many new alerts.
    pub fn commit(&mut self, alerts: i64) {
        let rows = alert_rows(self.next, self.next + alerts);
        self.next += alerts;
        self.store.commit(&mut self.engine, &[], &rows).unwrap();
    }

    /// All alerts committed so far.
    pub fn alerts(&self) -> Vec<Alert> {
        (0..self.next).map(alert).collect()
    }

    /// Registers the sinks' cursors before anything is committed.
    pub fn register(&self, configs: &[SinkConfig]) {
        let mut outbox = Outbox::open(self.path()).unwrap();
        for opened in sink::open_all(configs).unwrap() {
            outbox.register(&opened.name).unwrap();
        }
    }

    pub fn start(&self, configs: &[SinkConfig]) -> Delivery {
        self.start_with(configs, patience())
    }

    pub fn start_with(&self, configs: &[SinkConfig], patience: Patience) -> Delivery {
        Delivery::start(self.path(), sink::open_all(configs).unwrap(), patience).unwrap()
    }

    /// Delivers what is there.
    pub fn deliver(&self, configs: &[SinkConfig], seconds: u64) -> Vec<SinkStatus> {
        self.start(configs).finish(Duration::from_secs(seconds))
    }
}

/// Short pauses: tests have little time.
pub fn patience() -> Patience {
    Patience {
        pause_first: Duration::from_millis(1),
        pause_max: Duration::from_millis(20),
        refusals_for: Duration::from_millis(50),
        ..Patience::usual(7, || Timestamp::from_seconds(1_795_400_000))
    }
}

/// Reads one `[[sink]]` from TOML.
pub fn config(text: &str) -> SinkConfig {
    let config = portreeve::config::Config::parse(&format!("[[sink]]\n{text}\n")).unwrap();
    config.sink.into_iter().next().unwrap()
}

/// A request as a server sees it.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// A small HTTP server on a free port of this machine; the handler answers each request with raw bytes.
pub struct HttpServer {
    pub address: SocketAddr,
    pub requests: Arc<Mutex<Vec<Request>>>,
}

impl HttpServer {
    pub fn start(handler: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> HttpServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, handler) = (requests.clone(), Arc::new(handler));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, handler) = (seen.clone(), handler.clone());
                std::thread::spawn(move || {
                    let mut writer = stream.try_clone().unwrap();
                    let mut reader = BufReader::new(stream);
                    while let Some(request) = read_request(&mut reader) {
                        let answer = handler(&request);
                        seen.lock().unwrap().push(request);
                        if writer.write_all(&answer).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        HttpServer { address, requests }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

/// Reads one HTTP/1.1 request with a Content-Length; `None` at the end or where it breaks off.
pub fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(": ")?;
        headers.push((name.to_owned(), value.to_owned()));
    }
    let request = Request { path, headers, body: Vec::new() };
    let length = request.header("content-length")?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { body, ..request })
}

/// A whole HTTP answer.
pub fn answer(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
