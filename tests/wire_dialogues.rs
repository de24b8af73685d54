//! SMTP dialogues as a mail person writes them, and what must come out of them.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod wire_support;

use portreeve::observation::{Oddity, SessionEnd, Tls};
use wire_support::{Seen, Talk, replay};

fn seen(script: &str) -> Seen {
    replay(&Talk::script(script).frames)
}

/// Greeting and EHLO, for scripts in which they do not matter.
const HELLO: &str = "S: 220 mx ESMTP
    C: EHLO client.example
    S: 250-mx
    S: 250 PIPELINING
    ";

fn after_hello(script: &str) -> Seen {
    seen(&format!("{HELLO}{script}"))
}

#[test]
fn one_refused_one_deferred_two_accepted() {
    let seen = after_hello(
        "C: MAIL FROM:<a@a.example>
        S: 250 2.1.0 ok
        C: RCPT TO:<one@b.example>
        S: 250 2.1.5 ok
        C: RCPT TO:<two@b.example>
        S: 550 5.1.1 no such user
        C: RCPT TO:<three@b.example>
        S: 451-4.7.1 greylisted
        S: 451 4.7.1 come back
        C: RCPT TO:<four@b.example>
        S: 250 2.1.5 ok
        C: DATA
        S: 354 go
        C: Subject: x
        C:
        C: text
        C: .
        S: 250 2.0.0 Ok: queued as ABCDEF01
        C: QUIT
        S: 221 bye",
    );
    assert_eq!(
        seen.deliveries(),
        [
            "a@a.example > two@b.example: 550",
            "a@a.example > three@b.example: 451",
            "a@a.example > one@b.example: 250",
            "a@a.example > four@b.example: 250",
        ]
    );
    let message = &seen.messages()[0];
    assert_eq!((message.recipients, message.size_bytes, message.accepted), (2, Some(20), Some(true)));
    assert_eq!(message.queue_id, Some("ABCDEF01".into()));
    let session = seen.session();
    assert_eq!((session.recipients, session.recipients_refused, session.messages), (4, 2, 1));
    assert_eq!((session.ended, session.helo), (SessionEnd::Quit, Some("client.example".into())));
    assert_eq!(session.oddities, []);
}

#[test]
fn a_refused_mail_is_the_reason_for_what_rcpt_is_told() {
    let seen = after_hello(
        "C: MAIL FROM:<spam@a.example>
        C: RCPT TO:<one@b.example>
        C: DATA
        S: 550 5.7.1 blocked
        S: 503 5.5.1 nested
        S: 503 5.5.1 need rcpt
        C: RSET
        S: 250 ok",
    );
    assert_eq!(seen.deliveries(), ["spam@a.example > one@b.example: 550"]);
}

#[test]
fn a_command_is_out_of_place_only_where_its_sender_could_know() {
    let odd = |script: &str| after_hello(script).session().oddities.contains(&Oddity::CommandOutOfPlace);
    // One group: when DATA left, nobody knew that all would be refused.
    for group in [
        "C: MAIL FROM:<a@a.example>
        C: RCPT TO:<one@b.example>
        C: RCPT TO:<two@b.example>
        C: DATA
        S: 250 ok
        S: 550 5.1.1 no such user
        S: 550 5.1.1 no such user
        S: 503 5.5.1 no valid recipients
        C: QUIT
        S: 221 bye",
        "C: MAIL FROM:<a@a.example>
        C: RCPT TO:<one@b.example>
        C: RCPT TO:<two@b.example>
        C: DATA
        S: 550 5.7.1 blocked
        S: 503 5.5.1 need MAIL
        S: 503 5.5.1 need MAIL
        S: 503 5.5.1 need RCPT
        C: RSET
        S: 250 ok",
        "C: MAIL FROM:<a@a.example>
        S: 250 ok
        C: RCPT TO:<one@b.example>
        C: DATA
        S: 550 5.1.1 no such user
        S: 503 5.5.1 no valid recipients",
    ] {
        assert!(!odd(group), "{group}");
    }
    for late in [
        "C: DATA
        S: 503 5.5.1 need MAIL",
        "C: RCPT TO:<one@b.example>
        C: RCPT TO:<two@b.example>
        S: 503 5.5.1 need MAIL
        S: 503 5.5.1 need MAIL",
        "C: MAIL FROM:<a@a.example>
        C: RCPT TO:<one@b.example>
        S: 250 ok
        S: 550 5.1.1 no such user
        C: DATA
        S: 503 5.5.1 no valid recipients",
        "C: MAIL FROM:<a@a.example>
        C: MAIL FROM:<a@a.example>
        S: 250 ok
        S: 503 5.5.1 nested MAIL",
    ] {
        assert!(odd(late), "{late}");
    }
}

#[test]
fn data_refused_is_final_when_the_client_gives_up() {
    let seen = after_hello(
        "C: MAIL FROM:<a@a.example>
        C: RCPT TO:<one@b.example>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 554 5.7.1 not from you
        C: RSET
        S: 250 ok
        C: MAIL FROM:<a@a.example>
        C: RCPT TO:<two@b.example>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 354 go
        C: x
        C: .
        S: 250 ok",
    );
    assert_eq!(seen.deliveries(), ["a@a.example > one@b.example: 554", "a@a.example > two@b.example: 250"]);
    assert_eq!(seen.messages().len(), 1);
}

#[test]
fn a_transaction_given_up_delivers_nothing() {
    for give_up in ["C: RSET", "C: EHLO again", "C: QUIT", "C: HELO again"] {
        let seen = after_hello(&format!(
            "C: MAIL FROM:<a@a.example>
            S: 250 ok
            C: RCPT TO:<one@b.example>
            S: 250 ok
            {give_up}
            S: 250 ok",
        ));
        assert_eq!(seen.deliveries(), Vec::<String>::new(), "{give_up}");
        assert_eq!(seen.counters.transactions_abandoned, 1, "{give_up}");
        assert_eq!(seen.counters.recipients_abandoned, 1, "{give_up}");
    }
}

#[test]
fn a_refused_hello_keeps_the_envelope() {
    for refused in ["EHLO [bad", "RSET now"] {
        let seen = after_hello(&format!(
            "C: MAIL FROM:<a@a.example>
            S: 250 ok
            C: RCPT TO:<one@b.example>
            S: 250 ok
            C: {refused}
            S: 501 5.5.4 syntax
            C: DATA
            S: 354 go
            C: .
            S: 250 ok",
        ));
        assert_eq!(seen.deliveries(), ["a@a.example > one@b.example: 250"], "{refused}");
    }
}

#[test]
fn everything_in_one_segment_before_any_reply() {
    let seen = seen(
        "C: EHLO x
        C: MAIL FROM:<a@a.example>
        C: RCPT TO:<one@b.example>
        C: RCPT TO:<two@b.example>
        C: DATA
        C: text
        C: .
        C: RSET
        C: MAIL FROM:<>
        C: RCPT TO:<three@b.example>
        C: DATA
        C: .
        C: QUIT
        S: 220 mx
        S: 250 mx
        S: 250 ok
        S: 250 ok
        S: 550 no
        S: 354 go
        S: 250 ok
        S: 250 ok
        S: 250 ok
        S: 250 ok
        S: 354 go
        S: 451 later
        S: 221 bye",
    );
    assert_eq!(
        seen.deliveries(),
        ["a@a.example > two@b.example: 550", "a@a.example > one@b.example: 250", "<> > three@b.example: 451"]
    );
    assert_eq!(seen.counters.replies, 12);
}

#[test]
fn chunks() {
    let seen = after_hello(
        "C: MAIL FROM:<a@a.example>
        C: RCPT TO:<one@b.example>
        C: BDAT 6
        c: 123456
        C: BDAT 3
        c: \\r\\n.
        C: BDAT 5 LAST
        c: QUIT\\n
        C: MAIL FROM:<b@a.example>
        C: RCPT TO:<two@b.example>
        C: BDAT 0 LAST
        C: QUIT
        S: 250 ok
        S: 250 ok
        S: 250 6 octets
        S: 250 3 octets
        S: 250 queued
        S: 250 ok
        S: 250 ok
        S: 554 empty
        S: 221 bye",
    );
    assert_eq!(seen.deliveries(), ["a@a.example > one@b.example: 250", "b@a.example > two@b.example: 554"]);
    assert_eq!(seen.messages()[0].size_bytes, Some(14));
    assert_eq!(seen.messages()[1].size_bytes, Some(0));
    assert_eq!(seen.oddities(), []);
}

#[test]
fn a_chunk_that_is_refused_before_its_end_has_had_its_answer() {
    // As Exim does where there is no recipient.
    let seen = after_hello(
        "C: MAIL FROM:<a@a.example>
        c: BDAT 8\\r\\n1234

        S: 250 ok
        S: 503 5.5.1 no recipients

        c: 5678
        C: BDAT 3 LAST

        S: 503 5.5.1 no recipients

        c: 123
        C: RCPT TO:<one@b.example>
        C: RCPT TO:<two@b.example>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 354 go
        C: .
        S: 250 ok",
    );
    assert_eq!(seen.deliveries(), ["- > one@b.example: 250", "- > two@b.example: 250"]);
}

/// A sender who hides mail in what he calls a chunk, before a server that takes none.
#[test]
fn a_chunk_is_commands_to_a_server_that_takes_none() {
    for refusal in ["500 5.5.1 unrecognized", "502 no", "503 BDAT command used when CHUNKING not advertised"]
    {
        let seen = replay(
            &Talk::script(&format!(
                "S: 220 mx
                C: EHLO a.example
                S: 250-mx
                S: 250 PIPELINING
                C: MAIL FROM:<a@a.example>
                C: BDAT 1000000
                C: RCPT TO:<one@b.example>
                C: DATA
                S: 250 ok
                S: {refusal}
                S: 250 ok
                S: 354 go
                C: .
                S: 250 ok
                C: QUIT
                S: 221 bye"
            ))
            .frames,
        );
        assert_eq!(seen.deliveries(), ["a@a.example > one@b.example: 250"], "{refusal}");
    }
    // Some take chunks without having said so.
    let seen = replay(
        &Talk::script(
            "S: 220 mx
            C: HELO a.example
            S: 250 mx
            C: MAIL FROM:<a@a.example>
            C: RCPT TO:<one@b.example>
            C: BDAT 6
            c: QUIT\\r\\n
            C: BDAT 3 LAST
            c: abc
            C: QUIT
            S: 250 ok
            S: 250 ok
            S: 250 6 octets
            S: 250 queued
            S: 221 bye",
        )
        .frames,
    );
    assert_eq!(seen.deliveries(), ["a@a.example > one@b.example: 250"]);
    assert_eq!(seen.messages()[0].size_bytes, Some(9));
    assert_eq!(seen.sessions()[0].ended, SessionEnd::Quit);
}

#[test]
fn a_refused_chunk_ends_the_message_once() {
    let seen = after_hello(
        "C: MAIL FROM:<a@a.example>
        C: RCPT TO:<one@b.example>
        C: BDAT 3
        c: 123
        C: BDAT 3 LAST
        c: 456
        C: RSET
        S: 250 ok
        S: 250 ok
        S: 552 5.3.4 too large
        S: 503 5.5.1 no transaction
        S: 250 ok
        C: MAIL FROM:<a@a.example>
        C: RCPT TO:<two@b.example>
        C: BDAT 1 LAST
        c: x
        S: 250 ok
        S: 250 ok
        S: 250 ok",
    );
    assert_eq!(seen.deliveries(), ["a@a.example > one@b.example: 552", "a@a.example > two@b.example: 250"]);
    assert_eq!(seen.messages().iter().filter(|message| message.recipients > 0).count(), 2);
}

#[test]
fn a_bad_chunk_size_does_not_blind() {
    for bad in ["BDAT 5 X", "BDAT -1", "BDAT", "BDAT 99999999999999999999 LAST", "BDAT 0x10"] {
        let seen = after_hello(&format!(
            "C: MAIL FROM:<a@a.example>
            S: 250 ok
            C: RCPT TO:<one@b.example>
            S: 250 ok
            C: {bad}
            S: 501 5.5.4 syntax
            C: DATA
            S: 354 go
            C: x
            C: .
            S: 250 ok",
        ));
        assert_eq!(seen.deliveries(), ["a@a.example > one@b.example: 250"], "{bad}");
        assert_eq!(seen.oddities(), [Oddity::BadChunkSize], "{bad}");
    }
}

#[test]
fn six_hundred_and_more_recipients_are_counted_exactly() {
    for count in [600usize, 2_500] {
        let mut script = format!("{HELLO}C: MAIL FROM:<a@a.example>\nS: 250 ok\n");
        for i in 0..count {
            let code = if i % 10 == 9 { 550 } else { 250 };
            script += &format!("C: RCPT TO:<u{i}@b.example>\nS: {code} x\n");
        }
        script += "C: DATA\nS: 354 go\nC: .\nS: 250 ok\n";
        let seen = seen(&script);
        let refused = count / 10;
        assert_eq!(seen.deliveries().len(), count);
        assert_eq!(seen.counters.recipients_accepted, (count - refused) as u64);
        assert_eq!(seen.messages()[0].recipients as usize, count - refused);
        assert_eq!(seen.session().recipients_refused as usize, refused);
        let many = seen.oddities().contains(&Oddity::TooManyRecipients);
        assert_eq!(many, count - refused > portreeve::limits::RECIPIENTS_KEPT_MAX);
    }
}

#[test]
fn bad_lines_do_not_blind_what_follows() {
    let long = "x".repeat(100_000);
    let binary = "\\x00\\xff\\x01\\x80binary\\r\\n";
    for bad in
        [&format!("C: {long}"), &format!("c: {binary}"), "C:", "C: \t ", "C: HTTP/1.1 200 OK", "c: \\n"]
    {
        let seen = after_hello(&format!(
            "{bad}
            S: 500 5.5.2 what
            C: MAIL FROM:<a@a.example>
            S: 250 ok
            {bad}
            S: 500 5.5.2 what
            C: RCPT TO:<one@b.example>
            S: 250 ok
            C: DATA
            S: 354 go
            C: x
            C: .
            S: 250 ok
            C: QUIT
            S: 221 bye",
        ));
        assert_eq!(seen.deliveries(), ["a@a.example > one@b.example: 250"]);
        assert!(seen.oddities().contains(&Oddity::UnknownCommand));
    }
}

#[test]
fn starttls_granted_refused_and_injected() {
    let hello = "\\x16\\x03\\x01\\x00\\x05hello";
    let granted = after_hello(&format!(
        "C: STARTTLS
        S: 220 go
        c: {hello}
        s: \\x16\\x03\\x03\\x00\\x02ok
        c: MAIL FROM:<inside@tls.example>\\r\\nRCPT TO:<x@y.example>\\r\\n",
    ));
    let session = granted.session();
    assert_eq!((session.tls, session.recipients), (Tls::Started, 0));
    assert_eq!(session.opaque.unwrap().responder_bytes, 7);
    assert_eq!(session.oddities, []);

    let refused = after_hello(
        "C: STARTTLS
        S: 454 4.7.0 no certificate
        C: MAIL FROM:<a@a.example>
        S: 250 ok
        C: RCPT TO:<one@b.example>
        S: 250 ok
        C: DATA
        S: 354 go
        C: .
        S: 250 ok",
    );
    assert_eq!(refused.session().tls, Tls::Refused);
    assert_eq!(refused.deliveries().len(), 1);

    let injected = after_hello(&format!(
        "C: STARTTLS
        C: RSET
        S: 220 go
        c: {hello}",
    ));
    assert_eq!(injected.oddities(), [Oddity::PlaintextAfterStarttls]);
    assert_eq!(injected.session().tls, Tls::Started);

    // A server that says 220 and goes on in clear.
    let fake = after_hello(
        "C: STARTTLS
        S: 220 go
        C: EHLO again
        S: 250 mx
        C: MAIL FROM:<a@a.example>
        S: 250 ok
        C: RCPT TO:<one@b.example>
        S: 250 ok
        C: DATA
        S: 354 go
        C: .
        S: 250 ok",
    );
    assert_eq!(fake.deliveries(), ["a@a.example > one@b.example: 250"]);
    assert_eq!(fake.oddities(), [Oddity::PlaintextAfterStarttls]);
}

#[test]
fn tls_without_starttls_is_never_read_as_smtp() {
    let seen =
        seen("c: \\x16\\x03\\x01\\x00\\x05hello\\r\\nMAIL FROM:<a@b>\\r\\n\ns: \\x16\\x03\\x03\\x00\\x02ok");
    assert_eq!(seen.session().tls, Tls::Started);
    assert_eq!(seen.oddities(), [Oddity::UnexpectedTls]);
    assert_eq!(seen.counters.recipients_offered, 0);
}

#[test]
fn accounts_are_named_and_passwords_are_not() {
    for (script, account) in [
        ("C: AUTH PLAIN AGFsaWNlAHMzY3JldA==\nS: 235 ok", Some("alice")),
        ("C: AUTH PLAIN AGFsaWNlAHMzY3JldA==\nS: 535 no", None),
        ("C: AUTH PLAIN\nS: 334\nC: AGFsaWNlAHMzY3JldA==\nS: 235 ok", Some("alice")),
        ("C: AUTH LOGIN\nS: 334 VXNl\nC: Qk9C\nS: 334 UGFz\nC: czNjcmV0\nS: 235 ok", Some("bob")),
        ("C: AUTH LOGIN\nC: Qk9C\nC: czNjcmV0\nS: 334 VXNl\nS: 334 UGFz\nS: 235 ok", Some("bob")),
        ("C: AUTH LOGIN Qk9C\nS: 334 UGFz\nC: czNjcmV0\nS: 235 ok", Some("bob")),
        ("C: AUTH CRAM-MD5\nS: 334 PD\nC: dG9t\nS: 235 ok", None),
        ("C: AUTH LOGIN\nS: 334 VXNl\nC: *\nS: 501 cancelled", None),
    ] {
        let seen = after_hello(&format!(
            "{script}
            C: MAIL FROM:<a@a.example>
            S: 250 ok
            C: RCPT TO:<one@b.example>
            S: 250 ok
            C: DATA
            S: 354 go
            C: .
            S: 250 ok",
        ));
        assert_eq!(seen.deliveries().len(), 1, "{script}");
        let sender = &seen.out.last().unwrap().sender;
        assert_eq!(sender.account, account.map(Into::into), "{script}");
        assert!(!format!("{seen:?}").contains("s3cret"));
        assert!(!format!("{seen:?}").contains("czNjcmV0"));
    }
}

#[test]
fn ends_of_data_on_which_servers_disagree() {
    let envelope = "C: MAIL FROM:<a@a.example>
        C: RCPT TO:<one@b.example>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 354 go\n";
    let smuggled =
        "MAIL FROM:<evil@a.example>\\r\\nRCPT TO:<two@b.example>\\r\\nDATA\\r\\nhidden\\r\\n.\\r\\n";
    for left in ["\\n", "\\r", "\\r\\n", "\\0", "\\r\\n\\0"] {
        for right in ["\\n", "\\r", "\\r\\n", "\\0"] {
            if (left, right) == ("\\r\\n", "\\r\\n") {
                continue;
            }
            // To this server it is one message; what is inside is text.
            let strict = after_hello(&format!("{envelope}c: visible{left}.{right}{smuggled}\nS: 250 ok"));
            assert_eq!(strict.deliveries(), ["a@a.example > one@b.example: 250"], "{left} {right}");
            assert!(strict.oddities().contains(&Oddity::SmugglingSuspect), "{left} {right}");
            // To this one there are two, and its replies say so.
            let lenient = after_hello(&format!(
                "{envelope}c: visible{left}.{right}{smuggled}
                S: 250 first
                S: 250 ok
                S: 250 ok
                S: 354 go
                S: 250 second
                C: QUIT
                S: 221 bye",
            ));
            assert_eq!(
                lenient.deliveries(),
                ["a@a.example > one@b.example: 250", "evil@a.example > two@b.example: 250"],
                "{left} {right}"
            );
            assert!(lenient.oddities().contains(&Oddity::SmugglingSuspect), "{left} {right}");
            assert_eq!(lenient.session().ended, SessionEnd::Quit);
        }
    }
}

#[test]
fn a_client_that_ends_lines_with_lf_alone() {
    let seen = seen(
        "S: 220 mx
        c: HELO x\\n
        S: 250 mx
        c: MAIL FROM:<a@a.example>\\n
        S: 250 ok
        c: RCPT TO:<one@b.example>\\n
        S: 250 ok
        c: DATA\\n
        S: 354 go
        c: text\\n.\\nQUIT\\n
        S: 250 ok
        S: 221 bye",
    );
    assert_eq!(seen.deliveries(), ["a@a.example > one@b.example: 250"]);
    assert_eq!(seen.session().ended, SessionEnd::Quit);
    assert_eq!(seen.messages()[0].size_bytes, Some(5));
}

#[test]
fn the_servers_side_alone_still_counts_messages() {
    let frames = Talk::script(&format!(
        "{HELLO}C: MAIL FROM:<a@a.example>
        S: 250 ok
        C: RCPT TO:<one@b.example>
        S: 250 ok
        C: DATA
        S: 354 go
        C: .
        S: 250 ok: queued as 12345
        C: RSET
        S: 250 ok
        C: QUIT
        S: 221 bye",
    ))
    .frames;
    let from = |server: bool| {
        let of_server = |frame: &&wire_support::Frame| (frame.bytes[12] == 203) == server;
        replay(&frames.iter().filter(of_server).cloned().collect::<Vec<_>>())
    };
    assert_eq!(from(true).deliveries(), ["- > -: 250"]);
    assert_eq!(from(true).counters.transactions, 1);
    assert_eq!(from(false).deliveries(), ["a@a.example > one@b.example: -"]);
    assert_eq!(from(false).messages()[0].accepted, None);
}

#[test]
fn a_session_joined_in_its_middle() {
    let frames = Talk::script(&format!(
        "{HELLO}C: MAIL FROM:<a@a.example>
        S: 250 ok
        C: RCPT TO:<one@b.example>
        S: 250 ok
        C: DATA
        S: 354 go
        C: some text
        C: more text
        C: .
        S: 250 ok
        C: MAIL FROM:<b@a.example>
        S: 250 ok
        C: RCPT TO:<two@b.example>
        S: 250 ok
        C: DATA
        S: 354 go
        C: .
        S: 250 ok",
    ))
    .frames;
    for skip in 1..frames.len() {
        let seen = replay(&frames[skip..]);
        let deliveries = seen.deliveries();
        for delivery in &deliveries {
            let known = [
                "a@a.example > one@b.example: 250",
                "b@a.example > two@b.example: 250",
                "- > one@b.example: 250",
                "- > two@b.example: 250",
                // What the first reply was for cannot be told.
                "- > one@b.example: -",
                "- > two@b.example: -",
                "- > -: 250",
            ];
            assert!(known.contains(&delivery.as_str()), "after {skip}: {deliveries:?}");
        }
        // Whatever begins after the first packet that is there is seen whole.
        if skip <= 22 {
            assert!(deliveries.contains(&"b@a.example > two@b.example: 250".into()), "{skip}: {seen:#?}");
        }
    }
}

#[test]
fn octets_that_were_not_captured() {
    // The reply to RCPT is missing: whether it was accepted is not known.
    let reply = after_hello(
        "C: MAIL FROM:<a@a.example>
        S: 250 ok
        C: RCPT TO:<one@b.example>
        x S: 250 ok
        C: DATA
        S: 354 go
        C: .
        S: 250 ok",
    );
    assert_eq!(reply.deliveries(), ["a@a.example > one@b.example: -"]);
    // RCPT itself is missing: somebody got the message, but who is not known.
    let command = after_hello(
        "C: MAIL FROM:<a@a.example>
        S: 250 ok
        x C: RCPT TO:<one@b.example>
        S: 250 ok
        C: DATA
        S: 354 go
        C: .
        S: 250 ok
        C: MAIL FROM:<a@a.example>
        S: 250 ok
        C: RCPT TO:<two@b.example>
        S: 550 no
        C: QUIT
        S: 221 bye",
    );
    assert_eq!(command.deliveries(), ["a@a.example > -: 250", "a@a.example > two@b.example: 550"]);
    // Part of the message is missing.
    let body = after_hello(
        "C: MAIL FROM:<a@a.example>
        S: 250 ok
        C: RCPT TO:<one@b.example>
        S: 250 ok
        C: DATA
        S: 354 go
        C: first

        x C: lost

        C: last
        C: .
        S: 250 ok",
    );
    assert_eq!(body.deliveries(), ["a@a.example > one@b.example: 250"]);
    assert_eq!(body.messages()[0].size_bytes, None);
    // The end of the message is missing.
    let end = after_hello(
        "C: MAIL FROM:<a@a.example>
        S: 250 ok
        C: RCPT TO:<one@b.example>
        S: 250 ok
        C: DATA
        S: 354 go
        C: first

        x C: .
        S: 250 ok
        C: MAIL FROM:<b@a.example>
        S: 250 ok
        C: RCPT TO:<two@b.example>
        S: 250 ok
        C: DATA
        S: 354 go
        C: .
        S: 250 ok",
    );
    assert_eq!(end.deliveries(), ["a@a.example > one@b.example: 250", "b@a.example > two@b.example: 250"]);
    for seen in [reply, command, body, end] {
        let session = seen.session();
        assert!(session.gap_bytes > 0);
        assert!(session.oddities.contains(&Oddity::Gap));
    }
}

#[test]
fn a_recipient_behind_missing_octets_is_not_laid_at_the_sender_before_them() {
    // RSET and the next MAIL are missing, while the envelope before was not ended.
    let waiting = after_hello(
        "C: MAIL FROM:<a@a.example>
        S: 250 ok
        C: RCPT TO:<one@b.example>
        S: 550 no
        x C: RSET
        S: 250 ok
        x C: MAIL FROM:<b@a.example>
        S: 250 ok
        C: RCPT TO:<two@b.example>
        S: 550 no
        C: RCPT TO:<three@b.example>
        S: 250 ok
        C: DATA
        S: 354 go
        C: .
        S: 250 ok",
    );
    assert_eq!(
        waiting.deliveries(),
        ["a@a.example > one@b.example: 550", "- > two@b.example: 550", "- > three@b.example: 250"]
    );
    let together = after_hello(
        "C: MAIL FROM:<a@a.example>
        C: RCPT TO:<one@b.example>
        C: DATA
        S: 250 ok
        S: 550 no
        S: 554 no recipients
        x C: RSET
        x C: MAIL FROM:<b@a.example>
        C: RCPT TO:<two@b.example>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 550 no
        S: 554 no recipients
        C: QUIT
        S: 221 bye",
    );
    for line in together.deliveries() {
        assert!(!line.starts_with("a@a.example > two"), "{line}");
    }
    // One frame is missing and only one reply tells of it: it cannot have held RSET and MAIL.
    let same = after_hello(
        "C: MAIL FROM:<a@a.example>
        S: 250 ok
        x C: RCPT TO:<one@b.example>
        S: 250 ok
        C: RCPT TO:<two@b.example>
        S: 250 ok
        C: DATA
        S: 354 go
        C: .
        S: 250 ok",
    );
    assert_eq!(same.deliveries(), ["a@a.example > two@b.example: 250"]);
}

#[test]
fn a_server_that_closes_before_the_end_gives_no_verdict() {
    let seen = after_hello(
        "C: MAIL FROM:<a@a.example>
        S: 250 ok
        C: RCPT TO:<one@b.example>
        S: 250 ok
        S: 421 4.3.2 shutting down
        C: DATA
        C: .",
    );
    assert_eq!(seen.deliveries(), Vec::<String>::new());
    assert_eq!(seen.counters.transactions_abandoned, 1);
}

#[test]
fn an_answer_before_the_end_of_the_message() {
    let seen = after_hello(
        "C: MAIL FROM:<a@a.example>
        S: 250 ok
        C: RCPT TO:<one@b.example>
        S: 250 ok
        C: DATA
        S: 354 go
        C: begin of something large
        S: 552 5.3.4 too large
        C: rest of it
        C: .
        C: MAIL FROM:<a@a.example>
        C: RCPT TO:<two@b.example>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 354 go
        C: .
        S: 250 ok",
    );
    assert_eq!(seen.deliveries(), ["a@a.example > one@b.example: 552", "a@a.example > two@b.example: 250"]);
}

/// A client that asks a proxy for a mail server and then speaks SMTP through it.
#[test]
fn smtp_inside_a_proxy_dialogue_is_noticed_and_read() {
    let mail = "S: 220 mx.b.example ESMTP
        C: EHLO a.example
        S: 250 mx.b.example
        C: MAIL FROM:<a@a.example>
        S: 250 ok
        C: RCPT TO:<one@b.example>
        S: 250 ok
        C: DATA
        S: 354 go
        C: .
        S: 250 ok
        C: QUIT
        S: 221 bye";
    for proxy in [
        "c: \\x05\\x01\\x00
        s: \\x05\\x00
        c: \\x05\\x01\\x00\\x01\\x0a\\x01\\x02\\x03\\x00\\x19
        s: \\x05\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00",
        "c: \\x05\\x02\\x00\\x02
        s: \\x05\\x00
        c: \\x05\\x01\\x00\\x03\\x0cmx.b.example\\x00\\x19

        s: \\x05\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00
        ",
        "c: \\x04\\x01\\x00\\x19\\x0a\\x01\\x02\\x03user\\x00
        s: \\x00\\x5a\\x00\\x00\\x00\\x00\\x00\\x00",
        "C: CONNECT mx.b.example:25 HTTP/1.1
        C: Host: mx.b.example
        C:
        S: HTTP/1.1 200 Connection established
        S:
        ",
    ] {
        let seen = replay(&Talk::script(&format!("{proxy}\n{mail}")).frames);
        assert_eq!(seen.deliveries(), ["a@a.example > one@b.example: 250"], "{proxy}");
        assert_eq!(seen.oddities(), [Oddity::Proxied], "{proxy}");
        assert_eq!(seen.sessions()[0].ended, SessionEnd::Quit, "{proxy}");
    }
    // Ordinary clients are none.
    let seen = replay(&Talk::script(mail).frames);
    assert_eq!(seen.oddities(), []);
}
