//! What the sources tell about themselves: one board that all of them write on and the service reads.
//!
//! *In*: what each source counted, once a second. *Out*: the same, for health, metrics and the closing summary.
//! *Bound*: one entry a source.

use crate::health::SourceReading;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Shared between the sources and the service.
#[derive(Default)]
pub struct Board {
    stop: AtomicBool,
    logs_over: AtomicBool,
    sources: Mutex<BTreeMap<String, SourceReading>>,
}

impl Board {
    /// Tells every source to drain and end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether the sources are to drain and end.
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Says that no log can give anything any more: all were streams that ended.
    pub fn say_logs_over(&self) {
        self.logs_over.store(true, Ordering::Relaxed);
    }

    /// Whether no log can give anything any more.
    pub fn logs_over(&self) -> bool {
        self.logs_over.load(Ordering::Relaxed)
    }

    /// Replaces what is known of a source.
    pub fn write(&self, reading: SourceReading) {
        self.sources().insert(reading.name.clone(), reading);
    }

    /// Takes a source off.
    pub fn remove(&self, name: &str) {
        self.sources().remove(name);
    }

    /// Notes that a source ended though nobody told it to, unless it said why itself.
    pub fn ended(&self, name: &str) {
        if let Some(reading) = self.sources().get_mut(name) {
            reading.failed.get_or_insert_with(|| "its thread ended; restart the service".into());
        }
    }

    /// All sources, by name.
    pub fn read(&self) -> Vec<SourceReading> {
        self.sources().values().cloned().collect()
    }

    fn sources(&self) -> MutexGuard<'_, BTreeMap<String, SourceReading>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
