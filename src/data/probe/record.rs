//! Writes a value to a node.

use serde::ser::{self, Serialize};

use super::{MAX_ELEMENTS, Node, Problem, Variant};

/// The serializer.
pub(super) struct Recorder;

/// A list, tuple, struct or map that is being written.
pub(super) struct Parts {
    nodes: Vec<Node>,
    /// Names of the fields, of a struct.
    names: Vec<&'static str>,
    left_out: bool,
    /// The struct's or enum's name.
    of: &'static str,
    /// The variant, of an enum.
    variant: Option<(u32, &'static str)>,
}

impl Parts {
    fn new(of: &'static str, variant: Option<(u32, &'static str)>) -> Parts {
        Parts { nodes: Vec::new(), names: Vec::new(), left_out: false, of, variant }
    }

    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Problem> {
        self.nodes.push(value.serialize(Recorder)?);
        Ok(())
    }

    fn push_some<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Problem> {
        if self.nodes.len() < MAX_ELEMENTS {
            return self.push(value);
        }
        self.left_out = true;
        Ok(())
    }

    fn fields(self) -> Node {
        Node::Struct(
            self.variant.map_or(self.of, |(_, name)| name),
            self.names.into_iter().zip(self.nodes).collect(),
        )
    }

    fn into_variant(self, content: impl FnOnce(Parts) -> Node) -> Node {
        let (of, (index, name)) = (self.of, self.variant.unwrap_or_default());
        variant(of, index, name, content(self))
    }
}

fn variant(of: &'static str, index: u32, name: &'static str, content: Node) -> Node {
    Node::Variant(Box::new(Variant { of, index, name, content }))
}

/// A length must come before the elements.
fn ensure_length(length: Option<usize>) -> Result<(), Problem> {
    let why = "it writes a list or a map without its length, as `#[serde(flatten)]` does: name the fields one by one";
    length.map(drop).ok_or_else(|| Problem::Words(why.into()))
}

macro_rules! leaves {
    ($($method:ident $type:ty => $node:ident as $wide:ty;)*) => {
        $(fn $method(self, value: $type) -> Result<Node, Problem> { Ok(Node::$node(value as $wide)) })*
    };
}

impl ser::Serializer for Recorder {
    type Ok = Node;
    type Error = Problem;
    type SerializeSeq = Parts;
    type SerializeTuple = Parts;
    type SerializeTupleStruct = Parts;
    type SerializeTupleVariant = Parts;
    type SerializeMap = Parts;
    type SerializeStruct = Parts;
    type SerializeStructVariant = Parts;

    leaves! {
        serialize_i8 i8 => Signed as i128;
        serialize_i16 i16 => Signed as i128;
        serialize_i32 i32 => Signed as i128;
        serialize_i64 i64 => Signed as i128;
        serialize_i128 i128 => Signed as i128;
        serialize_u8 u8 => Unsigned as u128;
        serialize_u16 u16 => Unsigned as u128;
        serialize_u32 u32 => Unsigned as u128;
        serialize_u64 u64 => Unsigned as u128;
        serialize_u128 u128 => Unsigned as u128;
        serialize_f32 f32 => F32 as f32;
        serialize_f64 f64 => F64 as f64;
        serialize_bool bool => Bool as bool;
        serialize_char char => Char as char;
    }

    fn serialize_str(self, text: &str) -> Result<Node, Problem> {
        Ok(Node::Str(text.into()))
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<Node, Problem> {
        Ok(Node::Bytes(bytes.into()))
    }

    fn serialize_none(self) -> Result<Node, Problem> {
        Ok(Node::None)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Node, Problem> {
        Ok(Node::Some(Box::new(value.serialize(Recorder)?)))
    }

    fn serialize_unit(self) -> Result<Node, Problem> {
        Ok(Node::Unit)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Node, Problem> {
        Ok(Node::Unit)
    }

    fn serialize_unit_variant(
        self,
        of: &'static str,
        index: u32,
        name: &'static str,
    ) -> Result<Node, Problem> {
        Ok(variant(of, index, name, Node::Unit))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Node, Problem> {
        // Packed, it is the same as its only field.
        value.serialize(Recorder)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        of: &'static str,
        index: u32,
        name: &'static str,
        value: &T,
    ) -> Result<Node, Problem> {
        Ok(variant(of, index, name, Node::Tuple(vec![value.serialize(Recorder)?])))
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Parts, Problem> {
        ensure_length(length)?;
        Ok(Parts::new("", None))
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts, Problem> {
        Ok(Parts::new("", None))
    }

    fn serialize_tuple_struct(self, name: &'static str, _: usize) -> Result<Parts, Problem> {
        Ok(Parts::new(name, None))
    }

    fn serialize_tuple_variant(
        self,
        of: &'static str,
        index: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Parts, Problem> {
        Ok(Parts::new(of, Some((index, name))))
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Parts, Problem> {
        ensure_length(length)?;
        Ok(Parts::new("", None))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Parts, Problem> {
        Ok(Parts::new(name, None))
    }

    fn serialize_struct_variant(
        self,
        of: &'static str,
        index: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Parts, Problem> {
        Ok(Parts::new(of, Some((index, name))))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

impl ser::SerializeSeq for Parts {
    type Ok = Node;
    type Error = Problem;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Problem> {
        self.push_some(value)
    }

    fn end(self) -> Result<Node, Problem> {
        Ok(Node::Seq(self.nodes, self.left_out))
    }
}

impl ser::SerializeTuple for Parts {
    type Ok = Node;
    type Error = Problem;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Problem> {
        self.push(value)
    }

    fn end(self) -> Result<Node, Problem> {
        Ok(Node::Tuple(self.nodes))
    }
}

impl ser::SerializeTupleStruct for Parts {
    type Ok = Node;
    type Error = Problem;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Problem> {
        self.push(value)
    }

    fn end(self) -> Result<Node, Problem> {
        Ok(Node::Tuple(self.nodes))
    }
}

impl ser::SerializeTupleVariant for Parts {
    type Ok = Node;
    type Error = Problem;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Problem> {
        self.push(value)
    }

    fn end(self) -> Result<Node, Problem> {
        Ok(self.into_variant(|parts| Node::Tuple(parts.nodes)))
    }
}

impl ser::SerializeMap for Parts {
    type Ok = Node;
    type Error = Problem;

    // Keys and values take turns.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Problem> {
        self.push_some(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Problem> {
        self.push_some(value)
    }

    fn end(self) -> Result<Node, Problem> {
        let mut nodes = self.nodes.into_iter();
        let entries = std::iter::from_fn(|| nodes.next().zip(nodes.next()));
        Ok(Node::Map(entries.collect(), self.left_out))
    }
}

impl ser::SerializeStruct for Parts {
    type Ok = Node;
    type Error = Problem;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Problem> {
        self.names.push(name);
        self.push(value)
    }

    fn end(self) -> Result<Node, Problem> {
        Ok(self.fields())
    }
}

impl ser::SerializeStructVariant for Parts {
    type Ok = Node;
    type Error = Problem;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Problem> {
        self.names.push(name);
        self.push(value)
    }

    fn end(self) -> Result<Node, Problem> {
        Ok(self.into_variant(Parts::fields))
    }
}
