//! Decides which ACLs the target gets and which it loses: `plan(source, target, ours, policy)`.
//! Asks and changes nothing: a plan can be shown without being carried out.
//!
//! Copied are the ACLs of topics, consumer groups and transactional ids that concern what is mirrored; never those of the cluster,
//! of delegation tokens or users. Taken away is only what this mirror has created: an ACL that was on the target before, or
//! that somebody made there, is not the mirror's, whatever the source has.

use std::collections::BTreeSet;

use crate::config::{AclDowngrade, Config, TopicNames};
use crate::terms::acl::{Acl, AclOperation, AclPattern, AclPermission, AclResource};

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
