//! The part of a plan that is about ACLs: what a mirror would create and delete on the target, and what it may not.
//! Decides by `machine::acls`, as the running mirror does, from what the internal topic says is the mirror's.

use serde::Serialize;

use super::Planner;
use crate::control::acls::{describe, plan};
use crate::error::Error;
use crate::identity::acls::Ours;
use crate::machine::acls::{Action, Step};
use crate::terms::acl::Acl;
use crate::terms::topic::Metadata;
use crate::wire::acls as wire;

/// What would be done about an ACL of the target, or why nothing can be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AclPlan {
    /// What would be done.
    pub action: AclAction,
    /// The ACL; `None` where the reason holds for all of them.
    pub acl: Option<Acl>,
    /// Why; of what is refused, also what to do.
    pub reason: String,
}

/// What would be done about an ACL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AclAction {
    /// Create it on the target.
    Create,
    /// Delete it there.
    Delete,
    /// Nothing: ACLs cannot be read or changed.
    Refuse,
}

impl Planner {
    /// What would be done, in this order; what stands in the way comes first.
    pub(super) async fn plan_acls(&self, name: &str, source_metadata: &Metadata) -> Vec<AclPlan> {
        if !self.config.sync_topic_acls {
            return Vec::new();
        }
        let (source, target) = match describe(&self.source, &self.target).await {
            Ok(both) => both,
            Err(troubles) => return troubles.values().map(refusal).collect(),
        };
        let mut ours = Ours::default();
        let ours = match ours.read(&self.target, name).await {
            Ok(ours) => ours,
            Err(error) => return vec![refusal(&error)],
        };
        let steps = plan(&self.config, source_metadata, &source, &target, ours);
        let mut acls: Vec<AclPlan> = steps.into_iter().filter_map(shown).collect();
        if !acls.is_empty()
            && let Err(error) = wire::check_may_alter(&self.target).await
        {
            acls.insert(0, refusal(&error));
        }
        acls
    }
}

fn shown(step: Step) -> Option<AclPlan> {
    let action = match step.action {
        Action::Create => AclAction::Create,
        Action::Delete => AclAction::Delete,
        Action::Forget => return None,
    };
    Some(AclPlan { action, acl: Some(step.acl), reason: step.reason.to_owned() })
}

fn refusal(error: &Error) -> AclPlan {
    AclPlan { action: AclAction::Refuse, acl: None, reason: error.message().to_owned() }
}
