//! Sees to it that what matches is mirrored: plans by `machine::topics`, does it on the target, assigns partitions to streams.
//!
//! A topic that cannot be mirrored is refused for itself only. What becomes of one that is gone, back, or another one now is decided in
//! `machine::topics`, and done here.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Control;
use super::configs::{adapting, restamping, source_topic};
use super::prefix::survey;
use crate::clock::Instant;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventKind, now_ms};
use crate::identity;
use crate::machine::configs::{SourceTopic, for_new_topic};
use crate::machine::topics::{self, Action, TopicIds};
use crate::status::{Progress, Subject};
use crate::stream;
use crate::terms::broker_error::{BrokerError, Class};
use crate::terms::settings::Counting;
use crate::terms::state::State;
use crate::terms::topic::{Metadata, NewTopic, TopicPartition};
use crate::wire::admin::{self, Growth};
use crate::wire::configs::{self, TopicConfigs};

/// Pause between looks at topics that were just created and have no leaders yet.
const CREATION_PAUSE: Duration = Duration::from_millis(100);
/// What the streams, or a process before this one, had under way to a copy has arrived by then, or never will: it must not get into the
/// next copy, which has the same name.
const LATE: Duration = Duration::from_secs(2);

impl Control {
    /// Plans, applies, and plans again until what was created can be mirrored.
    pub(super) async fn refresh(&self) -> Result<()> {
        let deadline = Instant::now() + self.target.config().request_timeout;
        self.prefixes.try_refused_again();
        let mut created = BTreeSet::new();
        loop {
            let (actions, metadata) = self.plan().await?;
            let changed = self.apply(actions, &metadata, &mut created).await?;
            if !changed || Instant::now() > deadline {
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
        let target = self.target.metadata(Some(&selected), false).await?;
        let in_doubt = self.ask_all_about_others(&source, &target).await;
        let actions = self.lives.borrow_mut().look(&source, &target, &in_doubt, &self.config);
        self.prefixes.remember(&source);
        self.remember_replicas(&source, &target);
        self.shared.set_troubles(Subject::Topic, topics::wider_copies(&self.config, &source, &target));
        *self.source_metadata.borrow_mut() = source;
        let target = Rc::new(target);
        *self.ends.target_metadata.borrow_mut() = target.clone();
        Ok((actions, target))
    }

    /// Asks every broker about topics that seem to be other ones now; returns those on which brokers do not agree.
    async fn ask_all_about_others(&self, source: &Metadata, target: &Metadata) -> BTreeSet<String> {
        let suspicious = self.lives.borrow().suspicious(source, target, &self.config);
        if suspicious.is_empty() {
            return suspicious;
        }
        let names: Vec<String> = suspicious.iter().cloned().collect();
        let on_target = topics::names_on_target(&self.config, &names);
        let (sources, targets) = tokio::join!(self.source.views(&names), self.target.views(&on_target));
        self.lives.borrow().in_doubt(&suspicious, &sources, &targets, &self.config)
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
        let mut refused = BTreeMap::new();
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
                Action::Park(error) => {
                    // Its partitions may be parked already, for another reason: no stream tells of this one then.
                    tracing::error!(topic = name, kind = error.kind().name(), %error, "topic parked");
                    self.park(&name, &error, EventKind::Error).await;
                }
                Action::Gone(error) => self.park(&name, &error, EventKind::TopicRemoved).await,
                Action::Resume => self.command_all(|| stream::Command::Resume(Arc::from(name.as_str()))).await,
                Action::LetGo(error) => self.let_go(&name, &error).await,
                Action::Delete { id, error } => self.delete_copy(&name, id, &error, target).await,
                Action::Forget { why } => self.forget(&name, why).await,
            }
        }
        let asked = creations.len() + growths.len();
        creations.retain(|name, _| !created_before.contains(name));
        let created: Vec<String> = creations.keys().cloned().collect();
        let mut unchanged = self.create(creations, target.controller_id).await?;
        created_before.extend(created.into_iter().filter(|name| !unchanged.contains_key(name)));
        unchanged.extend(self.grow(growths, target).await?);
        let changed = asked > unchanged.len();
        refused.append(&mut unchanged);
        let new: Vec<String> = assigned.iter().map(|(name, ..)| name.clone()).collect();
        let restamped = restamping(&self.target, &self.config, &new).await;
        assigned.retain(|(name, ..)| !restamped.contains_key(name));
        refused.extend(restamped);
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
        let mut sources = BTreeMap::new();
        for (name, (partitions, replication_factor)) in topics {
            let source = match configs.get(&name) {
                Some(Err(error)) => {
                    refused.insert(name, error.clone());
                    continue;
                }
                Some(Ok(configs)) => source_topic(configs),
                None => SourceTopic::default(),
            };
            let configs = for_new_topic(&source, replication_factor, &Counting::new(), policy);
            let on_target = self.config.names.on_target(&name).into_owned();
            sources.insert(on_target.clone(), source);
            new.push(NewTopic { name: on_target.clone(), partitions, replication_factor, configs });
            at_source.insert(on_target, name);
        }
        let adaptations = &self.configs.adaptations;
        for some in admin::portions(&mut new) {
            // What its brokers would do with them shows what has to be set beside.
            let inherited = adapting::may_create(&self.target, controller_id, some, policy, adaptations).await?;
            for topic in some.iter_mut() {
                if let (Some(source), Some(Ok(inherited))) = (sources.get(&topic.name), inherited.get(&topic.name)) {
                    topic.configs = for_new_topic(source, topic.replication_factor, inherited, policy);
                    adaptations.borrow().adapt_new(&topic.name, &mut topic.configs);
                }
            }
            let created = admin::create_topics(&self.target, controller_id, some).await?;
            self.remember_created(&created, &at_source).await;
            refused.extend(of_source(created, &at_source));
        }
        Ok(refused)
    }

    /// Adds partitions; returns the topics that got none, and why.
    async fn grow(&self, topics: BTreeMap<String, i32>, target: &Metadata) -> Result<BTreeMap<String, Error>> {
        let on_target = |name: &String| self.config.names.on_target(name).into_owned();
        let growth =
            |name: &String, to: i32| (on_target(name), Growth { from: target.partitions_of(&on_target(name)), to });
        let growths = topics.iter().map(|(name, partitions)| growth(name, *partitions)).collect();
        let at_source = topics.into_keys().map(|name| (on_target(&name), name)).collect();
        Ok(of_source(admin::grow_topics(&self.target, target.controller_id, &growths, false).await?, &at_source))
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
                self.recall_level(&progress);
                self.shared.add_partition(progress.clone());
                new.push(progress);
            }
            let known = self.lives.borrow().get(&name).is_some();
            self.lives.borrow_mut().handle_mirrored(&name, ids, to);
            let message = match known {
                false => format!("topic '{name}' is mirrored, {to} partitions"),
                true => format!("topic '{name}' has {to} partitions now"),
            };
            tracing::info!(topic = name, partitions = to, "topic is mirrored");
            self.shared.events.send(Event { topic: Some(topic), ..Event::new(EventKind::TopicAdded, message) });
        }
        if !new.is_empty() {
            self.learn_of_deletions(&new).await;
            let ready = self.await_starts(new).await;
            self.assign(ready).await;
        }
    }

    /// Writes down the ids of topics that are new to the mirror. Without them a topic that is created again while no mirror
    /// runs is found by what it holds.
    async fn remember(&self, topics: &[(String, usize, usize, TopicIds)]) {
        let ids = topics.iter().map(|(name, _, _, ids)| (name.clone(), *ids));
        self.write_down(ids.collect()).await;
    }

    /// Takes over which copies the target has created, and writes it down before anything else: a copy that is not known to be the mirror's
    /// own is never deleted.
    async fn remember_created(
        &self,
        created: &BTreeMap<String, Result<Option<u128>>>,
        at_source: &BTreeMap<String, String>,
    ) {
        let mut new = Vec::new();
        for (on_target, id) in created {
            let (Some(name), Ok(Some(id))) = (at_source.get(on_target), id) else { continue };
            self.lives.borrow_mut().handle_created(name, *id);
            let source = self.source_metadata.borrow().topics.get(name).map_or(0, |topic| topic.id);
            new.push((name.clone(), TopicIds { source, target: *id }));
        }
        self.write_down(new).await;
    }

    async fn write_down(&self, mut new: Vec<(String, TopicIds)>) {
        new.retain(|(name, ids)| ids.source != 0 && !self.lives.borrow().remembers(name, *ids));
        if new.is_empty() {
            return;
        }
        let begun_at_ms = now_ms();
        let created = |(name, ids): &(String, TopicIds)| {
            // A copy that the mirror has not met, or another one of that name, begins now.
            self.recalled.borrow_mut().begun.insert(name.clone(), begun_at_ms);
            (name.clone(), *ids, self.lives.borrow().created_copy_of(name))
        };
        let entries: Vec<_> = new.iter().map(created).collect();
        match identity::remember(&self.target, &self.shared.name(), &entries, begun_at_ms).await {
            Ok(()) => {
                new.into_iter().for_each(|(name, ids)| self.lives.borrow_mut().handle_remembered(&name, ids));
            }
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
        self.shared.events.send(Event::of_error(kind, error));
        // No stream shows the error of a topic that was let go.
        for progress in self.shared.partitions().iter().filter(|progress| &*progress.topic == topic) {
            progress.set_state(State::Failed, Some(error));
        }
        self.command_all(|| stream::Command::Park(Arc::from(topic), error.clone())).await;
    }

    /// Parks a topic that is to be copied anew, and has the streams drop it.
    async fn let_go(&self, topic: &str, error: &Error) {
        tracing::warn!(topic, %error, "topic is made anew");
        self.park(topic, error, EventKind::Error).await;
        self.prefixes.forget(topic, &self.config.names.on_target(topic));
        self.command_all(|| stream::Command::Forget(Arc::from(topic))).await;
        self.let_go_at.borrow_mut().insert(topic.to_owned(), Instant::now());
    }

    /// Deletes the copy of a topic that was let go, unless somebody else has written to it.
    async fn delete_copy(&self, topic: &str, id: u128, error: &Error, target: &Metadata) {
        let let_go_at = self.let_go_at.borrow().get(topic).copied();
        if let_go_at.is_some_and(|at| at.elapsed() < LATE) {
            return;
        }
        let deleted = match self.other_writer_of(topic, target).await {
            Ok(None) => {
                let on_target = self.config.names.on_target(topic);
                admin::delete_topic(&self.target, target.controller_id, &on_target, id).await
            }
            Ok(Some(partition)) => {
                tracing::warn!(topic, partition, %error, "its copy is not deleted: somebody else has written to this partition");
                return self.lives.borrow_mut().handle_other_writer(topic);
            }
            Err(error) => Err(error),
        };
        if let Err(error) = deleted {
            tracing::error!(topic, %error, "topic cannot be made anew; will be tried again");
            self.shared.events.send(Event::of_error(EventKind::Error, &error));
            return;
        }
        self.lives.borrow_mut().handle_deleted(topic, id);
        self.forget(topic, "its copy was deleted on the target, and it is copied anew").await;
    }

    /// A partition of a topic's copy to which somebody else has written.
    async fn other_writer_of(&self, topic: &str, target: &Metadata) -> Result<Option<i32>> {
        let on_target: Rc<str> = Rc::from(&*self.config.names.on_target(topic));
        let count = target.topics.get(&*on_target).map_or(0, |topic| topic.leaders.len() as i32);
        let partitions: Vec<TopicPartition> = (0..count).map(|partition| (on_target.clone(), partition)).collect();
        let Some(identity) = self.identity.get() else { return Ok(Some(0)) };
        let others = survey::other_writers(&self.target, target, &partitions, identity).await;
        for partition in partitions {
            match others.get(&partition) {
                Some(Ok(true)) => return Ok(Some(partition.1)),
                Some(Ok(false)) => {}
                Some(Err(error)) => return Err(error.clone()),
                None => {
                    let message = format!("the last record of partition {} of its copy cannot be read", partition.1);
                    return Err(Error::new(ErrorKind::Broker, message).with_topic(topic));
                }
            }
        }
        Ok(None)
    }

    /// Nothing of this topic is shown any more, and what comes under its name is new.
    async fn forget(&self, topic: &str, why: &str) {
        tracing::info!(topic, "{why}");
        self.prefixes.forget(topic, &self.config.names.on_target(topic));
        self.command_all(|| stream::Command::Forget(Arc::from(topic))).await;
        self.shared.remove_topic(topic);
        self.let_go_at.borrow_mut().remove(topic);
    }

    /// Remembers which topics of the target hold what somebody else has written. What is parked as a whole says nothing of that.
    fn find_other_writers(&self) {
        let mut lives = self.lives.borrow_mut();
        for progress in self.shared.partitions().iter().filter(|progress| progress.state() == State::Failed) {
            let is_conflict = progress.error().is_some_and(|error| error.kind() == ErrorKind::TargetConflict);
            if is_conflict && !lives.is_stopped(&progress.topic) {
                lives.handle_other_writer(&progress.topic);
            }
        }
    }

    /// Adds what the source says of topics that are selected by their names and that it does not show: who may not see a topic is
    /// told so only if he asks for it.
    async fn add_hidden(&self, source: &mut Metadata) -> Result<()> {
        let is_hidden = |name: &&str| {
            !source.topics.contains_key(*name) && self.config.mirrors(name) && self.lives.borrow().get(name).is_none()
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
}

/// What failed of what was done on the target, under the names that the topics have at the source.
fn of_source<T>(
    results: impl IntoIterator<Item = (String, Result<T>)>,
    at_source: &BTreeMap<String, String>,
) -> BTreeMap<String, Error> {
    let failed = results.into_iter().filter_map(|(name, result)| Some((name, result.err()?)));
    failed.map(|(name, error)| (at_source.get(&name).cloned().unwrap_or(name), error)).collect()
}
