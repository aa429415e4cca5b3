//! Reads a value from a node, and compares what it is asked for with what was written.

use std::slice;

use serde::de::{self, DeserializeSeed, Deserializer, Visitor};

use super::{Node, Problem, Variant};

/// The deserializer.
#[derive(Clone, Copy)]
pub(super) struct Replay<'a>(pub(super) &'a Node);

impl<'a> Replay<'a> {
    fn other<T>(self, asked: &str) -> Result<T, Problem> {
        Err(Problem::Shape(format!("it writes {} and reads {asked}", self.0.describe())))
    }

    fn unsigned<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Node::Unsigned(value) => match u64::try_from(*value) {
                Ok(value) => visitor.visit_u64(value),
                Err(_) => visitor.visit_u128(*value),
            },
            // Packed, a variant without content is its number.
            Node::Variant(variant) if matches!(variant.content, Node::Unit) => {
                visitor.visit_u32(variant.index)
            }
            _ => self.other("an unsigned integer"),
        }
    }

    fn signed<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Node::Signed(value) => match i64::try_from(*value) {
                Ok(value) => visitor.visit_i64(value),
                Err(_) => visitor.visit_i128(*value),
            },
            _ => self.other("a signed integer"),
        }
    }

    fn bytes<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Node::Bytes(bytes) => visitor.visit_bytes(bytes),
            Node::Str(text) => visitor.visit_bytes(text.as_bytes()),
            // Packed, a list of bytes is the same.
            Node::Seq(elements, _) => {
                let byte = |node: &Node| match node {
                    Node::Unsigned(byte) => u8::try_from(*byte).ok(),
                    _ => None,
                };
                match elements.iter().map(byte).collect::<Option<Vec<_>>>() {
                    Some(bytes) => visitor.visit_byte_buf(bytes),
                    None => self.other("bytes"),
                }
            }
            _ => self.other("bytes"),
        }
    }

    fn text<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Node::Str(text) => visitor.visit_str(text),
            // Packed, a char is a string.
            Node::Char(char) => visitor.visit_string(char.to_string()),
            _ => self.other("a string"),
        }
    }

    /// Values without a length before them: `count` of them are asked for.
    fn tuple<'de, V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Node::Tuple(elements) if elements.len() == count => visit(elements.iter(), visitor),
            Node::Struct(_, fields) if fields.len() == count => {
                visit(fields.iter().map(|(_, field)| field), visitor)
            }
            Node::Unit if count == 0 => visit([].iter(), visitor),
            // Packed, a struct with one field is that field.
            node if count == 1 && !matches!(node, Node::Tuple(_) | Node::Struct(..) | Node::Unit) => {
                visit(slice::from_ref(node).iter(), visitor)
            }
            _ => self.other(&format!("a tuple of {count}")),
        }
    }

    /// The same, by names.
    fn fields<'de, V: Visitor<'de>>(
        self,
        name: &str,
        asked: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let Node::Struct(of, written) = self.0 else { return self.tuple(asked.len(), visitor) };
        if !written.iter().map(|(name, _)| name).eq(asked) {
            let list = |names: Vec<&str>| if names.is_empty() { "none".into() } else { names.join(", ") };
            return Err(Problem::Shape(format!(
                "`{of}` is written with the fields {} and read, as `{name}`, with the fields {}: `skip_serializing_if`, \
                 `skip_serializing`, `skip_deserializing` and names for one side only cannot be used in a message",
                list(written.iter().map(|(name, _)| *name).collect()),
                list(asked.to_vec())
            )));
        }
        visit(written.iter().map(|(_, field)| field), visitor)
    }
}

/// Has a visitor read all of the elements.
fn visit<'a, 'de, V: Visitor<'de>>(
    elements: impl ExactSizeIterator<Item = &'a Node>,
    visitor: V,
) -> Result<V::Value, Problem> {
    let mut elements = Elements(elements);
    let value = visitor.visit_seq(&mut elements)?;
    match elements.0.len() {
        0 => Ok(value),
        left => Err(Problem::Shape(format!("it does not read the last {left} of the values that it writes"))),
    }
}

struct Elements<I>(I);

impl<'a, 'de, I: ExactSizeIterator<Item = &'a Node>> de::SeqAccess<'de> for &mut Elements<I> {
    type Error = Problem;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Problem> {
        self.0.next().map(|node| seed.deserialize(Replay(node))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Entries<'a>(slice::Iter<'a, (Node, Node)>, Option<&'a Node>);

impl<'a, 'de> de::MapAccess<'de> for &mut Entries<'a> {
    type Error = Problem;

    fn next_key_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Problem> {
        let Some((key, value)) = self.0.next() else { return Ok(None) };
        self.1 = Some(value);
        seed.deserialize(Replay(key)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Problem> {
        let value = self.1.take().ok_or_else(|| Problem::Shape("it reads a value before its key".into()))?;
        seed.deserialize(Replay(value))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

const ANY: &str = "a value of any type, as `#[serde(untagged)]`, `#[serde(tag)]` and `#[serde(flatten)]` do, which a packed \
                   message cannot tell: write it as an ordinary enum or struct";

macro_rules! ask {
    ($($method:ident => $how:ident;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> { self.$how(visitor) })*
    };
}

impl<'de> Deserializer<'de> for Replay<'_> {
    type Error = Problem;

    ask! {
        deserialize_u8 => unsigned;
        deserialize_u16 => unsigned;
        deserialize_u32 => unsigned;
        deserialize_u64 => unsigned;
        deserialize_u128 => unsigned;
        deserialize_i8 => signed;
        deserialize_i16 => signed;
        deserialize_i32 => signed;
        deserialize_i64 => signed;
        deserialize_i128 => signed;
        deserialize_str => text;
        deserialize_string => text;
        deserialize_bytes => bytes;
        deserialize_byte_buf => bytes;
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Problem> {
        self.other(ANY)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Problem> {
        self.other(ANY)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Problem> {
        self.other(ANY)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Node::Bool(value) => visitor.visit_bool(*value),
            _ => self.other("a bool"),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Node::F32(value) => visitor.visit_f32(*value),
            _ => self.other("an f32"),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Node::F64(value) => visitor.visit_f64(*value),
            _ => self.other("an f64"),
        }
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Node::Char(value) => visitor.visit_char(*value),
            _ => self.other("a char"),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Node::None => visitor.visit_none(),
            Node::Some(value) => visitor.visit_some(Replay(value)),
            _ => self.other("an Option"),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Node::Unit => visitor.visit_unit(),
            Node::Tuple(elements) if elements.is_empty() => visitor.visit_unit(),
            Node::Struct(_, fields) if fields.is_empty() => visitor.visit_unit(),
            _ => self.other("nothing"),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Node::Seq(elements, _) => visit(elements.iter(), visitor),
            // Packed, bytes are a list of bytes.
            Node::Bytes(bytes) => {
                let nodes: Vec<_> = bytes.iter().map(|byte| Node::Unsigned((*byte).into())).collect();
                visit(nodes.iter(), visitor)
            }
            _ => self.other("a list"),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, Problem> {
        self.tuple(count, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.tuple(count, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let Node::Map(entries, _) = self.0 else { return self.other("a map") };
        let mut entries = Entries(entries.iter(), None);
        visitor.visit_map(&mut entries)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.fields(name, fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let Node::Variant(variant) = self.0 else { return self.other(&format!("the enum `{name}`")) };
        let Variant { of, index, name: written, .. } = &**variant;
        let read = variants.get(*index as usize);
        if read != Some(written) {
            let read = read.map_or("none".into(), |read| format!("`{read}`"));
            return Err(Problem::Shape(format!(
                "`{of}` writes its variant `{written}` as number {index}, under which it reads {read}: `#[serde(skip)]` and \
                 names for one side only cannot be used on the variants of a message; a skipped variant may stand last"
            )));
        }
        visitor.visit_enum(variant)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

impl<'a, 'de> de::EnumAccess<'de> for &'a Box<Variant> {
    type Error = Problem;
    type Variant = Replay<'a>;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Replay<'a>), Problem> {
        let index = de::IntoDeserializer::<Problem>::into_deserializer(self.index);
        Ok((seed.deserialize(index)?, Replay(&self.content)))
    }
}

impl<'de> de::VariantAccess<'de> for Replay<'_> {
    type Error = Problem;

    fn unit_variant(self) -> Result<(), Problem> {
        de::Deserialize::deserialize(self)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Problem> {
        match self.0 {
            Node::Tuple(elements) if elements.len() == 1 => seed.deserialize(Replay(&elements[0])),
            _ => self.other("one value"),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, Problem> {
        self.tuple(count, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.fields("the variant", fields, visitor)
    }
}
