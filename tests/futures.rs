//! Tasks that are futures: how many are in flight, and what becomes of those that fail.
#![cfg(feature = "async")]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use parbench::executors::{ExecutorKind, PoolOptions, Suitability};
use parbench::{Inputs, Job, Scenario, Size, StartFuture, TypedJob, Workload};

/// Gives way so many times, and then answers, fails or panics.
struct Later;

static RUNNING: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// Ready when it is polled for the last of so many times.
struct GiveWay(u32);

impl Future for GiveWay {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 == 0 {
            return Poll::Ready(());
        }
        self.0 -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

async fn later(number: u32) -> Result<u32> {
    let running = RUNNING.fetch_add(1, Ordering::SeqCst) + 1;
    MOST.fetch_max(running, Ordering::SeqCst);
    GiveWay(20).await;
    RUNNING.fetch_sub(1, Ordering::SeqCst);
    match number {
        3 => bail!("three is no number"),
        5 => panic!("five"),
        _ => Ok(number * 2),
    }
}

impl Workload for Later {
    const NAME: &'static str = "later";
    const FUTURE: Option<StartFuture<u32, u32>> = Some(|number| Box::pin(later(*number)));
    type Input = u32;
    type Output = u32;
    type Worker = ();

    fn prepare(_: Size) -> Result<Inputs<u32>> {
        Ok(Inputs::new((0..8).collect()))
    }

    fn run(_: &mut (), number: &u32) -> Result<u32> {
        Ok(number * 2)
    }

    fn check(_: &[u32], _: &[u32]) -> Result<()> {
        Ok(())
    }
}

#[test]
fn no_more_are_in_flight_than_workers_and_a_failure_stays_with_its_task() {
    for (name, lanes) in [("async", 4), ("async_threads", 2), ("async", 1)] {
        MOST.store(0, Ordering::SeqCst);
        let typed = Arc::new(TypedJob::<Later>::new((0..8).collect(), lanes));
        let job: Arc<dyn Job> = typed.clone();
        let mut executor = ExecutorKind::find(name).unwrap().start(&PoolOptions::new(lanes)).unwrap();
        for _ in 0..2 {
            let outcome = executor.execute(&job).unwrap();
            let failures: Vec<_> = outcome
                .tasks
                .iter()
                .filter_map(|task| task.as_ref().err())
                .map(ToString::to_string)
                .collect();
            assert!(failures[0].contains("task 3: three is no number"), "{failures:?}");
            assert!(failures[1].contains("task 5: it panicked: five"), "{failures:?}");
            assert_eq!(failures.len(), 2);
            let expected = [Some(0), Some(2), Some(4), None, Some(8), None, Some(12), Some(14)];
            assert_eq!(typed.take_outputs(), expected);
            let spans = outcome.tasks.iter().flatten();
            assert!(
                spans.clone().all(|span| span.started <= span.stopped && usize::from(span.worker) < lanes)
            );
        }
        let most = MOST.load(Ordering::SeqCst);
        assert!(most <= lanes && (name != "async" || most == lanes), "{name}: {most} of {lanes}");
    }
}

#[test]
fn blocking_tasks_run_at_once_on_tokios_pool() {
    /// Goes on once two are here.
    struct Meet;

    static HERE: AtomicUsize = AtomicUsize::new(0);

    impl Workload for Meet {
        const NAME: &'static str = "meet";
        type Input = u32;
        type Output = bool;
        type Worker = ();

        fn prepare(_: Size) -> Result<Inputs<u32>> {
            Ok(Inputs::new(vec![0, 1]))
        }

        fn run(_: &mut (), _: &u32) -> Result<bool> {
            HERE.fetch_add(1, Ordering::SeqCst);
            let since = Instant::now();
            while HERE.load(Ordering::SeqCst) < 2 && since.elapsed() < Duration::from_secs(20) {
                thread::yield_now();
            }
            Ok(HERE.load(Ordering::SeqCst) == 2)
        }

        fn check(_: &[u32], _: &[bool]) -> Result<()> {
            Ok(())
        }
    }

    let typed = Arc::new(TypedJob::<Meet>::new(vec![0, 1], 2));
    let job: Arc<dyn Job> = typed.clone();
    let kind = ExecutorKind::find("spawn_blocking").unwrap();
    let mut executor = kind.start(&PoolOptions::new(2)).unwrap();
    assert_eq!(executor.execute(&job).unwrap().spans().unwrap().len(), 2);
    assert_eq!(typed.take_outputs(), [Some(true), Some(true)]);
    // Where tasks only block, it is measured if it is asked for; futures have no row there.
    let properties = Scenario::of::<Meet>().properties;
    assert_eq!((kind.suits)(&properties), Suitability::OnRequest);
    let suits = |name: &str| (ExecutorKind::find(name).unwrap().suits)(&properties);
    assert!(
        ["async", "async_threads"].map(suits).iter().all(|suits| matches!(suits, Suitability::Unsuited(_)))
    );
}
