//! Looks whether a mirror would run: both clusters are asked what a start asks them, and whether every broker is reached, what is
//! permitted, and what time it is there. Nothing is written, and nothing that fails keeps the rest from being looked at.
//!
//! What is asked of one cluster is in [`side`], what the plan has to say in [`planned`], which clocks are wrong in [`clocks`].

mod clocks;
mod limits;
mod planned;
mod side;

use std::fmt;

use serde::Serialize;

use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{self, Plan, TopicAction};
use crate::waiting::look_on_a_thread;

/// What a check has found.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// Whether nothing has failed; there may be warnings.
    pub ok: bool,
    /// A line for each thing that was looked at.
    pub lines: Vec<CheckLine>,
}

/// A thing that was looked at.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct CheckLine {
    /// `source` or `target`; `None` for what is about both.
    pub side: Option<&'static str>,
    /// What was looked at.
    pub subject: CheckSubject,
    /// What came of it.
    pub outcome: CheckOutcome,
    /// What was found, as a sentence.
    pub message: String,
    /// What to do about it, if something has to be done.
    pub fix: Option<String>,
    /// Which kind of error a start would come to, if it failed.
    #[serde(skip)]
    kind: Option<ErrorKind>,
}

/// What a check looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CheckSubject {
    /// `bootstrap.servers`, and each broker at its advertised listener.
    Connection,
    /// Encryption and authentication.
    Security,
    /// The time of the cluster against that of this machine.
    Clock,
    /// Whether source and target are two clusters.
    Clusters,
    /// The mirror's name, and what the target knows of it.
    Mirror,
    /// What is selected, and whether the target can take it.
    Topics,
    /// What the mirror's principals may do.
    Permissions,
    /// The consumer groups whose offsets are copied.
    Groups,
    /// What limits the mirror's clients.
    Quotas,
}

impl CheckSubject {
    /// The name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            CheckSubject::Connection => "connection",
            CheckSubject::Security => "security",
            CheckSubject::Clock => "clock",
            CheckSubject::Clusters => "clusters",
            CheckSubject::Mirror => "mirror",
            CheckSubject::Topics => "topics",
            CheckSubject::Permissions => "permissions",
            CheckSubject::Groups => "groups",
            CheckSubject::Quotas => "quotas",
        }
    }
}

/// What came of looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CheckOutcome {
    /// As it should be.
    Ok,
    /// A mirror runs with it, but perhaps not as it is wanted.
    Warning,
    /// A mirror does not start, or not everything is mirrored.
    Failed,
}

impl CheckReport {
    /// What a start would come to, as one error: `None` if nothing has failed.
    pub fn error(&self) -> Option<Error> {
        let failed: Vec<&CheckLine> = self.lines.iter().filter(|line| line.outcome == CheckOutcome::Failed).collect();
        let first = failed.first()?;
        let error = Error::new(first.kind.unwrap_or(ErrorKind::Internal), first.to_string());
        Some(match failed.len() {
            1 => error,
            count => error.context(format!("{count} checks failed, the first of them")),
        })
    }
}

/// Without the fix.
impl fmt::Display for CheckLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.side {
            Some(side) => write!(f, "{side}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl CheckLine {
    fn new(
        side: Option<&'static str>,
        subject: CheckSubject,
        outcome: CheckOutcome,
        message: impl Into<String>,
    ) -> Self {
        CheckLine { side, subject, outcome, message: message.into(), fix: None, kind: None }
    }

    fn ok(side: Option<&'static str>, subject: CheckSubject, message: impl Into<String>) -> Self {
        Self::new(side, subject, CheckOutcome::Ok, message)
    }

    fn warning(side: Option<&'static str>, subject: CheckSubject, message: impl Into<String>, fix: &str) -> Self {
        CheckLine { fix: Some(fix.to_owned()), ..Self::new(side, subject, CheckOutcome::Warning, message) }
    }

    fn failed(
        side: Option<&'static str>,
        subject: CheckSubject,
        kind: ErrorKind,
        message: impl Into<String>,
        fix: &str,
    ) -> Self {
        CheckLine {
            fix: Some(fix.to_owned()),
            kind: Some(kind),
            ..Self::new(side, subject, CheckOutcome::Failed, message)
        }
    }
}

/// Looks whether a mirror with this configuration would run: connections to every broker, permissions, topics, clocks. Writes nothing,
/// on either side. It takes no longer than `request.timeout.ms` and `socket.connection.setup.timeout.ms` of the clients let it.
///
/// ```no_run
/// use kmirror::config::Properties;
///
/// # fn main() -> kmirror::Result<()> {
/// let mut properties = Properties::new();
/// properties.set("source.bootstrap.servers", "a:9092");
/// properties.set("target.bootstrap.servers", "b:9092");
/// let (config, _warnings) = properties.build()?;
/// let report = kmirror::check(config)?;
/// for line in &report.lines {
///     println!("{}: {line}", line.subject.name());
/// }
/// report.error().map_or(Ok(()), Err)
/// # }
/// ```
///
/// # Errors
/// [`ErrorKind::Config`] if no thread can be started. What is wrong with the clusters is no error but part of the report.
pub fn check(config: Config) -> Result<CheckReport> {
    check_or(config, || false)
}

/// As [`check`], asking every 50 ms whether to give up: for hosts that have to look for signals while they wait.
///
/// # Errors
/// As there, and [`ErrorKind::TimedOut`] when `give_up` says so.
pub fn check_or(config: Config, give_up: impl FnMut() -> bool) -> Result<CheckReport> {
    look_on_a_thread("the check", give_up, async move || {
        let lines = look(&config).await;
        let ok = lines.iter().all(|line| line.outcome != CheckOutcome::Failed);
        Ok(CheckReport { ok, lines })
    })
}

async fn look(config: &Config) -> Vec<CheckLine> {
    let (source, target) = tokio::join!(side::look("source", &config.source), side::look("target", &config.target));
    let mut lines: Vec<CheckLine> = source.lines.into_iter().chain(target.lines).collect();
    lines.extend(clocks::between(source.clock, target.clock));
    let (Some(source_id), Some(target_id)) = (source.cluster_id, target.cluster_id) else { return lines };
    let same = source_id.is_some() && source_id == target_id;
    lines.push(clusters(source_id.as_deref(), same));
    if !same {
        let config = Config { source: source.reached, target: target.reached, ..config.clone() };
        let clients = (config.source.clone(), config.target.clone());
        match plan::of(config).await {
            Ok(plan) => {
                lines.extend(planned::lines(&plan));
                let (here, there) = topics_of(&plan);
                let at_source = limits::look("source", &clients.0, &here);
                let (at_source, on_target) = tokio::join!(at_source, limits::look("target", &clients.1, &there));
                lines.extend(at_source.into_iter().chain(on_target));
            }
            Err(error) => lines.push(planned::impossible(&error)),
        }
    }
    lines
}

/// What the mirrored topics are called at the source, and on the target those that are there.
fn topics_of(plan: &Plan) -> (Vec<String>, Vec<String>) {
    let there = plan.topics.iter().filter(|topic| topic.action != TopicAction::Create);
    let there = there.map(|topic| topic.target_topic.as_deref().unwrap_or(&topic.topic).to_owned());
    (plan.topics.iter().map(|topic| topic.topic.to_string()).collect(), there.collect())
}

fn clusters(id: Option<&str>, same: bool) -> CheckLine {
    const SUBJECT: CheckSubject = CheckSubject::Clusters;
    if same {
        let message = format!("source and target are the same cluster (id {})", id.unwrap_or_default());
        let fix = "check source.bootstrap.servers and target.bootstrap.servers: a cluster is not mirrored to itself";
        return CheckLine::failed(None, SUBJECT, ErrorKind::Config, message, fix);
    }
    CheckLine::ok(None, SUBJECT, "source and target are two clusters")
}
