//! What the service shows over HTTP.

pub mod metrics;
