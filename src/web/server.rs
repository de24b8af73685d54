//! Takes connections and gives each a little time, so that slow or silent ones cost nothing.
//!
//! *In*: a listening socket, the routes. *Out*: answers. *Bound*: `limits::WEB_CONNECTIONS_MAX` and the times and
//! sizes beside it. *Spec*: HTTP/1.1 (RFC 9112).
//!
//! The dashboard has a thread and a runtime of its own: however busy it is, capture and judging are not asked to
//! wait.

use crate::limits;
use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tower::ServiceExt;

/// A dashboard that is being served. It ends when this is dropped.
pub struct Running {
    /// Where it listens: the port that was found, where 0 was asked for.
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Serves until the process ends.
    pub fn wait(mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Serves an open port on a thread of its own. `routes` is called inside its runtime.
pub fn start(
    listener: std::net::TcpListener,
    routes: impl FnOnce() -> Router + Send + 'static,
) -> io::Result<Running> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(limits::WEB_QUERIES_MAX + 1)
        .build()?;
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new().name("web".into()).spawn(move || {
        runtime.block_on(async {
            let listener = match TcpListener::from_std(listener) {
                Ok(listener) => listener,
                Err(error) => return tracing::error!("dashboard: {error}"),
            };
            tokio::select! {
                () = accept(listener, routes()) => {}
                _ = stopped => {}
            }
        });
        // A question to the state that is under way is not waited for.
        runtime.shutdown_background();
    })?;
    Ok(Running { address, stop: Some(stop), thread: Some(thread) })
}

/// A connection that is open.
struct Guest {
    /// Whether it has sent a whole request.
    spoke: Arc<AtomicBool>,
    /// Dropped to end it.
    stay: oneshot::Sender<()>,
}

/// Takes every connection at once. When there are too many, the one that has been silent longest goes: whoever asks
/// is served at once, however many only knock.
async fn accept(listener: TcpListener, routes: Router) {
    let mut guests: VecDeque<Guest> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, or the caller went away: try again, but not in a hot loop.
                tracing::debug!("dashboard: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        guests.retain(|guest| !guest.stay.is_closed());
        if guests.len() >= limits::WEB_CONNECTIONS_MAX {
            let silent = guests.iter().position(|guest| !guest.spoke.load(Ordering::Relaxed));
            match silent {
                Some(place) => drop(guests.remove(place)),
                None => continue,
            }
        }
        let spoke = Arc::new(AtomicBool::new(false));
        let (stay, leave) = oneshot::channel();
        guests.push_back(Guest { spoke: Arc::clone(&spoke), stay });
        tokio::spawn(serve(stream, routes.clone(), spoke, leave));
    }
}

async fn serve(stream: TcpStream, routes: Router, spoke: Arc<AtomicBool>, leave: oneshot::Receiver<()>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        spoke.store(true, Ordering::Relaxed);
        routes.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(limits::WEB_HEAD_SECONDS_MAX))
        .max_buf_size(limits::WEB_HEAD_BYTES_MAX)
        .max_headers(limits::WEB_HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = connection => {}
        _ = leave => {}
        () = tokio::time::sleep(Duration::from_secs(limits::WEB_CONNECTION_SECONDS_MAX)) => {}
    }
}
