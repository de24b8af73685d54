//! Our own judge on a history of marks: sender state, test, episode and the marks' say, as in the product.
//!
//! *In*: deliveries of one sender. *Out*: minus the logarithm of the false alarms per 1,000 sender-days that evidence
//! less ln(1 + usual messages per day) implies for the role, where the marks accuse; what no evidence implies else.

use crate::histories::{Cause, Class, Sent};
use portreeve::company::Role;
use portreeve::engine::episode::{Episode, Sample};
use portreeve::engine::model::Model;
use portreeve::engine::sender::Sender;
use portreeve::engine::volume;
use portreeve::time::CivilClock;

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
pub fn judge(model: &Model, class: Class) -> Box<dyn FnMut(&Sent) -> f64 + '_> {
    let clock = CivilClock::utc();
    let role = role_of(class);
    let mut sender: Option<Sender> = None;
    Box::new(move |sent| {
        let (at, marks) = (sent.timestamp(), sent.marks());
        let sender = sender.get_or_insert_with(|| Sender::new(model, role, at, &clock));
        sender.advance(model, &clock, model.amber, at);
        let step = sender.deliver(model, model.amber, at, &marks);
        if step.clear || step.fresh {
            sender.end_episode();
        }
        if !step.clear {
            sender.remember(model, at, &marks, None, || no_sample(sent));
        }
        let accused = sender.episode().is_some_and(Episode::marks_accuse);
        let evidence = if accused { step.evidence - sender.proven_per_day().ln_1p() } else { 0.0 };
        -model.implied_false_alarms(role, evidence).ln()
    })
}

/// Our second tier where every mailing is announced: minus the logarithm of the alarms per 1,000 sender-days that the
/// surprise of the hour implies.
pub fn volume(model: &Model, class: Class) -> Box<dyn FnMut(&Sent) -> f64 + '_> {
    let clock = CivilClock::utc();
    let role = role_of(class);
    let mut sender: Option<Sender> = None;
    Box::new(move |sent| {
        let nothing = -volume::alarms_implied(0.0).ln();
        if matches!(sent.cause, Cause::Newsletter | Cause::ColdList | Cause::Invoices | Cause::LoadTest) {
            return nothing;
        }
        let at = sent.timestamp();
        let sender = sender.get_or_insert_with(|| Sender::new(model, role, at, &clock));
        sender.advance(model, &clock, model.amber, at);
        sender.deliver(model, model.amber, at, &sent.marks());
        volume::of(model, sender).map_or(nothing, |nats| -volume::alarms_implied(nats).ln())
    })
}

fn no_sample(sent: &Sent) -> Sample {
    Sample {
        at: sent.timestamp(),
        address: None,
        client: None,
        responder: None,
        reverse_path: None,
        forward_path: None,
        forward_domain: None,
        forward_path_digest: None,
        code: None,
        text: None,
        queue_id: None,
    }
}
