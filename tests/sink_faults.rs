//! Receivers that fail in every way: the delivered set is the truth, and an alert looks the same each time.
//!
//! A cut after every byte of a request and of its answer, refusals, garbage, endless answers, silence, broken TLS:
//! over 5,000 faults for three protocols. `PORTREEVE_FAULT_STEP=1` (the default) takes every byte.

#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

mod sink_support;

use portreeve::sink::delivery::Patience;
use serde_json::{Value, json};
use sink_support::*;
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What goes wrong with one request.
#[derive(Clone, Debug)]
enum Fault {
    /// Closed after so many bytes of the request.
    CutRequest(usize),
    /// The request is taken; the answer ends after so many bytes.
    CutAnswer(usize),
    /// The request is not taken, and this is said.
    Say(Vec<u8>),
    /// The request is taken and nothing is said.
    Silence,
    /// An answer without end.
    Endless,
}

/// A receiver that keeps what it took by id, and follows a plan of faults.
struct Receiver {
    address: SocketAddr,
    plan: Arc<Mutex<VecDeque<Fault>>>,
    taken: Arc<Mutex<BTreeMap<String, Vec<Value>>>>,
}

impl Receiver {
    fn start(ids_of: fn(&[u8]) -> Vec<(String, Value)>, good: fn(&[u8]) -> Vec<u8>) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (plan, taken) = (Arc::new(Mutex::new(VecDeque::new())), Arc::new(Mutex::new(BTreeMap::new())));
        let receiver = Receiver { address, plan: plan.clone(), taken: taken.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (plan, taken) = (plan.clone(), taken.clone());
                std::thread::spawn(move || serve(stream, &plan, &taken, ids_of, good));
            }
        });
        receiver
    }
}

fn serve(
    stream: TcpStream,
    plan: &Mutex<VecDeque<Fault>>,
    taken: &Mutex<BTreeMap<String, Vec<Value>>>,
    ids_of: fn(&[u8]) -> Vec<(String, Value)>,
    good: fn(&[u8]) -> Vec<u8>,
) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let fault = plan.lock().unwrap().pop_front();
        if let Some(Fault::CutRequest(bytes)) = fault {
            let mut some = vec![0; bytes];
            let _ = reader.read_exact(&mut some);
            return;
        }
        let Some(request) = read_request(&mut reader) else {
            // The client hung up without a request: the fault is for the next one.
            if let Some(fault) = fault {
                plan.lock().unwrap().push_front(fault);
            }
            return;
        };
        if let Some(Fault::Say(words)) = fault {
            let _ = writer.write_all(&words);
            return;
        }
        for (id, value) in ids_of(&request.body) {
            taken.lock().unwrap().entry(id).or_default().push(value);
        }
        let answer = good(&request.body);
        match fault {
            None => {
                if writer.write_all(&answer).is_err() {
                    return;
                }
            }
            Some(Fault::CutAnswer(bytes)) => {
                let _ = writer.write_all(&answer[..bytes.min(answer.len() - 1)]);
                return;
            }
            Some(Fault::Silence) => {
                let _ = reader.read(&mut [0]);
                return;
            }
            Some(_) => {
                let _ = writer.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                while writer.write_all(&[b"10000\r\n", [b' '; 65_536].as_slice(), b"\r\n"].concat()).is_ok() {
                }
                return;
            }
        }
    }
}

/// All faults for requests and answers of these sizes.
fn faults(request_bytes: usize, answer_bytes: usize) -> Vec<Fault> {
    let step = campaign("PORTREEVE_FAULT_STEP", 1) as usize;
    let mut list: Vec<Fault> = (0..request_bytes).step_by(step).map(Fault::CutRequest).collect();
    list.extend((0..answer_bytes).step_by(step).map(Fault::CutAnswer));
    for status in [
        "429 Too Many Requests",
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Busy",
        "302 Found",
        "418 I'm a teapot",
        "999 ?",
    ] {
        list.push(Fault::Say(answer(status, "no")));
    }
    for garbage in [
        &b""[..],
        b"\0",
        b"\r\n\r\n",
        b"220 smtp.example ESMTP\r\n",
        b"HTTP/1.1 200",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        &[0xff; 70_000],
    ] {
        list.push(Fault::Say(garbage.to_vec()));
    }
    list.extend([Fault::Silence, Fault::Silence, Fault::Endless]);
    list
}

/// Runs all faults, fifty for each pair of alerts, and compares what arrived with the truth.
fn campaign_of(
    receiver: &Receiver,
    sink: &str,
    faults: Vec<Fault>,
    value_of: fn(&portreeve::alert::Alert) -> Value,
) -> usize {
    let mut world = World::new();
    let sinks = [config(&sink.replace("URL", &format!("http://{}", receiver.address)))];
    world.register(&sinks);
    let mut status = Default::default();
    for round in faults.chunks(50) {
        receiver.plan.lock().unwrap().extend(round.iter().cloned());
        world.commit(2);
        // Quick, and never giving up on a letter: the faults end.
        let patience = Patience {
            pause_first: Duration::from_micros(100),
            pause_max: Duration::from_millis(1),
            refusals_for: Duration::from_secs(600),
            ..patience()
        };
        let delivery = world.start_with(&sinks, patience);
        while delivery.statuses()[0].cursor < world.alerts().len() as i64 {
            std::thread::sleep(Duration::from_micros(500));
        }
        status = delivery.finish(Duration::from_secs(60)).remove(0);
        assert_eq!((status.delivered, status.dead), (2, 0), "{status:?}");
        assert!(receiver.plan.lock().unwrap().is_empty());
    }
    let taken = receiver.taken.lock().unwrap();
    let truth: BTreeMap<String, Value> =
        world.alerts().iter().map(|alert| (alert.id.clone(), value_of(alert))).collect();
    assert_eq!(taken.keys().collect::<Vec<_>>(), truth.keys().collect::<Vec<_>>());
    for (id, values) in taken.iter() {
        assert!(values.iter().all(|value| *value == truth[id]), "{id} changed on the way");
    }
    assert!(status.trouble.is_none());
    faults.len()
}

const COMMON: &str = "allow_networks = [\"127.0.0.0/8\"]\ntimeout_seconds = 0.5";

#[test]
fn webhook_splunk_and_elastic_deliver_the_truth_through_five_thousand_faults() {
    let native = |alert: &portreeve::alert::Alert| serde_json::to_value(alert).unwrap();
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "secret").unwrap();
    let mut total = 0;

    let webhook = Receiver::start(
        |body| {
            let value: Value = serde_json::from_slice(body).unwrap();
            vec![(value["id"].as_str().unwrap().to_owned(), value)]
        },
        |_| answer("200 OK", "{\"ok\":true}"),
    );
    let body = serde_json::to_string(&alert(1)).unwrap();
    total += campaign_of(
        &webhook,
        &format!("type = \"webhook\"\nurl = \"URL\"\nconnections = 1\n{COMMON}"),
        faults(body.len() + 250, 50),
        native,
    );

    let splunk = Receiver::start(
        |body| {
            let events = serde_json::Deserializer::from_slice(body).into_iter::<Value>();
            events
                .map(|event| event.unwrap()["event"].clone())
                .map(|v| (v["id"].as_str().unwrap().to_owned(), v))
                .collect()
        },
        |_| answer("200 OK", "{\"text\":\"Success\",\"code\":0}"),
    );
    total += campaign_of(
        &splunk,
        &format!("type = \"splunk\"\nurl = \"URL\"\ntoken_file = {:?}\n{COMMON}", secret.path()),
        faults(body.len() + 400, 60),
        native,
    );

    let elastic = Receiver::start(
        |body| {
            let lines: Vec<Value> = String::from_utf8(body.to_vec())
                .unwrap()
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            lines
                .chunks(2)
                .map(|pair| (pair[0]["create"]["_id"].as_str().unwrap().to_owned(), pair[1].clone()))
                .collect()
        },
        |body| {
            let items: Vec<Value> = String::from_utf8(body.to_vec())
                .unwrap()
                .lines()
                .step_by(2)
                .map(|line| serde_json::from_str::<Value>(line).unwrap()["create"]["_id"].clone())
                .map(|id| json!({ "create": { "_index": "portreeve-alerts", "_id": id, "status": 201 } }))
                .collect();
            answer("200 OK", &json!({ "took": 1, "errors": false, "items": items }).to_string())
        },
    );
    let ecs = |alert: &portreeve::alert::Alert| portreeve::alert::ecs::record(alert);
    let document = (portreeve::alert::format("ecs").unwrap().encode)(&alert(1));
    total += campaign_of(
        &elastic,
        &format!("type = \"elastic\"\nurl = \"URL\"\n{COMMON}"),
        faults(document.len() + 300, 120),
        ecs,
    );
    println!("{total} faults");
    assert!(total >= 5_000 || campaign("PORTREEVE_FAULT_STEP", 1) > 1, "{total}");
}

/// TLS that breaks off at any byte of the handshake, or is none.
#[test]
fn a_broken_handshake_is_a_failure_like_any_other() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().flatten().enumerate() {
            let mut stream = stream;
            let _ = stream.read(&mut vec![0; n * 7]);
            let _ = stream.write_all(&[0x16, 3, 3, 0, 90][..n % 6]);
        }
    });
    let mut world = World::new();
    let sinks = [config(&format!("type = \"webhook\"\nurl = \"https://{address}\"\n{COMMON}"))];
    world.register(&sinks);
    world.commit(1);
    let delivery = world.start(&sinks);
    while delivery.statuses()[0].failures < 60 {
        std::thread::yield_now();
    }
    let status = &delivery.finish(Duration::ZERO)[0];
    assert_eq!((status.delivered, status.dead), (0, 0));
}
