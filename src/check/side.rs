//! What is asked of one cluster: each bootstrap server, each broker at its advertised listener, the time.
//!
//! All brokers are asked at the same time, so that a silent one costs its time only once.

use super::{CheckLine, CheckSubject, clocks};
use crate::config::ClientConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::terms::topic::Metadata;
use crate::wire::clock::{self, Clock};
use crate::wire::cluster::Cluster;
use crate::wire::connection::Connection;
use crate::wire::dialer::Dialer;
use crate::wire::releases;
use crate::wire::together;

const SUBJECT: CheckSubject = CheckSubject::Connection;

/// What one cluster has answered.
pub(super) struct Looked {
    pub(super) lines: Vec<CheckLine>,
    /// `None` if it was not reached; some clusters that were have no id.
    pub(super) cluster_id: Option<Option<String>>,
    pub(super) clock: Option<Clock>,
    /// How it is reached: by those of its bootstrap servers that answer. Whoever asks on does not wait for the silent ones again.
    pub(super) reached: ClientConfig,
}

pub(super) async fn look(side: &'static str, config: &ClientConfig) -> Looked {
    let servers = &config.bootstrap_servers;
    let dialer = Dialer::of_this_thread();
    let open = async |address: &String| releases::is_broker(&*Connection::open(address, &dialer, config, None).await?);
    let opened = together::all(servers.iter().map(open).collect()).await;
    let reached = ClientConfig { bootstrap_servers: answering(servers, &opened), ..config.clone() };
    let mut lines = bootstrap(side, servers, opened);
    lines.push(security(side));
    if reached.bootstrap_servers.is_empty() {
        return Looked { lines, cluster_id: None, clock: None, reached };
    }
    let cluster = Cluster::new(side, reached.clone());
    let none: [String; 0] = [];
    let metadata = match cluster.metadata(Some(&none), false).await {
        Ok(metadata) => metadata,
        Err(error) => {
            let fix = match error.kind() {
                ErrorKind::Unsupported => "upgrade the brokers of this cluster",
                _ => "the cluster is reached but does not describe itself: look at its brokers' logs",
            };
            lines.push(CheckLine::failed(Some(side), SUBJECT, error.kind(), error.message(), fix));
            return Looked { lines, cluster_id: None, clock: None, reached };
        }
    };
    let brokers = cluster.brokers();
    let dial = async |id: &i32| cluster.dial(*id).await.map(drop);
    let dialled = together::all(brokers.iter().map(dial).collect()).await;
    lines.extend(advertised(side, &metadata, dialled));
    let (line, clock) = clocks::of_side(side, clock::of_controller(&cluster).await);
    lines.push(line);
    Looked { lines, cluster_id: Some(metadata.cluster_id), clock, reached }
}

fn answering(servers: &[String], opened: &[Result<()>]) -> Vec<String> {
    servers.iter().zip(opened).filter(|(_, opened)| opened.is_ok()).map(|(server, _)| server.clone()).collect()
}

/// A line for each bootstrap server that is not reached: that is a failure if it holds for all, else a warning.
fn bootstrap(side: &'static str, servers: &[String], opened: Vec<Result<()>>) -> Vec<CheckLine> {
    let none = opened.iter().all(Result::is_err);
    let line = |(server, opened): (&String, Result<()>)| {
        let error = opened.err()?;
        let message = format!("{side}.bootstrap.servers: {}", error.message());
        Some(if none {
            let fix =
                format!("check {side}.bootstrap.servers ({server}), that the broker runs, and firewalls on the way");
            CheckLine::failed(Some(side), SUBJECT, error.kind(), message, &fix)
        } else {
            let fix =
                format!("others are reached; remove {server} from {side}.bootstrap.servers, or look why it is down");
            CheckLine::warning(Some(side), SUBJECT, message, &fix)
        })
    };
    servers.iter().zip(opened).filter_map(line).collect()
}

/// Nothing else is supported yet, so it is no warning that could be heeded.
fn security(side: &'static str) -> CheckLine {
    let message = "security.protocol is PLAINTEXT: what goes over the network is neither encrypted nor authenticated";
    CheckLine::ok(Some(side), CheckSubject::Security, message)
}

/// A line for each broker that is not reached where it says it is, or one for all.
fn advertised(side: &'static str, metadata: &Metadata, dialled: Vec<Result<()>>) -> Vec<CheckLine> {
    let failed = |error: Error| {
        let fix = "partitions of this broker cannot be copied: its advertised.listeners has to name an address that this machine \
                   resolves and reaches";
        CheckLine::failed(Some(side), SUBJECT, error.kind(), error.message(), fix)
    };
    let lines: Vec<CheckLine> = dialled.into_iter().filter_map(Result::err).map(failed).collect();
    if !lines.is_empty() {
        return lines;
    }
    let brokers = match metadata.broker_count {
        1 => "its broker is".to_owned(),
        count => format!("all {count} brokers are"),
    };
    let id = metadata.cluster_id.as_deref().unwrap_or("unknown");
    let message = format!("{brokers} reached at the advertised listener (cluster id {id})");
    vec![CheckLine::ok(Some(side), SUBJECT, message)]
}

#[cfg(test)]
mod tests {
    use super::super::CheckOutcome;
    use super::*;

    fn refused() -> Result<()> {
        Err(Error::new(ErrorKind::Connect, "b:9092 refuses the connection"))
    }

    #[test]
    fn one_bootstrap_server_that_is_reached_is_enough() {
        let servers = ["a:9092".to_owned(), "b:9092".to_owned()];
        assert!(bootstrap("source", &servers, vec![Ok(()), Ok(())]).is_empty());
        let lines = bootstrap("source", &servers, vec![Ok(()), refused()]);
        assert_eq!(lines.iter().map(|line| line.outcome).collect::<Vec<_>>(), [CheckOutcome::Warning]);
        assert!(lines[0].message.contains("b:9092 refuses"));
        let lines = bootstrap("source", &servers, vec![refused(), refused()]);
        assert_eq!(lines.iter().map(|line| line.outcome).collect::<Vec<_>>(), [CheckOutcome::Failed; 2]);
    }

    #[test]
    fn only_bootstrap_servers_that_answer_are_asked_on() {
        let servers = ["a:9092".to_owned(), "b:9092".to_owned(), "c:9092".to_owned()];
        assert_eq!(answering(&servers, &[Ok(()), refused(), Ok(())]), ["a:9092", "c:9092"]);
        assert!(answering(&servers, &[refused(), refused(), refused()]).is_empty());
    }

    #[test]
    fn each_broker_that_is_not_reached_is_told() {
        let metadata = Metadata { broker_count: 3, cluster_id: Some("x".to_owned()), ..Metadata::default() };
        let fine = advertised("target", &metadata, vec![Ok(()), Ok(()), Ok(())]);
        assert_eq!(fine[0].message, "all 3 brokers are reached at the advertised listener (cluster id x)");
        let lines = advertised("target", &metadata, vec![Ok(()), refused(), refused()]);
        assert_eq!(lines.iter().map(|line| line.outcome).collect::<Vec<_>>(), [CheckOutcome::Failed; 2]);
    }
}
