//! Frames: what is written is read, and what is no frame is refused without taking memory for it.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{self, Cursor, Read, Write};

use parbench::data::packet::{MAX_ARRAY_BYTES, MAX_ARRAYS, MAX_PAYLOAD_BYTES};
use parbench::span::Stamps;
use parbench::wire::{Frame, FrameKind, HEADER_BYTES, WireError, read, write};
use parbench::{Array, Packet};
use proptest::collection;
use proptest::prelude::*;
use proptest::sample::Index;

fn frame(packet: Packet) -> Frame {
    Frame { kind: FrameKind::Done, id: 7, stamps: Stamps { started: 5, stopped: 9 }, packet }
}

fn bytes_of(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, frame).unwrap();
    bytes
}

/// A connection that takes and gives one byte at a time, with interruptions.
struct OneByteAtATime<T>(T, bool);

impl<T: Read> Read for OneByteAtATime<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let most = buffer.len().min(1);
        self.0.read(&mut buffer[..most])
    }
}

impl<T: Write> Write for OneByteAtATime<T> {
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
            let mut slowly = OneByteAtATime(Vec::new(), false);
            write(&mut slowly, &frame).unwrap();
            assert_eq!(slowly.0, bytes);
            assert_eq!(read(&mut OneByteAtATime(Cursor::new(&bytes), false)).unwrap(), frame);
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
    refused(4, &(MAX_PAYLOAD_BYTES as u32 + 1).to_le_bytes(), "more than 1073741824");
    refused(4, &(MAX_PAYLOAD_BYTES as u32).to_le_bytes(), "the connection broke");
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

/// The system's allocator, which notes the largest piece of memory that each thread asks for.
struct Noting;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn note(bytes: usize) {
    // A thread that ends asks for memory when its own is gone already.
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(bytes)));
}

// SAFETY: all of it is the system's allocator, which keeps the rules; a cell without a destructor needs no memory.
unsafe impl GlobalAlloc for Noting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps the rules.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps the rules.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        note(bytes);
        // SAFETY: the caller keeps the rules.
        unsafe { System.realloc(memory, layout, bytes) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the rules.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Noting = Noting;

/// Reads a frame; also the largest piece of memory that this took.
fn read_noting(bytes: &[u8]) -> (Result<Frame, WireError>, usize) {
    let mut from = Cursor::new(bytes);
    LARGEST.set(0);
    let frame = read(&mut from);
    (frame, LARGEST.get())
}

/// What the bytes of a frame say of its length: where the payload and the places of its arrays are one piece.
fn promised(bytes: &[u8]) -> usize {
    let payload = u32::from_le_bytes(bytes[4..8].try_into().unwrap());
    let arrays = u16::from_le_bytes(bytes[10..12].try_into().unwrap());
    payload as usize + usize::from(arrays) * PLACE_BYTES
}

/// What an array takes behind the header.
const PLACE_BYTES: usize = 16;
/// The most that is asked for at once: a payload and the places of its arrays; arrays have mappings of their own.
const MAX_BYTES: usize = MAX_PAYLOAD_BYTES + MAX_ARRAYS * PLACE_BYTES;
/// What reading asks for at once for anything but the payload: an array that has no mapping of its own.
const FEW_BYTES: usize = 256 << 10;

fn packet() -> impl Strategy<Value = Packet> {
    let lengths = || prop_oneof![4 => 0..50usize, 1 => 4_000..300_000usize];
    let bytes = || (lengths(), any::<u8>()).prop_map(|(length, byte)| vec![byte; length]);
    let arrays = collection::vec(bytes().prop_map(Array::from), 0..4);
    (bytes(), arrays).prop_map(|message| Packet::pack(&message).unwrap())
}

/// A header that may lie in every way that gets it past the first look, and something behind it.
fn lie() -> impl Strategy<Value = Vec<u8>> {
    let cap = MAX_PAYLOAD_BYTES as u32;
    let length = prop_oneof![0..200u32, 0..200_000u32, cap - 100..=cap + 100, any::<u32>()];
    let arrays = prop_oneof![3 => 0..5u16, 1 => any::<u16>()];
    let most = MAX_ARRAY_BYTES;
    let array = prop_oneof![0..100u64, 0..1_000_000u64, most - 100..=most + 100, u64::MAX - 100..=u64::MAX];
    let segment = prop_oneof![4 => Just(0u64), 1 => any::<u64>()];
    let rest = collection::vec(any::<u8>(), 0..300);
    (length, 0..20u8, arrays, collection::vec((array, segment), 0..5), rest).prop_map(
        |(length, kind, arrays, places, rest)| {
            let mut bytes = bytes_of(&frame(Packet::default()));
            bytes[4..8].copy_from_slice(&length.to_le_bytes());
            bytes[8] = kind;
            bytes[10..12].copy_from_slice(&arrays.to_le_bytes());
            for (length, segment) in places {
                bytes.extend_from_slice(&length.to_le_bytes());
                bytes.extend_from_slice(&segment.to_le_bytes());
            }
            bytes.extend_from_slice(&rest);
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn whatever_is_written_is_read_and_no_part_of_it_is(packet in packet(), cut in any::<Index>()) {
        let frame = frame(packet);
        let bytes = bytes_of(&frame);
        let (back, largest) = read_noting(&bytes);
        prop_assert_eq!(back.unwrap(), frame);
        prop_assert!(largest <= FEW_BYTES.max(promised(&bytes)), "{} bytes for {}", largest, bytes.len());
        let cut = cut.index(bytes.len());
        let error = read_noting(&bytes[..cut]).0.unwrap_err();
        prop_assert_eq!(matches!(error, WireError::Closed), cut == 0, "{} of {}: {}", cut, bytes.len(), error);
    }

    #[test]
    fn changed_bytes_are_never_a_panic(
        packet in packet(), changes in collection::vec(any::<(Index, u8)>(), 1..5), cut in any::<Index>(),
    ) {
        let mut bytes = bytes_of(&frame(packet));
        for (at, byte) in changes {
            *at.get_mut(&mut bytes) = byte;
        }
        bytes.truncate(1 + cut.index(bytes.len()));
        let (_, largest) = read_noting(&bytes);
        prop_assert!(largest <= MAX_BYTES, "{} bytes", largest);
    }

    #[test]
    fn a_frame_that_lies_takes_no_more_memory_than_a_frame_may(bytes in lie()) {
        let (_, largest) = read_noting(&bytes);
        prop_assert!(largest <= FEW_BYTES.max(promised(&bytes)).min(MAX_BYTES), "{} bytes", largest);
    }
}
