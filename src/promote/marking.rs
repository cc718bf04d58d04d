//! The end of every switch-over, with a source and without: reads where the target's logs end, writes the mark, waits until every
//! other process of the mirror must have seen it, and looks whether something was written meanwhile.
//! When it begins, this process writes no records any more.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use super::report::{self, KnownEnds, Newest, PromoteReport, PromotedGroups, PromotedTopic};
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::event::now_ms;
use crate::identity::offsets::{self, Place};
use crate::identity::promotion::{self as memory, Mark};
use crate::machine::promotion::{Known, missing, moved};
use crate::machine::topics::{names_on_target, under_source_names};
use crate::terms::topic::TopicPartition;
use crate::wire::cluster::Cluster;
use crate::wire::log_ends::{self, Ends};
use crate::wire::positions::{self, Which};
use crate::wire::seen::Seen;

/// How long the source may take to say where it ends.
const PATIENCE: Duration = Duration::from_secs(5);
/// What others may take beyond their refresh interval to see the mark and stop.
const GRACE: Duration = Duration::from_secs(1);

/// What is known when the mirror has stopped writing.
pub(crate) struct Stopped<'a> {
    pub(crate) config: &'a Config,
    pub(crate) target: &'a Cluster,
    /// The source, if it can be asked.
    pub(crate) source: Option<&'a Cluster>,
    pub(crate) name: &'a str,
    pub(crate) topics: Vec<String>,
    pub(crate) known: KnownEnds,
    pub(crate) start_number: i32,
    /// Why the source cannot be asked.
    pub(crate) source_error: Option<Error>,
    /// Why not everything was copied, though the source could be asked.
    pub(crate) not_drained: Option<Error>,
    pub(crate) not_mirrored: BTreeMap<String, String>,
    pub(crate) groups: Option<PromotedGroups>,
}

impl Stopped<'_> {
    fn is_drained(&self) -> bool {
        self.source_error.is_none() && self.not_drained.is_none()
    }
}

/// Marks the mirror and reports.
///
/// # Errors
/// [`ErrorKind::TimedOut`] if everything was copied, and is not any more: nothing is marked then. Otherwise whatever keeps the mark from
/// being written; after such an error it is not known whether it was.
pub(crate) async fn finish(mut stopped: Stopped<'_>) -> Result<PromoteReport> {
    let target = stopped.target;
    let Copied { ends, last } = target_ends(target, stopped.config, stopped.name, &stopped.topics).await?;
    if stopped.is_drained() {
        check_drained(&report::topics(&stopped.topics, &ends, &stopped.known, &Newest::new()))?;
    }
    let mark = Mark::new(now_ms(), stopped.start_number);
    write(target, stopped.name, &mark, &ends).await?;
    tracing::info!(name = stopped.name, "the mirror is marked as promoted");
    tokio::time::sleep(stopped.config.refresh_interval + GRACE).await;
    let now = target_ends(target, stopped.config, stopped.name, &stopped.topics).await?.ends;
    if let Some(source) = stopped.source {
        ask_source(source, &stopped.topics, &mut stopped.known).await;
    }
    let newest = newest(target, stopped.config, &last, &ends, &stopped.known).await;
    let topics = report::topics(&stopped.topics, &ends, &stopped.known, &newest);
    if stopped.is_drained()
        && let Some(what) = what_is_missing(&topics)
    {
        let message = format!("the source was written to while the mirror was being marked: {what}");
        stopped.not_drained = Some(Error::new(ErrorKind::TimedOut, message));
    }
    let report = PromoteReport {
        name: stopped.name.to_owned(),
        promoted: true,
        promoted_at_ms: mark.promoted_at_ms,
        source_reachable: stopped.source_error.is_none(),
        drained: stopped.is_drained(),
        source_error: stopped.source_error.map(|error| error.message().to_owned()),
        not_drained_because: stopped.not_drained.map(|error| error.message().to_owned()),
        records_not_copied: 0,
        partitions_behind: 0,
        ms_not_copied: None,
        source_known_at_ms: None,
        topics,
        not_mirrored: stopped.not_mirrored,
        groups: stopped.groups,
        written_afterwards: moved(&ends, &now).into_iter().map(Into::into).collect(),
    };
    Ok(report.sum_up())
}

/// Adds where the source's logs end now, also behind open transactions. What it does not say in time is known no better than before.
pub(crate) async fn ask_source(source: &Cluster, topics: &[String], known: &mut KnownEnds) {
    let at_ms = now_ms();
    let asked = log_ends::read(source, topics, Which::HighWatermark);
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(ends)) => {
            // Also where less was known to be there: a log that was made anew begins again.
            for (topic, next) in ends {
                known.insert(topic, next.into_iter().map(|next| Some(Known { next, at_ms })).collect());
            }
        }
        Ok(Err(error)) => tracing::warn!(%error, "it is not known where the source ends now"),
        Err(_) => tracing::warn!("the source does not say in time where it ends now"),
    }
}

/// Both logs have stood still with everything copied. If the target has less now, or the source more, nothing is marked.
fn check_drained(topics: &[PromotedTopic]) -> Result<()> {
    let Some(what) = what_is_missing(topics) else { return Ok(()) };
    let message = format!(
        "not promoted: everything was copied and the source rested, but now {what}: nothing was marked, and the mirror has ended; \
         stop the source's writers, and promote it again"
    );
    Err(Error::new(ErrorKind::TimedOut, message))
}

/// What is not copied, in words.
fn what_is_missing(topics: &[PromotedTopic]) -> Option<String> {
    let records: u64 = topics.iter().map(|topic| topic.records_not_copied).sum();
    let partitions = topics.iter().flat_map(|topic| topic.partitions.iter().map(move |one| (&topic.topic, one)));
    let (topic, first) = partitions.into_iter().find(|(_, partition)| partition.records_not_copied > 0)?;
    Some(format!(
        "{records} records are not copied, the first of them at offset {} of topic '{topic}' partition {}",
        first.target_offset_next, first.partition
    ))
}

/// How far topics are copied, by their names at the source.
pub(crate) struct Copied {
    /// The next offset of the source. With preserved offsets that is where the target ends.
    pub(crate) ends: Ends,
    /// The offset on the target of the last record.
    last: HashMap<(String, i32), i64>,
}

/// How far the copies of topics go: by the target's logs or, where others write to them as well, by what the mirror has written down.
pub(crate) async fn target_ends(target: &Cluster, config: &Config, name: &str, topics: &[String]) -> Result<Copied> {
    let names = names_on_target(config, topics);
    let mut ends = under_source_names(config, topics, log_ends::read(target, &names, Which::LogEnd).await?);
    let mut last = HashMap::new();
    if config.translates() {
        let metadata = target.metadata(Some(&names), false).await?;
        let maps = offsets::maps(target, name).await?;
        for (topic, next) in &mut ends {
            let id = metadata.topics.get(&*config.names.on_target(topic)).map_or(0, |topic| topic.id);
            let place = |partition| Place { topic: topic.clone(), target_topic_id: id, partition };
            // Partitions that were not begun are those of others.
            next.truncate((0..).take_while(|partition| maps.contains_key(&place(*partition))).count().min(next.len()));
            for (partition, next) in (0..).zip(next.iter_mut()) {
                let Some(map) = maps.get(&place(partition)) else { continue };
                *next = map.source_offset_of(map.known_until());
                if let Some((on_target, _)) = map.last_record() {
                    last.insert((topic.clone(), partition), on_target);
                }
            }
        }
        return Ok(Copied { ends, last });
    }
    for (topic, next) in &ends {
        let filled = (0..).zip(next).filter(|(_, next)| **next > 0);
        last.extend(filled.map(|(partition, next)| ((topic.clone(), partition), next - 1)));
    }
    Ok(Copied { ends, last })
}

/// Writes the mark, again after a failure: it says the same then.
async fn write(target: &Cluster, name: &str, mark: &Mark, ends: &Ends) -> Result<()> {
    let deadline = tokio::time::Instant::now() + target.config().request_timeout;
    loop {
        match memory::write_mark(target, name, mark, ends).await {
            Err(error)
                if matches!(error.kind(), ErrorKind::Connect | ErrorKind::Broker)
                    && tokio::time::Instant::now() < deadline =>
            {
                tracing::warn!(%error, "the mark is not written yet; will be tried again");
                tokio::time::sleep(target.config().retry_backoff).await;
            }
            Err(error) => {
                return Err(error.context(format!(
                    "it is not known whether the mirror '{name}' was marked as promoted; it has stopped, promote it again"
                )));
            }
            Ok(()) => return Ok(()),
        }
    }
}

/// When the newest record was produced that the target has, of partitions that lack records. What cannot be found out is not
/// known: it is no reason not to switch over.
async fn newest(
    target: &Cluster,
    config: &Config,
    last: &HashMap<(String, i32), i64>,
    ends: &Ends,
    known: &KnownEnds,
) -> Newest {
    let mut wanted: HashMap<String, Vec<(i32, i64)>> = HashMap::new();
    for (topic, next) in ends {
        for (partition, next) in (0..).zip(next) {
            let known = known.get(topic).and_then(|known| known.get(partition as usize)).copied().flatten();
            let last = last.get(&(topic.clone(), partition));
            if let Some(last) = last.filter(|_| missing(*next, known, None).records > 0) {
                wanted.entry(topic.clone()).or_default().push((partition, *last));
            }
        }
    }
    let names: Vec<String> = wanted.keys().map(|topic| config.names.on_target(topic).into_owned()).collect();
    let Ok(metadata) = target.metadata(Some(&names), false).await else { return Newest::new() };
    let mut at_source: HashMap<Rc<str>, String> = HashMap::new();
    let mut by_leader: HashMap<i32, Vec<(TopicPartition, i64)>> = HashMap::new();
    for (name, partitions) in wanted {
        let topic: Rc<str> = Rc::from(&*config.names.on_target(&name));
        let Some(described) = metadata.topics.get(&*topic) else { continue };
        at_source.insert(topic.clone(), name);
        for (partition, last) in partitions {
            if let Some(leader) = described.leaders.get(partition as usize) {
                by_leader.entry(*leader).or_default().push(((topic.clone(), partition), last));
            }
        }
    }
    let mut newest = Newest::new();
    for (leader, offsets) in by_leader {
        let Ok(connection) = target.broker(leader).await else { continue };
        let Ok(headers) = positions::batch_headers(&connection, &offsets).await else { continue };
        for ((topic, partition), header) in headers {
            // A control batch carries the time of the broker.
            if let Ok(Some(header)) = header.map(Seen::header)
                && !header.is_control()
                && let Some(name) = at_source.get(&topic)
            {
                newest.insert((name.clone(), partition), header.max_timestamp);
            }
        }
    }
    newest
}
