//! The lines of `kmirror plan` about ACLs.
//! One for each that would be created or deleted, after what stands in the way.

use kmirror::text::escaped;
use kmirror::{AclAction, AclPlan};

pub(super) fn push(text: &mut String, acls: &[AclPlan]) {
    for plan in acls {
        let action = match plan.action {
            AclAction::Create => "create",
            AclAction::Delete => "delete",
            _ => "refuse",
        };
        match &plan.acl {
            Some(acl) => text.push_str(&format!("ACL  {action}: {}, as {}\n", escaped(&acl.to_string()), plan.reason)),
            None => text.push_str(&format!("ACLs  {action}: {}\n", plan.reason)),
        }
    }
}
