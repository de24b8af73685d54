//! What happened since the change point: the last moment at which nothing spoke for a hijack.
//!
//! *In*: deliveries under suspicion. *Out*: what an incident tells of them. *Bound*: `limits::SAMPLES_MAX`
//! samples, `limits::BLOCK_ADDRESSES_MAX` addresses.

use super::counts::MarkCounts;
use super::detector::Expected;
use super::marks::{Marks, likelihood};
use super::model::{MarkLaw, Model};
use super::reach::Reach;
use super::samples::Samples;
use crate::limits;
use crate::mail::Untrusted;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// How much better the marks must fit a hijack than anything benign, nats: seven to one. Of bursts that follow a
/// benign row to the letter, at most e^-2 = 14 % ever get so far (Ville's inequality), before the test is asked at all.
const MARKS_MARGIN_NATS: f64 = 2.0;
/// Shares of the mail that an explanation may account for: a burst of its own, or a fifth beside ordinary mail.
const SHARES: [f64; 2] = [0.8, 0.2];

/// Deliveries since the change point.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    /// First delivery.
    pub first_at: Timestamp,
    /// Last delivery.
    pub last_at: Timestamp,
    /// Deliveries (and, under TLS, estimated messages).
    pub messages: u64,
    /// Of these, such whose paths and verdict TLS hid.
    pub hidden: u64,
    /// Greatest evidence, nats.
    pub peak_nats: f64,
    /// Marks.
    pub marks: MarkCounts,
    /// Addresses of a block that took part.
    pub addresses: BTreeSet<IpAddr>,
    /// A few deliveries, the first ones.
    pub samples: Samples,
    /// Log-likelihood of each benign regime in the model's order, against the sender's own marks, at each of [`SHARES`].
    pub explained: Vec<Fits>,
    /// The same of each template.
    pub accused: Vec<Fits>,
    /// What is counted beside the marks. Stored behind the rest, see [`super::sender::Sender::to_blob`].
    #[serde(skip)]
    pub reach: Option<Box<Reach>>,
}

/// One delivery shown as an example. Names of recipients are kept only where `Settings::recipients_named` says so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// The address that it left from.
    pub address: Option<IpAddr>,
    /// Who handed it in.
    pub client: Option<IpAddr>,
    /// The server.
    pub responder: Option<IpAddr>,
    /// Reverse-path; empty for the null path.
    pub reverse_path: Option<Untrusted>,
    /// The whole forward-path, where the settings ask for it.
    pub forward_path: Option<Untrusted>,
    /// Domain of the forward-path.
    pub forward_domain: Option<Untrusted>,
    /// Keyed digest of the whole forward-path.
    pub forward_path_digest: Option<u64>,
    /// Reply code.
    pub code: Option<u16>,
    /// The receiver's words.
    pub text: Option<Untrusted>,
    /// Local id of the message.
    pub queue_id: Option<Untrusted>,
}

impl Episode {
    /// Adds one delivery. `sample` is asked for only while more examples are wanted.
    pub fn add(
        &mut self,
        at: Timestamp,
        marks: &Marks,
        address: Option<IpAddr>,
        sample: impl FnOnce() -> Sample,
    ) {
        if self.messages == 0 {
            self.first_at = at;
        }
        self.last_at = at;
        self.messages += 1;
        self.marks.add(marks);
        if let Some(address) = address
            && self.addresses.len() < limits::BLOCK_ADDRESSES_MAX
        {
            self.addresses.insert(address);
        }
        if self.samples.len() < limits::SAMPLES_MAX {
            self.samples.push(&sample());
        }
    }

    /// Adds marks beside those of the delivery that was added last.
    pub fn add_marks(&mut self, at: Timestamp, marks: &Marks) {
        if self.messages == 0 {
            self.first_at = at;
            self.last_at = at;
        }
        self.marks.add(marks);
    }

    /// Whether the marks since the change point fit some hijack clearly better than every benign regime and the
    /// sender's own mix.
    ///
    /// The registers alone cannot ask this in the first moments of a burst: the filter of the null needs a few
    /// deliveries to move to the regime that explains it, and meanwhile volume speaks for whatever is fast.
    pub fn marks_accuse(&self) -> bool {
        best(&self.accused) >= best(&self.explained).max(0.0) + MARKS_MARGIN_NATS
    }

    /// Whether TLS hid almost everything, so that there are hardly any marks to ask.
    pub fn opaque(&self) -> bool {
        self.hidden * 10 >= self.messages * 9
    }

    /// Adds up how well each explanation fits the marks, where a share of the mail follows it and the rest is the
    /// sender's own mix: a hijacked sender goes on sending its own mail too.
    pub fn explain(&mut self, model: &Model, expected: &Expected, marks: &Marks) {
        self.explained.resize(model.regimes.len(), [0.0; SHARES.len()]);
        self.accused.resize(model.templates.len(), [0.0; SHARES.len()]);
        let law = &expected.law;
        let own = likelihood(law, marks);
        for (fits, regime) in self.explained.iter_mut().zip(&model.regimes) {
            let foreign = if regime.replaced_machine { model.replaced_machine } else { law.foreign };
            let regime_law = MarkLaw { foreign, ..regime.law.unwrap_or(*law) };
            let side = model.side_ratio(&regime.side, &expected.side, &marks.side);
            add_fit(fits, likelihood(&regime_law, marks) / own * side);
        }
        for (index, (fits, template)) in self.accused.iter_mut().zip(&model.templates).enumerate() {
            if expected.templates & 1 << index == 0 {
                fits.fill(f64::NEG_INFINITY);
                continue;
            }
            let side = model.side_ratio(&template.side, &expected.side, &marks.side);
            add_fit(fits, likelihood(&template.law, marks) / own * side);
        }
    }
}

/// Log-likelihood at each of [`SHARES`].
type Fits = [f64; SHARES.len()];

fn add_fit(fits: &mut Fits, ratio: f64) {
    for (fit, share) in fits.iter_mut().zip(SHARES) {
        *fit += ((1.0 - share) + share * ratio).ln();
    }
}

/// The best of several explanations, each at the share that suits it.
pub fn best(fits: &[Fits]) -> f64 {
    fits.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max)
}
