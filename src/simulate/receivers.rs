//! The world outside: providers with mail servers, domains with mailboxes, and how they judge mail.
//!
//! *In*: the world's seed. *Out*: recipients, and the answer that each gets. Whether a mailbox exists is a
//! property of its address, the same for everybody who writes to it. *Bound*: memory of greylisting only.

use super::draw::{Dice, mix};
use super::names;
use super::styles::{STYLES, Style};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Who runs the mail servers of one or many domains.
pub(super) struct Provider {
    /// Name of its mail server.
    pub(super) host: String,
    /// Addresses of its mail servers.
    pub(super) v4: Vec<IpAddr>,
    /// Address by IPv6, where it has one.
    pub(super) v6: Option<IpAddr>,
    /// How its servers speak.
    pub(super) style: &'static Style,
    /// Offers STARTTLS.
    pub(super) starttls: bool,
    /// Offers PIPELINING.
    pub(super) pipelining: bool,
    /// Round trip from the sensor, microseconds.
    pub(super) rtt_us: f64,
    /// Defers the first try of an unknown triplet.
    greylists: bool,
    /// Checks mailboxes only after the data.
    late_check: bool,
    /// How readily it refuses what looks bad, around 1.
    strictness: f64,
    /// Share of tries that it defers for reasons of its own.
    trouble: f64,
    /// Whether its server still answers.
    pub(super) life: Life,
}

/// Whether a server still answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Life {
    /// It does.
    Answers,
    /// Nothing listens there: connections are reset.
    Refuses,
    /// Nothing is there.
    Silent,
}

/// A mail domain.
struct Domain {
    name: String,
    provider: usize,
    /// How many local parts are thinkable; about half of them exist.
    population: u64,
}

/// One mailbox, existing or not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Recipient {
    /// Index of its domain.
    pub(super) domain: u32,
    number: u32,
}

/// The world outside.
pub(super) struct Receivers {
    /// All providers.
    pub(super) providers: Vec<Provider>,
    domains: Vec<Domain>,
    cumulative: Vec<f64>,
    salt: u64,
    greylisted: BTreeSet<u64>,
}

/// Where in the dialogue an answer is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// Taken.
    Accepted,
    /// No such mailbox.
    Unknown,
    /// Sender's address is on a list.
    Listed,
    /// Content refused (after the data).
    Content,
    /// Deferred by greylisting.
    Greylisted,
    /// Deferred for the receiver's own reasons.
    Busy,
    /// Mailbox full.
    Full,
}

impl Answer {
    /// The reply text of a style.
    pub(super) fn text(self, style: &Style) -> &'static str {
        match self {
            Answer::Accepted => style.rcpt_ok,
            Answer::Unknown => style.unknown,
            Answer::Listed => style.listed,
            Answer::Content => style.content,
            Answer::Greylisted => style.greylisted,
            Answer::Busy => style.busy,
            Answer::Full => style.full,
        }
    }
}

/// What a receiver says to one transaction.
pub(super) struct Judgement {
    /// To each RCPT.
    pub(super) recipients: Vec<Answer>,
    /// To the end of the data, for those taken at RCPT.
    pub(super) data: Answer,
}

/// What a receiver knows about who sends.
pub(super) struct Reputation {
    /// Probability that a receiver of average strictness refuses a message for what it is or whence it comes.
    pub(super) refused: f64,
}

impl Receivers {
    /// Providers and domains of a world; `starttls` is the share of providers that offer it.
    pub(super) fn new(seed: u64, domains: usize, starttls: f64) -> Receivers {
        let mut dice = Dice::new(seed, "receivers");
        let mut providers: Vec<Provider> =
            (0..names::PROVIDERS.len()).map(|index| big_provider(&mut dice, index, starttls)).collect();
        let mut list: Vec<Domain> = names::PROVIDERS
            .iter()
            .enumerate()
            .map(|(provider, name)| Domain { name: format!("{name}.example"), provider, population: 400_000 })
            .collect();
        let mut weights: Vec<f64> = (0..list.len()).map(|rank| 12.0 / (rank as f64 + 1.5)).collect();
        for index in 0..domains {
            let name = domain_name(index);
            let provider = if dice.chance(0.3) {
                dice.below(names::PROVIDERS.len())
            } else {
                providers.push(own_server(&mut dice, providers.len(), &name, starttls));
                providers.len() - 1
            };
            let weight = dice.lognormal(40.0 / domains as f64, 0.9);
            list.push(Domain { name, provider, population: 60 + (weight * 4_000.0) as u64 });
            weights.push(weight);
        }
        let mut sum = 0.0;
        let cumulative = weights
            .iter()
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        Receivers { providers, domains: list, cumulative, salt: dice.bits(), greylisted: BTreeSet::new() }
    }

    /// Whether a mailbox exists.
    fn exists(&self, recipient: Recipient) -> bool {
        mix(self.salt ^ (u64::from(recipient.domain) << 32 | u64::from(recipient.number))) & 1 == 0
    }

    /// A mailbox that exists, or one that does not, of a domain drawn by weight.
    pub(super) fn draw(&self, dice: &mut Dice, exists: bool) -> Recipient {
        let total = self.cumulative.last().copied().unwrap_or(0.0);
        let at = dice.unit() * total;
        let domain = self.cumulative.partition_point(|sum| *sum <= at).min(self.domains.len() - 1);
        self.draw_of(dice, domain as u32, exists)
    }

    /// A mailbox of one domain.
    pub(super) fn draw_of(&self, dice: &mut Dice, domain: u32, exists: bool) -> Recipient {
        loop {
            let population = self.domains[domain as usize].population as usize;
            let recipient = Recipient { domain, number: dice.below(population) as u32 };
            if self.exists(recipient) == exists {
                return recipient;
            }
        }
    }

    /// A mailbox whose provider is as wished.
    pub(super) fn draw_where(
        &self,
        dice: &mut Dice,
        exists: bool,
        wish: impl Fn(&Provider) -> bool,
    ) -> Recipient {
        loop {
            let recipient = self.draw(dice, exists);
            if wish(self.provider_of(recipient)) {
                return recipient;
            }
        }
    }

    /// Name of a recipient's domain.
    pub(super) fn domain_name(&self, recipient: Recipient) -> &str {
        &self.domains[recipient.domain as usize].name
    }

    /// The address as written in RCPT.
    pub(super) fn address(&self, recipient: Recipient) -> String {
        let spread = recipient.number as usize + recipient.domain as usize * 7;
        let people = names::FIRST.len() * names::LAST.len();
        let first = names::FIRST[spread % names::FIRST.len()];
        let last = names::LAST[(spread / names::FIRST.len()) % names::LAST.len()];
        let domain = self.domain_name(recipient);
        match spread / people {
            0 => format!("{first}.{last}@{domain}"),
            more => format!("{first}.{last}{more}@{domain}"),
        }
    }

    /// Who serves a recipient.
    pub(super) fn provider_of(&self, recipient: Recipient) -> &Provider {
        &self.providers[self.domains[recipient.domain as usize].provider]
    }

    /// What the receiver says to a transaction of one domain, from an address, with a reverse-path.
    pub(super) fn judge(
        &mut self,
        dice: &mut Dice,
        source: IpAddr,
        reverse_path: &str,
        recipients: &[Recipient],
        reputation: &Reputation,
    ) -> Judgement {
        let provider = match recipients.first() {
            Some(first) => self.provider_of(*first),
            None => return Judgement { recipients: Vec::new(), data: Answer::Accepted },
        };
        let (greylists, late_check, trouble) = (provider.greylists, provider.late_check, provider.trouble);
        let refuses = dice.chance((reputation.refused * provider.strictness).min(0.95));
        let by_list = dice.chance(0.6);
        let mut answers = Vec::with_capacity(recipients.len());
        for recipient in recipients {
            let known = self.exists(*recipient);
            let answer = if refuses && by_list {
                Answer::Listed
            } else if greylists && self.first_try(source, reverse_path, *recipient) {
                Answer::Greylisted
            } else if !known && !late_check {
                Answer::Unknown
            } else if dice.chance(trouble) {
                Answer::Busy
            } else if dice.chance(0.001) {
                Answer::Full
            } else {
                Answer::Accepted
            };
            answers.push(answer);
        }
        let late_unknown = late_check && recipients.iter().any(|recipient| !self.exists(*recipient));
        let data = match () {
            () if refuses && !by_list => Answer::Content,
            () if late_unknown => Answer::Unknown,
            () => Answer::Accepted,
        };
        Judgement { recipients: answers, data }
    }

    /// Notes a triplet; whether it was new to the greylisting server.
    fn first_try(&mut self, source: IpAddr, reverse_path: &str, recipient: Recipient) -> bool {
        let network = match source {
            IpAddr::V4(v4) => u64::from(u32::from(v4) >> 8),
            IpAddr::V6(v6) => (u128::from(v6) >> 64) as u64,
        };
        let who = mix(network) ^ crate::observation::digest(reverse_path.as_bytes());
        let what = u64::from(recipient.domain) << 32 | u64::from(recipient.number);
        self.greylisted.insert(mix(who ^ mix(what)))
    }
}

fn server_address(index: usize, server: usize) -> IpAddr {
    let number = index as u32 * 4 + server as u32 + 10;
    IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number))
}

fn server_v6(index: usize) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x8000 + index as u16, 0, 0, 0, 0, 0x25))
}

/// The company's own server for mail from outside.
pub(super) fn own_inbound(host: String, address: IpAddr) -> Provider {
    Provider {
        host,
        v4: vec![address],
        v6: None,
        style: &STYLES[0],
        starttls: true,
        pipelining: true,
        rtt_us: 400.0,
        greylists: false,
        late_check: false,
        strictness: 1.0,
        trouble: 0.0,
        life: Life::Answers,
    }
}

fn big_provider(dice: &mut Dice, index: usize, starttls: f64) -> Provider {
    let style = [3, 2, 3, 0, 0, 3, 1, 2, 5, 0, 0, 2][index % 12];
    Provider {
        host: format!("mx.{}.example", names::PROVIDERS[index]),
        v4: (0..4).map(|server| server_address(index, server)).collect(),
        v6: dice.chance(0.6).then(|| server_v6(index)),
        style: &STYLES[style],
        starttls: dice.chance(starttls),
        pipelining: style != 5,
        rtt_us: dice.between(8_000.0, 110_000.0),
        greylists: false,
        late_check: dice.chance(0.15),
        strictness: dice.between(0.9, 1.4),
        trouble: dice.between(0.002, 0.02),
        life: Life::Answers,
    }
}

fn own_server(dice: &mut Dice, index: usize, domain: &str, starttls: f64) -> Provider {
    let style = [0, 0, 0, 1, 1, 2, 2, 2, 4, 5][dice.below(10)];
    let prefix = *dice.pick(&["mx1", "mail", "mx", "smtp", "gw"]);
    Provider {
        host: format!("{prefix}.{domain}"),
        v4: (0..dice.whole(1, 2) as usize).map(|server| server_address(index, server)).collect(),
        v6: dice.chance(0.2).then(|| server_v6(index)),
        style: &STYLES[style],
        starttls: dice.chance(starttls),
        pipelining: style != 5,
        rtt_us: dice.lognormal(35_000.0, 0.5),
        greylists: dice.chance(0.08),
        late_check: dice.chance(0.1),
        strictness: dice.between(0.3, 1.5),
        trouble: dice.between(0.005, 0.04),
        life: [Life::Answers, Life::Refuses, Life::Silent][dice.chance(0.01) as usize * (1 + dice.below(2))],
    }
}

fn domain_name(index: usize) -> String {
    let head = names::DOMAIN_HEADS[index % names::DOMAIN_HEADS.len()];
    let tail =
        names::DOMAIN_TAILS[(index / names::DOMAIN_HEADS.len() + index * 5) % names::DOMAIN_TAILS.len()];
    match index / (names::DOMAIN_HEADS.len() * names::DOMAIN_TAILS.len()) {
        0 => format!("{head}{tail}.example"),
        more => format!("{head}{tail}{more}.example"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes_and_domains_have_one_name_each() {
        let receivers = Receivers::new(3, 500, 0.3);
        let names: BTreeSet<&str> = receivers.domains.iter().map(|domain| domain.name.as_str()).collect();
        assert_eq!(names.len(), receivers.domains.len());
        let addresses: BTreeSet<String> =
            (0..9_000).map(|number| receivers.address(Recipient { domain: 2, number })).collect();
        assert_eq!(addresses.len(), 9_000);
    }

    #[test]
    fn existence_is_a_property_of_the_address() {
        let mut receivers = Receivers::new(3, 200, 0.3);
        let mut dice = Dice::new(3, "test");
        for _ in 0..200 {
            let known = receivers.draw_where(&mut dice, true, |provider| !provider.greylists);
            let unknown = receivers.draw_where(&mut dice, false, |provider| !provider.greylists);
            let source = "203.0.113.9".parse().unwrap();
            let clean = Reputation { refused: 0.0 };
            let yes = receivers.judge(&mut dice, source, "a@b", &[known], &clean);
            let no = receivers.judge(&mut dice, source, "a@b", &[unknown], &clean);
            assert!(!yes.recipients.contains(&Answer::Unknown) && yes.data == Answer::Accepted);
            assert!(no.recipients.contains(&Answer::Unknown) || no.data == Answer::Unknown);
        }
    }
}
