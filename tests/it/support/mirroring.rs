//! Runs a mirror of some topics between two clusters the way a user does: by the command line.
//! What comes of it is judged by the ledger, never by what the mirror says of itself.

use std::time::Duration;

use super::cluster::{Cluster, Pair};
use super::process::Kmirror;
use super::{Outcome, fail};

/// Longest time a mirror may take to catch up with what a test has written: a hang limit, not a measure.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(600);

/// What to mirror, and how.
#[derive(Clone, Debug)]
pub(crate) struct Mirroring {
    arguments: Vec<String>,
}

impl Mirroring {
    /// Mirrors `topics` (names or patterns, separated by commas) from `source` to `target`, as a mirror of its own.
    pub(crate) fn of(source: &Cluster, target: &Cluster, name: &str, topics: &str) -> Self {
        let settings = [
            format!("source.bootstrap.servers={}", source.bootstrap()),
            format!("target.bootstrap.servers={}", target.bootstrap()),
            format!("name={name}"),
            format!("topics={topics}"),
            // Tests wait for what is found by refreshing; half a second keeps them short.
            "refresh.interval.ms=500".to_owned(),
        ];
        let arguments = vec!["run".to_owned()];
        settings.into_iter().fold(Self { arguments }, |mirroring, setting| mirroring.set(&setting))
    }

    /// The same for a pair of clusters and one topic, named after it.
    pub(crate) fn pair(pair: &Pair, topic: &str) -> Self {
        Self::of(&pair.source, &pair.target, topic, topic)
    }

    /// With `--set key=value`.
    pub(crate) fn set(mut self, setting: &str) -> Self {
        self.arguments.extend(["--set".to_owned(), setting.to_owned()]);
        self
    }

    /// With three streams: what goes wrong between streams shows only where there are several.
    pub(crate) fn three_streams(self) -> Self {
        self.set("num.streams=3")
    }

    /// Starts another command of `kmirror` about the same mirror.
    pub(crate) fn command(&self, command: &str, more: &[&str]) -> Outcome<Kmirror> {
        let ours = self.arguments.iter().skip(1).map(String::as_str);
        Kmirror::start([command].into_iter().chain(ours).chain(more.iter().copied()))
    }

    /// Runs another command about the same mirror to its end: its exit code, and the JSON document that it prints.
    pub(crate) fn document(&self, command: &str, more: &[&str]) -> Outcome<(i32, serde_json::Value)> {
        let mut kmirror = self.command(command, &[more, &["--json"]].concat())?;
        let code = kmirror.wait(CATCH_UP_LIMIT)?.code().unwrap_or(-1);
        match serde_json::from_str(&kmirror.stdout()) {
            Ok(document) => Ok((code, document)),
            Err(error) => fail(format!("no JSON document ({error}), exit code {code}:\n{}", kmirror.stderr())),
        }
    }

    /// What `kmirror plan` says of it, as JSON.
    pub(crate) fn plan(&self) -> Outcome<serde_json::Value> {
        let arguments = ["plan"].into_iter().chain(self.arguments.iter().skip(1).map(String::as_str)).chain(["--json"]);
        let mut kmirror = Kmirror::start(arguments)?;
        match kmirror.wait(CATCH_UP_LIMIT)?.code() {
            // With the codes of a promoted mirror, and of one that would copy nothing, too.
            Some(0 | 2 | 5) if !kmirror.stdout().is_empty() => Ok(serde_json::from_str(&kmirror.stdout())?),
            code => fail(format!("kmirror plan ended with exit code {code:?}:\n{}", kmirror.stderr())),
        }
    }

    /// Starts it, to run until it is stopped.
    pub(crate) fn start(&self) -> Outcome<Kmirror> {
        Kmirror::start(&self.arguments)
    }

    /// Runs it until it has caught up; its end must be that of success.
    pub(crate) fn catch_up(&self) -> Outcome<Kmirror> {
        let (kmirror, code) = self.finish()?;
        match code {
            0 => Ok(kmirror),
            code => fail(format!("kmirror ended with exit code {code}:\n{}", kmirror.stderr())),
        }
    }

    /// Runs it until it has caught up, and returns what it says of itself then.
    pub(crate) fn report(&self) -> Outcome<serde_json::Value> {
        let mut mirroring = self.clone();
        mirroring.arguments.push("--json".to_owned());
        Ok(serde_json::from_str(&mirroring.catch_up()?.stdout())?)
    }

    /// Runs it until it has caught up or cannot, and returns its exit code.
    pub(crate) fn finish(&self) -> Outcome<(Kmirror, i32)> {
        let mut kmirror = Kmirror::start(self.arguments.iter().map(String::as_str).chain(["--until-caught-up"]))?;
        let status = kmirror.wait(CATCH_UP_LIMIT)?;
        Ok((kmirror, status.code().unwrap_or(-1)))
    }
}
