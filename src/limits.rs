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
pub const ALERT_RELATED_BYTES_MAX: usize = 6 << 10;
/// Incidents whose newest alert waits for the alert rate; beyond it the mildest are dropped and counted.
pub const ALERTS_WAITING_MAX: usize = 1_000;
/// Longest line of any JSON form of an alert, bytes.
pub const ALERT_LINE_BYTES_MAX: usize = 32 << 10;

// Wire.

/// Directions of flows whose last octets are remembered, 1 KiB each.
pub const HISTORIES_MAX: usize = 65_536;

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

// The judge's engineer.

/// Mailings planned at once.
pub const PLANNED_MAX: usize = 1_024;
/// Bars raised by dismissals at once.
pub const LENIENCIES_MAX: usize = 10_000;
