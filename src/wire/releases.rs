//! Which releases of brokers are taken, known by the requests that they offer: brokers do not tell their release.
//!
//! What is too old is refused when it is connected to, in one sentence for every command, instead of failing at the first request that
//! it does not know.

use kafka_protocol::messages::ApiKey;

use super::connection::Connection;
use crate::error::{Error, ErrorKind, Result};

/// The oldest release that can be a source, and a target.
const OLDEST_SOURCE: &str = "2.1";
const OLDEST_TARGET: &str = "2.4";

/// The newest version of Fetch that a line of releases offers.
const LINES: [(i16, &str); 8] = [
    (2, "0.10.0"),
    (3, "0.10.1 or 0.10.2"),
    (5, "0.11"),
    (6, "1.0"),
    (7, "1.1"),
    (8, "2.0"),
    (10, "2.1 or 2.2"),
    (11, "2.3"),
];

/// What a broker offers, as far as it tells releases apart.
#[derive(Debug, Clone, Copy)]
struct Offer {
    /// The newest versions.
    fetch: i16,
    metadata: i16,
    /// Whether there are requests that came with Kafka 2.2 (ElectLeaders) and 2.4 (AlterPartitionReassignments), or later. What is no
    /// Kafka may have these and older versions of others.
    since_2_2: bool,
    since_2_4: bool,
}

impl Offer {
    /// Why a broker is too old for a side.
    fn refusal(self, side: &str) -> Option<String> {
        let (oldest, is_older) = match side {
            "source" => (OLDEST_SOURCE, self.fetch < 10 && !self.since_2_2),
            _ => (OLDEST_TARGET, self.metadata < 9 && !self.since_2_4),
        };
        let line = LINES.iter().find(|(fetch, _)| self.fetch <= *fetch).map_or("older", |(_, line)| *line);
        is_older
            .then(|| format!("is Kafka {line}, by what it offers: the oldest {side} that is taken is Kafka {oldest}"))
    }
}

/// Refuses what is no broker: the controllers of KRaft speak Kafka's protocol too, and have neither topics nor records.
pub fn is_broker(connection: &Connection) -> Result<()> {
    if connection.newest(ApiKey::Metadata as i16).is_some() {
        return Ok(());
    }
    let message = format!(
        "{} is a controller of KRaft and no broker, by what it offers: bootstrap.servers takes listeners of brokers, whose port is another one",
        connection.address()
    );
    Err(Error::new(ErrorKind::Connect, message))
}

/// Refuses what is no broker, and a broker that is too old.
pub fn check(side: &str, connection: &Connection) -> Result<()> {
    is_broker(connection)?;
    let newest = |key: ApiKey| connection.newest(key as i16).unwrap_or(-1);
    let has_since = |first: ApiKey| connection.keys().any(|key| key >= first as i16);
    let offer = Offer {
        fetch: newest(ApiKey::Fetch),
        metadata: newest(ApiKey::Metadata),
        since_2_2: has_since(ApiKey::ElectLeaders),
        since_2_4: has_since(ApiKey::AlterPartitionReassignments),
    };
    match offer.refusal(side) {
        None => Ok(()),
        Some(why) => {
            let message = format!("the broker {} of the {side} {why}", connection.address());
            Err(Error::new(ErrorKind::Unsupported, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(side: &str, fetch: i16, metadata: i16, since: [bool; 2]) -> Option<String> {
        Offer { fetch, metadata, since_2_2: since[0], since_2_4: since[1] }.refusal(side)
    }

    #[test]
    fn what_is_too_old_is_named_with_the_oldest_that_is_taken() {
        let old = [false, false];
        let releases = [
            (2, 1, old, "0.10.0"),
            (3, 2, old, "0.10.1 or 0.10.2"),
            (5, 4, old, "0.11"),
            (6, 5, old, "1.0"),
            (7, 5, old, "1.1"),
            (8, 6, old, "2.0"),
            (10, 7, old, "2.1 or 2.2"),
            (10, 7, [true, false], "2.1 or 2.2"),
            (11, 8, [true, false], "2.3"),
        ];
        for (fetch, metadata, since, line) in releases {
            let target = refusal("target", fetch, metadata, since).expect("all of them are older than 2.4");
            assert!(target.contains(&format!("is Kafka {line}, ")) && target.ends_with("is Kafka 2.4"), "{target}");
            let source = refusal("source", fetch, metadata, since);
            assert_eq!(source.is_some(), fetch < 10, "{line}");
            assert!(source.is_none_or(|source| source.ends_with("the oldest source that is taken is Kafka 2.1")));
        }
        // 2.4, and something that is no Kafka and offers old versions.
        for (fetch, metadata, since) in [(11, 9, [true, true]), (4, 7, [true, true]), (11, 9, old)] {
            assert_eq!(refusal("target", fetch, metadata, since), None);
            assert_eq!(refusal("source", fetch, metadata, since), None);
        }
    }
}
