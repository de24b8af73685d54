//! portreeve watches outbound SMTP and MTA logs, learns what each sender normally does, and says when
//! one was hijacked.
//!
//! ```text
//!  span port ─ packets ─▶ capture ─▶ flow ─▶ smtp ─┐
//!  pcap files ┘                                    ├─▶ observation ─▶ engine ─▶ alert ─▶ sink
//!  MTA logs ── lines ───▶ tail ────▶ mta ──────────┘                    │
//!                                                                     store
//! ```
//!
//! Invariants:
//! - [`observation`] is the narrow waist: nothing after it knows packets or lines, nothing before it
//!   knows statistics.
//! - `flow`, `smtp`, `mta` and `engine` do no I/O and read no clock; time is data. The same input gives
//!   the same alerts, byte for byte, at any speed and with any number of threads.
//! - Hostile input is never an error: it is a counted [`observation::Oddity`].
//! - What could not be seen is `None`, never zero.
//! - Whatever an attacker can grow has a bound in [`limits`] and a counter.
//! - Imports follow the table in docs/architecture.md; `tests/dependency_rule.rs` enforces it.

pub mod alert;
pub mod capture;
pub mod cli;
pub mod company;
pub mod config;
pub mod engine;
pub mod flow;
pub mod health;
pub mod join;
pub mod limits;
pub mod mail;
pub mod mta;
pub mod observation;
pub mod sandbox;
pub mod simulate;
pub mod sink;
pub mod smtp;
pub mod store;
pub mod tail;
pub mod time;
pub mod web;
