//! Logs that are made up at random, together with what a consumer may read of them: the truth is known from how they were
//! made, and not from reading them.

use super::super::compression::{Codec, compress};
use super::super::{Header, attributes};
use super::{CODECS, Told, batch_of, header, marker, message, random_record};

/// A log that is made up, and what a consumer may read of it.
#[derive(Default)]
pub struct Log {
    pub bytes: Vec<u8>,
    /// The offset after the last one.
    pub end: i64,
    /// With whether their transaction was aborted.
    pub records: Vec<(Told, bool)>,
    pub aborted: Vec<(i64, i64)>,
    /// The first offset and the fate of each producer's transaction that is open.
    open: [Option<bool>; 3],
    pub shapes: [usize; 6],
}

impl Log {
    pub fn random(random: &mut fastrand::Rng) -> Self {
        let mut log = Log { end: random.i64(0..1000), ..Log::default() };
        let length = random.usize(1..40);
        let mostly = CODECS[random.usize(..5)];
        for _ in 0..length {
            if random.u8(..8) == 0 {
                log.end += random.i64(1..20);
            }
            let codec = if random.u8(..4) == 0 { CODECS[random.usize(..5)] } else { mostly };
            let shape = if random.bool() { 0 } else { random.usize(..6) };
            log.shapes[shape] += 1;
            match shape {
                1 => log.transaction(random, codec),
                2 => log.legacy(random, codec),
                3 => log.append_time(random, codec),
                4 => log.empty(random),
                _ => log.plain(random, codec, shape == 5),
            }
        }
        log
    }

    fn some_records(&mut self, random: &mut fastrand::Rng, thinned: bool) -> Vec<Told> {
        let count = if random.bool() { random.i64(1..4) } else { random.i64(1..40) };
        let all: Vec<_> = (self.end..self.end + count)
            .map(|offset| {
                let timestamp = 1_700_000_000_000 + random.i64(-5000..5000);
                random_record(random, offset, timestamp)
            })
            .collect();
        self.end += count;
        all.into_iter().filter(|_| !thinned || random.u8(..3) > 0).collect()
    }

    fn add(&mut self, records: Vec<Told>, header: Header, codec: Codec, aborted: bool) {
        self.bytes.extend(batch_of(&records, header, codec, self.end - 1));
        self.records.extend(records.into_iter().map(|told| (told, aborted)));
    }

    fn plain(&mut self, random: &mut fastrand::Rng, codec: Codec, thinned: bool) {
        let mut header = plain_at(self.end);
        if thinned && random.bool() {
            header.attributes |= attributes::DELETE_HORIZON;
        }
        let records = self.some_records(random, thinned);
        self.add(records, header, codec, false);
    }

    fn append_time(&mut self, random: &mut fastrand::Rng, codec: Codec) {
        let thinned = random.bool();
        let mut header = Header { attributes: attributes::LOG_APPEND_TIME, ..plain_at(self.end) };
        if thinned && random.bool() {
            header.attributes |= attributes::DELETE_HORIZON;
        }
        let mut records = self.some_records(random, thinned);
        records.iter_mut().for_each(|told| told.timestamp = 1_700_000_123_456);
        // Compressed, one record has no time of its own in any log.
        let codec = if records.len() == 1 { Codec::None } else { codec };
        self.add(records, header, codec, false);
    }

    fn empty(&mut self, random: &mut fastrand::Rng) {
        let base = self.end;
        self.end += random.i64(1..5);
        self.add(Vec::new(), plain_at(base), Codec::None, false);
    }

    fn transaction(&mut self, random: &mut fastrand::Rng, codec: Codec) {
        let which = random.usize(..3);
        let producer_id = 100 + which as i64;
        if let Some(aborts) = self.open[which].filter(|_| random.bool()) {
            self.bytes.extend(marker(self.end, producer_id, u8::from(!aborts)));
            self.end += 1;
            self.open[which] = None;
            return;
        }
        let begins = self.open[which].is_none();
        let aborts = *self.open[which].get_or_insert_with(|| random.bool());
        if aborts && begins {
            self.aborted.push((producer_id, self.end));
        }
        let header = Header { producer_id, attributes: attributes::TRANSACTIONAL, ..plain_at(self.end) };
        let thinned = random.u8(..4) == 0;
        let records = self.some_records(random, thinned);
        self.add(records, header, codec, aborts);
    }

    fn legacy(&mut self, random: &mut fastrand::Rng, codec: Codec) {
        let (magic, thinned) = (random.u8(..2), random.u8(..4) == 0);
        let first = self.end;
        let mut records = self.some_records(random, thinned);
        for told in &mut records {
            told.headers.clear();
            told.timestamp = if magic == 0 { -1 } else { told.timestamp };
        }
        let Some(last) = records.last() else { return self.add(records, plain_at(first), Codec::None, false) };
        let message =
            |told: &Told, offset| message(magic, offset, 0, told.timestamp, told.key.as_deref(), told.value.as_deref());
        if matches!(codec, Codec::None | Codec::Zstd) {
            self.bytes.extend(records.iter().flat_map(|told| message(told, told.offset)));
        } else {
            let relative = if magic == 1 { first } else { 0 };
            let inner: Vec<_> = records.iter().flat_map(|told| message(told, told.offset - relative)).collect();
            let value = compress(codec, &inner).unwrap();
            let bits = codec.bits() as u8;
            self.bytes.extend(self::message(magic, last.offset, bits, last.timestamp, None, Some(&value)));
        }
        self.end = last.offset + 1;
        self.records.extend(records.into_iter().map(|told| (told, false)));
    }
}

fn plain_at(base_offset: i64) -> Header {
    Header { base_offset, producer_id: -1, ..header() }
}
