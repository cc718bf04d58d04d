//! Which quotas a cluster sets on a client, of those that were set by configuration.
//! Which of several counts for a client is Kafka's rule: <https://kafka.apache.org/documentation/#design_quotas>.

use kafka_protocol::messages::describe_client_quotas_response::{EntityData, EntryData};
use kafka_protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};

use super::admin::refused;
use super::cluster::Cluster;
use crate::error::Result;
use crate::terms::broker_error::BrokerError;

/// What limits a client.
#[derive(Debug, Clone, PartialEq)]
pub struct Quota {
    /// What is limited, for example `consumer_byte_rate`.
    pub key: String,
    /// The limit, for each broker.
    pub value: f64,
    /// For whom it was set.
    pub entity: String,
}

/// Who is not authenticated.
const ANONYMOUS: &str = "ANONYMOUS";

/// The quotas that count for a client of this id that does not authenticate itself; `None` if this cluster does not tell (before Kafka
/// 2.6).
///
/// # Errors
/// [`Authorization`](crate::ErrorKind::Authorization) if DescribeConfigs on the cluster is not allowed, and those of the connection.
pub async fn of_client(cluster: &Cluster, client_id: &str) -> Result<Option<Vec<Quota>>> {
    let connection = cluster.any().await?;
    let Ok(version) = connection.version::<DescribeClientQuotasRequest>(1) else { return Ok(None) };
    let response = connection.call(&DescribeClientQuotasRequest::default(), version).await?;
    if let Some(error) = BrokerError::of(response.error_code) {
        return Err(refused(cluster, "tell of its client quotas", error, response.error_message.as_deref()));
    }
    Ok(Some(counting(response, client_id)))
}

/// Of each limit the one that was set most precisely.
fn counting(response: DescribeClientQuotasResponse, client_id: &str) -> Vec<Quota> {
    let ranked =
        response.entries.into_iter().flatten().filter_map(|entry| Some((rank(&entry.entity, client_id)?, entry)));
    let mut ranked: Vec<(u8, EntryData)> = ranked.collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut quotas: Vec<Quota> = Vec::new();
    for (_, entry) in ranked {
        let of = |one: &EntityData| match &one.entity_name {
            Some(name) => format!("{} '{name}'", &*one.entity_type),
            None => format!("every {} without one of its own", &*one.entity_type),
        };
        let entity = entry.entity.iter().map(of).collect::<Vec<_>>().join(" and ");
        for value in entry.values {
            if !quotas.iter().any(|quota| quota.key == value.key.as_str()) {
                quotas.push(Quota { key: value.key.to_string(), value: value.value, entity: entity.clone() });
            }
        }
    }
    quotas
}

/// How precisely an entity names the client, 0 most; `None` if it does not. Limits by address count connections only.
fn rank(entity: &[EntityData], client_id: &str) -> Option<u8> {
    let is_named = |of: &str, name: &str| {
        let part = entity.iter().find(|part| part.entity_type.as_str() == of);
        part.map(|part| part.entity_name.as_ref().map(|named| named.as_str() == name))
    };
    let is_other = |part: &EntityData| !["user", "client-id"].contains(&part.entity_type.as_str());
    if entity.iter().any(is_other) {
        return None;
    }
    // The parts are named, stand for the default, or are left out.
    let level = |part: Option<Option<bool>>| match part {
        Some(Some(true)) => Some(0),
        Some(None) => Some(1),
        None => Some(2),
        Some(Some(false)) => None,
    };
    Some(3 * level(is_named("user", ANONYMOUS))? + level(is_named("client-id", client_id))?)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::describe_client_quotas_response::ValueData;
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    fn entry(entity: &[(&str, Option<&str>)], key: &str, value: f64) -> EntryData {
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let part = |(of, name): &(&str, Option<&str>)| {
            EntityData::default().with_entity_type(text(of)).with_entity_name(name.map(text))
        };
        EntryData::default()
            .with_entity(entity.iter().map(part).collect())
            .with_values(vec![ValueData::default().with_key(text(key)).with_value(value)])
    }

    #[test]
    fn the_most_precise_limit_counts() {
        const RATE: &str = "consumer_byte_rate";
        let entries = vec![
            entry(&[("client-id", None)], RATE, 1.0),
            entry(&[("client-id", Some("kmirror"))], RATE, 2.0),
            entry(&[("client-id", Some("another"))], RATE, 3.0),
            entry(&[("user", Some("somebody")), ("client-id", Some("kmirror"))], RATE, 4.0),
            entry(&[("ip", None)], RATE, 5.0),
            entry(&[("user", None)], "request_percentage", 6.0),
        ];
        let of = |entries: Vec<EntryData>| -> Vec<(String, f64)> {
            let response = DescribeClientQuotasResponse::default().with_entries(Some(entries));
            counting(response, "kmirror").into_iter().map(|quota| (quota.key, quota.value)).collect()
        };
        assert_eq!(of(entries.clone()), [("request_percentage".to_owned(), 6.0), (RATE.to_owned(), 2.0)]);
        let user = entry(&[("user", Some("ANONYMOUS")), ("client-id", None)], RATE, 7.0);
        assert_eq!(of([entries, vec![user]].concat())[0], (RATE.to_owned(), 7.0));
        assert_eq!(of(Vec::new()), []);
    }
}
