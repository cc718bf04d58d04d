//! The part of `kmirror plan` about permissions that are missing.
//! A line for each, in the words of Kafka's own tools.

use kmirror::MissingPermission;

pub(super) fn push(text: &mut String, missing: &[MissingPermission]) {
    for permission in missing {
        text.push_str(&format!(
            "missing permission: {} on {} '{}' of the {}, {}\n",
            permission.operation, permission.resource_type, permission.resource, permission.side, permission.needed_for
        ));
    }
}
