//! Sessions under STARTTLS between real mail servers over a veth: what portreeve tells of them from outside, beside
//! what the servers' own logs say of the same sessions.
//!
//! Needs root, `unshare`, `ip`, `openssl`, Python and Postfix; Exim, OpenSMTPD and Sendmail are fetched and unpacked below
//! /var/cache/portreeve-lab, and left out where they cannot be had. `PORTREEVE_TLS_SESSIONS` (20) visits a pair of client
//! and server, `PORTREEVE_TLS_SEED` (1); `PORTREEVE_TLS_PLAIN` (0) visits a pair in clear before, in which the road may
//! learn, and in which what it sees must be what the logs say; `PORTREEVE_TLS_CAPTURE` is a folder where the capture and
//! the truth of each pair are kept (the servers' logs then stay in the folder for temporary files).

#![allow(clippy::unwrap_used)] // a test fails loudly

mod servers_support;
mod tls_lab;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use servers_support::{INSIDE, number};
use tls_lab::clients::Mode;
use tls_lab::lab::{self, Lab};
use tls_lab::places::{Client, Server};
use tls_lab::{mix, table, truth};

#[test]
fn sessions_under_tls_are_estimated() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    lab::enter("sessions_under_tls_are_estimated");
}

fn inside() {
    let folder = lab::folder();
    lab::lay_network();
    let lab = Lab::start(folder.path(), &Client::ALL);
    let plain = number("PORTREEVE_TLS_PLAIN", 0);
    let count = number("PORTREEVE_TLS_SESSIONS", 20);
    let watched = lab::watched(
        || false,
        || {
            if plain > 0 {
                lab.converse(Mode::Plain, &|client, server| visits(client, server, Mode::Plain, plain));
            }
            lab.converse(Mode::Tls, &|client, server| visits(client, server, Mode::Tls, count));
        },
    );

    let mut truths = truth::Truths::new();
    lab.logs.iter().for_each(|log| truth::read(log, &mut truths));
    table::keep_truths(&watched, &truths);
    let compared = table::join(&watched, truths);
    let versions = [2, 3].map(|tls| (tls, table::print(&compared, tls)));
    for (client, server) in lab.pairs() {
        let visits = visits(client, server, Mode::Tls, count);
        let planned: usize = visits.iter().flatten().map(|letter| letter.to.len()).sum();
        let offered =
            table::Sums::of(compared.iter().filter(|one| (one.client, one.server) == (client, server)));
        // A client may give one up: OpenSMTPD begins a message before it has reset the last, and takes 503 for its answer.
        let enough = offered.recipients as usize * 10 >= planned * 9;
        assert!(enough, "{client:?} offered {server:?} {} forward-paths of {planned}", offered.recipients);
    }
    for (tls, sums) in versions {
        let error = sums.messages_error_percent();
        assert!(error.abs() <= 5.0, "TLS 1.{tls}: the messages told are off by {error:+.1} %");
        let exact = sums.exact_percent();
        assert!(exact >= 90.0, "TLS 1.{tls}: exact in {exact:.1} % of sessions");
        let noticed = sums.noticed_percent();
        assert!(noticed >= 80.0, "TLS 1.{tls}: {noticed:.1} % of the refused recipients noticed");
    }
}

/// What a client is to say to a server, the same whenever it is asked.
fn visits(client: Client, server: Server, mode: Mode, count: u64) -> Vec<mix::Visit> {
    let parts = [server.octet(), client as u8, mode as u8].map(u64::from);
    let seed = parts.iter().fold(number("PORTREEVE_TLS_SEED", 1), |seed, part| seed.wrapping_mul(100) + part);
    mix::visits(count, client == Client::Python, &mut ChaCha8Rng::seed_from_u64(seed))
}
