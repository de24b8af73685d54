//! Questions to the state: off the event loop, few at once, each a short look at one committed moment.
//!
//! *In*: a closure over a [`Reader`]. *Out*: its answer, or a page that says what is wrong. *Bound*:
//! `limits::WEB_QUERIES_MAX` at once. *Spec*: SQLite's write-ahead log: readers do not make the writer wait.

use super::guard;
use crate::limits;
use crate::store::StoreError;
use crate::store::actions::{Action, Control};
use crate::store::read::Reader;
use crate::time::Timestamp;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::Semaphore;

/// Readers of one state.
pub struct Reading {
    directory: PathBuf,
    idle: Arc<Mutex<Vec<Reader>>>,
    places: Semaphore,
}

/// Why there is no page.
#[derive(Debug)]
pub enum Trouble {
    /// No such thing.
    Nothing(&'static str),
    /// What was asked for is not possible, and why.
    Refused(String),
    /// The state cannot be read now.
    State(String),
}

impl Reading {
    /// Opens the state once, to know that it is there.
    pub fn open(directory: &Path) -> Result<Reading, String> {
        let first = Reader::open(directory).map_err(|error| error.to_string())?;
        Ok(Reading {
            directory: directory.to_owned(),
            idle: Arc::new(Mutex::new(vec![first])),
            places: Semaphore::new(limits::WEB_QUERIES_MAX),
        })
    }

    /// Asks.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Trouble> {
        let _place = self.places.acquire().await;
        let (idle, directory) = (Arc::clone(&self.idle), self.directory.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let reader = kept.map_or_else(|| Reader::open(&directory), Ok)?;
            let answer = question(&reader)?;
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
            Ok::<T, StoreError>(answer)
        });
        match asked.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Trouble::State(error.to_string())),
            Err(_) => Err(Trouble::State("the question failed".into())),
        }
    }

    /// Puts down what the sensor is to do; gives the number of the request.
    pub async fn act(&self, action: Action, by: &'static str) -> Result<i64, Trouble> {
        let _place = self.places.acquire().await;
        let directory = self.directory.clone();
        let put =
            tokio::task::spawn_blocking(move || Control::open(&directory)?.ask(&action, by, wall_clock()));
        match put.await {
            Ok(Ok(number)) => Ok(number),
            Ok(Err(StoreError::Refused(why))) => Err(Trouble::Refused(why)),
            Ok(Err(error)) => Err(Trouble::State(error.to_string())),
            Err(_) => Err(Trouble::State("the request could not be put down".into())),
        }
    }
}

/// Now, by the clock on the wall.
pub fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

impl Trouble {
    /// As a page or as JSON.
    pub fn answer(self, api: bool) -> Response {
        match self {
            Trouble::Nothing(what) => guard::refuse(api, StatusCode::NOT_FOUND, what),
            Trouble::Refused(why) => guard::refuse(api, StatusCode::UNPROCESSABLE_ENTITY, &why),
            Trouble::State(why) => {
                tracing::warn!("dashboard: {why}");
                let text = "The state cannot be read now. The sensor's own log says more.";
                guard::refuse(api, StatusCode::SERVICE_UNAVAILABLE, text)
            }
        }
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        self.answer(false)
    }
}
