//! A dashboard that is really served, plain HTTP to ask it, and a real browser to look at it.

#![allow(clippy::unwrap_used)] // a test fails loudly
#![allow(dead_code, reason = "each test binary uses a part")]

use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// One answer.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Sends octets, reads to the end.
pub fn raw(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(request).unwrap();
    let (mut answer, mut part) = (Vec::new(), [0; 16 << 10]);
    // Chromium's driver keeps connections whatever it is told: what was announced is enough.
    while !whole(&answer) {
        match stream.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(count) => answer.extend_from_slice(&part[..count]),
        }
    }
    parse(&answer)
}

/// Whether an answer of announced length is there.
fn whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    length.is_some_and(|length| answer.len() >= end + 4 + length)
}

fn parse(answer: &[u8]) -> Answer {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(answer.len());
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut body = answer.get(end + 4..).unwrap_or_default().to_vec();
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        body = unchunked(&body);
    }
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Answer { status, head, body: String::from_utf8_lossy(&body).into_owned() }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap().trim(), 16).unwrap();
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        if size == 0 {
            break;
        }
        rest = &rest[end + 2 + size + 2..];
    }
    body
}

/// `GET` with more header lines.
pub fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    request(address, "GET", path, headers, "")
}

/// `POST` with a body.
pub fn post(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    request(address, "POST", path, headers, body)
}

fn request(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        text.push_str(&format!("Host: {address}\r\n"));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if method == "POST" {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    raw(address, format!("{text}\r\n{body}").as_bytes())
}

/// A process that ends with the test.
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `portreeve demo --web`, serving.
pub struct Demo {
    pub address: SocketAddr,
    _process: Ended,
}

impl Demo {
    pub fn start() -> Demo {
        let (process, address) =
            serving(Command::new(env!("CARGO_BIN_EXE_portreeve")).args(["demo", "--web", "127.0.0.1:0"]));
        Demo { address, _process: process }
    }
}

/// Starts a program of ours and waits until it says where its dashboard is.
pub fn serving(command: &mut Command) -> (Ended, SocketAddr) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let child = Ended(child);
    let mut seen = Vec::new();
    for line in lines.by_ref() {
        let line = line.unwrap();
        if let Some(place) = line.strip_prefix("dashboard: http://") {
            let address = place.trim_end_matches('/').parse().unwrap();
            // The rest is read, so that the program never waits for its reader.
            std::thread::spawn(move || lines.for_each(drop));
            return (child, address);
        }
        seen.push(line);
    }
    panic!("it ended without a dashboard:\n{}", seen.join("\n"));
}

impl Drop for Browser {
    /// A driver that is killed leaves its browser behind; one that is asked to end the session ends it.
    fn drop(&mut self) {
        request(self.driver, "DELETE", &format!("/session/{}", self.session), &[], "");
    }
}

/// Runs in every page before anything of it: counts what must not happen.
const WATCHMAN: &str = "
    window.__ran = 0; window.__refused = [];
    for (const name of ['alert', 'confirm', 'prompt', 'open']) window[name] = () => { window.__ran += 1; };
    document.addEventListener('securitypolicyviolation', (event) =>
        window.__refused.push(event.effectiveDirective + ' ' + event.blockedURI + ' ' + (event.sample || '')));
";

/// A headless browser.
pub struct Browser {
    pub client: Client,
    driver: SocketAddr,
    session: String,
    _process: Ended,
}

impl Browser {
    /// `None`, and says why, where there is no Chromium or no driver.
    pub async fn start() -> Option<Browser> {
        let found = |name: &str| {
            std::env::var_os("PATH")
                .is_some_and(|paths| std::env::split_paths(&paths).any(|path| path.join(name).exists()))
        };
        if !found("chromedriver") || !found("chromium") {
            eprintln!("skipped: no chromium or chromedriver here (Debian: chromium, chromium-driver)");
            return None;
        }
        let mut child = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let process = Ended(child);
        let port = lines.by_ref().find_map(|line| {
            let line = line.ok()?;
            line.split("successfully on port ").nth(1)?.trim_end_matches('.').parse::<u16>().ok()
        });
        std::thread::spawn(move || lines.for_each(drop));
        let driver = SocketAddr::from(([127, 0, 0, 1], port.unwrap()));
        let capabilities = json!({
            "goog:chromeOptions": { "args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                "--lang=en-GB", "--window-size=1280,900", "--force-device-scale-factor=1",
            ] },
        });
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities.as_object().unwrap().clone())
            .connect(&format!("http://{driver}"))
            .await
            .unwrap();
        let session = client.session_id().await.unwrap().unwrap();
        let browser = Browser { client, driver, session, _process: process };
        browser.devtools("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": WATCHMAN }));
        browser.devtools("Emulation.setTimezoneOverride", &json!({ "timezoneId": "Europe/Berlin" }));
        Some(browser)
    }

    /// A command of Chromium's own protocol.
    pub fn devtools(&self, command: &str, parameters: &Value) -> Value {
        let path = format!("/session/{}/goog/cdp/execute", self.session);
        let body = json!({ "cmd": command, "params": parameters }).to_string();
        let answer = post(self.driver, &path, &[("content-type", "application/json")], &body);
        assert_eq!(answer.status, 200, "{command}: {}", answer.body);
        answer.json()["value"].clone()
    }

    /// Light or dark.
    pub fn scheme(&self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", &features);
    }

    pub async fn open(&self, address: SocketAddr, path: &str) {
        self.client.goto(&format!("http://{address}{path}")).await.unwrap();
    }

    pub async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Scripts that ran which should not have, refusals of the content policy, requests to elsewhere.
    pub async fn misdeeds(&self) -> Value {
        self.run(
            "const foreign = performance.getEntriesByType('resource').map((entry) => entry.name)
                .filter((name) => !name.startsWith(location.origin));
             return { ran: window.__ran, refused: window.__refused, foreign };",
        )
        .await
    }

    /// A picture of a page at a width: all of it, or its first 2,200 pixels.
    pub async fn picture(&self, width: u32, path: &Path) {
        let size = |height: u64| json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", &size(900));
        let height = self.run("return document.documentElement.scrollHeight").await.as_u64().unwrap();
        self.devtools("Emulation.setDeviceMetricsOverride", &size(height.clamp(500, 2_200)));
        std::fs::write(path, self.client.screenshot().await.unwrap()).unwrap();
        self.devtools("Emulation.clearDeviceMetricsOverride", &json!({}));
    }
}
