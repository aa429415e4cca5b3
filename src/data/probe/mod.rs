//! Finds messages that would arrive as something else, before they are sent.
//!
//! A packed message does not describe itself: it holds values one after the other, and the receiver's `Deserialize` must ask
//! for just those. Some types do not: a skipped variant shifts the numbers of those behind it, a field that is left out
//! shifts the fields behind it, and a value of any type can be read from a format with names only. Such a message arrives
//! as other values, often without an error. So it is written to a [`Node`], which keeps names and numbers, and read back by
//! a deserializer that compares what it is asked for with what was written.

mod record;
mod replay;

use std::any::type_name;
use std::fmt;

use serde::{de, ser};

use super::array;
use super::packet::Message;

/// A value as its `Serialize` wrote it.
#[derive(Debug)]
enum Node {
    Bool(bool),
    Signed(i128),
    Unsigned(u128),
    F32(f32),
    F64(f64),
    Char(char),
    Str(String),
    Bytes(Vec<u8>),
    None,
    Some(Box<Node>),
    /// Nothing at all: `()`, a struct without fields.
    Unit,
    /// Written with its length; the second value says whether elements were left out here.
    Seq(Vec<Node>, bool),
    /// Written without a length: a tuple, an array, the fields of a struct without names.
    Tuple(Vec<Node>),
    Map(Vec<(Node, Node)>, bool),
    Struct(&'static str, Vec<(&'static str, Node)>),
    Variant(Box<Variant>),
}

/// A value of an enum.
#[derive(Debug)]
struct Variant {
    of: &'static str,
    index: u32,
    name: &'static str,
    /// [`Node::Unit`], the one value of a newtype variant, [`Node::Tuple`] or [`Node::Struct`].
    content: Node,
}

/// The elements of a list that are looked at: all have one type, and most of them one shape.
const MAX_ELEMENTS: usize = 1_000;

/// What is wrong with a message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Problem {
    /// It would arrive as something else.
    Shape(String),
    /// Its own `Serialize` or `Deserialize` refuses it, in its own words.
    Words(String),
}

/// How the values of a type may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variety {
    /// All have the shape of the one that was looked at.
    One,
    /// Another one may have another shape.
    Many,
}

/// Checks that a message arrives as what it is.
///
/// # Errors
/// What is wrong with it, with its type.
pub(crate) fn check<M: Message>(message: &M) -> Result<Variety, Problem> {
    let (node, arrays) = array::collect(|| message.serialize(record::Recorder));
    let node = node.map_err(|problem| problem.of_type::<M>("packed"))?;
    let variety = node.variety();
    let left_out = node.leaves_out();
    let (read, _) = array::supply(arrays, || M::deserialize(replay::Replay(&node)));
    match read {
        Ok(_) => Ok(variety),
        // What was left out may be what it misses.
        Err(Problem::Words(_)) if left_out => Ok(variety),
        Err(problem) => Err(problem.of_type::<M>("unpacked")),
    }
}

impl Node {
    fn variety(&self) -> Variety {
        let one = match self {
            Node::None | Node::Some(_) | Node::Map(..) | Node::Struct(..) | Node::Variant(_) => false,
            Node::Seq(elements, _) => {
                !elements.is_empty() && elements.iter().all(|element| element.variety() == Variety::One)
            }
            Node::Tuple(elements) => elements.iter().all(|element| element.variety() == Variety::One),
            _ => true,
        };
        if one { Variety::One } else { Variety::Many }
    }

    fn leaves_out(&self) -> bool {
        match self {
            Node::Seq(elements, left_out) => *left_out || elements.iter().any(Node::leaves_out),
            Node::Tuple(elements) => elements.iter().any(Node::leaves_out),
            Node::Map(entries, left_out) => {
                *left_out || entries.iter().any(|(key, value)| key.leaves_out() || value.leaves_out())
            }
            Node::Struct(_, fields) => fields.iter().any(|(_, field)| field.leaves_out()),
            Node::Some(value) => value.leaves_out(),
            Node::Variant(variant) => variant.content.leaves_out(),
            _ => false,
        }
    }

    /// What it is, for a person.
    fn describe(&self) -> String {
        match self {
            Node::Bool(_) => "a bool".into(),
            Node::Signed(_) => "a signed integer".into(),
            Node::Unsigned(_) => "an unsigned integer".into(),
            Node::F32(_) => "an f32".into(),
            Node::F64(_) => "an f64".into(),
            Node::Char(_) => "a char".into(),
            Node::Str(_) => "a string".into(),
            Node::Bytes(_) => "bytes".into(),
            Node::None | Node::Some(_) => "an Option".into(),
            Node::Unit => "nothing".into(),
            Node::Seq(..) => "a list".into(),
            Node::Tuple(elements) => format!("a tuple of {}", elements.len()),
            Node::Map(..) => "a map".into(),
            Node::Struct(name, _) => format!("the struct `{name}`"),
            Node::Variant(variant) => format!("the variant `{}::{}`", variant.of, variant.name),
        }
    }
}

impl Problem {
    fn of_type<M>(self, does: &str) -> Problem {
        let of = type_name::<M>();
        match self {
            Problem::Shape(what) => {
                Problem::Shape(format!("would arrive as something else: {what} (in the type {of})"))
            }
            Problem::Words(words) => Problem::Words(format!("cannot be {does}: {words} (in the type {of})")),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Problem::Shape(message) | Problem::Words(message)) = self;
        f.write_str(message)
    }
}

impl std::error::Error for Problem {}

impl ser::Error for Problem {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Problem::Words(message.to_string())
    }
}

impl de::Error for Problem {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Problem::Words(message.to_string())
    }
}

#[cfg(test)]
mod tests;
