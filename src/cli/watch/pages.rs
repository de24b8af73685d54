//! What the service shows over HTTP: the dashboard, `/metrics` and `/healthz`.
//!
//! *In*: ports, opened while ports may still be opened; the vitals of each beat. *Out*: pages, each server on a thread
//! of its own. *Bound*: that of the servers.

use crate::cli::dashboard;
use crate::cli::failure::Failure;
use crate::cli::judge::wall_clock;
use crate::config::Config;
use crate::web::metrics::{self, Published};
use crate::web::{Running, Settings};
use std::net::TcpListener;
use std::path::Path;

/// Ports that are open, and what is served on them.
pub struct Pages {
    metrics: Option<TcpListener>,
    dashboard: Option<TcpListener>,
    running: Option<Running>,
}

impl Pages {
    /// Opens the ports.
    pub fn open(config: &Config) -> Result<Pages, Failure> {
        let fail = |address, error| {
            Failure::usage(format!("metrics.listen {address}: {error}: choose another port"))
        };
        let bind = |address| TcpListener::bind(address).map_err(|error| fail(address, error));
        Ok(Pages {
            metrics: config.metrics.listen.map(bind).transpose()?,
            dashboard: config.web.listen.map(dashboard::listen).transpose()?,
            running: None,
        })
    }

    /// Serves on them. Called again after a reload, the dashboard shows the new configuration.
    pub fn serve(&mut self, config: &Config, state: &Path, published: &Published) -> Result<(), Failure> {
        if let Some(listener) = self.metrics.take() {
            metrics::serve(listener, published.clone(), wall_clock);
        }
        let settings: Option<Settings> = config.web.settings().map_err(Failure::usage)?;
        if let (Some(listener), Some(settings)) = (&self.dashboard, settings) {
            let listener = listener.try_clone().map_err(Failure::running)?;
            let more = (published.clone(), metrics::router(published.clone(), wall_clock));
            self.running = None;
            self.running = Some(dashboard::serve_on(listener, settings, config, state, true, more)?);
        }
        Ok(())
    }
}
