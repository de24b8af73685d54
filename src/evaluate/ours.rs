//! Our own detector on a history of marks: the same sender state, test and thresholds as in the product.
//!
//! *In*: deliveries of one sender. *Out*: evidence less ln(1 + usual messages per day), in nats, which is what a
//! role's threshold is compared with.

use super::histories::{Class, History, Sent};
use crate::company::Role;
use crate::engine::model::Model;
use crate::engine::sender::Sender;
use crate::time::CivilClock;

/// The role that a class of senders has.
pub fn role_of(class: Class) -> Role {
    match class {
        Class::Dormant => Role::Unused,
        Class::Appliance => Role::Device,
        Class::Office | Class::Relay => Role::MailRelay,
        Class::Bulk => Role::BulkSender,
        Class::Account => Role::Workstation,
    }
}

/// Judges the deliveries of one history, one by one.
pub fn judge<'a>(model: &'a Model, history: &History) -> Box<dyn FnMut(&Sent) -> f64 + 'a> {
    let clock = CivilClock::utc();
    let role = role_of(history.class);
    let mut sender: Option<Sender> = None;
    Box::new(move |sent| {
        let at = sent.timestamp();
        let sender = sender.get_or_insert_with(|| Sender::new(model, role, at, &clock));
        sender.advance(model, &clock, model.amber, at);
        let step = sender.deliver(model, model.amber, at, &sent.marks());
        step.evidence - sender.usual_per_day().ln_1p()
    })
}
