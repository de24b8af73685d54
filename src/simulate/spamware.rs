//! Tools of those who send spam: bought lists, forged names, software with manners of its own.
//!
//! *In*: a campaign's dice. *Out*: recipients, reverse-paths, greetings. *Spec*: shares as measured on real
//! campaigns and cited in docs/detection.md.

use super::dialogue::Manners;
use super::draw::Dice;
use super::names;
use super::receivers::{Receivers, Recipient};

/// A list as spammers have them.
pub(super) struct List {
    /// Share of addresses that do not exist.
    pub(super) unknown: f64,
    /// Probability that a receiver of average strictness refuses the campaign.
    pub(super) refused: f64,
    /// Share taken from the victims' own address books.
    pub(super) known: f64,
    /// Receivers that it is limited to.
    pub(super) wish: Wish,
    /// The victims' address books.
    pub(super) book: Vec<Recipient>,
}

/// Receivers that a campaign is limited to.
#[derive(Clone, Copy)]
pub(super) enum Wish {
    /// All.
    Any,
    /// Such that offer STARTTLS.
    Starttls,
    /// Such that have IPv6.
    V6,
}

/// Recipients of one message; one domain where the software speaks to receivers itself.
pub(super) fn recipients(
    receivers: &Receivers,
    list: &List,
    dice: &mut Dice,
    count: u64,
    same_domain: bool,
) -> Vec<Recipient> {
    let mut to: Vec<Recipient> = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let exists = !dice.chance(list.unknown);
        let recipient = match (to.first(), list.wish) {
            (Some(first), _) if same_domain => receivers.draw_of(dice, first.domain, exists),
            (_, Wish::Any) if exists && dice.chance(list.known) => *dice.pick(&list.book),
            (_, Wish::Any) => receivers.draw(dice, exists),
            (_, Wish::Starttls) => receivers.draw_where(dice, exists, |provider| provider.starttls),
            (_, Wish::V6) => receivers.draw_where(dice, exists, |provider| provider.v6.is_some()),
        };
        if !to.contains(&recipient) {
            to.push(recipient);
        }
    }
    to
}

/// A reverse-path of somebody who knows nothing of it.
pub(super) fn forged_address(dice: &mut Dice) -> String {
    let (first, last) = (dice.pick(names::FIRST), dice.pick(names::LAST));
    let (head, tail) = (dice.pick(names::DOMAIN_HEADS), dice.pick(names::DOMAIN_TAILS));
    format!("{first}{}{last}@{head}-{tail}.example", dice.whole(1, 999))
}

/// Name that spam software greets with.
pub(super) fn bot_greeting(dice: &mut Dice, domain: &str) -> String {
    match dice.below(5) {
        0 => domain.to_owned(),
        1 => format!("[198.19.{}.{}]", dice.whole(128, 255), dice.whole(1, 254)),
        2 => format!("host-{}.dyn.{}net.example", dice.whole(1, 9_999), dice.pick(names::DOMAIN_HEADS)),
        _ => (*dice.pick(names::BOT_GREETINGS)).to_owned(),
    }
}

/// How spam software speaks SMTP.
pub(super) fn bot_manners(dice: &mut Dice) -> Manners {
    Manners {
        ehlo: dice.chance(0.6),
        pipelines: dice.chance(0.1),
        starttls: false,
        quits: dice.between(0.3, 1.0),
        library: dice.bits(),
    }
}
