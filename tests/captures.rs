//! Real captures, against what a person reads in their dialogues.
//!
//! The truth was written down from the dialogues themselves (`tshark -z follow,tcp,ascii`), not from any
//! tool's summary: tshark under-counts commands that share a segment, Zeek counts recipients when they
//! are offered, Suricata when they are parsed. The captures are read by path and are no part of the
//! project; where the folder is absent the tests say so and pass.

#![allow(clippy::unwrap_used)] // a test fails loudly

use portreeve::capture::{CaptureError, CaptureFile};
use portreeve::company::Company;
use portreeve::mail::Untrusted;
use portreeve::observation::{Fact, Observation, Oddity, Session, SessionEnd, Tls};
use portreeve::smtp::{WireCounters, WireRoad, WireSettings};
use portreeve::time::CivilClock;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the dialogues of a capture say.
struct Truth {
    path: &'static str,
    sessions: u64,
    /// Messages whose end-of-data was answered.
    transactions: u64,
    /// RCPT commands: offered, accepted, refused.
    recipients: [u64; 3],
    /// Forward-paths with a final verdict, or one that was certainly given but not captured.
    deliveries: usize,
}

const fn row(
    path: &'static str,
    sessions: u64,
    transactions: u64,
    recipients: [u64; 3],
    deliveries: usize,
) -> Truth {
    Truth { path, sessions, transactions, recipients, deliveries }
}

/// One session, one message, one recipient, accepted.
const fn plain(path: &'static str) -> Truth {
    row(path, 1, 1, [1, 1, 0], 1)
}

const ARKIME: &[Truth] = &[
    // Three flows to port 445 and one SMTP session that ends in AUTH NTLM.
    row("arkime/ntlm_synthetic.pcap", 1, 0, [0, 0, 0], 0),
    plain("arkime/smtp-data-250.pcap"),
    // The last line is `..`, a stuffed dot and no end: the message never ends.
    row("arkime/smtp-nospaces.pcap", 1, 0, [1, 1, 0], 0),
    plain("arkime/smtp-originating.pcap"),
    row("arkime/smtp-starttls.pcap", 1, 0, [0, 0, 0], 0),
    plain("arkime/smtp-subject-8859-b.pcap"),
    plain("arkime/smtp-subject-8859-multi.pcap"),
    plain("arkime/smtp-subject-8859-q.pcap"),
    plain("arkime/smtp-subject-encoded-empty.pcap"),
    plain("arkime/smtp-subject-gb2312-b.pcap"),
    plain("arkime/smtp-subject-utf8-mixed.pcap"),
    plain("arkime/smtp-subject-utf8-q.pcap"),
    // The client sends everything before the greeting, with LF alone; an empty line behind the message
    // is answered with 500.
    plain("arkime/smtp-subject-windows.pcap"),
    plain("arkime/smtp-zip.pcap"),
];

const OTHERS: &[Truth] = &[
    plain("chrissanders/mail_receiver_server_3.pcapng"),
    plain("chrissanders/mail_sender_attachment.pcapng"),
    plain("chrissanders/mail_sender_client_1.pcapng"),
    row("chrissanders/mail_sender_server_2.pcapng", 2, 2, [2, 2, 0], 2),
    plain("ipfixprobe/smtp.pcap"),
    plain("lbl-smtp-url/Traces/BogusSiteURL-example.pcap"),
    plain("lbl-smtp-url/Traces/FileDownload-example.pcap"),
    plain("lbl-smtp-url/Traces/SensitiveURI.pcap"),
    plain("lbl-smtp-url/Traces/main-logic.pcap"),
    plain("lbl-smtp-url/Traces/smtp-URL-click-many-links.pcap"),
    plain("lbl-smtp-url/Traces/smtp-attachment.pcap"),
    row("ndpi/smtp-starttls-old.pcap", 1, 0, [0, 0, 0], 0),
    // Thirty recipients in one transaction. EHLO is refused, HELO taken.
    row("ndpi/smtp.pcap", 1, 1, [30, 30, 0], 30),
    // A SYN scan that also touches mail ports: no session.
    row("ndpi/synscan.pcap", 0, 0, [0, 0, 0], 0),
    // LF alone everywhere; the server takes LF, dot, LF as the end, and its reply says so.
    plain("snort3/appids/appids_smtp.pcap"),
    plain("snort3/byte_math/byte_math.pcap"),
    row("suricata-qa/smtp.pcap", 1, 1, [3, 3, 0], 3),
    // Only the client's side is captured: no answer is seen, but the message was sent to its end.
    row("zeek/Traces/smtp-attachment-msg.pcap", 1, 0, [1, 0, 0], 1),
    // After the message the server says `451 Timeout` unasked.
    plain("zeek/Traces/smtp-multi-addr.pcap"),
    row("zeek/Traces/smtp.pcap", 2, 2, [4, 4, 0], 4),
    plain("zeek/Traces/smtp/mime-header-size-limit.pcap.gz"),
    plain("zeek/Traces/smtp/rfc3030-bdat-0-last.pcap"),
    plain("zeek/Traces/smtp/rfc3030-bdat-example1.pcap"),
    plain("zeek/Traces/smtp/rfc3030-bdat-multipart.pcap"),
    // One reply more than commands, before QUIT.
    plain("zeek/Traces/smtp/rfc3030-bdat-nonascii.pcap"),
    // A chunk size that is none: 521, and the server closes.
    row("zeek/Traces/smtp/smtp-bdat-cmd-chunk-size-overflow.pcap", 1, 0, [1, 1, 0], 0),
    row("zeek/Traces/smtp/smtp-bdat-cmd-chunk-size-overflow2.pcap", 1, 0, [1, 1, 0], 0),
    row("zeek/Traces/smtp/smtp-bdat-cmd-negative-chunk-size.pcap", 1, 0, [1, 1, 0], 0),
    row("zeek/Traces/smtp/smtp-bdat-pipeline-8bitmime.pcap", 1, 2, [2, 2, 0], 2),
    row("zeek/Traces/tls/smtp-starttls.pcap", 1, 0, [0, 0, 0], 0),
];

/// Below suricata-verify/tests; `input.pcap` where no file is named.
const SURICATA: &[Truth] = &[
    row(
        "firewall/ruletype-firewall-140-smtp-pipelined-post-data-rset-sequence/smtp-pipelined-post-data-rset-sequence.pcap",
        1,
        2,
        [2, 2, 0],
        2,
    ),
    plain("bug-1045/smtpsuricataflowbitsFN.pcap"),
    plain("bug-3616-smtp"),
    plain("bug-6207-1"),
    plain("bug-6207-2"),
    row("bug-7126", 1, 2, [2, 2, 0], 2),
    // Made by hand: the greeting has no line end, and the reply to EHLO promises lines that never come.
    row("detect-email-received", 1, 1, [5, 5, 0], 5),
    plain("firewall/ruletype-firewall-122-smtp/smtp-simple-session.pcap"),
    row("firewall/ruletype-firewall-125-smtp-all-rcpts-required-drop/two-rcpt.pcap", 1, 1, [2, 2, 0], 2),
    plain("firewall/ruletype-firewall-127-smtp-interactive-commands/smtp-interactive.pcap"),
    plain("firewall/ruletype-firewall-128-smtp-rset-next-tx-delivered/smtp-rset-change-sender.pcap"),
    // The first recipient is given up by RSET.
    row("firewall/ruletype-firewall-130-smtp-rset-after-rcpt/smtp-rset-after-rcpt.pcap", 1, 1, [2, 2, 0], 1),
    row(
        "firewall/ruletype-firewall-131-smtp-quit-after-mail-from/smtp-quit-after-mail.pcap",
        1,
        0,
        [0, 0, 0],
        0,
    ),
    row("firewall/ruletype-firewall-134-smtp-rset-then-quit/smtp-rset-then-quit.pcap", 1, 0, [1, 1, 0], 0),
    plain("mime/mime-dec-parse-full-msg-test01"),
    plain("mime/mime-dec-parse-full-msg-test02"),
    plain("mime/mime-dec-parse-line-test01"),
    plain("mime/mime-dec-parse-line-test02"),
    plain("mime/mime-dec-parse-long-filename01"),
    plain("mime/mime-dec-parse-long-filename02"),
    plain("mime/mime-dec-parse-odd-len"),
    plain("mime/mime-dec-parse-rem-sp"),
    plain("mime/mime-dec-parse-small-rem-inp"),
    plain("mime/mime-dec-very-small-inp"),
    plain("mime/mime-quoted-printable"),
    plain("mime/smtp-mime-encap-8649-baseline"),
    plain("mime/smtp-mime-encap-8649-combined"),
    plain("smtp-attachment-md5"),
    // `BDAT 5 X` is answered with 521 and the server closes. What the client still sends, a chunk, RCPT
    // and DATA, meets a closed connection: nobody answered, so there is no verdict. Suricata counts two
    // transactions because it counts what the client said.
    row("smtp-bdat-bad-tail-next-mail", 1, 0, [2, 1, 0], 0),
    row("smtp-bdat-last-next-mail", 1, 2, [2, 2, 0], 2),
    row("smtp-bdat-multichunk-inspection", 1, 2, [2, 2, 0], 2),
    row("smtp-bdat-zero-last-next-mail", 1, 2, [2, 2, 0], 2),
    plain("smtp-bug-5981"),
    // The greeting was stretched to 5,002 octets, but neither its checksum nor later sequence numbers were
    // mended: a receiver drops it, and the acknowledgments show that the client had 38 octets of it.
    plain("smtp-bug-5989"),
    // An accepted EHLO after MAIL gives the first transaction up, before any RCPT.
    plain("smtp-ehlo-reset"),
    plain("smtp-extract-url-schemes"),
    plain("smtp-file-data-01"),
    plain("smtp-long-DATA-line"),
    // `QUIT` answers the challenge for a user name; it is no command.
    row("smtp-long-command", 1, 0, [0, 0, 0], 0),
    row("smtp-no-helo-quit", 1, 0, [0, 0, 0], 0),
    row("smtp-no-helo-rset", 1, 0, [0, 0, 0], 0),
    row("smtp-pipelined-post-data-rset-sequence", 1, 2, [2, 2, 0], 2),
    row("smtp-pipelined-rset-after-complete", 1, 2, [2, 2, 0], 2),
    // Envelope and message in one segment, before 354.
    plain("smtp-pipelining"),
    row("smtp-quit", 1, 0, [0, 0, 0], 0),
    plain("smtp-raw-extraction"),
    plain("smtp-rfc2231"),
    row("smtp-rset", 1, 2, [2, 2, 0], 2),
    row("smtp-startssl", 1, 0, [0, 0, 0], 0),
    plain("smtp-url-base64/smtp-url-b64.pcap"),
];

fn captures() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/captures");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: {} is absent", folder.display());
    None
}

fn everyone() -> Arc<Company> {
    let networks = ["0.0.0.0/0", "::/0"].map(|net| net.parse().unwrap()).to_vec();
    Arc::new(Company::new(networks, &[], vec![], CivilClock::utc()))
}

fn read(path: &Path) -> Result<(Vec<Observation>, WireCounters), CaptureError> {
    let mut file = CaptureFile::open(path)?;
    #[allow(clippy::needless_update)]
    let settings = WireSettings { ports: vec![25, 465, 587, 2525], ..WireSettings::default() };
    let mut road = WireRoad::new(everyone(), settings);
    let mut out = Vec::new();
    while let Some(packet) = file.next()? {
        road.packet(&packet, &mut out);
    }
    road.finish(&mut out);
    Ok((out, road.counters().clone()))
}

fn suricata(path: &str) -> String {
    let file = if path.ends_with(".pcap") { "" } else { "/input.pcap" };
    format!("suricata-verify/tests/{path}{file}")
}

#[test]
fn counts_are_what_the_dialogue_says() {
    let Some(folder) = captures() else { return };
    let mut wrong = Vec::new();
    let below = |truth: &Truth| folder.join(suricata(truth.path));
    let rows = ARKIME.iter().chain(OTHERS).map(|truth| (folder.join(truth.path), truth));
    for (path, truth) in rows.chain(SURICATA.iter().map(|truth| (below(truth), truth))) {
        let (out, counters) = read(&path).unwrap();
        let got = (
            counters.sessions,
            counters.transactions,
            [counters.recipients_offered, counters.recipients_accepted, counters.recipients_refused],
            out.iter().filter(|observation| matches!(observation.fact, Fact::Delivery(_))).count(),
        );
        let expected = (truth.sessions, truth.transactions, truth.recipients, truth.deliveries);
        if got != expected {
            wrong.push(format!("{}: got {got:?}, expected {expected:?}", truth.path));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn envelopes_and_replies_are_what_the_dialogue_says() {
    let Some(folder) = captures() else { return };
    let envelopes = |path: &str| {
        let (out, _) = read(&folder.join(path)).unwrap();
        let line = |observation: &Observation| {
            let Fact::Delivery(delivery) = &observation.fact else { return None };
            Some(format!(
                "{} {} {} {}",
                delivery.reverse_path.as_ref()?.mailbox()?.address().escaped(),
                delivery.forward_path.as_ref()?.address().escaped(),
                delivery.reply.as_ref().and_then(|reply| reply.code).unwrap_or_default(),
                delivery.queue_id.as_ref().map(|id| id.escaped()).unwrap_or_default(),
            ))
        };
        out.iter().filter_map(line).collect::<Vec<_>>()
    };
    assert_eq!(
        envelopes(&suricata("smtp-bdat-zero-last-next-mail")),
        [
            "alice@example.com bob@example.com 250 78D625AC3214",
            "bob@example.com alice@example.com 250 7AAAC5AC3215",
        ]
    );
    assert_eq!(
        envelopes(&suricata("smtp-pipelined-post-data-rset-sequence")),
        [
            "alice@example.com bob@example.com 250 E5B4A5A358BF",
            "bob@example.com alice@example.com 250 E64185A358C1",
        ]
    );
    assert_eq!(
        envelopes(&suricata("smtp-ehlo-reset")),
        ["bob@example.com alice@example.com 250 BBD4A58CE356"]
    );
    assert_eq!(envelopes("snort3/appids/appids_smtp.pcap"), ["nobody mullican 250 CB1C0374065"]);
    assert_eq!(
        envelopes("suricata-qa/smtp.pcap"),
        [
            "eric@tiger2 eric@regit.org 250 1ZFO6E-00017K-LJ",
            "eric@tiger2 eleblond@stamus-networks.com 250 1ZFO6E-00017K-LJ",
            "eric@tiger2 regit@regit.org 250 1ZFO6E-00017K-LJ",
        ]
    );
    assert_eq!(
        envelopes("zeek/Traces/smtp-attachment-msg.pcap"),
        ["sender@example.com recipient@example.com 0 "]
    );
}

#[test]
fn sessions_tell_tls_accounts_and_oddities() {
    let Some(folder) = captures() else { return };
    let session = |path: &str| {
        let (out, _) = read(&folder.join(path)).unwrap();
        let session = |observation: Observation| match observation.fact {
            Fact::Session(session) => Some((session, observation.sender)),
            _ => None,
        };
        out.into_iter().find_map(session).unwrap()
    };
    let oddities = |path: &str| -> Vec<Oddity> {
        let (Session { oddities, .. }, _) = session(path);
        oddities
    };
    let (google, keys) = session("arkime/smtp-starttls.pcap");
    assert_eq!((google.tls, google.helo), (Tls::Started, Some("xxxxxxxxxxxxx.xxx.com".into())));
    assert!(google.opaque.is_some_and(|opaque| opaque.originator_bytes > 0));
    assert!(google.opaque.is_some_and(|opaque| opaque.responder_bytes > 3_000));
    assert!(keys.machine.syn.is_some() && keys.machine.helo.is_some());

    let (aol, keys) = session("arkime/smtp-data-250.pcap");
    assert_eq!((aol.tls, aol.ended), (Tls::Clear, SessionEnd::Closed));
    assert_eq!(keys.account, Some("12345678@aol.com".into()));
    assert_eq!(session("ipfixprobe/smtp.pcap").1.account, Some("gurpartap@patriots.in".into()));

    // What Arkime's own test expects.
    let (tls, _) = session("arkime/smtp-starttls.pcap");
    assert_eq!(tls.client_hello.unwrap().ja4, "t10i290100_cdba58456bdf_e78b541c01a9");

    assert_eq!(oddities("snort3/appids/appids_smtp.pcap"), [Oddity::BareLineFeed, Oddity::SmugglingSuspect]);
    assert_eq!(oddities(&suricata("smtp-bdat-bad-tail-next-mail")), [Oddity::BadChunkSize]);
    assert_eq!(oddities(&suricata("smtp-pipelining")), []);
}

/// Whatever lies in the folder: no panic, and no other error than that it is no capture.
#[test]
fn every_file_goes_through() {
    let Some(folder) = captures() else { return };
    let (mut folders, mut files, mut without_truth) = (vec![folder.clone()], 0, Vec::new());
    let named = |truth: &Truth| truth.path.to_owned();
    let mut known: Vec<String> = ARKIME.iter().chain(OTHERS).map(named).collect();
    known.extend(SURICATA.iter().map(|truth| suricata(truth.path)));
    while let Some(inside) = folders.pop() {
        for entry in std::fs::read_dir(inside).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            match read(&path) {
                Ok((_, counters)) => {
                    files += 1;
                    let name = path.strip_prefix(&folder).unwrap().to_string_lossy().into_owned();
                    if counters.sessions > 0 && !known.contains(&name) {
                        without_truth.push(name);
                    }
                }
                Err(CaptureError::NotACapture { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(files >= ARKIME.len() + OTHERS.len() + SURICATA.len(), "only {files} captures");
    assert_eq!(without_truth, [""; 0], "captures with SMTP that have no row in the tables");
}

#[test]
fn messages_tell_what_they_carry() {
    let Some(folder) = captures() else { return };
    let content = |path: &str| {
        let (out, _) = read(&folder.join(path)).unwrap();
        let content = |observation: Observation| match observation.fact {
            Fact::Message(message) => message.content,
            _ => None,
        };
        out.into_iter().find_map(content).unwrap()
    };
    let lines = |path: &str| {
        let content = content(path);
        let text = |text: &Option<Untrusted>| text.as_ref().map(Untrusted::escaped).unwrap_or_default();
        let attached = content.attachments.iter().map(|one| {
            let sum = one
                .sha256
                .map(|sum| sum.iter().take(4).map(|byte| format!("{byte:02x}")).collect::<String>());
            format!("{} {} {} {:?}", text(&one.name), one.mime_type.escaped(), one.size_bytes, sum)
        });
        let domains = content.url_domains.iter().map(Untrusted::escaped).collect::<Vec<_>>().join(" ");
        let head =
            format!("{} {} {}", text(&content.from_domain), text(&content.mailer), content.received_count);
        [head, domains].into_iter().chain(attached).collect::<Vec<_>>()
    };
    assert_eq!(
        lines(&suricata("smtp-extract-url-schemes")),
        ["ajmvlqs1o4ua.com  0", "172.42.48.124 facebook.com google.com test-site.org"]
    );
    // The digest was taken of the decoded file by another program.
    assert_eq!(
        lines("arkime/smtp-zip.pcap"),
        ["xxx.net Mutt/1.5.20 (2009-12-10) 2", "", "a.zip application/zip 310 Some(\"61479904\")"]
    );
    assert_eq!(
        lines("lbl-smtp-url/Traces/smtp-attachment.pcap"),
        ["defgrp.com  2", "", "Overview of Health Reform.doc application/vnd.msword 61882 None"]
    );
    assert!(content("lbl-smtp-url/Traces/smtp-attachment.pcap").cut);
    // Not an address: leading zeros.
    assert_eq!(content("arkime/smtp-originating.pcap").originating_ip, None);
    assert!(!content("arkime/smtp-zip.pcap").cut);
}
