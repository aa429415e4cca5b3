//! What all tasks of a process read, such as an index, a model or a table: made once in each process, before the clock.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use anyhow::Result;

use super::Size;

/// What can be shared: how it is made.
pub trait SharedState: Send + Sync + Sized + 'static {
    /// Makes it, the same in every process.
    ///
    /// # Errors
    /// Why it cannot be made; no task runs then.
    fn make(size: Size) -> Result<Self>;
}

/// A state that all workers of a process have in common: a [`crate::Workload::Worker`], or a part of one.
///
/// On serial, threads and rayon there is one; with worker processes, one in each. It is made before the clock starts, when a
/// process's first worker needs it, and dropped with its last worker.
///
/// ```
/// use anyhow::Result;
/// use parbench::{Inputs, Shared, SharedState, Size, Workload};
///
/// /// The numbers below a million that are squares.
/// struct Squares(Vec<bool>);
///
/// impl SharedState for Squares {
///     fn make(size: Size) -> Result<Self> {
///         let count = size.pick(1_000, 1_000_000, 1_000_000);
///         Ok(Squares((0..count).map(|n: u32| n.isqrt().pow(2) == n).collect()))
///     }
/// }
///
/// struct Lookup;
///
/// impl Workload for Lookup {
///     const NAME: &'static str = "lookup";
///     type Input = u32;
///     type Output = bool;
///     type Worker = Shared<Squares>;
///
///     fn prepare(_: Size) -> Result<Inputs<u32>> {
///         Ok(Inputs::new((0..1_000).collect()))
///     }
///
///     fn run(squares: &mut Shared<Squares>, n: &u32) -> Result<bool> {
///         Ok(squares.0[*n as usize])
///     }
///
///     fn check(_: &[u32], answers: &[bool]) -> Result<()> {
///         anyhow::ensure!(answers[..10].iter().filter(|is_square| **is_square).count() == 4);
///         Ok(())
///     }
/// }
/// # let mut squares = Shared::default();
/// # let answers: Vec<_> = (0..10).map(|n| Lookup::run(&mut squares, &n).unwrap()).collect();
/// # Lookup::check(&[], &answers).unwrap();
/// ```
pub struct Shared<T>(Arc<T>);

/// The size that inputs in this process have, or are to have.
static SIZE: RwLock<Size> = RwLock::new(Size::Default);

/// Says of what size inputs and shared states are from now on.
pub(crate) fn set_size(size: Size) {
    *SIZE.write().unwrap_or_else(PoisonError::into_inner) = size;
}

pub(crate) fn size() -> Size {
    *SIZE.read().unwrap_or_else(PoisonError::into_inner)
}

/// Where the state of a type is, if there is one, and for which size it was made.
type Slot = Arc<Mutex<Option<(Size, Weak<dyn Any + Send + Sync>)>>>;

/// A slot for each type: making one state may need another.
static SLOTS: Mutex<Option<HashMap<TypeId, Slot>>> = Mutex::new(None);

impl<T: SharedState> Default for Shared<T> {
    /// The state of this process; it is made if there is none.
    ///
    /// # Panics
    /// If it cannot be made; as a worker's state, that is the error of the whole batch.
    fn default() -> Self {
        let slot = {
            let mut slots = SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.get_or_insert_default().entry(TypeId::of::<T>()).or_default())
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            slot.as_ref().filter(|(made_for, _)| *made_for == size()).and_then(|(_, state)| state.upgrade());
        if let Some(state) = known.and_then(|state| state.downcast::<T>().ok()) {
            return Shared(state);
        }
        let size = size();
        let state = Arc::new(T::make(size).unwrap_or_else(|error| panic!("{error:#}")));
        let weak: Weak<dyn Any + Send + Sync> = Arc::downgrade(&state) as _;
        *slot = Some((size, weak));
        Shared(state)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared(Arc::clone(&self.0))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shared").field(&*self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    static MADE: AtomicU32 = AtomicU32::new(0);

    struct Numbers(u32);
    struct Doubled(u32);

    impl SharedState for Numbers {
        fn make(_: Size) -> Result<Self> {
            Ok(Numbers(MADE.fetch_add(1, Ordering::Relaxed) + 1))
        }
    }

    impl SharedState for Doubled {
        fn make(_: Size) -> Result<Self> {
            Ok(Doubled(2 * Shared::<Numbers>::default().0.0))
        }
    }

    #[test]
    fn a_state_is_made_once_as_long_as_somebody_has_it() {
        let (one, other) = (Shared::<Numbers>::default(), Shared::<Numbers>::default());
        assert_eq!((one.0.0, other.0.0), (1, 1));
        assert_eq!(Shared::<Doubled>::default().0.0, 2);
        drop((one, other));
        assert_eq!(Shared::<Numbers>::default().0.0, 2);
    }
}
