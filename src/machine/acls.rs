//! Decides which ACLs the target gets and which it loses: `plan(source, target, ours, policy)`.
//! Asks and changes nothing: a plan can be shown without being carried out.
//!
//! Copied are the ACLs of topics, consumer groups and transactional ids that concern what is mirrored; never those of the cluster,
//! of delegation tokens or users. Taken away is only what this mirror has created: an ACL that was on the target before, or
//! that somebody made there, is not the mirror's, whatever the source has.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::{AclDowngrade, Config, TopicNames};

/// One permission or prohibition of an authorizer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Acl {
    /// What kind of thing it is about.
    pub resource: AclResource,
    /// Whether `name` is the thing's name or the beginning of it.
    pub pattern: AclPattern,
    /// Its name; `*` as a literal one is every name.
    pub name: String,
    /// Whom it is about, for example `User:alice`.
    pub principal: String,
    /// From where, `*` for everywhere.
    pub host: String,
    /// What it is to do.
    pub operation: AclOperation,
    /// Whether that is allowed or denied.
    pub permission: AclPermission,
}

/// What an [`Acl`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AclResource {
    /// Topics.
    Topic,
    /// Consumer groups.
    Group,
    /// Transactional ids.
    TransactionalId,
}

/// How the name in an [`Acl`] is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AclPattern {
    /// As it is; `*` is every name.
    Literal,
    /// As the beginning of names.
    Prefixed,
}

/// Whether an [`Acl`] gives or takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AclPermission {
    /// It is forbidden, whatever else allows it.
    Deny,
    /// It is allowed.
    Allow,
}

/// An operation by its number in the protocol; shown and written by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct AclOperation(pub(crate) i8);

/// By number, from 2.
const OPERATIONS: [&str; 14] = [
    "ALL",
    "READ",
    "WRITE",
    "CREATE",
    "DELETE",
    "ALTER",
    "DESCRIBE",
    "CLUSTER_ACTION",
    "DESCRIBE_CONFIGS",
    "ALTER_CONFIGS",
    "IDEMPOTENT_WRITE",
    "CREATE_TOKENS",
    "DESCRIBE_TOKENS",
    "TWO_PHASE_COMMIT",
];
const FIRST_OPERATION: i8 = 2;

impl AclOperation {
    /// Every operation.
    pub const ALL: AclOperation = AclOperation(2);
    /// Reading records, or being in a group.
    pub const READ: AclOperation = AclOperation(3);
    /// Writing records.
    pub const WRITE: AclOperation = AclOperation(4);
}

impl fmt::Display for AclOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name =
            usize::try_from(i32::from(self.0) - i32::from(FIRST_OPERATION)).ok().and_then(|at| OPERATIONS.get(at));
        match name {
            Some(name) => f.write_str(name),
            None => write!(f, "operation {}", self.0),
        }
    }
}

impl From<AclOperation> for String {
    fn from(operation: AclOperation) -> Self {
        operation.to_string()
    }
}

impl TryFrom<String> for AclOperation {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Some(at) = OPERATIONS.iter().position(|name| *name == text) {
            return Ok(AclOperation(at as i8 + FIRST_OPERATION));
        }
        let number = text.strip_prefix("operation ").and_then(|number| number.parse().ok());
        number.map(AclOperation).ok_or_else(|| format!("'{text}' is no operation"))
    }
}

impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let permission = if self.permission == AclPermission::Allow { "allow" } else { "deny" };
        let resource = match self.resource {
            AclResource::Topic => "topic",
            AclResource::Group => "group",
            AclResource::TransactionalId => "transactional id",
        };
        let pattern = if self.pattern == AclPattern::Prefixed { "s prefixed" } else { "" };
        write!(
            f,
            "{permission} {} {} on {resource}{pattern} '{}' from {}",
            self.principal, self.operation, self.name, self.host
        )
    }
}

impl Acl {
    fn is_every_name(&self) -> bool {
        self.pattern == AclPattern::Literal && self.name == EVERY_NAME
    }

    /// Whether there are names that both are about.
    fn shares_names_with(&self, other: &Acl) -> bool {
        use AclPattern::{Literal, Prefixed};
        self.resource == other.resource
            && (self.is_every_name()
                || other.is_every_name()
                || match (self.pattern, other.pattern) {
                    (Literal, Literal) => self.name == other.name,
                    (Prefixed, Literal) => other.name.starts_with(&self.name),
                    (Literal, Prefixed) => self.name.starts_with(&other.name),
                    (Prefixed, Prefixed) => self.name.starts_with(&other.name) || other.name.starts_with(&self.name),
                })
    }

    /// Whether both may decide about the same request. Hosts and operations are taken to be the same.
    fn meets(&self, other: &Acl) -> bool {
        let all = |acl: &Acl| acl.principal == EVERY_PRINCIPAL;
        (all(self) || all(other) || self.principal == other.principal) && self.shares_names_with(other)
    }
}

const EVERY_NAME: &str = "*";
const EVERY_PRINCIPAL: &str = "User:*";
/// What belongs to mirrors themselves, of one cluster only.
const OF_MIRRORS: &str = "kmirror.";

/// What belongs to the mirror, and how it is copied.
pub struct Policy<'a> {
    /// Which topics and groups are mirrored, whether they exist or not, what topics are called on the target, and what a permission
    /// to write becomes.
    pub config: &'a Config,
    /// The topics that are mirrored and exist at the source.
    pub mirrored: &'a BTreeSet<String>,
}

/// What has to be done about one ACL on the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Create it, after it was remembered as the mirror's.
    Create,
    /// Delete it, then forget it.
    Delete,
    /// The same, though the target does not show it: what it shows may be older than what it has.
    Forget,
}

/// One step, in the order in which they have to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// About which ACL of the target.
    pub acl: Acl,
    /// Why.
    pub reason: &'static str,
}

impl Action {
    /// What to say when it is done.
    pub fn done(self) -> &'static str {
        match self {
            Action::Create => "ACL was created",
            Action::Delete => "ACL was deleted",
            Action::Forget => "ACL was forgotten",
        }
    }
}

impl Step {
    /// When it is done: all of one number may be done together, in the order of the numbers.
    pub fn phase(&self) -> u8 {
        match (self.action, self.acl.permission) {
            (Action::Create, AclPermission::Deny) => CREATE_DENY,
            (Action::Create, AclPermission::Allow) => CREATE_ALLOW,
            (_, AclPermission::Allow) => DELETE_ALLOW,
            (_, AclPermission::Deny) => DELETE_DENY,
        }
    }

    /// Whether it would let somebody do more than at the source, as another step could not be done: the permission comes with
    /// its prohibition, and the prohibition goes with its permission.
    pub fn waits_for(&self, failed: &Step) -> bool {
        matches!((failed.phase(), self.phase()), (CREATE_DENY, CREATE_ALLOW) | (DELETE_ALLOW, DELETE_DENY))
            && failed.acl.meets(&self.acl)
    }
}

const CREATE_DENY: u8 = 0;
const CREATE_ALLOW: u8 = 1;
const DELETE_ALLOW: u8 = 2;
const DELETE_DENY: u8 = 3;

/// What has to be done, so that nobody may do more on the target for a moment than before or after: prohibitions come first and go
/// last, and a permission that replaces another one is there before that goes.
pub fn plan(source: &BTreeSet<Acl>, target: &BTreeSet<Acl>, ours: &BTreeSet<Acl>, policy: &Policy<'_>) -> Vec<Step> {
    let copies = |acl: &Acl| copy_of(acl, policy.config).map(|copy| (copy, policy.takes(acl)));
    let all: Vec<(Acl, bool)> = source.iter().filter_map(copies).collect();
    let wanted: BTreeSet<&Acl> = all.iter().filter(|(_, taken)| *taken).map(|(copy, _)| copy).collect();
    let at_source: BTreeSet<&Acl> = all.iter().map(|(copy, _)| copy).collect();
    let mut steps = Vec::new();
    for acl in wanted.into_iter().filter(|acl| !target.contains(*acl)) {
        let reason = match ours.contains(acl) {
            true => "the source has it, and the copy is gone on the target",
            false => "the source has it",
        };
        steps.push(Step { action: Action::Create, acl: acl.clone(), reason });
    }
    // What is outside the selection now but still at the source stays as it is, like the records of such a topic.
    for acl in ours.iter().filter(|acl| !at_source.contains(*acl)) {
        let action = if target.contains(acl) { Action::Delete } else { Action::Forget };
        steps.push(Step {
            action,
            acl: acl.clone(),
            reason: "the mirror has created it, and it is no copy of what the source has now",
        });
    }
    steps.sort_by_key(Step::phase);
    steps
}

/// What an ACL of the source is on the target; `None` if it has no place there.
fn copy_of(acl: &Acl, config: &Config) -> Option<Acl> {
    let mut copy = under_names_of_target(acl, &config.names);
    let allows_topic = acl.resource == AclResource::Topic && acl.permission == AclPermission::Allow;
    if config.topic_acls_downgrade == AclDowngrade::ReadOnly && allows_topic {
        match acl.operation {
            AclOperation::WRITE => return None,
            AclOperation::ALL => copy.operation = AclOperation::READ,
            _ => {}
        }
    }
    Some(copy)
}

/// The same ACL for what the topics of the source are called on the target. What holds for all of them holds there for all that
/// begin as they do.
fn under_names_of_target(acl: &Acl, names: &TopicNames) -> Acl {
    if acl.resource != AclResource::Topic {
        return acl.clone();
    }
    let name = match (names.prefix(), acl.pattern) {
        (Some(prefix), _) if acl.is_every_name() => {
            return Acl { pattern: AclPattern::Prefixed, name: prefix, ..acl.clone() };
        }
        (Some(prefix), AclPattern::Prefixed) => format!("{prefix}{}", acl.name),
        (None, AclPattern::Prefixed) => acl.name.clone(),
        (_, AclPattern::Literal) => names.on_target(&acl.name).into_owned(),
    };
    Acl { name, ..acl.clone() }
}

impl Policy<'_> {
    /// Whether an ACL of the source concerns what is mirrored.
    fn takes(&self, acl: &Acl) -> bool {
        let is_prefix = acl.pattern == AclPattern::Prefixed;
        match acl.resource {
            AclResource::Topic if acl.is_every_name() => !self.mirrored.is_empty(),
            AclResource::Topic if is_prefix => self.mirrored.iter().any(|topic| topic.starts_with(&acl.name)),
            AclResource::Topic => self.config.mirrors(&acl.name),
            AclResource::Group if acl.is_every_name() => self.config.groups.selects_any(),
            AclResource::Group if is_prefix => self.config.groups.matches_prefix(&acl.name),
            AclResource::Group => self.config.groups.matches(&acl.name),
            AclResource::TransactionalId => !acl.name.starts_with(OF_MIRRORS),
        }
    }
}

#[cfg(test)]
mod tests;
