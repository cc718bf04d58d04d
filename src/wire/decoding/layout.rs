//! Looks through an answer before `kafka-protocol` decodes it, along a description of its message.
//!
//! The generated decoder makes room for as many elements as an array says it has. What passes here has them: every length ends
//! within the answer, and all elements together take no more memory than [`ROOM`] times the bytes they came in. Nothing is
//! allocated here. A description knows lengths and arrays only; what the fields mean, and whether one may be missing, is the
//! decoder's.

/// Bytes of memory that an answer may take for each of its bytes. Empty texts and short lists are what takes most.
pub const ROOM: usize = 32;
/// So much more is never too much: a few elements with short names take more than the rest.
pub const SOME: usize = 64 << 10;
/// What an answer may take at all; a cluster of a million partitions describes itself in less.
const MOST: usize = 384 << 20;

/// A message, in all its versions.
pub struct Layout {
    /// The version from which on lengths are of variable size and structures end with tagged fields (KIP-482).
    pub flexible: i16,
    /// What it consists of.
    pub fields: &'static [Field],
}

/// A field, and the versions that have it.
#[derive(Clone, Copy)]
pub struct Field {
    pub(super) since: i16,
    pub(super) until: i16,
    pub(super) kind: Kind,
}

/// What a field is on the wire.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// So many bytes.
    Number(usize),
    Text,
    Bytes,
    /// An array of structures.
    List(&'static [Field]),
    /// An array of what has no structure.
    Plain(&'static Field),
    /// A field that is told by its tag, where there are tags.
    Tagged(u32, &'static Field),
}

const fn field(kind: Kind) -> Field {
    Field { since: 0, until: i16::MAX, kind }
}

/// A text, also one that may be missing.
pub const TEXT: Field = field(Kind::Text);
/// Bytes that mean something to others.
pub const BYTES: Field = field(Kind::Bytes);

/// A number or an id of so many bytes.
pub const fn number(bytes: usize) -> Field {
    field(Kind::Number(bytes))
}

/// An array of structures.
pub const fn list(fields: &'static [Field]) -> Field {
    field(Kind::List(fields))
}

/// An array of numbers or texts.
pub const fn plain(element: &'static Field) -> Field {
    field(Kind::Plain(element))
}

/// A field that is told by its tag.
pub const fn tagged(tag: u32, value: &'static Field) -> Field {
    field(Kind::Tagged(tag, value))
}

impl Field {
    /// The first version that has it.
    pub const fn since(self, since: i16) -> Field {
        Field { since, ..self }
    }

    /// The last version that has it.
    pub const fn until(self, until: i16) -> Field {
        Field { until, ..self }
    }

    /// Whether it is a number of so many bytes in this version.
    pub fn is_number(&self, bytes: usize, version: i16) -> bool {
        self.is_in(version) && matches!(self.kind, Kind::Number(of) if of == bytes)
    }

    pub(super) fn is_in(&self, version: i16) -> bool {
        (self.since..=self.until).contains(&version)
    }

    /// Bytes of it in the memory of whatever it is a part of.
    fn size(&self) -> usize {
        match self.kind {
            Kind::Number(bytes) => bytes,
            Kind::Text | Kind::Bytes => size_of::<bytes::Bytes>(),
            Kind::List(_) | Kind::Plain(_) => size_of::<Vec<u8>>(),
            Kind::Tagged(_, value) => value.size(),
        }
    }
}

/// Bytes of memory of a structure: that of all versions, and its map of tagged fields.
fn size_of_structure(fields: &[Field]) -> usize {
    let sum: usize = fields.iter().map(Field::size).sum();
    (sum + size_of::<Vec<u8>>()).next_multiple_of(8)
}

/// A tagged field that is kept, in the map of them.
const KEPT_TAG: usize = 100;

/// The number of four bytes at the front of an answer; 0 if it is too short.
pub fn number_in_front(answer: &[u8]) -> i32 {
    answer.first_chunk().map_or(0, |bytes| i32::from_be_bytes(*bytes))
}

/// Looks through the message at the front of an answer.
pub fn check(layout: &Layout, answer: &[u8], version: i16) -> Result<(), String> {
    let mut walk = Walk { bytes: answer, version, flexible: version >= layout.flexible, taken: 0 };
    walk.structure(layout.fields)?;
    let allowed = (answer.len() * ROOM).saturating_add(SOME).min(MOST);
    if walk.taken > allowed {
        let (taken, length) = (walk.taken, answer.len());
        return Err(format!("its {length} bytes would take {taken} in memory"));
    }
    Ok(())
}

struct Walk<'a> {
    bytes: &'a [u8],
    version: i16,
    flexible: bool,
    /// Bytes of memory that the decoder will make room for.
    taken: usize,
}

impl Walk<'_> {
    fn structure(&mut self, fields: &[Field]) -> Result<(), String> {
        for field in fields {
            if field.is_in(self.version) {
                self.field(field)?;
            }
        }
        self.tags(fields)
    }

    fn field(&mut self, field: &Field) -> Result<(), String> {
        match field.kind {
            Kind::Number(bytes) => self.skip(bytes),
            Kind::Text => {
                let length = self.length(|walk| Ok(i16::from_be_bytes(walk.chunk()?).into()))?;
                self.skip(length)
            }
            Kind::Bytes => {
                let length = self.length(|walk| Ok(i32::from_be_bytes(walk.chunk()?)))?;
                self.skip(length)
            }
            Kind::List(fields) => self.array(size_of_structure(fields), |walk| walk.structure(fields)),
            Kind::Plain(element) => self.array(element.size(), |walk| walk.field(element)),
            Kind::Tagged(..) => Ok(()),
        }
    }

    fn array(&mut self, size: usize, element: impl Fn(&mut Self) -> Result<(), String>) -> Result<(), String> {
        let count = self.length(|walk| Ok(i32::from_be_bytes(walk.chunk()?)))?;
        let left = self.bytes.len();
        // No element is without a byte.
        if count > left {
            return Err(format!("it claims {count} elements where {left} bytes are left"));
        }
        self.taken = self.taken.saturating_add(count.saturating_mul(size));
        (0..count).try_for_each(|_| element(self))
    }

    /// A length as it is written in this version; 0 where there is nothing at all.
    fn length(&mut self, fixed: impl Fn(&mut Self) -> Result<i32, String>) -> Result<usize, String> {
        if self.flexible {
            return Ok((self.unsigned()? as usize).saturating_sub(1));
        }
        match fixed(self)? {
            -1 => Ok(0),
            length => usize::try_from(length).map_err(|_| format!("a length is {length}")),
        }
    }

    fn tags(&mut self, fields: &[Field]) -> Result<(), String> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.unsigned()? {
            let (tag, size) = (self.unsigned()?, self.unsigned()? as usize);
            let known = fields.iter().find_map(|field| match field.kind {
                Kind::Tagged(known, value) if known == tag => Some(value),
                _ => None,
            });
            match known {
                Some(value) => {
                    let before = self.bytes.len();
                    self.field(value)?;
                    if before - self.bytes.len() != size {
                        return Err(format!("the field with the tag {tag} does not have the {size} bytes it claims"));
                    }
                }
                None => {
                    self.taken = self.taken.saturating_add(KEPT_TAG);
                    self.skip(size)?;
                }
            }
        }
        Ok(())
    }

    fn unsigned(&mut self) -> Result<u32, String> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.chunk()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number of variable size does not end".to_owned())
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (chunk, rest) = self.bytes.split_first_chunk().ok_or_else(ends)?;
        self.bytes = rest;
        Ok(*chunk)
    }

    fn skip(&mut self, count: usize) -> Result<(), String> {
        let left = self.bytes.len();
        self.bytes = self.bytes.get(count..).ok_or_else(|| match count {
            ..=16 => ends(),
            _ => format!("it claims {count} bytes where {left} are left"),
        })?;
        Ok(())
    }
}

#[cold]
fn ends() -> String {
    "it ends too early".to_owned()
}
