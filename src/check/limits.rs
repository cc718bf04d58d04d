//! What makes a mirror slow without being wrong: quotas on its clients, and topics whose old records lie in a remote store.
//! A mirror waits for both, and nothing else would say why it does.

use std::collections::BTreeMap;

use super::{CheckLine, CheckSubject};
use crate::config::ClientConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::wire::cluster::Cluster;
use crate::wire::configs::{self, REMOTE_STORAGE};
use crate::wire::quotas::{self, Quota};

/// What one cluster limits, of the topics that are mirrored from it or to it.
pub(super) async fn look(side: &'static str, config: &ClientConfig, topics: &[String]) -> Vec<CheckLine> {
    let cluster = Cluster::new(side, config.clone());
    let quotas = quotas::of_client(&cluster, &config.client_id).await;
    let mut lines = quota_lines(side, &config.client_id, quotas);
    let is_remote = configs::describe_keys(&cluster, topics, Some(&[REMOTE_STORAGE]), false, |all| {
        let mut values = all.iter().filter_map(|config| config.value.as_ref());
        values.any(|value| value.as_str() == "true")
    });
    lines.extend(tiered(side, is_remote.await));
    lines
}

fn quota_lines(side: &'static str, client_id: &str, quotas: Result<Option<Vec<Quota>>>) -> Vec<CheckLine> {
    const SUBJECT: CheckSubject = CheckSubject::Quotas;
    let not_told = |why: &str| {
        vec![CheckLine::ok(
            Some(side),
            SUBJECT,
            format!("it is not told whether quotas limit client '{client_id}': {why}"),
        )]
    };
    let quotas = match quotas {
        Ok(Some(quotas)) => quotas,
        Ok(None) => return not_told("the brokers are older than Kafka 2.6"),
        Err(error) => return not_told(error.message()),
    };
    if quotas.is_empty() {
        return vec![CheckLine::ok(Some(side), SUBJECT, format!("no quota limits client '{client_id}'"))];
    }
    let line = |quota: &Quota| {
        let Quota { key, value, entity } = quota;
        let message =
            format!("client '{client_id}' is limited to {key}={value} at each broker, which was set for {entity}");
        let fix = "the mirror is throttled beyond that and falls behind: raise it with kafka-configs, or set another client.id";
        CheckLine::warning(Some(side), SUBJECT, message, fix)
    };
    quotas.iter().map(line).collect()
}

/// Topics with tiered storage. Who may not see configurations is told so elsewhere.
fn tiered(side: &'static str, described: Result<BTreeMap<String, Result<bool>>>) -> Option<CheckLine> {
    let described = match described {
        Ok(described) => described,
        Err(error) => return Some(not_seen(side, &error)),
    };
    let mut remote = described.iter().filter(|(_, is_remote)| matches!(is_remote, Ok(true))).map(|(topic, _)| topic);
    let first = remote.next()?;
    let more = match remote.count() {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    let message = format!("topic '{first}'{more}: old records lie in a remote store (remote.storage.enable=true)");
    let fix = "they come as fast as the store gives them, and are waited for: look at remote.fetch.max.wait.ms and \
               remote.log.manager.fetch.max.bytes.per.second of the brokers if that is slow";
    Some(CheckLine::warning(Some(side), CheckSubject::Topics, message, fix))
}

fn not_seen(side: &'static str, error: &Error) -> CheckLine {
    let message = format!("it is not told which topics have tiered storage: {}", error.message());
    match error.kind() {
        ErrorKind::Authorization | ErrorKind::Unsupported => CheckLine::ok(Some(side), CheckSubject::Topics, message),
        _ => CheckLine::warning(Some(side), CheckSubject::Topics, message, "look at the brokers' logs"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::CheckOutcome;
    use super::*;

    #[test]
    fn a_quota_is_a_warning_and_none_is_none() {
        let quota =
            Quota { key: "consumer_byte_rate".to_owned(), value: 1000.0, entity: "client-id 'kmirror'".to_owned() };
        let lines = quota_lines("source", "kmirror", Ok(Some(vec![quota])));
        assert_eq!((lines.len(), lines[0].outcome), (1, CheckOutcome::Warning));
        let message = "client 'kmirror' is limited to consumer_byte_rate=1000 at each broker, which was set for client-id 'kmirror'";
        assert_eq!(lines[0].message, message);
        for nothing in [Ok(Some(Vec::new())), Ok(None), Err(Error::new(ErrorKind::Authorization, "not allowed"))] {
            let lines = quota_lines("target", "kmirror", nothing);
            assert_eq!((lines.len(), lines[0].outcome), (1, CheckOutcome::Ok));
        }
    }

    #[test]
    fn tiered_topics_are_one_line() {
        let refused = || Err(Error::new(ErrorKind::Authorization, "not allowed"));
        let of = |topics: &[(&str, Result<bool>)]| {
            tiered("source", Ok(topics.iter().map(|(topic, is)| ((*topic).to_owned(), is.clone())).collect()))
        };
        assert!(of(&[("a", Ok(false)), ("b", refused())]).is_none());
        let line = of(&[("a", Ok(false)), ("b", Ok(true)), ("c", Ok(true))]).expect("two are");
        assert!(line.message.starts_with("topic 'b' and 1 more: "), "{line}");
    }
}
