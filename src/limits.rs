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
