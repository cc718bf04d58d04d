//! Sees to it that what matches is mirrored: plans by `machine::topics`, does it on the target, assigns partitions to streams.
//!
//! A topic that cannot be mirrored is refused for itself only; one that the source does not show any more is parked
//! after a while, and goes on when it is back.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventKind};
use crate::identity;
use crate::machine;
use crate::machine::topics::{self, Action, Mirrored, TopicIds};
use crate::status::{Progress, State};
use crate::stream;
use crate::wire::admin::{self, NewTopic};
use crate::wire::cluster::Metadata;
use crate::wire::configs::{self, TopicConfigs};
use crate::wire::errors::{BrokerError, Class};

/// Pause between looks at topics that were just created and have no leaders yet.
const CREATION_PAUSE: Duration = Duration::from_millis(100);
/// Topics in one request to create them: brokers work on a request as a whole.
const CREATED_AT_ONCE: usize = 200;
/// A topic that is missing so often in a row is gone.
const GONE_AFTER: u32 = 3;

impl Control {
    /// Plans, applies, and plans again until what was created can be mirrored.
    pub(super) async fn refresh(&self) -> Result<()> {
        let deadline = tokio::time::Instant::now() + self.target.config().request_timeout;
        self.prefixes.try_refused_again();
        let mut created = BTreeSet::new();
        loop {
            let (actions, metadata) = self.plan().await?;
            let changed = self.apply(actions, &metadata, &mut created).await?;
            if !changed || tokio::time::Instant::now() > deadline {
                self.looks.set(self.looks.get() + 1);
                return Ok(());
            }
            tokio::time::sleep(CREATION_PAUSE).await;
        }
    }

    async fn plan(&self) -> Result<(BTreeMap<String, Action>, Rc<Metadata>)> {
        let mut source = self.source.metadata(None, false).await?;
        self.add_hidden(&mut source).await?;
        self.find_other_writers();
        let selected = topics::names_on_target(&self.config, &topics::selected(&self.config, &source));
        let mut target = self.target.metadata(Some(&selected), false).await?;
        // Brokers may show a topic for a moment after it was deleted.
        target.topics.retain(|name, topic| topic.id == 0 || self.deleted.borrow().get(name) != Some(&topic.id));
        let actions = topics::plan(&source, &target, &self.mirrored.borrow(), &self.remembered.borrow(), &self.config);
        self.prefixes.remember(&source);
        self.remember_replicas(&source, &target);
        *self.source_metadata.borrow_mut() = source;
        let target = Rc::new(target);
        *self.ends.target_metadata.borrow_mut() = target.clone();
        Ok((actions, target))
    }

    /// Does what was planned; `true` if something was changed on the target, so that it has to be looked at again. What was created is not
    /// created again while brokers do not show it yet.
    async fn apply(
        &self,
        actions: BTreeMap<String, Action>,
        target: &Metadata,
        created_before: &mut BTreeSet<String>,
    ) -> Result<bool> {
        let (mut creations, mut growths) = (BTreeMap::new(), BTreeMap::new());
        let mut assigned = Vec::new();
        let (mut refused, mut gone) = (BTreeMap::new(), BTreeMap::new());
        for (name, action) in actions {
            match action {
                Action::Create { partitions, replication_factor, clamped_from } => {
                    if let Some(wanted) = clamped_from {
                        tracing::warn!(
                            topic = name,
                            wanted,
                            replication_factor,
                            "the target has fewer brokers than replicas are wanted"
                        );
                    }
                    creations.insert(name, (partitions, replication_factor));
                }
                Action::Grow { partitions } => drop(growths.insert(name, partitions)),
                Action::Mirror { from, to, ids } => assigned.push((name, from, to, ids)),
                Action::Refuse(error) => drop(refused.insert(name, error)),
                Action::Park(error) => self.park(&name, &error, EventKind::Error).await,
                Action::Recreate(error) => self.recreate(&name, error, target).await,
                Action::Anew(error) => self.mirror_anew(&name, error).await,
                Action::Gone(error) => drop(gone.insert(name, error)),
            }
        }
        self.see_to_gone(gone).await;
        let asked = creations.len() + growths.len();
        creations.retain(|name, _| !created_before.contains(name));
        let created: Vec<String> = creations.keys().cloned().collect();
        let mut unchanged = self.create(creations, target.controller_id).await?;
        let created: Vec<String> = created.into_iter().filter(|name| !unchanged.contains_key(name)).collect();
        self.created.borrow_mut().extend(created.iter().cloned());
        created_before.extend(created);
        unchanged.extend(self.grow(growths, target.controller_id).await?);
        let changed = asked > unchanged.len();
        refused.append(&mut unchanged);
        self.begin(assigned).await;
        self.refuse(refused);
        Ok(changed)
    }

    /// Creates topics as they are at the source; returns those that could not be, and why.
    async fn create(
        &self,
        topics: BTreeMap<String, (i32, i16)>,
        controller_id: i32,
    ) -> Result<BTreeMap<String, Error>> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let names: Vec<String> = topics.keys().cloned().collect();
        let (mut refused, mut at_source) = (BTreeMap::new(), BTreeMap::new());
        let mut new = Vec::new();
        let configs = if self.config.sync_topic_configs {
            let described = configs::describe(&self.source, &names).await;
            // What a source does not tell, nobody has set on its topics.
            configs::unsupported_is(described, &names, &TopicConfigs::default())?
        } else {
            BTreeMap::new()
        };
        let policy = self.config_policy();
        for (name, (partitions, replication_factor)) in topics {
            let configs = match configs.get(&name) {
                Some(Err(error)) => {
                    refused.insert(name, error.clone());
                    continue;
                }
                Some(Ok(configs)) => configs.own.clone(),
                None => BTreeMap::new(),
            };
            let configs = machine::configs::for_new_topic(&configs, replication_factor, policy);
            let on_target = self.config.names.on_target(&name).into_owned();
            new.push(NewTopic { name: on_target.clone(), partitions, replication_factor, configs });
            at_source.insert(on_target, name);
        }
        for some in new.chunks(CREATED_AT_ONCE) {
            let created = admin::create_topics(&self.target, controller_id, some).await?;
            refused.extend(of_source(created, &at_source));
        }
        Ok(refused)
    }

    /// Adds partitions; returns the topics that got none, and why.
    async fn grow(&self, topics: BTreeMap<String, i32>, controller_id: i32) -> Result<BTreeMap<String, Error>> {
        let on_target = |name: &String| self.config.names.on_target(name).into_owned();
        let growths = topics.iter().map(|(name, partitions)| (on_target(name), *partitions)).collect();
        let at_source = topics.into_keys().map(|name| (on_target(&name), name)).collect();
        Ok(of_source(admin::grow_topics(&self.target, controller_id, &growths, false).await?, &at_source))
    }

    /// Remembers which topics are not mirrored, and tells of those that were not refused before.
    fn refuse(&self, refused: BTreeMap<String, Error>) {
        let before = self.shared.set_refused(refused.clone());
        for (name, error) in refused.iter().filter(|(name, _)| !before.contains_key(*name)) {
            tracing::error!(topic = name, kind = error.kind().name(), %error, "topic is not mirrored");
            self.shared.events.send(Event::of_error(EventKind::Error, error));
        }
    }

    /// Takes partitions up, and hands those over that can be mirrored at once.
    async fn begin(&self, topics: Vec<(String, usize, usize, TopicIds)>) {
        let mut new = Vec::new();
        self.remember(&topics).await;
        for (name, from, to, ids) in topics {
            let topic: Arc<str> = Arc::from(name.as_str());
            let target_topic = match self.config.names.on_target(&name) {
                same if same == name => topic.clone(),
                other => Arc::from(&*other),
            };
            for partition in from..to {
                let progress = Progress::new([topic.clone(), target_topic.clone()], ids, partition as i32);
                self.shared.add_partition(progress.clone());
                new.push(progress);
            }
            let known = self
                .mirrored
                .borrow_mut()
                .insert(name.clone(), Mirrored { ids, partitions: to, has_other_writer: false });
            let message = match known {
                None => format!("topic '{name}' is mirrored, {to} partitions"),
                Some(_) => format!("topic '{name}' has {to} partitions now"),
            };
            tracing::info!(topic = name, partitions = to, "topic is mirrored");
            self.shared.events.send(Event { topic: Some(topic), ..Event::new(EventKind::TopicAdded, message) });
        }
        if !new.is_empty() {
            let ready = self.await_starts(new).await;
            self.assign(ready).await;
        }
    }

    /// Writes down the ids of topics that are new to the mirror. Without them a topic that is created again while no mirror
    /// runs is found by what it holds.
    async fn remember(&self, topics: &[(String, usize, usize, TopicIds)]) {
        let new = |(name, _, _, ids): &(String, usize, usize, TopicIds)| {
            let known = self.remembered.borrow().get(name).copied();
            (ids.source != 0 && known != Some(*ids)).then(|| (name.clone(), *ids))
        };
        let new: Vec<(String, TopicIds)> = topics.iter().filter_map(new).collect();
        if new.is_empty() {
            return;
        }
        let created = self.created.borrow().clone();
        match identity::remember(&self.target, &self.shared.name(), &new, &created).await {
            Ok(()) => self.remembered.borrow_mut().extend(new),
            Err(error) => tracing::warn!(%error, "topic ids cannot be remembered for the next start"),
        }
    }

    /// Gives partitions to the streams that have the fewest.
    pub(super) async fn assign(&self, partitions: Vec<Arc<Progress>>) {
        let mut shares: Vec<Vec<Arc<Progress>>> = self.streams.borrow().iter().map(|_| Vec::new()).collect();
        for progress in partitions {
            let mut streams = self.streams.borrow_mut();
            if let Some((least, stream)) = streams.iter_mut().enumerate().min_by_key(|(_, stream)| stream.partitions) {
                stream.partitions += 1;
                shares[least].push(progress);
            }
        }
        for (number, share) in shares.into_iter().enumerate().filter(|(_, share)| !share.is_empty()) {
            self.command(number, stream::Command::Assign(share)).await;
        }
    }

    pub(super) async fn park(&self, topic: &str, error: &Error, kind: EventKind) {
        if self.parked.borrow_mut().insert(topic.to_owned()) {
            self.shared.events.send(Event::of_error(kind, error));
            self.command_all(|| stream::Command::Park(Arc::from(topic), error.clone())).await;
        }
    }

    /// Parks a topic that is not the one that was mirrored and, the next time, deletes it on the target and forgets it: what was
    /// under way to it has arrived by then, and cannot get into the new one.
    async fn recreate(&self, topic: &str, error: Error, target: &Metadata) {
        if !self.let_go(topic, error).await {
            return;
        }
        let on_target = self.config.names.on_target(topic);
        if let Err(error) = admin::delete_topic(&self.target, target.controller_id, &on_target).await {
            tracing::error!(topic, %error, "topic cannot be made anew; will be tried again");
            self.shared.events.send(Event::of_error(EventKind::Error, &error));
            return;
        }
        if let Some(known) = target.topics.get(&*on_target) {
            self.deleted.borrow_mut().insert(on_target.into_owned(), known.id);
        }
        tracing::info!(topic, "topic was deleted on the target, and is copied anew");
        self.forget(topic);
    }

    /// What somebody else had written is out of the way: parks the topic and, the next time, forgets it, so that it is found as if it
    /// were new.
    async fn mirror_anew(&self, topic: &str, error: Error) {
        if self.let_go(topic, error).await {
            tracing::info!(topic, "the target's topic is another one, and the topic is copied anew");
            self.forget(topic);
        }
    }

    /// Has the streams have nothing more to do with a topic; `true` if that was so at the last look already.
    async fn let_go(&self, topic: &str, error: Error) -> bool {
        if self.let_go.borrow().contains(topic) {
            return true;
        }
        tracing::warn!(topic, %error, "topic is made anew");
        self.park(topic, &error, EventKind::Error).await;
        self.prefixes.forget(topic, &self.config.names.on_target(topic));
        self.command_all(|| stream::Command::Forget(Arc::from(topic))).await;
        self.let_go.borrow_mut().insert(topic.to_owned());
        false
    }

    fn forget(&self, topic: &str) {
        self.shared.remove_topic(topic);
        self.mirrored.borrow_mut().remove(topic);
        self.remembered.borrow_mut().remove(topic);
        self.parked.borrow_mut().remove(topic);
        self.let_go.borrow_mut().remove(topic);
    }

    /// Remembers which topics of the target hold what somebody else has written. What is parked as a whole says nothing of that.
    fn find_other_writers(&self) {
        let mut mirrored = self.mirrored.borrow_mut();
        for progress in self.shared.partitions().iter().filter(|progress| progress.state() == State::Failed) {
            let is_conflict = progress.error().is_some_and(|error| error.kind() == ErrorKind::TargetConflict)
                && !self.parked.borrow().contains(&*progress.topic);
            if let Some(topic) = mirrored.get_mut(&*progress.topic).filter(|_| is_conflict) {
                topic.has_other_writer = true;
            }
        }
    }

    /// Adds what the source says of topics that are selected by their names and that it does not show: who may not see a topic is
    /// told so only if he asks for it.
    async fn add_hidden(&self, source: &mut Metadata) -> Result<()> {
        let is_hidden = |name: &&str| {
            !source.topics.contains_key(*name)
                && self.config.mirrors(name)
                && !self.mirrored.borrow().contains_key(*name)
        };
        let names: Vec<String> = self.config.topics.named().filter(is_hidden).map(str::to_owned).collect();
        if names.is_empty() {
            return Ok(());
        }
        let asked = self.source.metadata(Some(&names), false).await?;
        let denied = asked.topics.into_iter().filter(|(_, topic)| {
            BrokerError::of(topic.error_code).is_some_and(|error| error.class == Class::Unauthorized)
        });
        source.topics.extend(denied);
        Ok(())
    }

    /// A topic that stays away is parked, and goes on when it is back: what is seen of it may depend on a permission, or
    /// on a broker that has just started.
    async fn see_to_gone(&self, gone: BTreeMap<String, Error>) {
        let back: Vec<String> = self.gone.borrow().keys().filter(|topic| !gone.contains_key(*topic)).cloned().collect();
        for topic in back {
            let times = self.gone.borrow_mut().remove(&topic).unwrap_or_default();
            if self.let_go.borrow().contains(&topic) {
                // No stream has it any more.
                self.forget(&topic);
                continue;
            }
            // One that is another topic now is parked for that by the next plan.
            if times >= GONE_AFTER && self.parked.borrow_mut().remove(&topic) && !self.is_reset(&topic) {
                self.command_all(|| stream::Command::Resume(Arc::from(topic.as_str()))).await;
            }
        }
        for (topic, error) in gone {
            let times = {
                let mut gone = self.gone.borrow_mut();
                let times = gone.entry(topic.clone()).or_insert(0);
                *times += 1;
                *times
            };
            let is_of_target = error.kind() == ErrorKind::TargetConflict;
            let has_other_writer = self.mirrored.borrow().get(&topic).is_some_and(|topic| topic.has_other_writer);
            if times >= GONE_AFTER && is_of_target && has_other_writer {
                self.mirror_anew(&topic, error).await;
            } else if times >= GONE_AFTER {
                self.park(&topic, &error, EventKind::TopicRemoved).await;
            }
        }
    }

    /// Whether the topic that is there now is not the one that was mirrored.
    fn is_reset(&self, topic: &str) -> bool {
        let mirrored = self.mirrored.borrow().get(topic).map(|mirrored| mirrored.ids.source);
        let now = self.source_metadata.borrow().topics.get(topic).map(|topic| topic.id);
        mirrored != now
    }
}

/// What failed of what was done on the target, under the names that the topics have at the source.
fn of_source(
    results: impl IntoIterator<Item = (String, Result<()>)>,
    at_source: &BTreeMap<String, String>,
) -> BTreeMap<String, Error> {
    let failed = results.into_iter().filter_map(|(name, result)| Some((name, result.err()?)));
    failed.map(|(name, error)| (at_source.get(&name).cloned().unwrap_or(name), error)).collect()
}
