//! What a cluster's clock says, read without writing anything.
//!
//! No request asks for the time. But DescribeQuorum (Kafka 3.3 and newer, KIP-836) tells when each controller has caught up with the
//! metadata log, and of the leading one that is when it answers.

use kafka_protocol::messages::DescribeQuorumRequest;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};

use super::admin;
use super::cluster::{Cluster, topic_name};
use crate::error::Result;
use crate::event::now_ms;
use crate::terms::broker_error::BrokerError;

/// The topic of the metadata log, whose leader is the controller.
const METADATA_TOPIC: &str = "__cluster_metadata";
/// The first version that tells times.
const TELLS_TIMES: i16 = 1;

/// A clock, compared with that of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Milliseconds by which it is ahead; negative if it is behind.
    pub ahead_ms: i64,
    /// By how many milliseconds that may be wrong, because the answer was on its way.
    pub uncertain_ms: i64,
}

/// The clock of the controller; `None` if this cluster does not tell.
///
/// # Errors
/// [`Authorization`](crate::ErrorKind::Authorization) if Describe on the cluster is not allowed, and those of the connection.
pub async fn of_controller(cluster: &Cluster) -> Result<Option<Clock>> {
    let connection = cluster.any().await?;
    let Ok(version @ TELLS_TIMES..) = connection.version::<DescribeQuorumRequest>(2) else { return Ok(None) };
    let topic = TopicData::default()
        .with_topic_name(topic_name(METADATA_TOPIC))
        .with_partitions(vec![PartitionData::default().with_partition_index(0)]);
    let request = DescribeQuorumRequest::default().with_topics(vec![topic]);
    let asked_ms = now_ms();
    let response = connection.call(&request, version).await?;
    let answered_ms = now_ms();
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    let codes = partitions.clone().map(|partition| partition.error_code);
    if let Some(error) = std::iter::once(response.error_code).chain(codes).find_map(BrokerError::of) {
        return Err(admin::refused(cluster, "tell of its controllers", error, None));
    }
    let of_leader = partitions.flat_map(|partition| {
        let leader = partition.leader_id;
        partition.current_voters.iter().find(move |voter| voter.replica_id == leader)
    });
    let told = of_leader.map(|leader| leader.last_caught_up_timestamp).find(|told_ms| *told_ms > 0);
    Ok(told.map(|told_ms| compare(asked_ms, told_ms, answered_ms)))
}

/// The clock was read somewhere between the question and the answer.
fn compare(asked_ms: i64, told_ms: i64, answered_ms: i64) -> Clock {
    let middle = asked_ms + (answered_ms - asked_ms) / 2;
    Clock { ahead_ms: told_ms - middle, uncertain_ms: (answered_ms - asked_ms + 1) / 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_in_the_middle_of_its_way() {
        assert_eq!(compare(1_000, 1_050, 1_100), Clock { ahead_ms: 0, uncertain_ms: 50 });
        assert_eq!(compare(1_000, 6_000, 1_001), Clock { ahead_ms: 5_000, uncertain_ms: 1 });
        assert_eq!(compare(1_000, 400, 1_000), Clock { ahead_ms: -600, uncertain_ms: 0 });
    }
}
