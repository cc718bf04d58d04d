//! The formats of MirrorMaker 2's own records: heartbeats, checkpoints and offset syncs, as bytes of key and value.
//!
//! Numbers are big-endian, a text is its length in two bytes and UTF-8. Values begin with their version, those of offset
//! syncs have none. What is written where is decided in `machine::mirror_maker_2` and `control::mirror_maker_2`.

use super::append::Entry;

/// Of heartbeats and checkpoints.
const VERSION: i16 = 0;

/// A sign of life of the flow between two clusters.
pub fn heartbeat(source_alias: &str, target_alias: &str, timestamp_ms: i64) -> Entry {
    let key = [text(source_alias), text(target_alias)].concat();
    Entry { key, value: Some([&VERSION.to_be_bytes()[..], &timestamp_ms.to_be_bytes()].concat()) }
}

/// What the offset of a group is on the target; the topic has its name there.
pub fn checkpoint(
    group: &str,
    (target_topic, partition): (&str, i32),
    (source_offset, target_offset): (i64, i64),
    metadata: &str,
) -> Entry {
    let key = [&text(group)[..], &text(target_topic), &partition.to_be_bytes()].concat();
    let offsets = [source_offset.to_be_bytes(), target_offset.to_be_bytes()].concat();
    Entry { key, value: Some([&VERSION.to_be_bytes()[..], &offsets, &text(metadata)].concat()) }
}

/// Which offset of the target belongs to one of the source; the topic has its name at the source.
pub fn offset_sync((topic, partition): (&str, i32), (source_offset, target_offset): (i64, i64)) -> Entry {
    let key = [&text(topic)[..], &partition.to_be_bytes()].concat();
    Entry { key, value: Some([source_offset.to_be_bytes(), target_offset.to_be_bytes()].concat()) }
}

/// A text that is too long for its length is left out: that can only be what stands beside an offset.
fn text(text: &str) -> Vec<u8> {
    match i16::try_from(text.len()) {
        Ok(length) => [&length.to_be_bytes()[..], text.as_bytes()].concat(),
        Err(_) => vec![0, 0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hexadecimal(entry: &Entry) -> [String; 2] {
        let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        [hexadecimal(&entry.key), hexadecimal(entry.value.as_deref().unwrap_or_default())]
    }

    #[test]
    fn records_are_what_the_classes_of_mirror_maker_2_write() {
        let cases = [
            (heartbeat("A", "B", 1_700_000_000_000), ["000141000142", "00000000018bcfe56800"]),
            (
                checkpoint("grp", ("A.orders", 3), (1000, 990), "meta"),
                ["00036772700008412e6f726465727300000003", "000000000000000003e800000000000003de00046d657461"],
            ),
            (offset_sync(("orders", 3), (1000, 990)), ["00066f726465727300000003", "00000000000003e800000000000003de"]),
        ];
        for (entry, expected) in cases {
            assert_eq!(hexadecimal(&entry), expected);
        }
    }

    #[test]
    fn what_stands_beside_an_offset_is_left_out_if_it_is_too_long() {
        let value = |metadata: &str| checkpoint("g", ("t", 0), (1, 1), metadata).value.unwrap_or_default();
        assert_eq!(value(&"x".repeat(32_767)).len(), 20 + 32_767);
        assert_eq!(value(&"x".repeat(32_768)), value(""));
    }
}
