//! The tasks that one worker has been sent and has not answered, in the order in which it runs them.
//!
//! Each task that is sent to a worker gets the next *turn* of that worker, counted from 1. The worker notes in the ledger
//! which turn it has begun; the pool notes there up to which turn it has taken tasks back.

use std::collections::VecDeque;

use super::pace::Pace;
use crate::span::{Stamps, now};
use crate::wire::ledger::Ledger;

/// The most bytes that are sent ahead to a busy worker.
const MAX_BYTES: usize = 256 << 10;

/// A task that was sent and not answered.
#[derive(Debug)]
struct Sent {
    task: usize,
    turn: u32,
    bytes: usize,
}

pub(super) struct Flight {
    sent: VecDeque<Sent>,
    bytes: usize,
    /// Bytes of the last input.
    input_bytes: usize,
    /// The last turn given.
    turn: u32,
    /// When the first of them began, as far as the pool knows, ns; until it has, when it was sent.
    began: u64,
    /// Whether the worker has it.
    has_arrived: bool,
    pace: Pace,
    /// Whether tasks have been taken back since the last answer.
    taken_back: bool,
    /// Which turn the worker has begun; `None` if no memory is shared.
    ledger: Option<Ledger>,
}

impl Flight {
    pub(super) fn new(ledger: Option<Ledger>) -> Flight {
        let (sent, pace) = (VecDeque::new(), Pace::default());
        Flight {
            sent,
            bytes: 0,
            input_bytes: 0,
            turn: 0,
            began: 0,
            has_arrived: false,
            pace,
            taken_back: false,
            ledger,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// How many tasks have been sent so far.
    pub(super) fn turns(&self) -> u32 {
        self.turn
    }

    /// When the first of them began, as far as the pool knows, ns.
    pub(super) fn began(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.began)
    }

    /// The first task.
    pub(super) fn first(&self) -> Option<usize> {
        self.sent.front().map(|sent| sent.task)
    }

    /// Moves the time at which the first began by a time in which this program did not run, ns.
    pub(super) fn postpone(&mut self, stalled_ns: u64) {
        self.began = self.began.saturating_add(stalled_ns).min(now());
    }

    /// Whether the worker has the first of them. An input on its way to an idle worker is not the worker's time.
    pub(super) fn has_arrived(&self) -> bool {
        self.has_arrived
    }

    /// Notes that all inputs have been sent: if the first was on its way, its time runs from now on.
    pub(super) fn arrived(&mut self) {
        if !self.has_arrived {
            (self.has_arrived, self.began) = (true, now());
        }
    }

    /// Forgets how long tasks take: those of another scenario follow.
    pub(super) fn forget_pace(&mut self) {
        self.pace = Pace::default();
    }

    /// How many more tasks may be sent, if `share` is this worker's share of those that no worker has and it may have
    /// `max` at once.
    pub(super) fn room(&self, share: usize, max: usize) -> usize {
        // Without a ledger nothing that was sent could be taken back.
        let window = if self.ledger.is_some() { self.pace.window(share).min(max) } else { 1 };
        // Several frames at a time rather than one after each answer.
        let low = self.sent.len() <= window / 2;
        // The next input is assumed to be as large as the last; `fits` checks when it has been packed.
        let has_space = self.bytes + self.input_bytes <= MAX_BYTES;
        if self.is_empty() || low && has_space && !self.is_stuck() { window - self.sent.len() } else { 0 }
    }

    /// Whether an input of this length may be sent behind the others.
    pub(super) fn fits(&self, bytes: usize) -> bool {
        self.is_empty() || self.bytes + bytes <= MAX_BYTES
    }

    /// Adds a task at the end and returns its turn.
    pub(super) fn push(&mut self, task: usize, bytes: usize) -> u32 {
        if self.is_empty() {
            (self.began, self.has_arrived) = (now(), false);
        }
        self.turn += 1;
        self.input_bytes = bytes;
        self.bytes += bytes;
        self.sent.push_back(Sent { task, turn: self.turn, bytes });
        self.turn
    }

    /// Removes the task of a turn that was answered, and returns it if that turn was due. The next task began when this
    /// one stopped.
    pub(super) fn answered(&mut self, turn: u32, stamps: Option<Stamps>) -> Option<usize> {
        self.sent.front().filter(|sent| sent.turn == turn)?;
        let sent = self.sent.pop_front()?;
        self.bytes -= sent.bytes;
        self.taken_back = false;
        self.has_arrived = true;
        match stamps {
            Some(stamps) => {
                self.pace.took(stamps);
                // A worker's clock reading must not lie in the future.
                self.began = self.began.max(stamps.stopped.min(now()));
            }
            None => self.began = now(),
        }
        Some(sent.task)
    }

    /// Whether the first takes so much longer than those before it that the others should not wait behind it.
    fn is_stuck(&self) -> bool {
        !self.is_empty() && now() >= self.began.saturating_add(self.pace.stuck_after_ns())
    }

    /// When those behind the first will have waited too long, ns.
    pub(super) fn stuck_at(&self) -> Option<u64> {
        (self.ledger.is_some() && !self.taken_back && self.sent.len() > 1)
            .then(|| self.began.saturating_add(self.pace.stuck_after_ns()))
    }

    /// Takes back the tasks that have not been begun, if the first is stuck.
    pub(super) fn take_back(&mut self) -> Vec<usize> {
        match &self.ledger {
            Some(ledger) if !self.taken_back && self.sent.len() > 1 && self.is_stuck() => {
                self.taken_back = true;
                let begun = ledger.take_back(self.turn);
                self.behind(begun)
            }
            _ => Vec::new(),
        }
    }

    /// Removes all tasks of a worker that has ended: those that it had begun, and those that it had not.
    ///
    /// A worker answers each task before it begins the next, so more than one has begun only if answers got lost behind a
    /// malformed frame.
    pub(super) fn drain(&mut self) -> (Vec<usize>, Vec<usize>) {
        // Without a ledger the first is assumed to have begun.
        let first = self.sent.front().map_or(0, |sent| sent.turn);
        let begun = self.ledger.as_ref().map_or(first, Ledger::begun);
        let rest = self.behind(begun);
        (self.sent.drain(..).map(|sent| sent.task).collect(), rest)
    }

    /// Removes the tasks of all turns after one.
    fn behind(&mut self, turn: u32) -> Vec<usize> {
        let keep = self.sent.partition_point(|sent| sent.turn <= turn);
        let taken: Vec<_> = self.sent.drain(keep..).collect();
        self.bytes -= taken.iter().map(|sent| sent.bytes).sum::<usize>();
        taken.into_iter().map(|sent| sent.task).collect()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// A flight of three tasks, and the worker's end of its ledger.
    fn flight() -> (Flight, Ledger) {
        let (ours, descriptor) = Ledger::make().expect("there is shared memory");
        let mut flight = Flight::new(Some(ours));
        (10..13).for_each(|task| assert_eq!(flight.push(task, 100), task as u32 - 9));
        (flight, Ledger::open(descriptor).expect("it is a ledger"))
    }

    #[test]
    fn answers_come_in_the_order_of_turns() {
        let (mut flight, _) = flight();
        assert_eq!(flight.answered(2, None), None);
        assert_eq!(flight.answered(1, None), Some(10));
        assert_eq!(flight.answered(1, None), None);
    }

    #[test]
    fn the_time_of_a_task_runs_from_when_its_input_was_sent() {
        let (mut flight, _) = flight();
        flight.began = 0;
        assert!(!flight.has_arrived());
        flight.arrived();
        assert!(flight.has_arrived() && flight.began() > Some(0));
        // Those behind it run from the end of the one before.
        flight.began = 0;
        assert_eq!(flight.answered(1, Some(Stamps { started: 5, stopped: 9 })), Some(10));
        flight.arrived();
        assert_eq!(flight.began(), Some(9));
    }

    #[test]
    fn a_worker_that_ended_leaves_one_task_begun_or_none() {
        let (mut flight, worker) = self::flight();
        assert!(worker.begin(1));
        assert_eq!(flight.drain(), (vec![10], vec![11, 12]));

        let (mut flight, worker) = self::flight();
        assert!(worker.begin(1));
        assert_eq!(flight.answered(1, None), Some(10));
        assert_eq!(flight.drain(), (vec![], vec![11, 12]));
    }

    #[test]
    fn what_was_taken_back_is_not_run() {
        let (mut flight, worker) = flight();
        assert!(worker.begin(1));
        flight.began = 0;
        assert_eq!(flight.take_back(), [11, 12]);
        assert!(!worker.begin(2) && !worker.begin(3));
        assert_eq!(flight.push(11, 100), 4);
        assert!(worker.begin(4));
    }

    #[test]
    fn nothing_large_waits_behind_anything() {
        let (flight, _) = flight();
        assert!(!flight.fits(MAX_BYTES));
        assert!(Flight::new(None).fits(usize::MAX));
    }
}
