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
