//! The signals that the service follows. They are caught before anything is opened, so that none ends it halfway.
//!
//! *In*: SIGINT, SIGTERM (drain and end), SIGHUP (reload). *Out*: [`Signal`], one at a time.

use crate::cli::failure::Failure;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Drain and end.
    End,
    /// Read the configuration anew, and open files anew.
    Reload,
}

/// Signals that are caught.
pub struct Signals {
    interrupt: Stream,
    terminate: Stream,
    hangup: Stream,
}

impl Signals {
    /// From now on, signals wait here.
    pub fn caught(runtime: &Runtime) -> Result<Signals, Failure> {
        let _context = runtime.enter();
        let caught = |kind| signal(kind).map_err(Failure::running);
        Ok(Signals {
            hangup: caught(SignalKind::hangup())?,
            interrupt: caught(SignalKind::interrupt())?,
            terminate: caught(SignalKind::terminate())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::End,
            _ = self.terminate.recv() => Signal::End,
            _ = self.hangup.recv() => Signal::Reload,
        }
    }
}
