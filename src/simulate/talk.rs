//! One TCP connection as frames in time order: handshake, segments, acknowledgements, the end.
//!
//! *In*: what either side writes, and how long it thinks. *Out*: a [`Talk`]. Times are those of a sensor
//! beside the originator: what the responder answers is seen one round trip later.

use super::draw::Dice;
use super::frames::{End, Segment, flag, push_frame};

/// Segments that may be under way before an acknowledgement (RFC 6928).
const WINDOW_SEGMENTS: usize = 10;
/// Share of a client's data segments that are sent twice, as after a lost acknowledgement.
const REPEATED_SHARE: f64 = 0.002;
/// Share of neighbouring data segments that the path swaps.
const SWAPPED_SHARE: f64 = 0.001;

/// Frames of one connection.
pub(super) struct Talk {
    bytes: Vec<u8>,
    /// When each frame passes the sensor, and where it ends in `bytes`.
    marks: Vec<(i64, u32)>,
    client: End,
    server: End,
    now: i64,
    rtt_us: i64,
    client_next: u32,
    server_next: u32,
    client_id: u16,
    server_id: u16,
    stamps: bool,
    clock_base: [u32; 2],
    client_stamp: u32,
    server_stamp: u32,
    unacknowledged: bool,
}

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The server closes after QUIT.
    Quit,
    /// The client closes without a word.
    Closed,
    /// The client aborts.
    Reset,
}

impl Talk {
    fn new(client: End, server: End, at: i64, dice: &mut Dice, rtt_us: f64) -> Talk {
        let stamps = client.shape.stamps() && server.shape.stamps();
        let random = dice.bits();
        let more = dice.bits();
        Talk {
            bytes: Vec::with_capacity(6_000),
            marks: Vec::with_capacity(32),
            client,
            server,
            now: at,
            rtt_us: (rtt_us * dice.between(0.95, 1.15)) as i64,
            client_next: random as u32,
            server_next: (random >> 32) as u32,
            client_id: more as u16,
            server_id: (more >> 16) as u16,
            stamps,
            clock_base: [(more >> 32) as u32, (random >> 13) as u32],
            client_stamp: 0,
            server_stamp: 0,
            unacknowledged: false,
        }
    }

    /// A connection that is answered.
    pub(super) fn open(client: End, server: End, at: i64, dice: &mut Dice, rtt_us: f64) -> Talk {
        let mut talk = Talk::new(client, server, at, dice, rtt_us);
        talk.emit(true, flag::SYN, &[]);
        talk.client_next = talk.client_next.wrapping_add(1);
        talk.now += talk.rtt_us;
        talk.emit(false, flag::SYN | flag::ACK, &[]);
        talk.server_next = talk.server_next.wrapping_add(1);
        talk.now += dice.whole(20, 90) as i64;
        talk.emit(true, flag::ACK, &[]);
        talk
    }

    /// A SYN that is reset.
    pub(super) fn refused(client: End, server: End, at: i64, dice: &mut Dice, rtt_us: f64) -> Talk {
        let mut talk = Talk::new(client, server, at, dice, rtt_us);
        talk.emit(true, flag::SYN, &[]);
        talk.client_next = talk.client_next.wrapping_add(1);
        talk.now += talk.rtt_us;
        talk.server_next = 0;
        talk.emit(false, flag::RST | flag::ACK, &[]);
        talk
    }

    /// SYNs that nobody answers: three tries, doubling the wait.
    pub(super) fn unanswered(client: End, server: End, at: i64, dice: &mut Dice) -> Talk {
        let mut talk = Talk::new(client, server, at, dice, 0.0);
        for wait_seconds in [1, 2, 4] {
            talk.emit(true, flag::SYN, &[]);
            talk.now += wait_seconds * 1_000_000;
        }
        talk
    }

    /// When the last frame so far passes the sensor.
    pub(super) fn last_frame_at(&self) -> i64 {
        self.marks.last().map_or(self.now, |(at, _)| *at)
    }

    /// The client writes, after thinking.
    pub(super) fn client(&mut self, think_us: i64, data: &[u8], dice: &mut Dice) {
        self.now += think_us;
        let most = self.client.shape.segment(self.client.ip.is_ipv6(), self.stamps);
        let count = data.len().div_ceil(most);
        for (index, chunk) in data.chunks(most).enumerate() {
            let last = index + 1 == count;
            let push = if last { flag::PSH } else { 0 };
            let before = self.marks.len();
            self.emit(true, flag::ACK | push, chunk);
            if dice.chance(REPEATED_SHARE) {
                self.now += 210;
                self.emit(true, flag::ACK | push, chunk);
            } else if index > 0 && before > 0 && dice.chance(SWAPPED_SHARE) {
                self.swap_last_two();
            }
            self.client_next = self.client_next.wrapping_add(chunk.len() as u32);
            self.now += dice.whole(8, 40) as i64;
            if !last && (index + 1) % WINDOW_SEGMENTS == 0 {
                self.now += self.rtt_us;
                self.emit(false, flag::ACK, &[]);
            }
        }
        self.unacknowledged = false;
    }

    /// The server writes, after thinking; it is seen a round trip after what the client wrote last.
    pub(super) fn server(&mut self, think_us: i64, data: &[u8], dice: &mut Dice) {
        self.now += self.rtt_us;
        if think_us > 40_000 {
            // The delayed acknowledgement goes first where the answer takes its time.
            self.emit(false, flag::ACK, &[]);
        }
        self.now += think_us;
        let most = self.server.shape.segment(self.server.ip.is_ipv6(), self.stamps);
        for chunk in data.chunks(most) {
            self.emit(false, flag::ACK | flag::PSH, chunk);
            self.server_next = self.server_next.wrapping_add(chunk.len() as u32);
            self.now += dice.whole(5, 30) as i64;
        }
        self.unacknowledged = true;
    }

    /// The client acknowledges without writing.
    pub(super) fn acknowledge(&mut self) {
        if self.unacknowledged {
            self.emit(true, flag::ACK, &[]);
            self.unacknowledged = false;
        }
    }

    /// The connection ends.
    pub(super) fn close(&mut self, how: Ending) {
        match how {
            Ending::Quit => {
                self.emit(false, flag::FIN | flag::ACK, &[]);
                self.server_next = self.server_next.wrapping_add(1);
                self.now += 60;
                self.emit(true, flag::FIN | flag::ACK, &[]);
                self.client_next = self.client_next.wrapping_add(1);
                self.now += self.rtt_us;
                self.emit(false, flag::ACK, &[]);
            }
            Ending::Closed => {
                self.now += 200;
                self.emit(true, flag::FIN | flag::ACK, &[]);
                self.client_next = self.client_next.wrapping_add(1);
                self.now += self.rtt_us;
                self.emit(false, flag::FIN | flag::ACK, &[]);
                self.server_next = self.server_next.wrapping_add(1);
                self.now += 60;
                self.emit(true, flag::ACK, &[]);
            }
            Ending::Reset => {
                self.now += 200;
                self.emit(true, flag::RST | flag::ACK, &[]);
            }
        }
    }

    /// Frames with their times, in order.
    pub(super) fn frame(&self, index: usize) -> Option<(i64, &[u8])> {
        let (at, end) = *self.marks.get(index)?;
        let start = if index == 0 { 0 } else { self.marks[index - 1].1 };
        Some((at, &self.bytes[start as usize..end as usize]))
    }

    fn emit(&mut self, from_client: bool, flags: u8, payload: &[u8]) {
        let millis = (self.now / 1_000) as u32;
        let stamps = self.stamps.then(|| {
            if from_client {
                self.client_stamp = self.clock_base[0].wrapping_add(millis);
                (self.client_stamp, self.server_stamp)
            } else {
                self.server_stamp = self.clock_base[1].wrapping_add(millis);
                (self.server_stamp, self.client_stamp)
            }
        });
        let opening = flags & (flag::SYN | flag::ACK) == flag::SYN;
        let stamps = if opening && self.client.shape.stamps() {
            Some((self.clock_base[0].wrapping_add(millis), 0))
        } else {
            stamps
        };
        let (from, to, sequence, acknowledgement, id) = if from_client {
            self.client_id = self.client_id.wrapping_add(1);
            (&self.client, &self.server, self.client_next, self.server_next, self.client_id)
        } else {
            self.server_id = self.server_id.wrapping_add(1);
            (&self.server, &self.client, self.server_next, self.client_next, self.server_id)
        };
        let acknowledgement = if flags & flag::ACK == 0 { 0 } else { acknowledgement };
        let segment = Segment { sequence, acknowledgement, flags, stamps, id, payload };
        push_frame(&mut self.bytes, from, to, &segment);
        self.marks.push((self.now, self.bytes.len() as u32));
    }

    /// The path swaps the last two frames; each keeps the place in time of the other.
    fn swap_last_two(&mut self) {
        let count = self.marks.len();
        let start = if count > 2 { self.marks[count - 3].1 as usize } else { 0 };
        let (middle, end) = (self.marks[count - 2].1 as usize, self.marks[count - 1].1 as usize);
        self.bytes[start..end].rotate_left(middle - start);
        self.marks[count - 2].1 = (start + end - middle) as u32;
    }
}
