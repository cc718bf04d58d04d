//! Where all logs of some topics end: asks each leader once, again while there is none.
//! Knows nothing of mirrors; what an end means is for those who ask.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::admin;
use super::cluster::Cluster;
use super::positions::{self, Which};
use crate::error::{Error, ErrorKind, Result};
use crate::terms::broker_error::{BrokerError, Class};
use crate::terms::topic::TopicPartition;

/// Next offsets by topic and partition; -1 where it is not known.
pub type Ends = BTreeMap<String, Vec<i64>>;

/// The ends of all partitions of topics. A topic that there is not is left out.
pub async fn read(cluster: &Cluster, topics: &[String], which: Which) -> Result<Ends> {
    let deadline = tokio::time::Instant::now() + cluster.config().request_timeout;
    let mut ends = Ends::new();
    loop {
        let outcome = ask(cluster, topics, which, &mut ends).await;
        let open = ends.values().flatten().filter(|next| **next < 0).count();
        match outcome {
            Ok(()) if open == 0 => return Ok(ends),
            Err(error) if !matches!(error.kind(), ErrorKind::Connect | ErrorKind::Broker) => return Err(error),
            Err(error) if tokio::time::Instant::now() > deadline => return Err(error),
            Ok(()) if tokio::time::Instant::now() > deadline => {
                let message = format!("the {} does not tell the end of {open} partitions", cluster.side);
                return Err(Error::new(ErrorKind::Broker, message));
            }
            _ => tokio::time::sleep(cluster.config().retry_backoff).await,
        }
    }
}

async fn ask(cluster: &Cluster, topics: &[String], which: Which, ends: &mut Ends) -> Result<()> {
    let metadata = cluster.metadata(Some(topics), false).await?;
    let mut by_leader: BTreeMap<i32, Vec<TopicPartition>> = BTreeMap::new();
    ends.retain(|topic, _| metadata.topics.contains_key(topic));
    for (name, topic) in &metadata.topics {
        match BrokerError::of(topic.error_code) {
            None => {}
            Some(error) if error.code == BrokerError::UNKNOWN_PARTITION.code => {
                ends.remove(name);
                continue;
            }
            Some(error) if error.class == Class::Unauthorized => {
                return Err(admin::refused(cluster, &format!("describe topic '{name}'"), error, None));
            }
            Some(_) => {}
        }
        let topic_name: Rc<str> = Rc::from(name.as_str());
        let next = ends.entry(name.clone()).or_default();
        // One whose partitions are not told yet is not known either.
        next.resize(topic.leaders.len().max(1), -1);
        for (partition, leader) in (0..).zip(&topic.leaders) {
            if *leader >= 0 && next[partition as usize] < 0 {
                by_leader.entry(*leader).or_default().push((topic_name.clone(), partition));
            }
        }
    }
    for (leader, partitions) in by_leader {
        let connection = cluster.broker(leader).await?;
        for ((topic, partition), end) in positions::list_offsets(&connection, &partitions, which).await? {
            let place = ends.get_mut(&*topic).and_then(|next| next.get_mut(partition as usize));
            match (place, end) {
                (Some(place), Ok(end)) => *place = end,
                (_, Err(error)) if error.class == Class::Unauthorized => {
                    return Err(admin::refused(cluster, &format!("tell where topic '{topic}' ends"), error, None));
                }
                _ => {}
            }
        }
    }
    Ok(())
}
