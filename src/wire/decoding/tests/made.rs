//! Answers at random that are made of their descriptions, by nobody who knows the messages: the generated decoder has to take each
//! of them, and write the same bytes again. And answers that lie, of which the memory is counted.

use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, Message};

use super::super::Decode;
use super::super::layout::{BYTES, Field, Kind, Layout, ROOM, SOME, TEXT, list, number, plain, tagged};
use super::super::layouts::for_each_layout;
use crate::batch::fuzz::memory_of;

/// Writes an answer of this layout.
struct Making<'a> {
    random: &'a mut Rng,
    version: i16,
    flexible: bool,
    bytes: Vec<u8>,
}

impl Making<'_> {
    fn structure(&mut self, fields: &[Field]) {
        let version = self.version;
        fields.iter().filter(|field| field.is_in(version)).for_each(|field| self.field(field));
        if !self.flexible {
            return;
        }
        let known = fields.iter().filter_map(|field| match field.kind {
            Kind::Tagged(tag, value) if self.random.bool() => Some((tag, value)),
            _ => None,
        });
        let known: Vec<_> = known.collect();
        let unknown = self.random.usize(..3).saturating_sub(1);
        self.unsigned(known.len() + unknown);
        for (tag, value) in known {
            let before = std::mem::take(&mut self.bytes);
            // What has its default value is not written, so it has another one.
            match value.kind {
                Kind::Number(count) => self.bytes.extend((0..count).map(|_| 1)),
                Kind::List(fields) => self.elements(1, |making| making.structure(fields)),
                _ => unreachable!("no tagged field is a text"),
            }
            let value = std::mem::replace(&mut self.bytes, before);
            self.unsigned(tag as usize);
            self.unsigned(value.len());
            self.bytes.extend(value);
        }
        for tag in 0..unknown {
            self.unsigned(100 + tag);
            self.unsigned(3);
            self.bytes.extend(b"new");
        }
    }

    fn field(&mut self, field: &Field) {
        match field.kind {
            // A byte may be a truth value.
            Kind::Number(1) => self.bytes.push(self.random.u8(..2)),
            Kind::Number(count) => (0..count).for_each(|_| self.bytes.push(self.random.u8(..))),
            Kind::Text | Kind::Bytes => {
                let text: String = (0..self.random.usize(1..40)).map(|_| self.random.char('a'..'ÿ')).collect();
                match (self.flexible, matches!(field.kind, Kind::Text)) {
                    (true, _) => self.unsigned(text.len() + 1),
                    (false, true) => self.bytes.extend((text.len() as i16).to_be_bytes()),
                    (false, false) => self.bytes.extend((text.len() as i32).to_be_bytes()),
                }
                self.bytes.extend(text.as_bytes());
            }
            Kind::List(fields) => {
                let count = self.random.usize(..3);
                self.elements(count, |making| making.structure(fields));
            }
            Kind::Plain(element) => {
                let count = self.random.usize(..3);
                self.elements(count, |making| making.field(element));
            }
            Kind::Tagged(..) => {}
        }
    }

    fn elements(&mut self, count: usize, element: impl Fn(&mut Self)) {
        if self.flexible {
            self.unsigned(count + 1);
        } else {
            self.bytes.extend((count as i32).to_be_bytes());
        }
        (0..count).for_each(|_| element(self));
    }

    fn unsigned(&mut self, mut value: usize) {
        while value > 0x7f {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

fn made(layout: &Layout, random: &mut Rng, version: i16) -> Vec<u8> {
    let mut making = Making { random, version, flexible: version >= layout.flexible, bytes: Vec::new() };
    making.structure(layout.fields);
    making.bytes
}

fn agrees<T: Decode + Message + Decodable + Encodable>(layout: &Layout, name: &str) {
    let mut longest = 0;
    for version in T::VERSIONS.min..=T::VERSIONS.max {
        for seed in 0..40 {
            let made = made(layout, &mut Rng::with_seed(seed), version);
            let mut answer = Bytes::from([&made[..], b"next"].concat());
            let decoded = T::decode_bounded(&mut answer, version)
                .unwrap_or_else(|error| panic!("{name} version {version}, seed {seed}: {error}"));
            assert_eq!(&answer[..], b"next", "{name} version {version}, seed {seed}");
            let mut again = BytesMut::new();
            decoded.encode(&mut again, version).unwrap();
            assert_eq!(again, made, "{name} version {version}, seed {seed}");
            for end in 0..made.len() {
                let cut = T::decode_bounded(&mut Bytes::copy_from_slice(&made[..end]), version);
                assert!(cut.is_err(), "{name} version {version}, seed {seed}, {end} bytes");
            }
            longest = longest.max(made.len());
        }
    }
    assert!(longest > 4, "{name}: nothing is made of it");
}

#[test]
fn what_is_made_of_a_layout_is_what_the_generated_code_reads_and_writes() {
    macro_rules! agree {
        ($message:ident, $layout:expr) => {{
            const LAYOUT: &Layout = &$layout;
            agrees::<$message>(LAYOUT, stringify!($message));
        }};
    }
    for_each_layout!(agree);
}

/// An answer, damaged, after `damage` has had its way with it.
type Damage = fn(&mut Rng, &mut Vec<u8>);

fn bounded<T: Decode + Message>(layout: &Layout, name: &str, seed: u64, damage: Damage, counts: &mut (u64, u64)) {
    let mut random = Rng::with_seed(seed);
    for version in T::VERSIONS.min..=T::VERSIONS.max {
        let mut bytes = made(layout, &mut random, version);
        damage(&mut random, &mut bytes);
        let length = bytes.len();
        let mut bytes = Bytes::from(bytes);
        let (answer, taken) = memory_of(|| T::decode_bounded(&mut bytes, version));
        assert!(taken <= 2 * (ROOM * length + SOME), "{name} version {version}, seed {seed}: {length} took {taken}");
        *(if answer.is_ok() { &mut counts.0 } else { &mut counts.1 }) += 1;
    }
}

/// Decodes damaged answers of every kind; how many of them were read, and how many refused.
pub fn damaged(seeds: std::ops::Range<u64>, damage: Damage) -> (u64, u64) {
    let mut counts = (0, 0);
    macro_rules! decode {
        ($message:ident, $layout:expr) => {{
            const LAYOUT: &Layout = &$layout;
            for seed in seeds.clone() {
                bounded::<$message>(LAYOUT, stringify!($message), seed, damage, &mut counts);
            }
        }};
    }
    for_each_layout!(decode);
    counts
}

/// An answer of zeros behind its first fields, which claims that each byte is an element.
pub fn zeros_that_claim_to_be_topics(length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    // Version 1: no brokers, controller, then the number of topics.
    bytes[8..12].copy_from_slice(&(length as i32 - 12).to_be_bytes());
    Bytes::from(bytes)
}
