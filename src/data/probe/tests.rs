//! Types that a packed message carries, and types that it does not.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt::Debug;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::*;
use crate::data::Array;
use crate::data::packet::Packet;

/// What postcard carries must pass.
fn passes<M: Message + PartialEq + Debug>(message: M) {
    let back: M = Packet::pack(&message).unwrap().unpack().unwrap();
    assert_eq!(back, message, "the test's own type is not carried");
    if let Err(problem) = check(&message) {
        panic!("{message:?}: {problem}");
    }
}

fn shape<M: Message>(message: M) -> String {
    match check(&message) {
        Err(Problem::Shape(what)) => what,
        other => panic!("{other:?}"),
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Named {
    number: i32,
    #[serde(rename = "text")]
    string: String,
    pair: (u8, f32),
    unit: (),
    inner: Option<Box<Named>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
struct New(u64);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Transparent {
    only: Vec<New>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "u32", into = "u32")]
struct Converted(u32);

impl From<u32> for Converted {
    fn from(number: u32) -> Self {
        Converted(number)
    }
}

impl From<Converted> for u32 {
    fn from(converted: Converted) -> u32 {
        converted.0
    }
}

impl Clone for Converted {
    fn clone(&self) -> Self {
        Converted(self.0)
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Every {
    UnitVariant,
    New(New),
    Tuple(u8, String),
    Struct {
        a: Option<u8>,
        #[serde(default)]
        b: Vec<u16>,
    },
    #[serde(rename = "other")]
    Empty {},
    #[serde(skip)]
    Last,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Generic<T> {
    values: Vec<T>,
    #[serde(with = "as_text")]
    text: u32,
}

mod as_text {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[test]
fn what_is_carried_passes() {
    let _ = Every::Last;
    passes(());
    passes((true, 'é', "text".to_string(), 1.5f32, 2.5f64));
    passes((i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN));
    passes((u8::MAX, u16::MAX, u32::MAX, u64::MAX, u128::MAX, usize::MAX));
    passes([7u16; 32]);
    passes((Unit, New(7), Transparent { only: vec![New(1), New(2)] }, Converted(9)));
    let inner = Some(Box::new(Named::default()));
    passes(Named { number: -3, string: "x".into(), inner, ..Named::default() });
    for every in [
        Every::UnitVariant,
        Every::New(New(1)),
        Every::Tuple(1, "t".into()),
        Every::Struct { a: None, b: vec![1] },
        Every::Empty {},
    ] {
        passes(vec![every]);
    }
    passes(Generic { values: vec![Some(Ok::<u8, String>(1)), None, Some(Err("e".into()))], text: 12 });
    passes(HashMap::from([("a".to_string(), vec![1, 2]), ("b".into(), vec![])]));
    passes(BTreeMap::from([(New(1), Cow::Borrowed("x")), (New(2), Cow::Owned("y".into()))]));
    passes((HashSet::from([1, 2]), VecDeque::from([3]), Range { start: 1, end: 5 }));
    passes((Duration::from_millis(5), SystemTime::UNIX_EPOCH, NonZeroU32::MIN));
    passes("127.0.0.1".parse::<IpAddr>().unwrap());
    passes((PathBuf::from("/a/b"), Box::new(5), std::cmp::Reverse(1), Some(Some(()))));
    passes(Array::from(vec![1.5, 2.5]));
    passes(vec![(Array::from(vec![1u8]), Some(Array::from(vec![2u32])))]);
    passes((0..5_000).map(|n| (n, n.to_string())).collect::<Vec<_>>());
    passes((0..5_000).map(|n| (n, New(n))).collect::<HashMap<_, _>>());
}

#[test]
fn a_skipped_variant_that_shifts_the_others_is_found() {
    #[derive(Serialize, Deserialize)]
    enum Op {
        #[serde(skip)]
        Cached,
        Add(u32),
        Mul(u32),
    }
    let _ = Op::Cached;
    let found = shape(Op::Add(7));
    assert!(
        found.contains("`Op` writes its variant `Add` as number 1, under which it reads `Mul`"),
        "{found}"
    );
    let found = shape(vec![(1, Some(Op::Mul(7)))]);
    assert!(found.contains("`Mul` as number 2, under which it reads none"), "{found}");
    assert!(found.contains("Vec<(i32, core::option::Option<"), "{found}");

    #[derive(Serialize, Deserialize)]
    enum OneSide {
        #[serde(rename(serialize = "x"))]
        A,
        #[serde(skip_deserializing)]
        B,
        C,
    }
    let _ = (OneSide::B, OneSide::C);
    assert!(shape(OneSide::A).contains("`x` as number 0, under which it reads `A`"));
    assert!(shape(OneSide::C).contains("`C` as number 2, under which it reads none"));
}

#[test]
fn a_field_that_is_left_out_on_one_side_is_found() {
    #[derive(Default, Serialize, Deserialize)]
    struct Sometimes {
        a: u32,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        b: Option<u32>,
        c: u32,
    }
    assert_eq!(check(&Sometimes { b: Some(1), ..Sometimes::default() }), Ok(Variety::Many));
    let found = shape(Sometimes::default());
    assert!(
        found.contains(
            "`Sometimes` is written with the fields a, c and read, as `Sometimes`, with the fields a, b, c"
        ),
        "{found}"
    );

    #[derive(Serialize, Deserialize)]
    struct Crossed {
        #[serde(skip_serializing, default)]
        a: u32,
        #[serde(skip_deserializing)]
        b: u32,
    }
    let crossed = Crossed { a: 1, b: 2 };
    assert_eq!(crossed.a, 1);
    assert!(shape(crossed).contains("with the fields b and read, as `Crossed`, with the fields a"));

    #[derive(Serialize, Deserialize)]
    enum InVariant {
        V {
            #[serde(skip_serializing_if = "Vec::is_empty", default)]
            list: Vec<u8>,
            end: u8,
        },
    }
    assert!(shape(InVariant::V { list: vec![], end: 1 }).contains("with the fields end and read"));
}

#[test]
fn what_needs_a_format_that_describes_itself_is_found() {
    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        A(u32),
    }
    assert!(shape(Untagged::A(1)).contains("reads a value of any type"));

    #[derive(Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Tagged {
        A { a: u32 },
    }
    assert!(shape(Tagged::A { a: 1 }).contains("reads a value of any type"));

    #[derive(Serialize, Deserialize)]
    struct Flat {
        a: u32,
        #[serde(flatten)]
        rest: BTreeMap<String, u32>,
    }
    let Err(Problem::Words(words)) = check(&Flat { a: 1, rest: BTreeMap::new() }) else { panic!() };
    assert!(words.contains("cannot be packed: it writes a list or a map without its length"), "{words}");
}

#[test]
fn two_sides_of_other_types_are_found() {
    #[derive(Serialize)]
    struct Written(i64);

    impl<'de> Deserialize<'de> for Written {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            u64::deserialize(deserializer).map(|number| Written(number as i64))
        }
    }
    assert!(shape(Written(-5)).contains("it writes a signed integer and reads an unsigned integer"));

    #[derive(Serialize)]
    struct Three(u8, u8, u8);

    impl<'de> Deserialize<'de> for Three {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            <(u8, u8)>::deserialize(deserializer).map(|(a, b)| Three(a, b, 0))
        }
    }
    assert!(shape(Three(1, 2, 3)).contains("it writes a tuple of 3 and reads a tuple of 2"));
}

#[test]
fn a_refusal_of_the_type_itself_keeps_its_words() {
    #[derive(Clone, Serialize, Deserialize)]
    #[serde(try_from = "u32", into = "u32")]
    struct Even(u32);

    impl TryFrom<u32> for Even {
        type Error = String;
        fn try_from(number: u32) -> Result<Self, String> {
            if number.is_multiple_of(2) { Ok(Even(number)) } else { Err(format!("{number} is odd")) }
        }
    }

    impl From<Even> for u32 {
        fn from(even: Even) -> u32 {
            even.0
        }
    }
    let Err(Problem::Words(words)) = check(&vec![Even(2), Even(3)]) else { panic!() };
    assert!(words.starts_with("cannot be unpacked: 3 is odd (in the type alloc::vec::Vec<"), "{words}");
}

#[test]
fn how_values_may_differ_is_told() {
    assert_eq!(check(&(1u8, [2.0; 3], vec!["a".to_string()])), Ok(Variety::One));
    assert_eq!(check(&Vec::<u8>::new()), Ok(Variety::Many), "no element was seen");
    assert_eq!(check(&Some(1)), Ok(Variety::Many));
    assert_eq!(check(&Arc::new(1).as_ref().to_owned()), Ok(Variety::One));
}
