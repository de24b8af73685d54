//! A syslog listener: what other machines send of their logs.
//!
//! *In*: datagrams or connections of allowed peers. *Out*: lines. *Bound*: `limits::SYSLOG_CONNECTIONS_MAX`
//! connections, one message each under way; `limits::LINES_WAITING_MAX` lines. *Spec*: RFC 3164, RFC 5424 (what a
//! message says), RFC 5426 (datagrams), RFC 6587 (streams).
//!
//! Nothing here can be read again: what is lost between a peer and the last commit is lost. A stream is made to wait
//! where lines come too fast; datagrams cannot be, so those that find no room are counted.

use super::framing::Framing;
use super::stream::{Arrival, Losses, Stream};
use super::ways::{ListenSettings, Transport};
use super::{TailError, file_error};
use crate::limits;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, Semaphore};

/// Largest datagram, bytes.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Bytes asked of a connection at once.
const CHUNK_BYTES: usize = 16 << 10;
/// How long a stream waits before it asks again whether there is room.
const ROOM_PAUSE: Duration = Duration::from_millis(5);
/// Connections that the system holds until they are accepted.
const BACKLOG: u32 = 64;

/// What all tasks of one listener share.
struct Shared {
    settings: ListenSettings,
    sender: SyncSender<Arrival>,
    losses: Arc<Losses>,
    over: AtomicBool,
    ends: Notify,
}

/// Ends the listener when its stream is dropped.
struct Hold(Arc<Shared>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
        self.0.ends.notify_one();
    }
}

/// A socket that is open, on which nobody listens yet.
pub struct Bound {
    settings: ListenSettings,
    runtime: Runtime,
    socket: Socket,
    /// Where it is open: port 0 asks for any.
    pub address: SocketAddr,
}

/// Opens the socket. What comes waits in it until [`Bound::listen`].
pub fn bind(settings: &ListenSettings) -> Result<Bound, TailError> {
    let open = || -> io::Result<Bound> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let context = runtime.enter();
        let socket = Socket::open(settings)?;
        drop(context);
        let address = socket.address()?;
        Ok(Bound { settings: settings.clone(), runtime, socket, address })
    };
    open().map_err(|error| file_error(&settings.address.to_string(), &error))
}

impl Bound {
    /// Listens from now on, on a thread of its own.
    pub fn listen(self) -> Stream {
        let Bound { settings, runtime, socket, .. } = self;
        let (stream, sender, losses) = Stream::new(None);
        let (over, ends) = (AtomicBool::new(false), Notify::new());
        let shared = Arc::new(Shared { settings, sender, losses, over, ends });
        let held = Arc::clone(&shared);
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = socket.serve(&shared) => {}
                    () = shared.ends.notified() => {}
                }
            });
        });
        stream.guarded(Hold(held))
    }
}

/// Opens the socket and listens at once. Gives the address too: port 0 asks for any.
pub fn listen(settings: &ListenSettings) -> Result<(Stream, SocketAddr), TailError> {
    let bound = bind(settings)?;
    let address = bound.address;
    Ok((bound.listen(), address))
}

enum Socket {
    Udp(UdpSocket),
    Tcp(tokio::net::TcpListener),
}

impl Socket {
    fn open(settings: &ListenSettings) -> io::Result<Socket> {
        let address = settings.address;
        match settings.transport {
            Transport::Udp => {
                let socket = std::net::UdpSocket::bind(address)?;
                socket.set_nonblocking(true)?;
                UdpSocket::from_std(socket).map(Socket::Udp)
            }
            Transport::Tcp => {
                let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
                socket.set_reuseaddr(true)?;
                // Accepted connections take it over: a peer that vanished gives its place back.
                socket.set_keepalive(true)?;
                socket.bind(address)?;
                socket.listen(BACKLOG).map(Socket::Tcp)
            }
        }
    }

    fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Socket::Udp(socket) => socket.local_addr(),
            Socket::Tcp(listener) => listener.local_addr(),
        }
    }

    async fn serve(self, shared: &Arc<Shared>) {
        match self {
            Socket::Udp(socket) => datagrams(&socket, shared).await,
            Socket::Tcp(listener) => connections(&listener, shared).await,
        }
    }
}

async fn datagrams(socket: &UdpSocket, shared: &Shared) {
    let mut room = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // An error here is about an earlier answer of ours, and we send none.
        let Ok((length, peer)) = socket.recv_from(&mut room).await else { continue };
        if !shared.settings.admits(peer.ip()) {
            shared.losses.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let message = room.get(..length).unwrap_or_default();
        let overlong = length > limits::LOG_LINE_BYTES_MAX;
        shared.losses.overlong.fetch_add(u64::from(overlong), Ordering::Relaxed);
        let message = message.get(..length.min(limits::LOG_LINE_BYTES_MAX)).unwrap_or_default();
        let end = message.iter().rev().take_while(|byte| matches!(byte, b'\n' | b'\r' | 0)).count();
        let message = message.get(..message.len() - end).unwrap_or_default();
        if !message.is_empty()
            && let Err(TrySendError::Full(_)) = shared.sender.try_send(Arrival::Line(message.to_vec(), None))
        {
            shared.losses.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn connections(listener: &tokio::net::TcpListener, shared: &Arc<Shared>) {
    let places = Arc::new(Semaphore::new(limits::SYSLOG_CONNECTIONS_MAX));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                let _ = shared.sender.try_send(Arrival::Trouble(file_error("syslog listener", &error)));
                tokio::time::sleep(Duration::from_millis(250)).await;
                continue;
            }
        };
        if !shared.settings.admits(peer.ip()) {
            shared.losses.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            shared.losses.crowded_out.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            let _place = place;
            connection(stream, &shared).await;
        });
    }
}

async fn connection(mut stream: TcpStream, shared: &Shared) {
    let mut framing = Framing::default();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut messages: Vec<Vec<u8>> = Vec::new();
    loop {
        let read = stream.read(&mut chunk).await.unwrap_or(0);
        match read {
            0 => framing.finish(&mut |message| messages.push(message.to_vec())),
            _ => framing.push(chunk.get(..read).unwrap_or_default(), &mut |message| {
                messages.push(message.to_vec());
            }),
        }
        for message in messages.drain(..) {
            if !hand_over(Arrival::Line(message, None), shared).await {
                return;
            }
        }
        if read == 0 {
            shared.losses.overlong.fetch_add(framing.overlong(), Ordering::Relaxed);
            return;
        }
    }
}

/// Waits for room. `false` where nobody listens any more.
async fn hand_over(mut arrival: Arrival, shared: &Shared) -> bool {
    loop {
        match shared.sender.try_send(arrival) {
            Ok(()) => return true,
            Err(TrySendError::Full(back)) if !shared.over.load(Ordering::Relaxed) => arrival = back,
            Err(_) => return false,
        }
        tokio::time::sleep(ROOM_PAUSE).await;
    }
}
