//! The requests about ACLs and about what they let the mirror do: all of a cluster are described at once, some hundred are created or deleted in a request.
//! Which of them is decided in `machine::acls`.

use std::collections::BTreeSet;

use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::{CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest};
use kafka_protocol::protocol::StrBytes;

use super::admin::refused;
use super::cluster::Cluster;
use super::permissions::{self, Operation};
use crate::error::{Error, ErrorKind, Result};
use crate::terms::acl::{Acl, AclOperation, AclPattern, AclPermission, AclResource};
use crate::terms::broker_error::{BrokerError, Class};

/// ACLs in one request: a controller works on it as a whole.
const AT_ONCE: usize = 500;
/// The last operation that brokers of all releases know. One that does not know an operation drops the connection at the whole
/// request.
const LAST_COMMON_OPERATION: i8 = 12;
const ANY: i8 = 1;

impl AclResource {
    const NUMBERS: [(AclResource, i8); 3] =
        [(AclResource::Topic, 2), (AclResource::Group, 3), (AclResource::TransactionalId, 5)];

    fn number(self) -> i8 {
        Self::NUMBERS.iter().find(|(resource, _)| *resource == self).map_or(0, |(_, number)| *number)
    }

    fn of_number(number: i8) -> Option<Self> {
        Self::NUMBERS.iter().find(|(_, other)| *other == number).map(|(resource, _)| *resource)
    }
}

impl AclPattern {
    fn number(self) -> i8 {
        if self == AclPattern::Literal { 3 } else { 4 }
    }

    fn of_number(number: i8) -> Option<Self> {
        [AclPattern::Literal, AclPattern::Prefixed].into_iter().find(|pattern| pattern.number() == number)
    }
}

impl AclPermission {
    fn number(self) -> i8 {
        if self == AclPermission::Deny { 2 } else { 3 }
    }

    fn of_number(number: i8) -> Option<Self> {
        [AclPermission::Deny, AclPermission::Allow].into_iter().find(|permission| permission.number() == number)
    }
}

/// The ACLs of topics, groups and transactional ids.
pub async fn describe(cluster: &Cluster) -> Result<BTreeSet<Acl>> {
    let connection = cluster.any().await?;
    let request = DescribeAclsRequest::default()
        .with_resource_type_filter(ANY)
        .with_resource_name_filter(None)
        .with_pattern_type_filter(ANY)
        .with_principal_filter(None)
        .with_host_filter(None)
        .with_operation(ANY)
        .with_permission_type(ANY);
    let response = connection.call(&request, connection.version::<DescribeAclsRequest>(3)?).await?;
    if let Some(error) = BrokerError::of(response.error_code) {
        return Err(denied(cluster, "describe ACLs", "DESCRIBE", error, response.error_message.as_deref()));
    }
    let mut acls = BTreeSet::new();
    for resource in response.resources {
        let (kind, pattern) =
            (AclResource::of_number(resource.resource_type), AclPattern::of_number(resource.pattern_type));
        let (Some(kind), Some(pattern)) = (kind, pattern) else { continue };
        for acl in resource.acls {
            let Some(permission) = AclPermission::of_number(acl.permission_type) else { continue };
            acls.insert(Acl {
                resource: kind,
                pattern,
                name: resource.resource_name.to_string(),
                principal: acl.principal.to_string(),
                host: acl.host.to_string(),
                operation: AclOperation(acl.operation),
                permission,
            });
        }
    }
    Ok(acls)
}

/// Fails if the cluster says that the mirror may not change ACLs. Asked before anything is attempted, and by who only plans.
pub async fn check_may_alter(cluster: &Cluster) -> Result<()> {
    if permissions::of_cluster(cluster).await?.allows(Operation::Alter) {
        return Ok(());
    }
    let message = format!(
        "the {} cluster does not let the mirror change ACLs: allow ALTER on the cluster to the mirror's principal",
        cluster.side
    );
    Err(Error::new(ErrorKind::Authorization, message))
}

fn denied(cluster: &Cluster, what: &str, operation: &str, error: BrokerError, detail: Option<&str>) -> Error {
    let refusal = refused(cluster, what, error, detail);
    if error.class != Class::Unauthorized {
        return refusal;
    }
    let message = format!("{}; allow {operation} on the cluster to the mirror's principal", refusal.message());
    Error::new(refusal.kind(), message).with_kafka_code(error.code)
}

/// Creates ACLs; the result of each, in their order.
pub async fn create(cluster: &Cluster, acls: &[Acl]) -> Result<Vec<Result<()>>> {
    in_chunks(acls, async |some| create_some(cluster, some).await).await
}

/// Deletes exactly these ACLs; the result of each, in their order. One that is not there counts as deleted.
pub async fn delete(cluster: &Cluster, acls: &[Acl]) -> Result<Vec<Result<()>>> {
    in_chunks(acls, async |some| delete_some(cluster, some).await).await
}

/// Does something with ACLs, in as many requests as it takes.
async fn in_chunks(acls: &[Acl], ask: impl AsyncFn(&[Acl]) -> Result<Vec<Result<()>>>) -> Result<Vec<Result<()>>> {
    let mut results = Vec::with_capacity(acls.len());
    for some in chunks(acls) {
        match ask(some).await {
            Ok(some) => results.extend(some),
            Err(error) => whole(some, error, &mut results)?,
        }
    }
    Ok(results)
}

/// Neighbours in one request, but an operation that the brokers may not know in one of its own.
fn chunks(acls: &[Acl]) -> impl Iterator<Item = &[Acl]> {
    let rare = |acl: &Acl| acl.operation.0 > LAST_COMMON_OPERATION;
    acls.chunk_by(move |one, next| !rare(one) && !rare(next)).flat_map(|some| some.chunks(AT_ONCE))
}

/// What a whole request that failed means: where there was one ACL in it alone, it may be due to that.
fn whole(some: &[Acl], error: Error, results: &mut Vec<Result<()>>) -> Result<()> {
    match some {
        [one] if one.operation.0 > LAST_COMMON_OPERATION => {
            results
                .push(Err(error.context(format!("{one}, of which the brokers may be too old to know the operation"))));
            Ok(())
        }
        _ => Err(error),
    }
}

async fn create_some(cluster: &Cluster, acls: &[Acl]) -> Result<Vec<Result<()>>> {
    let connection = cluster.any().await?;
    let creation = |acl: &Acl| {
        AclCreation::default()
            .with_resource_type(acl.resource.number())
            .with_resource_name(text(&acl.name))
            .with_resource_pattern_type(acl.pattern.number())
            .with_principal(text(&acl.principal))
            .with_host(text(&acl.host))
            .with_operation(acl.operation.0)
            .with_permission_type(acl.permission.number())
    };
    let request = CreateAclsRequest::default().with_creations(acls.iter().map(creation).collect());
    let response = connection.call(&request, connection.version::<CreateAclsRequest>(3)?).await?;
    let results: Vec<(i16, Option<StrBytes>)> =
        response.results.into_iter().map(|result| (result.error_code, result.error_message)).collect();
    judge(cluster, "create", acls, &results)
}

async fn delete_some(cluster: &Cluster, acls: &[Acl]) -> Result<Vec<Result<()>>> {
    let connection = cluster.any().await?;
    let filter = |acl: &Acl| {
        DeleteAclsFilter::default()
            .with_resource_type_filter(acl.resource.number())
            .with_resource_name_filter(Some(text(&acl.name)))
            .with_pattern_type_filter(acl.pattern.number())
            .with_principal_filter(Some(text(&acl.principal)))
            .with_host_filter(Some(text(&acl.host)))
            .with_operation(acl.operation.0)
            .with_permission_type(acl.permission.number())
    };
    let request = DeleteAclsRequest::default().with_filters(acls.iter().map(filter).collect());
    let response = connection.call(&request, connection.version::<DeleteAclsRequest>(3)?).await?;
    let results = response.filter_results.into_iter().map(|result| {
        let failed = result.matching_acls.into_iter().find(|acl| acl.error_code != 0);
        match failed {
            Some(failed) if result.error_code == 0 => (failed.error_code, failed.error_message),
            _ => (result.error_code, result.error_message),
        }
    });
    judge(cluster, "delete", acls, &results.collect::<Vec<_>>())
}

/// The result of each. A missing permission is that of the whole request: there is one for all ACLs.
fn judge(cluster: &Cluster, verb: &str, acls: &[Acl], results: &[(i16, Option<StrBytes>)]) -> Result<Vec<Result<()>>> {
    if results.len() != acls.len() {
        let message = format!("the {} cluster answered {} times to {} ACLs", cluster.side, results.len(), acls.len());
        return Err(Error::new(ErrorKind::Broker, message));
    }
    let mut judged = Vec::with_capacity(acls.len());
    for (acl, (code, detail)) in acls.iter().zip(results) {
        judged.push(match BrokerError::of(*code) {
            None => Ok(()),
            Some(error) if matches!(error.class, Class::Unauthorized) || error.code == SECURITY_DISABLED => {
                return Err(denied(cluster, &format!("{verb} ACLs"), "ALTER", error, detail.as_deref()));
            }
            Some(error) => Err(refused(cluster, &format!("{verb} the ACL '{acl}'"), error, detail.as_deref())),
        });
    }
    Ok(judged)
}

const SECURITY_DISABLED: i16 = 54;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_that_brokers_may_not_know_travels_alone() {
        let acl = |operation| Acl {
            resource: AclResource::Topic,
            pattern: AclPattern::Literal,
            name: "t".to_owned(),
            principal: "User:a".to_owned(),
            host: "*".to_owned(),
            operation: AclOperation(operation),
            permission: AclPermission::Allow,
        };
        let operations = [vec![3; 3], vec![15, 15], vec![4; 1203], vec![99]].concat();
        let acls: Vec<Acl> = operations.into_iter().map(acl).collect();
        let lengths: Vec<usize> = chunks(&acls).map(<[Acl]>::len).collect();
        assert_eq!(lengths, [3, 1, 1, 500, 500, 203, 1]);
        assert_eq!(chunks(&acls).flatten().cloned().collect::<Vec<_>>(), acls);
    }
}
