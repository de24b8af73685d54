//! What a sensor that runs says of itself: the conditions that hold, for `check`.
//!
//! *In*: the address of `[metrics] listen`. *Out*: [`Running`]. *Bound*: [`ANSWER_BYTES_MAX`], [`ANSWER_WAIT`]. *Spec*:
//! docs/operations.md, what it knows of itself.

use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::net::SocketAddr;
use std::time::Duration;

const ANSWER_BYTES_MAX: usize = 1 << 20;
const ANSWER_WAIT: Duration = Duration::from_secs(3);

/// What it said.
#[derive(Debug, Deserialize, PartialEq)]
pub struct Running {
    /// `ok`, `degraded`, `failing`, `starting` or `stuck`.
    pub status: String,
    /// What is wrong.
    pub conditions: Vec<Condition>,
}

/// Something that is wrong.
#[derive(Debug, Deserialize, PartialEq)]
pub struct Condition {
    /// Its stable name.
    pub code: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// One sentence.
    pub says: String,
}

/// Asks the sensor at an address; `None` where nobody answers as one would.
pub fn ask(address: SocketAddr) -> Option<Running> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async { tokio::time::timeout(ANSWER_WAIT, answer(address)).await.ok().flatten() })
}

async fn answer(address: SocketAddr) -> Option<Running> {
    let stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    let request =
        Request::get("/healthz").header(HOST, address.to_string()).body(Empty::<Bytes>::new()).ok()?;
    let body = sender.send_request(request).await.ok()?.into_body();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.ok()?.to_bytes();
    serde_json::from_slice(&body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn who_answers_otherwise_is_no_sensor() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = silent.local_addr().unwrap();
        drop(silent);
        assert_eq!(ask(nobody), None);

        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap();
        let answers = std::thread::spawn(move || {
            let (mut stream, _) = other.accept().unwrap();
            let _ = stream.read(&mut [0; 512]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
        });
        assert_eq!(ask(address), None);
        answers.join().unwrap();
    }
}
