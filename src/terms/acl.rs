//! Access control lists, as authorizers have them.
//! Which of them are copied is decided in `machine::acls`.

use std::fmt;

use serde::{Deserialize, Serialize};

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
