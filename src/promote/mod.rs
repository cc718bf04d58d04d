//! A switch-over from outside of a running mirror: starts one of the same name, drains and promotes it; or, where the source is
//! gone, marks the mirror by what the target alone can tell. Takes a mark back.
//!
//! What a running mirror does about it is in `control::promotion`, what both do in [`marking`].

pub(crate) mod marking;
pub(crate) mod report;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use self::marking::Stopped;
use crate::clock::Instant;
use crate::config::{Config, utc};
use crate::control::{default_name, short_id};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Callbacks;
use crate::identity::promotion::{self as memory, Memory};
use crate::machine::lease::Purpose;
use crate::machine::promotion::moved;
use crate::machine::start;
use crate::mirror::Mirror;
use crate::terms::topic::Metadata;
use crate::waiting::{GivenUp, on_a_thread};
use crate::wire::cluster::Cluster;

pub use report::{MovedEnd, PromoteReport, PromotedGroups, PromotedPartition, PromotedTopic};

/// How to switch over.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PromoteOptions {
    /// How long the source is waited for, and how long copying what it has may take.
    pub timeout: Duration,
    /// Promote also when something the source has cannot be copied in that time, the report says what is missing; and when the mirror has
    /// copied topics that are not selected now, which end with it.
    pub force: bool,
}

impl Default for PromoteOptions {
    fn default() -> Self {
        PromoteOptions { timeout: Duration::from_secs(60), force: false }
    }
}

/// A mark that was taken back.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct PromotionUndone {
    /// The mirror's name.
    pub name: String,
    /// When it had been promoted, in milliseconds since 1970.
    pub promoted_at_ms: i64,
    /// Partitions of the target that end where they did then.
    pub partitions: usize,
}

/// How long the threads of a mirror that was promoted may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Ends a mirror for a switch-over: copies what the source has, and marks the mirror so that it never writes again.
///
/// Starts a mirror with this configuration for that. When the source cannot be reached until `timeout` has passed, the mirror
/// is marked all the same, and the report says what was not copied as far as a running mirror has known it. Another process
/// that runs the mirror ends by itself within its `refresh.interval.ms`.
///
/// # Errors
/// [`ErrorKind::TimedOut`] if the source is there and not everything was copied in time, without `force`: then nothing is
/// marked. [`ErrorKind::Config`] if no mirror of this name has run, it was promoted already, or it has copied topics that are not selected
/// here, without `force`.
pub fn promote(config: Config, options: PromoteOptions) -> Result<PromoteReport> {
    promote_or(config, options, || false)
}

/// As [`promote`], asking every 50 ms whether to give up: for hosts that have to look for signals while they wait. Once
/// everything is copied it is too late to give up.
///
/// # Errors
/// As there, and [`ErrorKind::TimedOut`] when `give_up` says so.
pub fn promote_or(config: Config, options: PromoteOptions, mut give_up: impl FnMut() -> bool) -> Result<PromoteReport> {
    let started = Instant::now();
    let (look, how) = (config.clone(), options.clone());
    let marked = on_a_thread("the switch-over", &mut give_up, move |abandoned| async move {
        Outside::new(look).mark_without_source(&how, &abandoned).await
    })?;
    if let Some(report) = marked {
        return Ok(report);
    }
    let mirror = Mirror::start_for(Purpose::Promotion, config, Callbacks::new(), &mut give_up)?;
    let timeout = options.timeout.saturating_sub(started.elapsed());
    let outcome = mirror.promote_or(PromoteOptions { timeout, ..options }, give_up);
    mirror.stop(STOP_TIMEOUT)?;
    outcome
}

/// Takes back that a mirror was promoted, so that it can be started again. Only if nothing was written to the target since.
///
/// # Errors
/// [`ErrorKind::Config`] if it was not promoted, [`ErrorKind::TargetConflict`] if some log of the target does not end where it did.
pub fn undo_promotion(config: Config) -> Result<PromotionUndone> {
    on_a_thread("taking a switch-over back", || false, move |_| async move { Outside::new(config).undo().await })
}

/// Both clusters, as one who runs no mirror sees them.
struct Outside {
    config: Config,
    source: Cluster,
    target: Cluster,
}

impl Outside {
    fn new(config: Config) -> Self {
        let source = Cluster::new("source", config.source.clone());
        let target = Cluster::new("target", config.target.clone());
        Outside { config, source, target }
    }

    /// The target's id, and what the source says of itself, for which it is asked again as long as it cannot be reached.
    async fn ask_both(&self, timeout: Duration) -> Result<(Option<String>, Result<Metadata>)> {
        let none: [String; 0] = [];
        let target_id = self.target.metadata(Some(&none), false).await?.cluster_id;
        let deadline = Instant::now() + timeout;
        loop {
            match self.source.metadata(Some(&none), false).await {
                Err(error) if error.kind() == ErrorKind::Connect && Instant::now() < deadline => {
                    tracing::warn!(%error, "the source cannot be asked; will be tried again");
                    tokio::time::sleep(self.source.config().retry_backoff_max).await;
                }
                answer => return Ok((target_id, answer)),
            }
        }
    }

    /// Marks the mirror if the source cannot be reached; `None` if it can.
    async fn mark_without_source(
        &self,
        options: &PromoteOptions,
        abandoned: &GivenUp,
    ) -> Result<Option<PromoteReport>> {
        // What is asked writes nothing and may be broken off; what is written then may not.
        let (target_id, answer) = tokio::select! {
            told = self.ask_both(options.timeout) => told?,
            () = abandoned.wait() => return Err(given_up()),
        };
        let (source_id, source_error) = match answer {
            Ok(metadata) => (metadata.cluster_id, None),
            Err(error) if error.kind() == ErrorKind::Connect => (None, Some(error)),
            Err(error) => return Err(error),
        };
        let name = self.name(source_id.as_deref(), target_id.as_deref()).await?;
        let memory = self.recall(&name, source_id.as_deref()).await?;
        if let Some(mark) = &memory.mark {
            return Err(memory::refusal(&name, mark));
        }
        if !options.force {
            start::may_promote(&name, &start::not_selected(&self.config, &memory.topics))?;
        }
        let Some(error) = source_error else { return Ok(None) };
        tracing::warn!(%error, "the source is given up: the mirror is promoted without it");
        // Without heartbeats, as in a switch-over with a source.
        let selected = |topic: &String| self.config.mirrors(topic) && !self.config.beats(topic);
        let stopped = Stopped {
            config: &self.config,
            target: &self.target,
            source: None,
            name: &name,
            topics: memory.topics.into_iter().filter(selected).collect(),
            known: memory.known,
            start_number: memory.start_number,
            source_error: Some(error),
            not_drained: None,
            not_mirrored: BTreeMap::new(),
            groups: None,
        };
        marking::finish(stopped).await.map(Some)
    }

    async fn undo(&self) -> Result<PromotionUndone> {
        let none: [String; 0] = [];
        let target_id = self.target.metadata(Some(&none), false).await?.cluster_id;
        let source_id = match &self.config.name {
            Some(_) => None,
            // Only the name of the mirror depends on it.
            None => self.source.metadata(Some(&none), false).await.ok().and_then(|metadata| metadata.cluster_id),
        };
        let name = self.name(source_id.as_deref(), target_id.as_deref()).await?;
        let memory = self.recall(&name, None).await?;
        let Some(mark) = memory.mark else {
            return Err(Error::new(ErrorKind::Config, format!("the mirror '{name}' is not promoted")));
        };
        let topics: Vec<String> = memory.target_ends.keys().cloned().collect();
        let now = marking::target_ends(&self.target, &self.config, &name, &topics).await?.ends;
        let moved = moved(&memory.target_ends, &now);
        if !moved.is_empty() {
            return Err(cannot_undo(&name, mark.promoted_at_ms, &moved));
        }
        memory::remove_mark(&self.target, &name, &memory.target_ends).await?;
        let partitions = memory.target_ends.values().map(Vec::len).sum();
        Ok(PromotionUndone { name, promoted_at_ms: mark.promoted_at_ms, partitions })
    }

    async fn recall(&self, name: &str, source_id: Option<&str>) -> Result<Memory> {
        memory::recall(&self.target, name, source_id).await?.ok_or_else(|| {
            let message =
                format!("no mirror '{name}' has ever run to this target; check 'name' and target.bootstrap.servers");
            Error::new(ErrorKind::Config, message)
        })
    }

    /// The mirror's name. Without one in the configuration and without the source's id it is looked for on the target.
    async fn name(&self, source_id: Option<&str>, target_id: Option<&str>) -> Result<String> {
        let target_id = target_id.unwrap_or("unknown");
        match (&self.config.name, source_id) {
            (Some(name), _) => return Ok(name.clone()),
            (None, Some(source_id)) => return Ok(default_name(source_id, target_id)),
            (None, None) => {}
        }
        let end = format!("-to-{}", short_id(target_id));
        let topics = self.target.metadata(None, false).await?.topics;
        let names = topics.keys().filter_map(|topic| topic.strip_prefix("kmirror.")?.strip_suffix(".internal"));
        let names: Vec<&str> = names.filter(|name| name.ends_with(&end)).collect();
        match names.as_slice() {
            [name] => Ok((*name).to_owned()),
            names => {
                let message = format!(
                    "the mirror's name is not known without its source; set 'name' (the target knows {}: {})",
                    names.len(),
                    names.join(", ")
                );
                Err(Error::new(ErrorKind::Config, message))
            }
        }
    }
}

pub(crate) fn given_up() -> Error {
    Error::new(ErrorKind::TimedOut, "the switch-over was given up: nothing was marked")
}

fn cannot_undo(name: &str, promoted_at_ms: i64, moved: &[crate::machine::promotion::Moved]) -> Error {
    const NAMED: usize = 10;
    let one = |moved: &crate::machine::promotion::Moved| match moved.to {
        Some(to) => format!("{}-{} ended at {} and ends at {to}", moved.topic, moved.partition, moved.from),
        None => format!("{}-{} ended at {} and is gone", moved.topic, moved.partition, moved.from),
    };
    let mut named: Vec<String> = moved.iter().take(NAMED).map(one).collect();
    if moved.len() > NAMED {
        named.push(format!("and {} more", moved.len() - NAMED));
    }
    let message = format!(
        "the mirror '{name}' stays promoted: the target was written to since {}: {}; to mirror anew set another 'name' and copy \
         into fresh topics",
        utc(promoted_at_ms),
        named.join("; ")
    );
    let first = moved.first();
    let error = Error::new(ErrorKind::TargetConflict, message);
    first.map_or(error.clone(), |first| error.with_partition(first.topic.as_str(), first.partition))
}
