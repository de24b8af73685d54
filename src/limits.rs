//! Every bound on what an attacker can grow, and the counters that say when a bound was reached.
//! Counting goes on exactly after a bound: only what is *kept* is limited, never what is *counted*.

/// Longest reverse- or forward-path kept, bytes (RFC 5321 section 4.5.3.1.3 asks for 256).
pub const PATH_BYTES_MAX: usize = 512;
/// Longest HELO/EHLO name kept, bytes.
pub const HELO_BYTES_MAX: usize = 255;
/// Longest reply text kept, bytes.
pub const REPLY_TEXT_BYTES_MAX: usize = 256;
/// Longest queue id or message id kept, bytes.
pub const ID_BYTES_MAX: usize = 128;
/// Longest account name kept, bytes.
pub const ACCOUNT_BYTES_MAX: usize = 255;

/// Recipients, destinations or open deferrals remembered per road and generation; two generations are kept.
pub const REMEMBERED_MAX: usize = 2_000_000;
/// Machines, reverse-path domains or client networks known for one sender.
pub const KNOWN_TRAITS_MAX: usize = 16;
/// Senders profiled at once; what comes beyond is counted and joins only its block.
pub const SENDERS_MAX: usize = 1_000_000;
/// Samples kept with an incident.
pub const SAMPLES_MAX: usize = 5;
/// Related senders named in an incident.
pub const RELATED_MAX: usize = 64;
/// Distinct addresses counted for a block since its change point.
pub const BLOCK_ADDRESSES_MAX: usize = 256;

/// Largest capture taken out of a compressed file or a pipe, bytes (64 GiB).
pub const SPOOLED_CAPTURE_BYTES_MAX: u64 = 64 << 30;
/// Largest expansion of a compressed capture; deflate itself ends near 1,032.
pub const SPOOLED_CAPTURE_RATIO_MAX: u64 = 500;
/// Turns of one session under TLS that are kept before they are read: what each side said until the other spoke.
pub const HIDDEN_TURNS_MAX: usize = 512;
/// Servers of a generation of which the lengths of replies are kept.
pub const REPLY_SIZES_MAX: usize = 8_192;
/// Flows with an open connection that are followed at once.
pub const FLOWS_MAX: usize = 262_144;
/// Flows without a completed handshake, and closed ones that are remembered against stray packets.
pub const FLOWS_HALF_OPEN_MAX: usize = 65_536;
/// Out-of-order bytes kept for one flow (both directions).
pub const OUT_OF_ORDER_FLOW_BYTES_MAX: usize = 256 << 10;
/// Out-of-order segments kept for one direction of a flow.
pub const OUT_OF_ORDER_SEGMENTS_MAX: usize = 1_024;
/// Out-of-order bytes kept for all flows together.
pub const OUT_OF_ORDER_TOTAL_BYTES_MAX: usize = 128 << 20;
/// Longest command or reply line kept, bytes (RFC 5321 section 4.5.3.1.4 asks for 512).
pub const LINE_BYTES_MAX: usize = 4_096;
/// Commands of one session that wait for their replies.
pub const PENDING_COMMANDS_MAX: usize = 4_096;
/// Forward-paths of one transaction that are kept.
pub const RECIPIENTS_KEPT_MAX: usize = 1_000;
/// Client bytes kept while the meaning of what follows hangs on a reply (DATA, AUTH, STARTTLS).
pub const WAITING_CLIENT_BYTES_MAX: usize = 64 << 10;
/// Largest chunk size that is believed (RFC 3030 sets none), octets.
pub const CHUNK_OCTETS_MAX: u64 = 1 << 40;
/// Times that a session reads again, as commands, what followed a suspect end of data. No server disagrees more often
/// with the text; beyond it only strict ends count, and every suspect one is still counted.
pub const REREADS_MAX: u32 = 64;

// The log road.

/// Longest log line kept, bytes; what is longer is cut there and counted.
pub const LOG_LINE_BYTES_MAX: usize = 16 << 10;
/// Bytes taken out of a compressed log (64 GiB).
pub const UNPACKED_LOG_BYTES_MAX: u64 = 64 << 30;
/// Largest expansion of a compressed log; repetitive real logs stay below 100.
pub const UNPACKED_LOG_RATIO_MAX: u64 = 500;
/// Messages remembered between their lines, per generation; two generations are kept.
pub const OPEN_MESSAGES_MAX: usize = 131_072;
/// Deferred recipients remembered to know a retry, per generation; two generations are kept.
pub const DEFERRED_RECIPIENTS_MAX: usize = 1_000_000;
/// Unparsed lines kept as samples.
pub const UNPARSED_SAMPLES_MAX: usize = 100;
/// Bytes of an unparsed line kept in its sample.
pub const UNPARSED_SAMPLE_BYTES_MAX: usize = 240;
/// Times a line is counted for one `message repeated N times`.
pub const LOG_REPEATS_MAX: u32 = 10_000;

// The judge.
/// Words that wait to become known to the company, in one hour.
pub const WAITING_WORDS_MAX: usize = 4_096;
/// State of one sender beside its recipient sketch and, under suspicion, its episode.
pub const SENDER_BYTES_MAX: usize = 512;

// Alerts, store and sinks.

/// Longest sender name in an alert, bytes in a JSON string.
pub const ALERT_NAME_BYTES_MAX: usize = 255;
/// Longest text of a sample in an alert, bytes in a JSON string.
pub const ALERT_SAMPLE_TEXT_BYTES_MAX: usize = 320;
/// Longest sentence of ours that quotes something, bytes in a JSON string.
pub const ALERT_TEXT_BYTES_MAX: usize = 1_024;
/// Names of related senders in one alert, bytes in a JSON line; what is beyond is counted.
pub const ALERT_RELATED_BYTES_MAX: usize = 5 << 10;
/// Incidents whose newest alert waits for the alert rate; beyond it the mildest are dropped and counted.
pub const ALERTS_WAITING_MAX: usize = 1_000;
/// Longest line of any JSON form of an alert, bytes.
pub const ALERT_LINE_BYTES_MAX: usize = 32 << 10;

// Wire.

/// What short segments of all flows said last, bytes.
pub const HISTORY_BYTES_MAX: usize = 8 << 20;

/// Bytes taken from a followed log before its position can be written down again.
pub const POLL_BYTES_MAX: usize = 4 << 20;
/// Rotated files of one log that are looked at.
pub const ROTATED_FILES_MAX: usize = 1_000;

/// Octets of message text held for all sessions together.
pub const EXCERPTS_TOTAL_BYTES_MAX: usize = 64 << 20;
/// Longest header value kept as such, bytes.
pub const HEADER_BYTES_MAX: usize = 255;
/// Domains of URLs kept for one message.
pub const URL_DOMAINS_MAX: usize = 64;
/// Attachments described for one message.
pub const ATTACHMENTS_MAX: usize = 32;

// Planned mailings and feedback.

/// Mailings planned at once.
pub const PLANNED_MAX: usize = 1_024;
/// Bars raised by dismissals at once.
pub const LENIENCIES_MAX: usize = 10_000;
/// Prefixes whose wake-ups are counted; beyond them the ones longest without one are forgotten.
pub const WAKES_MAX: usize = 65_536;

// The dashboard.

/// Connections open at once; beyond it the one that has been silent longest goes.
pub const WEB_CONNECTIONS_MAX: usize = 128;
/// Octets of one request's head.
pub const WEB_HEAD_BYTES_MAX: usize = 16 << 10;
/// Header fields of one request.
pub const WEB_HEADERS_MAX: usize = 64;
/// Octets of one request's body.
pub const WEB_BODY_BYTES_MAX: usize = 16 << 10;
/// Seconds that a request's head may take, and that a kept connection may idle.
pub const WEB_HEAD_SECONDS_MAX: u64 = 5;
/// Seconds that a request may take from its head to its answer.
pub const WEB_REQUEST_SECONDS_MAX: u64 = 20;
/// Seconds that one connection lives, streams included: browsers come back by themselves.
pub const WEB_CONNECTION_SECONDS_MAX: u64 = 600;
/// Browsers that follow the event stream at once.
pub const WEB_STREAMS_MAX: usize = 64;
/// Questions to the state that run at once.
pub const WEB_QUERIES_MAX: usize = 3;
/// Sessions of people who gave the password.
pub const WEB_SESSIONS_MAX: usize = 1_000;
/// Passwords tried in a minute, right ones included.
pub const WEB_LOGINS_PER_MINUTE_MAX: u32 = 20;
/// Rows of one table.
pub const WEB_ROWS_MAX: usize = 100;
/// Longest search text, bytes.
pub const WEB_SEARCH_BYTES_MAX: usize = 255;

// The join of wire and log.
/// How much later than its stamp an observation may come and still be judged in its place, seconds: a log's
/// stamps are whole seconds, and its lines come behind the packets.
pub const LATENESS_SECONDS: f64 = 1.0;
/// Observations that wait to be put in order.
pub const ORDER_WAITING_MAX: usize = 65_536;
/// Servers whose packets and log are joined.
pub const JOIN_SERVERS_MAX: usize = 4_096;
/// Deliveries of one server and road that wait for their other view.
pub const JOIN_WAITING_MAX: usize = 65_536;
/// Sessions of one server under TLS that wait for the log.
pub const JOIN_SESSIONS_MAX: usize = 16_384;
/// Messages of one session under TLS that count as unlogged: how many it carried is an estimate.
pub const JOIN_HIDDEN_MESSAGES_MAX: u32 = 2;
/// Receivers named when the sensor no longer sees a server's mail.
pub const JOIN_BLIND_SERVERS_MAX: usize = 64;
/// Spans without any packet that the join remembers.
pub const JOIN_SILENCES_MAX: usize = 16;

// Dialects.

/// Sessions, processes or delivery numbers that a dialect remembers for one log, per generation; two
/// generations are kept.
pub const LOG_SESSIONS_MAX: usize = 8_192;
/// Octets of recipients that such sessions take before the older generation is forgotten.
pub const LOG_SESSION_BYTES_MAX: usize = 16 << 20;
/// Commands of one such session that wait for their answers.
pub const LOG_PENDING_COMMANDS_MAX: usize = 256;
/// Columns of a table that is read.
pub const LOG_COLUMNS_MAX: usize = 256;
/// Patterns of one user-defined dialect.
pub const PATTERNS_MAX: usize = 64;
/// Bytes that the compiled patterns of one user-defined dialect may take.
pub const PATTERNS_BYTES_MAX: usize = 10 << 20;

// Ways in.

/// Lines of a journal, a listener or standard input that wait to be taken.
pub const LINES_WAITING_MAX: usize = 4_096;
/// Connections that bring syslog to one listener at once.
pub const SYSLOG_CONNECTIONS_MAX: usize = 256;

// State.

/// Changes of a remembered set that are stored one by one at least, before it is worth to store it whole again.
pub const JOURNAL_CHANGES_MIN: usize = 65_536;

// Fragments of IP datagrams.

/// Datagrams that wait for fragments at once.
pub const FRAGMENTED_DATAGRAMS_MAX: usize = 4_096;
/// Octets of fragments kept, with what each costs beside them; Linux keeps as much (`ipfrag_high_thresh`).
pub const FRAGMENTS_BYTES_MAX: usize = 4 << 20;

// What people look at.

/// Senders whose recipients' domains were counted and wait for a commit.
pub const DOMAIN_MIXES_WAITING_MAX: usize = 10_000;

// Roles that are learned.

/// Role changes that wait to be said; `EngineCounters::role_changes` counts all of them.
pub const ROLE_CHANGES_WAITING_MAX: usize = 10_000;

// What the senders of a company do together.

/// Hours back for which it is remembered whether they were holidays or outages: 60 days.
pub const SEASON_HOURS: i64 = 60 * 24;

// What a TLS client says of itself.

/// Longest ClientHello read, with its record headers, bytes: those with post-quantum keys have less than 2,000. Counted
/// with the excerpts of messages.
pub const CLIENT_HELLO_BYTES_MAX: usize = 8 << 10;

// Whose mail an incident is made of, and whom it reached.

/// Accounts, clients and scripts counted by name since a change point.
pub const REACH_ORIGINS_MAX: usize = 16;
/// Ways out of the company counted by name since a change point.
pub const REACH_WAYS_MAX: usize = 5;
/// Domains of recipients counted by name since a change point.
pub const REACH_DOMAINS_MAX: usize = 32;
/// Recipients noted by name before there is an incident to note them with.
pub const REACH_EARLY_MAX: usize = 256;
/// Recipients noted by name for one incident.
pub const REACHED_MAX: u64 = 100_000;
/// Logins of accounts remembered for the course of an incident.
pub const LOGINS_REMEMBERED_MAX: usize = 4_096;
/// Origins named in one alert; what is beyond is counted.
pub const ALERT_ORIGINS_MAX: usize = 5;
/// Longest name of an origin, a way out or a domain in an alert, bytes in a JSON string.
pub const ALERT_TRAIL_NAME_BYTES_MAX: usize = 96;
/// Domains named in one alert; what is beyond is counted.
pub const ALERT_DOMAINS_MAX: usize = 10;

// Several threads on one interface.

/// Threads that share an interface at most.
pub const CAPTURE_THREADS_MAX: usize = 64;
/// Observations of one interface that wait for a slower thread of it.
pub const LANES_WAITING_MAX: usize = 65_536;
