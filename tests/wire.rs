//! Frames: what is written is read, and what is no frame is refused without taking memory for it.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::io::{self, Cursor, Read, Write};

use parbench::message::MOST_PAYLOAD_BYTES;
use parbench::span::Stamps;
use parbench::wire::{Frame, HEADER_BYTES, Kind, WireError, read, write};
use parbench::{Array, Packet};

fn frame(packet: Packet) -> Frame {
    Frame { kind: Kind::Done, id: 7, stamps: Stamps { started: 5, stopped: 9 }, packet }
}

fn bytes_of(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, frame).unwrap();
    bytes
}

/// A connection that takes and gives one byte at a time, with interruptions.
struct Grudging<T>(T, bool);

impl<T: Read> Read for Grudging<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let most = buffer.len().min(1);
        self.0.read(&mut buffer[..most])
    }
}

impl<T: Write> Write for Grudging<T> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let most = buffer.len().min(1);
        self.0.write(&buffer[..most])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn what_is_written_is_read() {
    let arrays: (Array<f64>, Array<u8>, Array<u8>) =
        (vec![1.5; 3].into(), vec![].into(), vec![9; 300_001].into());
    for packet in [
        Packet::default(),
        Packet::pack(&1u8).unwrap(),
        Packet::pack(&vec![7u8; 200]).unwrap(),
        Packet::pack(&vec![7u8; 1 << 20]).unwrap(),
        Packet::pack(&arrays).unwrap(),
    ] {
        let frame = frame(packet);
        let bytes = bytes_of(&frame);
        assert_eq!(read(&mut Cursor::new(&bytes)).unwrap(), frame);
        if bytes.len() < 1_000 {
            let mut slowly = Grudging(Vec::new(), false);
            write(&mut slowly, &frame).unwrap();
            assert_eq!(slowly.0, bytes);
            assert_eq!(read(&mut Grudging(Cursor::new(&bytes), false)).unwrap(), frame);
        }
    }
}

#[test]
fn arrays_come_back_with_their_numbers() {
    let numbers: Array<f64> = (0..100_000).map(f64::from).collect::<Vec<_>>().into();
    let bytes = bytes_of(&frame(Packet::pack(&(1u8, numbers.clone())).unwrap()));
    let (one, back): (u8, Array<f64>) = read(&mut Cursor::new(bytes)).unwrap().packet.unpack().unwrap();
    assert_eq!((one, back), (1, numbers));
}

#[test]
fn a_frame_that_is_cut_anywhere_is_told_from_a_connection_that_is_closed() {
    let bytes = bytes_of(&frame(Packet::pack(&(3u8, Array::from(vec![1u16, 2, 3]))).unwrap()));
    assert!(matches!(read(&mut Cursor::new(&[])), Err(WireError::Closed)));
    for length in 1..bytes.len() {
        let error = read(&mut Cursor::new(&bytes[..length])).unwrap_err();
        assert!(matches!(error, WireError::Broken(_)), "{length} bytes: {error}");
    }
}

#[test]
fn a_header_that_lies_is_refused() {
    let bytes = bytes_of(&frame(Packet::pack(&vec![1u8; 10]).unwrap()));
    let refused = |at: usize, patch: &[u8], reason: &str| {
        let mut bytes = bytes.clone();
        bytes[at..at + patch.len()].copy_from_slice(patch);
        let error = read(&mut Cursor::new(bytes)).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    };
    refused(0, b"HTTP", "it begins with [48, 54, 54, 50]");
    refused(4, &u32::MAX.to_le_bytes(), "it promises 4294967295 bytes");
    refused(4, &(MOST_PAYLOAD_BYTES as u32 + 1).to_le_bytes(), "more than 1073741824");
    refused(4, &(MOST_PAYLOAD_BYTES as u32).to_le_bytes(), "the connection broke");
    refused(8, &[0], "there is no kind 0");
    refused(8, &[200], "there is no kind 200");
    refused(10, &u16::MAX.to_le_bytes(), "the connection broke");
}

#[test]
fn an_array_that_promises_more_than_the_cap_is_refused() {
    let mut bytes = bytes_of(&frame(Packet::pack(&Array::from(vec![1u8; 8])).unwrap()));
    bytes[HEADER_BYTES..HEADER_BYTES + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    let error = read(&mut Cursor::new(bytes)).unwrap_err().to_string();
    assert!(error.contains("arrays of 18446744073709551615 bytes"), "{error}");
}

#[test]
fn random_bytes_are_never_a_panic() {
    // A xorshift generator: whatever it makes, reading ends with a frame or an error.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let good = bytes_of(&frame(Packet::pack(&(3u8, Array::from(vec![1u16; 40]))).unwrap()));
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..1 + random() % 4 {
            let at = random() as usize % bytes.len();
            bytes[at] = random() as u8;
        }
        bytes.truncate(1 + random() as usize % bytes.len());
        let _ = read(&mut Cursor::new(bytes));
    }
}
