//! A service under test: started as a person would, its words collected, its metrics read.

#![allow(clippy::unwrap_used, dead_code)] // a test fails loudly; not every test uses everything

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A running service.
pub struct Service {
    pub child: Child,
    said: Arc<Mutex<String>>,
    listener: Option<std::thread::JoinHandle<()>>,
}

impl Service {
    /// Starts `portreeve watch` with arguments and environment.
    pub fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Service {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
        command.arg("watch").args(arguments).envs(environment.iter().copied());
        Service::run(command)
    }

    /// Starts it through a shell that lets it live when a file may not grow, and waits until it watches.
    pub fn watching_without_file_signal(arguments: &[&str]) -> Service {
        let mut command = Command::new("bash");
        command.args(["-c", "trap '' XFSZ; exec \"$0\" watch \"$@\"", env!("CARGO_BIN_EXE_portreeve")]);
        command.args(arguments);
        let service = Service::run(command);
        service.until_said("watching, ");
        service
    }

    fn run(mut command: Command) -> Service {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (stderr, ear) = (child.stderr.take().unwrap(), Arc::clone(&said));
        let listener = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut said = ear.lock().unwrap();
                said.push_str(&line);
                said.push('\n');
            }
        });
        Service { child, said, listener: Some(listener) }
    }

    /// Starts it and waits until it watches.
    pub fn watching(arguments: &[&str]) -> Service {
        let service = Service::start(arguments, &[]);
        service.until_said("watching, ");
        service
    }

    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it said so, or ended; panics after a minute.
    pub fn until_said(&self, what: &str) {
        until(what, || self.said().contains(what) || !alive(self.child.id()));
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Asks for a reload and waits for its end; how it went.
    pub fn reload(&self) -> bool {
        let count = |word: &str| self.said().matches(word).count();
        let before = (count("configuration taken over"), count("configuration refused"));
        self.signal("-HUP");
        until("the end of a reload", || {
            (count("configuration taken over"), count("configuration refused")) != before
        });
        count("configuration taken over") > before.0
    }

    /// Ends it; its exit code, all it said, and how long it took.
    pub fn end(mut self) -> (Option<i32>, String, Duration) {
        let began = Instant::now();
        self.signal("-TERM");
        let code = self.child.wait().unwrap().code();
        let took = began.elapsed();
        self.listener.take().unwrap().join().unwrap();
        let said = self.said();
        (code, said, took)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn alive(id: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}

/// Waits until a condition holds, for at most a minute.
pub fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "it never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port of this machine that is free now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One HTTP answer: its status line and its body.
pub fn http_get(port: u16, path: &str) -> Option<(String, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.lines().next()?.to_owned(), body.to_owned()))
}

/// The sum of a metric over its labels; `None` where it is not there (yet).
pub fn metric(port: u16, name: &str) -> Option<f64> {
    let (_, body) = http_get(port, "/metrics")?;
    let values = body.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = if rest.starts_with('{') { rest.rsplit_once('}')?.1 } else { rest };
        rest.strip_prefix(' ')?.parse::<f64>().ok()
    });
    values.reduce(|a, b| a + b)
}

/// A small world, made by the program itself.
pub fn world(directory: &Path) -> PathBuf {
    let world = directory.join("world");
    let out = Command::new(env!("CARGO_BIN_EXE_portreeve"))
        .args(["simulate", world.to_str().unwrap(), "--scenario", "demo", "--seed", "11"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    world
}

/// The longest plain log of a world.
pub fn longest_log(world: &Path) -> PathBuf {
    let mut logs = Vec::new();
    let mut directories = vec![world.join("logs")];
    while let Some(directory) = directories.pop() {
        for path in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_none_or(|extension| extension != "gz") {
                logs.push((path.metadata().unwrap().len(), path));
            }
        }
    }
    logs.sort();
    logs.pop().unwrap().1
}

/// The number before ` deliveries of` in a summary.
pub fn deliveries(said: &str) -> u64 {
    let line = said.lines().find(|line| line.starts_with("judged")).unwrap_or_else(|| panic!("{said}"));
    line.split_whitespace().nth(1).unwrap().replace(',', "").parse().unwrap()
}
