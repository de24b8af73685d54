//! Secrets of every sink, in the program as a person runs it: they reach the receiver and stand nowhere else, neither
//! in what it says at its most talkative, nor in the state, the alerts or the list of processes.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod sink_support;

use sink_support::*;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const CANARIES: [&str; 6] = [
    "CANARY-webhook-token",
    "CANARY-webhook-secret",
    "CANARY-splunk-token",
    "CANARY-elastic-key",
    "CANARY-mail-password",
    "CANARY-in-environment",
];

/// Ends the program whatever happens.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A mail server that wants a password and then has no room. Notes what was said to it.
fn mail_server(heard: Arc<Mutex<String>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"220 mail.example ESMTP\r\n");
            for line in BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok) {
                heard.lock().unwrap().push_str(&line);
                let answer = match line.split(' ').next().unwrap_or_default() {
                    "EHLO" => "250-mail.example\r\n250 AUTH PLAIN LOGIN\r\n",
                    "AUTH" => "535 5.7.8 no\r\n",
                    "QUIT" => "221 bye\r\n",
                    _ => "451 4.3.0 later\r\n",
                };
                let _ = stream.write_all(answer.as_bytes());
            }
        }
    });
    port
}

fn configuration(place: &Path, web: &str, mail: u16) -> String {
    let secret = |name: &str, text: &str| {
        let path = place.join(name);
        std::fs::write(&path, format!("{text}\n")).unwrap();
        path
    };
    let [token, sign, splunk, elastic, mail_password, _] = CANARIES;
    let (token, sign) = (secret("a", token), secret("b", sign));
    let (splunk, elastic, mail_password) =
        (secret("c", splunk), secret("d", elastic), secret("e", mail_password));
    let allow = "allow_networks = [\"127.0.0.0/8\"]\ntimeout_seconds = 1";
    let alerts = place.join("alerts.ndjson");
    format!(
        "[[sink]]\ntype = \"webhook\"\nurl = \"{web}/hook\"\ntoken_file = {token:?}\nsecret_file = {sign:?}\n{allow}\n\
         [[sink]]\ntype = \"webhook\"\nname = \"env\"\nurl = \"{web}/env\"\ntoken_env = \"HOOK_TOKEN\"\n{allow}\n\
         [[sink]]\ntype = \"splunk\"\nurl = \"{web}\"\ntoken_file = {splunk:?}\n{allow}\n\
         [[sink]]\ntype = \"elastic\"\nurl = \"{web}\"\napi_key_file = {elastic:?}\n{allow}\n\
         [[sink]]\ntype = \"mail\"\nserver = \"127.0.0.1:{mail}\"\nfrom = \"a@example.org\"\n\
         to = [\"b@example.org\"]\nusername = \"u\"\npassword_file = {mail_password:?}\n{allow}\n\
         [[sink]]\ntype = \"command\"\nargv = [\"/bin/cat\"]\n\
         [[sink]]\ntype = \"file\"\npath = {alerts:?}\n"
    )
}

/// Files of a directory in which a canary stands.
fn sings(directory: &Path) -> Vec<String> {
    let mut list = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        if memchr::memmem::find(&bytes, b"CANARY").is_some() {
            list.push(path.display().to_string());
        }
    }
    list
}

#[test]
fn no_secret_is_said_kept_or_shown() {
    let place = quick_directory();
    let (secrets, state) = (place.path().join("secrets"), place.path().join("state"));
    std::fs::create_dir(&secrets).unwrap();
    std::fs::create_dir(&state).unwrap();
    // A state that is none: that alone is worth an alert to every sink.
    std::fs::write(state.join("state.db"), "no database").unwrap();
    let server = HttpServer::start(|_| answer("403 Forbidden", "{\"text\":\"Invalid token\",\"code\":4}"));
    let heard = Arc::new(Mutex::new(String::new()));
    let mail = mail_server(Arc::clone(&heard));
    let config = place.path().join("portreeve.toml");
    std::fs::write(&config, configuration(&secrets, server.url().trim_end_matches('/'), mail)).unwrap();
    let log = place.path().join("mail.log");
    std::fs::write(&log, "").unwrap();
    let said = std::fs::File::create(place.path().join("said")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
    command.args(["watch", "-c"]).arg(&config).arg("--state").arg(&state).arg("-l").arg(&log);
    command.env("PORTREEVE_LOG", "trace").env("HOOK_TOKEN", CANARIES[5]);
    command.stdout(Stdio::from(said.try_clone().unwrap())).stderr(Stdio::from(said));
    let mut running = Killed(command.spawn().unwrap());

    let began = Instant::now();
    let mut shown = BTreeSet::new();
    let told = |canary: &str| {
        server
            .requests()
            .iter()
            .any(|request| request.headers.iter().any(|(_, value)| value.contains(canary)))
    };
    let all_told = || [0, 2, 3, 5].iter().all(|n| told(CANARIES[*n]));
    while !all_told() {
        if let Some(status) = running.0.try_wait().unwrap() {
            panic!("{status}: {}", std::fs::read_to_string(place.path().join("said")).unwrap());
        }
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "a sink does not come to its receiver: {}",
            std::fs::read_to_string(place.path().join("said")).unwrap()
        );
        shown.extend(command_lines());
        std::thread::yield_now();
    }
    assert!(shown.iter().any(|line| line.contains("portreeve")), "the list of processes was not read");
    assert!(shown.iter().all(|line| !line.contains("CANARY")), "{shown:?}");
    let _ = Command::new("kill").arg(running.0.id().to_string()).status();
    let ended = running.0.wait().unwrap();
    let text = std::fs::read_to_string(place.path().join("said")).unwrap();
    assert!(ended.success(), "{ended}: {text}");
    assert!(text.contains("403"), "it said nothing of its trouble: {text}");
    assert!(!text.contains("CANARY"), "{text}");
    assert_eq!(sings(&state), Vec::<String>::new());
    assert!(std::fs::metadata(secrets.join("alerts.ndjson")).unwrap().len() > 0, "no alert was written");
    let alerts = std::fs::read_to_string(secrets.join("alerts.ndjson")).unwrap();
    assert!(!alerts.contains("CANARY"), "{alerts}");
    // Where the password of a mail server would go in the clear, it does not go at all.
    assert!(!heard.lock().unwrap().contains("AUTH"), "{}", heard.lock().unwrap());
}

/// What `ps` would show of our own processes.
fn command_lines() -> Vec<String> {
    let own = std::process::id().to_string();
    let read = |name: &str| std::fs::read(Path::new("/proc").join(name).join("cmdline")).ok();
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    processes
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && *name != own)
        .filter_map(|name| read(&name))
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
        .filter(|line| line.contains("portreeve") || line.starts_with("/bin/cat"))
        .collect()
}
