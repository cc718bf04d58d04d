//! Turns gathered properties into a checked configuration: finds out which value of a property counts, checks it, and
//! then checks what holds between properties. Goes on after a problem, so that all of them are told at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::collect::{Entry, Item, Origin, Place, Properties};
use super::problems::{AT_END, Report, Warning};
use super::property::{Availability, Kind, Property};
use super::resolve::{self, Meaning};
use super::value::{self, quote};
use super::{
    AclDowngrade, ClientConfig, Config, ConfigExclusion, Emission, GroupSelection, IsolationLevel, Offsets, OnDataLoss,
    OnRecordRefused, OnTargetConflict, OnTopicReset, ReplicationFactor, ReplicationPolicy, Side, Start, TopicNames,
    TopicSelection, properties,
};
use crate::error::{Error, ErrorKind, Result};

impl Properties {
    /// The configuration, and what to know about it. The error lists every problem on a line of its own, with file
    /// and line, in the order of the files. No message has the value of a secret.
    ///
    /// Of a file of MirrorMaker 2 that enables several flows, [`mirrors`](Properties::mirrors) builds them all.
    pub fn build(&self) -> Result<(Config, Vec<Warning>)> {
        match self.flows()?.as_slice() {
            [] => {}
            [flow] => return self.of_flow(flow)?.build(),
            [first, ..] => {
                let message = format!(
                    "several mirrors are configured where one is expected: choose one of the flows, for example {first}"
                );
                return Err(Error::new(ErrorKind::Config, message));
            }
        }
        let mut build = Build::new()?;
        build.read(&self.items);
        build.apply_settings();
        build.judge_security();
        build.judge_whole();
        let warnings = build.report.finish()?;
        Ok((build.config, warnings))
    }
}

/// A property, and the side of a client property.
type Target = (&'static str, Option<Side>);

/// An entry that sets a property, and how closely its spelling is the property's key.
struct Candidate<'a> {
    order: usize,
    entry: &'a Entry,
    property: &'static Property,
    spelling: usize,
}

struct Build<'a> {
    config: Config,
    report: Report,
    candidates: BTreeMap<Target, Vec<Candidate<'a>>>,
    /// Keys of TLS and SASL.
    security: Vec<(usize, Side, &'a Entry)>,
    /// What has a value, also if the value is wrong.
    given: BTreeMap<Target, (usize, &'a Entry)>,
    /// What has a value that is wrong.
    wrong: BTreeSet<Target>,
    /// Whether `replication.policy.separator` is set to nothing.
    is_separator_empty: bool,
}

impl<'a> Build<'a> {
    fn new() -> Result<Self> {
        let (report, candidates, security) = (Report::default(), BTreeMap::new(), Vec::new());
        let (given, wrong) = (BTreeMap::new(), BTreeSet::new());
        Ok(Build { config: defaults()?, report, candidates, security, given, wrong, is_separator_empty: false })
    }

    /// Finds out what every key means.
    fn read(&mut self, items: &'a [Item]) {
        let mut lines: HashMap<(&str, &str), usize> = HashMap::new();
        for (order, item) in items.iter().enumerate() {
            let entry = match item {
                Item::Entry(entry) => entry,
                Item::Bad { origin, what } => {
                    self.report.problem(order, Some(origin), "", what);
                    continue;
                }
                Item::Remark { origin, key, message } => {
                    self.report.warning(order, Some(origin), key, message);
                    continue;
                }
            };
            if let (Origin::File { name, line }, None) = (&entry.origin, &entry.written)
                && let Some(first) = lines.insert((name, &entry.key), *line).filter(|first| first != line)
            {
                let what = format!("stands here and in line {first}: keep one of them");
                self.problem(order, entry, &what);
                continue;
            }
            self.read_entry(order, entry);
        }
    }

    fn read_entry(&mut self, order: usize, entry: &'a Entry) {
        match resolve::meaning(&entry.key, entry.place) {
            Meaning::Setting { property, side, spelling } => {
                let candidate = Candidate { order, entry, property, spelling };
                self.candidates.entry((property.key, side)).or_default().push(candidate);
            }
            Meaning::Security(side) => self.security.push((order, side, entry)),
            Meaning::Ignored(ignored) => {
                if ignored.is_worth_a_warning(&entry.value) {
                    self.warning(order, entry, format!("has no effect: {}", ignored.reason));
                }
            }
            Meaning::Idle(reason) => self.warning(order, entry, format!("has no effect: {reason}")),
            Meaning::Mistake(what) => self.problem(order, entry, &what),
        }
    }

    /// Gives every property its value.
    fn apply_settings(&mut self) {
        for (target, candidates) in std::mem::take(&mut self.candidates) {
            let Some(winner) = self.winner(candidates) else { continue };
            self.given.insert(target, (winner.order, winner.entry));
            if let Err(what) = self.apply(&winner, target.1) {
                let what = what + value::comment_hint(&winner.entry.value);
                self.problem(winner.order, winner.entry, &what);
                self.wrong.insert(target);
            }
        }
    }

    /// The entry that counts: the last call; without a call the key before its aliases, and the file of the other
    /// client last.
    fn winner(&mut self, candidates: Vec<Candidate<'a>>) -> Option<Candidate<'a>> {
        let is_call = |candidate: &Candidate<'_>| matches!(candidate.entry.origin, Origin::Call(_));
        if candidates.iter().any(is_call) {
            return candidates.into_iter().rfind(is_call);
        }
        let rank = |candidate: &Candidate<'_>| {
            let home = candidate.property.home;
            let elsewhere = home.is_some_and(|home| candidate.entry.place == Place::ClientFile(home.other()));
            (elsewhere, candidate.spelling)
        };
        let mut candidates = candidates;
        candidates.sort_by_key(rank);
        let mut candidates = candidates.into_iter();
        let winner = candidates.next()?;
        for other in candidates.filter(|other| other.entry.value.trim() != winner.entry.value.trim()) {
            let (used, origin) = (winner.entry.shown(), &winner.entry.origin);
            if rank(&other) == rank(&winner) {
                let what = format!("has another value in {origin}: keep one of them");
                self.problem(other.order, other.entry, &what);
            } else {
                self.warning(other.order, other.entry, format!("has no effect: {used} in {origin} decides"));
            }
        }
        Some(winner)
    }

    fn apply(&mut self, winner: &Candidate<'a>, side: Option<Side>) -> Result<(), String> {
        let (property, value) = (winner.property, winner.entry.value.as_str());
        if value.split_once("${").is_some_and(|(_, reference)| reference.contains(':')) {
            return Err(
                "refers to a value elsewhere with ${…}, which this version does not resolve: write the value".into()
            );
        }
        if let Some(reference) = value::reference(value) {
            return Err(format!(
                "refers to {reference}, and variables are not resolved here: write the value, or have envsubst write the file"
            ));
        }
        let mut text = property.check(value)?;
        if text.is_empty()
            && let Some(default) = property.default.filter(|_| property.kind == Kind::Text)
        {
            // Elsewhere it means "not set", as in Java's files.
            self.is_separator_empty |= property.key == SEPARATOR;
            text = default.to_owned();
        }
        if property.kind == Kind::Text && value::has_comment(&text) {
            self.warning(winner.order, winner.entry, COMMENT.to_owned());
        }
        match property.availability {
            Availability::Now => {}
            Availability::Only(only) if text.eq_ignore_ascii_case(only) => {}
            // Told together with the keys that belong to it.
            Availability::Only(_) if property.key == SECURITY_PROTOCOL => return Ok(()),
            Availability::Only(only) => {
                let asked = format!("{}={}", property.key, quote(&text).trim_matches('\''));
                return Err(format!("{asked} is not available in this version yet: only {only}"));
            }
            Availability::NotYet(why) => {
                if text != "false" {
                    self.warning(winner.order, winner.entry, format!("has no effect yet: {why}"));
                }
            }
        }
        property.set(&mut self.config, side, &text)
    }

    /// TLS and SASL: none of it works in this version, and it must not be left out silently.
    fn judge_security(&mut self) {
        for side in [Side::Source, Side::Target] {
            let keys: Vec<_> = self.security.iter().filter(|(_, of, _)| *of == side).copied().collect();
            let protocol = self.given.get(&(SECURITY_PROTOCOL, Some(side))).copied();
            match protocol {
                _ if self.wrong.contains(&(SECURITY_PROTOCOL, Some(side))) => {}
                Some((_, entry)) if entry.value.trim().eq_ignore_ascii_case("PLAINTEXT") => {
                    for (order, _, entry) in keys {
                        self.warning(order, entry, format!("has no effect with {SECURITY_PROTOCOL}=PLAINTEXT"));
                    }
                }
                Some((order, entry)) => {
                    let name = entry.value.trim().to_ascii_uppercase();
                    let what = format!("{SECURITY_PROTOCOL}={name} is not available in this version: only PLAINTEXT");
                    self.problem(order, entry, &what);
                }
                None => {
                    for (order, _, entry) in keys {
                        let what = "is not available in this version: only security.protocol=PLAINTEXT is; \
                                    if that is what the listener speaks, say so, or remove the key";
                        self.problem(order, entry, what);
                    }
                }
            }
        }
    }

    /// What holds between properties.
    fn judge_whole(&mut self) {
        self.judge_servers();
        self.judge_offsets();
        self.judge_topics();
        self.judge_name();
        self.judge_topic_names();
        self.judge_emission();
        for side in [Side::Source, Side::Target] {
            self.judge_backoff(side);
        }
        let (wait, timeout) = (self.config.source.fetch_max_wait, self.config.source.request_timeout);
        if wait >= timeout {
            let what = "must be shorter than source.request.timeout.ms, or every fetch of a quiet topic fails";
            self.problem_of(("fetch.max.wait.ms", Some(Side::Source)), what);
        }
    }

    fn judge_servers(&mut self) {
        for side in [Side::Source, Side::Target] {
            let target = ("bootstrap.servers", Some(side));
            if !self.given.contains_key(&target) {
                self.problem_of(target, "is missing: give host:port of some of its brokers");
            }
        }
        let mut servers = [Side::Source, Side::Target].map(|side| self.config.client(side).bootstrap_servers.clone());
        servers.iter_mut().for_each(|servers| servers.sort());
        if servers[0] == servers[1] && !servers[0].is_empty() {
            let what = "is the same as source.bootstrap.servers: a cluster is not mirrored to itself";
            self.problem_of(("bootstrap.servers", Some(Side::Target)), what);
        }
    }

    /// What others have written to a topic is not deleted with what was copied.
    fn judge_offsets(&mut self) {
        if self.config.translates() && self.config.on_topic_reset == OnTopicReset::RecreateTarget {
            let what =
                "deletes the target's topic, to which others may have written: it takes fail with offsets=translate";
            self.problem_of(("on.topic.reset", None), what);
        }
    }

    fn judge_topics(&mut self) {
        let target = ("topics", None);
        if self.config.topics.include.is_empty() && !self.wrong.contains(&target) {
            self.problem_of(
                target,
                "selects nothing: give names or regular expressions, or leave it out for all topics",
            );
        }
        let impossible: Vec<_> = self.config.topics.impossible().map(quote).collect();
        if !impossible.is_empty() {
            let what = format!("names {}, which belongs to one cluster and is never mirrored", impossible.join(", "));
            self.problem_of(target, &what);
        }
        self.judge_idle_entries();
    }

    /// What somebody means to select or to leave out, and what can match nothing, is told: an exclusion without effect copies
    /// what should stay where it is.
    fn judge_idle_entries(&mut self) {
        let config = &self.config;
        let settings = config.topic_configs_exclude.keys.idle().map(|entry| ("topic.configs.exclude", entry));
        let idle: Vec<_> = config.topics.idle().chain(settings).map(|(key, entry)| (key, entry.to_owned())).collect();
        for (key, entry) in idle {
            let what = if key == "topic.configs.exclude" { "setting" } else { "topic" };
            let comment = if value::has_comment(&entry) { "; a comment begins a line of its own" } else { "" };
            let what = format!(
                "has the entry {}, which matches no {what}, as names have letters, digits, '.', '_' and '-' only{comment}",
                quote(&entry)
            );
            self.problem_of((key, None), &what);
        }
        // The name of a group may have any character.
        for key in ["groups", "groups.exclude"] {
            if let Some((order, entry)) = self.given.get(&(key, None)).copied()
                && entry.value.split(',').any(value::has_comment)
            {
                self.warning(order, entry, COMMENT.to_owned());
            }
        }
        let overrides = self.config.topic_configs_override.iter();
        let commented: Vec<String> =
            overrides.filter(|(_, value)| value::has_comment(value)).map(|(key, _)| key.clone()).collect();
        for key in commented {
            let what = format!("has a '#' behind a blank in the value of {key}: a comment begins a line of its own");
            self.problem_of(("topic.configs.override", None), &what);
        }
    }

    /// Without a name the group of the consumer's file names the mirror.
    fn judge_name(&mut self) {
        let Some(group) = self.config.group_id.clone().filter(|_| self.config.name.is_none()) else { return };
        if self.given.contains_key(&("name", None)) {
            return;
        }
        let name: String = group.chars().map(|c| if value::is_name_char(c) { c } else { '_' }).collect();
        if let Err(what) = value::check_name(&name) {
            self.problem_of(("group.id", None), &format!("cannot name the mirror, as it {what}; set name"));
            return;
        }
        if let Some((order, entry)) = self.given.get(&("group.id", None)).copied().filter(|_| name != group) {
            let message =
                format!("names the mirror '{name}', without what a name cannot have; set name to choose another");
            self.warning(order, entry, message);
        }
        self.config.name = Some(name);
    }

    /// What stands in the names of topics has to fit there.
    fn judge_topic_names(&mut self) {
        let names = self.config.names.clone();
        let parts = [
            ("replication.policy.separator", Some(&names.separator)),
            ("source.cluster.alias", names.source_alias.as_ref()),
            ("target.cluster.alias", names.target_alias.as_ref()),
        ];
        for (key, text) in parts {
            let Some(text) = text.filter(|text| !text.chars().all(value::is_name_char)) else { continue };
            let what =
                format!("is {}: it takes letters, digits, '.', '_' and '-', as a topic's name does", quote(text));
            self.problem_of((key, None), &what);
        }
        let is_default = names.policy == ReplicationPolicy::Default;
        if self.is_separator_empty && (is_default || self.config.emission.asked_for().is_some()) {
            let what = "is empty, and needs a character: what came from which cluster could not be told by the names; if they are to be the \
                        same on both sides, set replication.policy=identity (IdentityReplicationPolicy in MirrorMaker 2)";
            self.problem_of((SEPARATOR, None), what);
        }
        if is_default && names.source_alias.is_none() {
            let alias = ("source.cluster.alias", None);
            let how = if self.given.contains_key(&alias) { "empty" } else { "missing" };
            let what = format!(
                "is {how}: with replication.policy=default it stands before the name of every topic on the target; if names are to be the \
                 same on both sides, set replication.policy=identity"
            );
            self.problem_of(alias, &what);
        }
        if names.source_alias.is_some() && names.source_alias == names.target_alias {
            let what = "is the same as source.cluster.alias: each cluster needs an alias of its own";
            self.problem_of(("target.cluster.alias", None), what);
        }
    }

    /// What is written for MirrorMaker 2's tools names both clusters.
    fn judge_emission(&mut self) {
        let Some(key) = self.config.emission.asked_for() else { return };
        let names = &self.config.names;
        let aliases = [("source.cluster.alias", &names.source_alias), ("target.cluster.alias", &names.target_alias)];
        for (alias, _) in aliases.map(|(key, alias)| (key, alias.is_none())).into_iter().filter(|(_, missing)| *missing)
        {
            let what = format!("is missing: {key}=true writes it into topics of MirrorMaker 2's formats");
            self.problem_of((alias, None), &what);
        }
    }

    /// A first pause longer than the longest was possible before Kafka 3.7 had a longest, so old files have it.
    fn judge_backoff(&mut self, side: Side) {
        let (first, longest) = (("retry.backoff.ms", Some(side)), ("retry.backoff.max.ms", Some(side)));
        let client = self.config.client_mut(side);
        if client.retry_backoff <= client.retry_backoff_max {
            return;
        }
        if !self.given.contains_key(&longest) {
            client.retry_backoff_max = client.retry_backoff;
            return;
        }
        client.retry_backoff = client.retry_backoff_max;
        if let Some((order, entry)) = self.given.get(&first).or(self.given.get(&longest)).copied() {
            self.warning(
                order,
                entry,
                "is adjusted: every pause is retry.backoff.max.ms, as the first is not shorter".to_owned(),
            );
        }
    }

    fn problem(&mut self, order: usize, entry: &Entry, what: &str) {
        self.report.problem(order, Some(&entry.origin), &entry.shown(), what);
    }

    /// A problem of a property, wherever it was set.
    fn problem_of(&mut self, target: Target, what: &str) {
        match self.given.get(&target).copied() {
            Some((order, entry)) => self.problem(order, entry, what),
            None => {
                let prefix = target.1.map_or("", Side::prefix);
                self.report.problem(AT_END, None, &format!("{prefix}{}", target.0), what);
            }
        }
    }

    fn warning(&mut self, order: usize, entry: &Entry, message: String) {
        self.report.warning(order, Some(&entry.origin), &entry.shown(), message);
    }
}

const SEPARATOR: &str = "replication.policy.separator";
const COMMENT: &str =
    "has a '#' behind a blank, which is a part of the value: a comment begins a line of its own in a properties file";
const SECURITY_PROTOCOL: &str = "security.protocol";

/// The configuration with the defaults of the table.
fn defaults() -> Result<Config> {
    let mut config = blank();
    for property in properties::table() {
        if let Some(text) = property.default {
            property
                .set(&mut config, None, text)
                .map_err(|what| Error::new(ErrorKind::Internal, format!("the default of {} {what}", property.key)))?;
        }
    }
    Ok(config)
}

/// A configuration whose every field is still to be filled from the table.
fn blank() -> Config {
    let client = ClientConfig {
        bootstrap_servers: Vec::new(),
        client_id: String::new(),
        request_timeout: Duration::ZERO,
        connection_setup_timeout: Duration::ZERO,
        retry_backoff: Duration::ZERO,
        retry_backoff_max: Duration::ZERO,
        fetch_min_bytes: 0,
        fetch_max_wait: Duration::ZERO,
        fetch_max_bytes: 0,
        max_partition_fetch_bytes: 0,
        max_request_size: 0,
        max_in_flight: 0,
    };
    Config {
        name: None,
        group_id: None,
        source: client.clone(),
        target: client,
        topics: TopicSelection::default(),
        groups: GroupSelection::default(),
        names: TopicNames {
            policy: ReplicationPolicy::Identity,
            separator: String::new(),
            source_alias: None,
            target_alias: None,
        },
        emission: Emission {
            heartbeats: false,
            heartbeats_at_source: false,
            heartbeats_interval: Duration::ZERO,
            heartbeats_replication_factor: 0,
            checkpoints: false,
            checkpoints_interval: Duration::ZERO,
            checkpoints_replication_factor: 0,
            offset_syncs: false,
            offset_syncs_location: Side::Source,
            offset_syncs_replication_factor: 0,
            offset_lag_max: 0,
            separator_in_internal_topics: true,
        },
        start: Start::Earliest,
        isolation_level: IsolationLevel::ReadCommitted,
        offsets: Offsets::Preserve,
        num_streams: 0,
        buffer_memory: 0,
        replication_factor: ReplicationFactor::Source,
        sync_topic_configs: false,
        sync_group_offsets: false,
        sync_topic_acls: false,
        topic_acls_downgrade: AclDowngrade::None,
        topic_configs_override: BTreeMap::new(),
        topic_configs_exclude: ConfigExclusion::default(),
        topic_configs_target_defaults: false,
        throttle_bytes_per_second: None,
        on_data_loss: OnDataLoss::Fail,
        on_topic_reset: OnTopicReset::Fail,
        on_target_conflict: OnTargetConflict::Fail,
        on_record_refused: OnRecordRefused::Fail,
        refresh_interval: Duration::ZERO,
        lag_interval: Duration::ZERO,
        lag_threshold_records: None,
        lag_threshold: None,
    }
}
