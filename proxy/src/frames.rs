//! The frames that a client sends on an HTTP/2 connection, counted by their heads alone: whoever sends much that asks for
//! nothing is let go.
//!
//! h2 itself ends a connection over empty DATA, endless field blocks, and streams that are reset at the door or made to be.
//! It answers every PING and SETTINGS and reads every WINDOW_UPDATE, PRIORITY, RST_STREAM and unknown frame for as long as
//! they come: each costs next to nothing to send, and work on a thread that others share.

use std::time::{Duration, Instant};

/// What such frames of a connection may cost in a [`PERIOD`]: a frame costs 1, a SETTINGS frame [`SETTINGS_COST`].
const COST_MAX: u64 = 10_000;
const PERIOD: Duration = Duration::from_secs(60);
/// A change of the window is work for every stream that is open, and nobody changes settings often.
const SETTINGS_COST: u64 = 50;
/// Who takes much may say so: one more frame for so many bytes that were written to the client. It is less than a small
/// DATA frame, for which clients may send two WINDOW_UPDATEs, and more than the answer to a PING.
const BYTES_PER_FRAME: u64 = 32;

const PREFACE_LENGTH: u32 = 24;
const HEAD_LENGTH: usize = 9;

/// How far the frames of a connection are read, and what they have cost. It stands behind what tells that the client
/// speaks HTTP/2, so that the preface comes first.
pub(crate) struct Frames {
    /// What is left of the preface or of a frame's content.
    skip: u32,
    head: [u8; HEAD_LENGTH],
    /// How much of the head is there.
    filled: usize,
    cost: u64,
    since: Instant,
    written_before: u64,
}

impl Frames {
    pub(crate) fn new() -> Frames {
        let (head, since) = ([0; HEAD_LENGTH], Instant::now());
        Frames { skip: PREFACE_LENGTH, head, filled: 0, cost: 0, since, written_before: 0 }
    }

    /// Takes what has been read next; `written` is how much the client has been sent so far. Whether the connection may go
    /// on; after a no it has to end.
    pub(crate) fn read(&mut self, mut bytes: &[u8], written: u64) -> bool {
        loop {
            let skipped = bytes.len().min(self.skip as usize);
            self.skip -= skipped as u32;
            bytes = &bytes[skipped..];
            let taken = bytes.len().min(HEAD_LENGTH - self.filled);
            self.head[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled < HEAD_LENGTH {
                return true;
            }
            self.filled = 0;
            let [a, b, c, kind, ..] = self.head;
            self.skip = u32::from_be_bytes([0, a, b, c]);
            let cost = cost(kind);
            self.cost += cost;
            if cost > 0 && self.cost > COST_MAX && !self.affords(written) {
                return false;
            }
        }
    }

    /// The clock is asked only by those who have spent what all have.
    fn affords(&mut self, written: u64) -> bool {
        if self.since.elapsed() >= PERIOD {
            (self.cost, self.since, self.written_before) = (0, Instant::now(), written);
        }
        let earned = written.wrapping_sub(self.written_before) / BYTES_PER_FRAME;
        self.cost <= COST_MAX.saturating_add(earned)
    }
}

fn cost(kind: u8) -> u64 {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const CONTINUATION: u8 = 9;
    match kind {
        // What asks for something has limits of its own.
        DATA | HEADERS | CONTINUATION => 0,
        SETTINGS => SETTINGS_COST,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const PING: u8 = 6;

    fn frame(kind: u8, content: usize) -> Vec<u8> {
        let mut bytes = (content as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, 0, 0, 0, 0, 1]);
        bytes.resize(HEAD_LENGTH + content, PING);
        bytes
    }

    #[test]
    fn frames_are_told_apart_however_they_are_cut() {
        for piece in [1, 2, 7, 9, 10, 24, 33, 1_000_000] {
            let mut frames = Frames::new();
            let rounds = [frame(0, 100), frame(PING, 8), frame(1, 0), frame(0xb9, 3), frame(4, 6)].concat();
            let all = [PREFACE.to_vec(), rounds.repeat(50)].concat();
            for part in all.chunks(piece) {
                assert!(frames.read(part, 0), "pieces of {piece}");
            }
            assert_eq!(frames.cost, 50 * (1 + 1 + SETTINGS_COST), "pieces of {piece}");
        }
    }

    /// How many frames of this kind are taken before the connection is to end, after so much was written.
    fn taken(frames: &mut Frames, kind: u8, written: u64) -> u64 {
        let one = frame(kind, 8);
        (0..1_000_000).take_while(|_| frames.read(&one, written)).count() as u64
    }

    #[test]
    fn who_asks_for_nothing_has_a_limit_and_who_takes_much_a_higher_one() {
        let begun = || {
            let mut frames = Frames::new();
            assert!(frames.read(PREFACE, 0));
            frames
        };
        assert_eq!(taken(&mut begun(), PING, 0), COST_MAX);
        assert_eq!(taken(&mut begun(), 0xb9, 0), COST_MAX);
        assert_eq!(taken(&mut begun(), 4, 0), COST_MAX / SETTINGS_COST);
        assert_eq!(taken(&mut begun(), PING, 320_000), COST_MAX + 10_000);
        assert_eq!(taken(&mut begun(), 0, 0), 1_000_000, "DATA");
        // A minute later there is as much again, but what was earned is spent once.
        let mut frames = begun();
        assert!((0..COST_MAX + 10_000).all(|_| frames.read(&frame(PING, 8), 320_000)));
        frames.since -= PERIOD;
        assert_eq!(taken(&mut frames, PING, 320_000), COST_MAX + 1);
    }
}
