//! Mail that comes in. A span port shows it too; it is not the company's sending and must count for nothing.
//!
//! *In*: a moment. *Out*: a session from a stranger to the company's own server, on the wire only.

use super::Director;
use super::content::{Address, Kind, Letter, compose};
use super::dialogue::{Caller, MTA, Manners, Offer, hold};
use super::draw::Dice;
use super::frames::{End, SHAPES};
use super::receivers::{Answer, Judgement, own_inbound};
use super::spamware::forged_address;
use super::world::{MX_IN, foreign_client, foreign_shape, link_address};

/// Share of the sessions that bring spam.
const SPAM_SHARE: f64 = 0.4;

impl Director {
    /// Somebody outside writes to somebody in the company.
    pub(super) fn inbound(&mut self, dice: &mut Dice, at: i64) {
        let provider = own_inbound(format!("mx-in.{}", self.world.domain()), MX_IN);
        let spam = dice.chance(SPAM_SHARE);
        let writer = self.receivers.draw(dice, true);
        let theirs = self.receivers.provider_of(writer);
        let (from, source, helo) = if spam {
            (forged_address(dice), foreign_client(dice), format!("host-{}.dyn.example", dice.whole(1, 9_999)))
        } else {
            (self.receivers.address(writer), *dice.pick(&theirs.v4), theirs.host.clone())
        };
        let person = &self.world.people[dice.below(self.world.people.len())];
        let known = !spam || dice.chance(0.5);
        let to = if known { person.login.clone() } else { format!("info{}", person.login) };
        let kind = if spam { Kind::Spam } else { Kind::Personal };
        let template = dice.whole(0, 20);
        let address = Address {
            company: &self.world.company,
            from: &from,
            to: &to,
            date: &self.calendar.rfc5322(at),
            trace: "",
            message_id: &format!("{at:x}@{helo}"),
        };
        let body = compose(Letter { kind, template }, &address, dice);
        let answer = match (known, spam) {
            (false, _) => Answer::Unknown,
            (true, true) if dice.chance(0.6) => Answer::Listed,
            _ => Answer::Accepted,
        };
        let judgement = Judgement { recipients: vec![answer], data: Answer::Accepted };
        let offer = Offer { reverse_path: &from, recipients: vec![to.clone()], judgement, body: &body };
        let client = End {
            ip: source,
            port: 20_000 + (at.rem_euclid(40_000)) as u16,
            mac: [0x02, 0, 0, 0, 0, 1],
            shape: if spam { foreign_shape(dice) } else { &SHAPES[0] },
            hops: 8,
        };
        let server = End { ip: MX_IN, port: 25, mac: link_address(MX_IN), shape: &SHAPES[0], hops: 0 };
        let manners =
            if spam { Manners { pipelines: false, starttls: false, quits: 0.5, ..MTA } } else { MTA };
        let caller = Caller { end: client, helo: &helo, manners };
        self.captures.add(hold(&caller, &provider, server, at, vec![offer], dice).talk);
    }
}
