//! The evaluation: our detector and the ones to beat, side by side on the same synthetic histories.
//!
//! *In*: seeds. *Out*: tables and a picture. *Bound*: what the seeds ask for. *Spec*: docs/detection.md, evaluation.
//!
//! Nothing of the product uses this module; it uses the product's own sender state and test.

pub mod attacks;
mod bursts;
pub mod histories;
pub mod ours;
pub mod random;
pub mod score;
