//! Numbers that a task carries to a worker or back, in each form in which they can cross to another process.

use std::fmt;
use std::marker::PhantomData;

use anyhow::Result;
use parbench::Array;
use parbench::data::Element;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Numbers on their way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound = "T: Element")]
pub(crate) enum Payload<T: Element> {
    /// In the message itself.
    Encoded(Encoded<T>),
    /// In an array of private memory, which is copied on its way.
    Private(Array<T>),
    /// In an array of shared memory, which is not.
    Shared(Array<T>),
}

impl<T: Element> Payload<T> {
    pub(crate) fn encoded(numbers: Vec<T>) -> Payload<T> {
        Payload::Encoded(Encoded(numbers))
    }

    pub(crate) fn private(numbers: Vec<T>) -> Payload<T> {
        Payload::Private(numbers.into())
    }

    pub(crate) fn shared(numbers: &[T]) -> Result<Payload<T>> {
        Ok(Payload::Shared(Array::share(numbers)?))
    }

    pub(crate) fn numbers(&self) -> &[T] {
        match self {
            Payload::Encoded(Encoded(numbers)) => numbers,
            Payload::Private(numbers) | Payload::Shared(numbers) => numbers,
        }
    }

    /// The same numbers in the same form, in memory of their own.
    pub(super) fn copy(&self) -> Result<Payload<T>> {
        Ok(match self {
            Payload::Encoded(numbers) => Payload::Encoded(numbers.clone()),
            Payload::Private(numbers) => Payload::private(numbers.to_vec()),
            Payload::Shared(numbers) => Payload::shared(numbers)?,
        })
    }

    /// What a function makes of each number, in the same form.
    pub(super) fn map(&self, function: impl Fn(T) -> T) -> Result<Payload<T>> {
        let collect = |numbers: &[T]| numbers.iter().map(|number| function(*number)).collect();
        Ok(match self {
            Payload::Encoded(Encoded(numbers)) => Payload::encoded(collect(numbers)),
            Payload::Private(numbers) => Payload::private(collect(numbers)),
            Payload::Shared(numbers) => Payload::Shared(Array::shared(numbers.len(), |mapped| {
                mapped.iter_mut().zip(&numbers[..]).for_each(|(mapped, number)| *mapped = function(*number));
            })?),
        })
    }
}

impl<T: Element + PartialEq> Payload<T> {
    /// Whether this is what [`Payload::map`] made of another payload, judged by about this many of its numbers.
    pub(super) fn is_mapped_from(
        &self,
        other: &Payload<T>,
        function: impl Fn(T) -> T,
        probes: usize,
    ) -> bool {
        let (mapped, numbers) = (self.numbers(), other.numbers());
        let step = numbers.len() / probes + 1;
        let mut indices = (0..numbers.len()).rev().step_by(step);
        std::mem::discriminant(self) == std::mem::discriminant(other)
            && mapped.len() == numbers.len()
            && indices.all(|index| mapped[index] == function(numbers[index]))
    }
}

/// Numbers that are encoded as one piece: those of a `Vec` are encoded one by one.
#[derive(Clone, PartialEq)]
pub(crate) struct Encoded<T>(Vec<T>);

impl<T> fmt::Debug for Encoded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} elements", self.0.len())
    }
}

impl<T: Element> Serialize for Encoded<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytemuck::cast_slice(&self.0))
    }
}

impl<'de, T: Element> Deserialize<'de> for Encoded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes<T>(PhantomData<T>);

        impl<T: Element> Visitor<'_> for Bytes<T> {
            type Value = Encoded<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the bytes of numbers")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Encoded<T>, E> {
                if !bytes.len().is_multiple_of(size_of::<T>()) {
                    return Err(E::invalid_length(bytes.len(), &self));
                }
                let mut numbers = vec![T::zeroed(); bytes.len() / size_of::<T>()];
                bytemuck::cast_slice_mut(&mut numbers).copy_from_slice(bytes);
                Ok(Encoded(numbers))
            }
        }

        deserializer.deserialize_bytes(Bytes(PhantomData))
    }
}
