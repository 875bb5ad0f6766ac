//! The record in a frame: the fields of a [`Change`], in postcard.

use super::frame::{HEADER, Header, Kind};
use crate::since;
use crate::store::change::Change;
use postcard::Deserializer;
use postcard::de_flavors::Slice;
use postcard::ser_flavors::Flavor;
use serde::Deserialize;
use serde::de::value::EnumAccessDeserializer;
use serde::de::{DeserializeSeed, EnumAccess, IntoDeserializer};

/// Appends room for the header of a frame and the record of `change` to `buffer`; returns its kind. postcard can write all
/// of its types, so it does not fail.
pub(in crate::store) fn encode(change: &Change, buffer: &mut Vec<u8>) -> Option<Kind> {
    // The number of the variant, which is not part of the record, takes the last byte of the header's room.
    let variant = buffer.len() + HEADER - 1;
    buffer.resize(variant, 0);
    postcard::serialize_with_flavor(change, Appended(buffer)).ok()?;
    Kind::ALL.get(usize::from(*buffer.get(variant)?)).copied()
}

/// Appends to a buffer directly; `postcard::to_io` would call [`std::io::Write`] for each byte.
struct Appended<'a>(&'a mut Vec<u8>);

impl Flavor for Appended<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> Result<(), postcard::Error> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> Result<(), postcard::Error> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> Result<(), postcard::Error> {
        Ok(())
    }
}

/// Decodes the whole payload of a frame with this header; trailing bytes are an error.
pub(in crate::store) fn decode(header: Header, payload: &[u8]) -> Result<Change, String> {
    let mut fields = Deserializer::from_bytes(payload);
    let kind = Kinded {
        kind: header.kind,
        fields: &mut fields,
    };
    let read = since::reading(header.version, || {
        Change::deserialize(EnumAccessDeserializer::new(kind))
    });
    match read.and_then(|change| Ok((change, fields.finalize()?))) {
        Ok((change, [])) => Ok(change),
        Ok((_, rest)) => Err(format!("{} bytes too many in the record", rest.len())),
        Err(error) => Err(format!("the record cannot be read: {error}")),
    }
}

/// The fields of a record, read as those of the variant that the kind names.
struct Kinded<'a, 'de> {
    kind: Kind,
    fields: &'a mut Deserializer<'de, Slice<'de>>,
}

impl<'a, 'de> EnumAccess<'de> for Kinded<'a, 'de> {
    type Error = postcard::Error;
    type Variant = &'a mut Deserializer<'de, Slice<'de>>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), Self::Error> {
        let number = (0_u32..).zip(Kind::ALL).find(|(_, kind)| *kind == self.kind);
        let number = number.map_or(u32::MAX, |(number, _)| number);
        Ok((seed.deserialize(number.into_deserializer())?, self.fields))
    }
}
