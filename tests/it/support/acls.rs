//! ACLs of real clusters as lines of text: `allow User:a READ topic orders *`, a prefix with `^` in front of the name.
//! Created, deleted and read by single requests of the harness, past the proxies.

use std::collections::BTreeSet;

use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::{CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest};

use super::cluster::{Cluster, Options};
use super::raw::{check, text};
use super::{Outcome, fail};

const RESOURCES: [(&str, i8); 4] = [("topic", 2), ("group", 3), ("cluster", 4), ("id", 5)];
const PERMISSIONS: [(&str, i8); 2] = [("deny", 2), ("allow", 3)];
const OPERATIONS: [(&str, i8); 8] = [
    ("ALL", 2),
    ("READ", 3),
    ("WRITE", 4),
    ("DELETE", 6),
    ("ALTER", 7),
    ("DESCRIBE", 8),
    ("DESCRIBE_CONFIGS", 10),
    ("ALTER_CONFIGS", 11),
];
const LITERAL: i8 = 3;
const PREFIXED: i8 = 4;
const ANY: i8 = 1;

/// Options of a cluster with an authorizer, in which everything is allowed that no ACL is about.
pub(crate) fn guarded() -> Options {
    Options::default()
        .proxied()
        .property("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
        .property("allow.everyone.if.no.acl.found", "true")
}

fn number(names: &[(&str, i8)], name: &str) -> Outcome<i8> {
    match names.iter().find(|(other, _)| *other == name) {
        Some((_, number)) => Ok(*number),
        None => fail(format!("the harness does not know '{name}'")),
    }
}

fn name(names: &[(&'static str, i8)], number: i8) -> String {
    names.iter().find(|(_, other)| *other == number).map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

fn parse(line: &str) -> Outcome<AclCreation> {
    let [permission, principal, operation, resource, name, host] = line.split(' ').collect::<Vec<_>>()[..] else {
        return fail(format!("'{line}' is no ACL"));
    };
    let (pattern, name) = name.strip_prefix('^').map_or((LITERAL, name), |prefix| (PREFIXED, prefix));
    Ok(AclCreation::default()
        .with_resource_type(number(&RESOURCES, resource)?)
        .with_resource_name(text(name))
        .with_resource_pattern_type(pattern)
        .with_principal(text(principal))
        .with_host(text(host))
        .with_operation(number(&OPERATIONS, operation)?)
        .with_permission_type(number(&PERMISSIONS, permission)?))
}

/// Creates ACLs.
pub(crate) fn create(cluster: &Cluster, lines: &[&str]) -> Outcome {
    let creations = lines.iter().map(|line| parse(line)).collect::<Outcome<_>>()?;
    for answer in cluster.client().any()?.send(3, &CreateAclsRequest::default().with_creations(creations))?.results {
        check(answer.error_code, "cannot create an ACL")?;
    }
    Ok(())
}

/// Deletes ACLs, which have to be there.
pub(crate) fn delete(cluster: &Cluster, lines: &[&str]) -> Outcome {
    let filter = |line: &&str| -> Outcome<DeleteAclsFilter> {
        let acl = parse(line)?;
        Ok(DeleteAclsFilter::default()
            .with_resource_type_filter(acl.resource_type)
            .with_resource_name_filter(Some(acl.resource_name))
            .with_pattern_type_filter(acl.resource_pattern_type)
            .with_principal_filter(Some(acl.principal))
            .with_host_filter(Some(acl.host))
            .with_operation(acl.operation)
            .with_permission_type(acl.permission_type))
    };
    let request = DeleteAclsRequest::default().with_filters(lines.iter().map(filter).collect::<Outcome<_>>()?);
    for (answer, line) in cluster.client().any()?.send(3, &request)?.filter_results.into_iter().zip(lines) {
        check(answer.error_code, "cannot delete an ACL")?;
        if answer.matching_acls.len() != 1 {
            return fail(format!("{} ACLs are '{line}'", answer.matching_acls.len()));
        }
    }
    Ok(())
}

/// Every ACL that there is.
pub(crate) fn all(cluster: &Cluster) -> Outcome<BTreeSet<String>> {
    let request = DescribeAclsRequest::default()
        .with_resource_type_filter(ANY)
        .with_resource_name_filter(None)
        .with_pattern_type_filter(ANY)
        .with_principal_filter(None)
        .with_host_filter(None)
        .with_operation(ANY)
        .with_permission_type(ANY);
    let answer = cluster.client().any()?.send(3, &request)?;
    check(answer.error_code, "cannot describe ACLs")?;
    let mut lines = BTreeSet::new();
    for resource in answer.resources {
        let prefix = if resource.pattern_type == PREFIXED { "^" } else { "" };
        for acl in resource.acls {
            lines.insert(format!(
                "{} {} {} {} {prefix}{} {}",
                name(&PERMISSIONS, acl.permission_type),
                acl.principal.as_str(),
                name(&OPERATIONS, acl.operation),
                name(&RESOURCES, resource.resource_type),
                resource.resource_name.as_str(),
                acl.host.as_str()
            ));
        }
    }
    Ok(lines)
}
