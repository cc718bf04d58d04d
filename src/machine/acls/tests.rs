//! The table of decisions about ACLs: what is copied, what is taken away, what is left alone, and in which order.
//! ACLs are written as `allow User:a READ topic orders`; a name with `^` in front is a prefix.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::config::Properties;

fn acl(text: &str) -> Acl {
    let words: Vec<&str> = text.split(' ').collect();
    let [permission, principal, operation, resource, name, ref host @ ..] = words[..] else { panic!("{text}") };
    let (pattern, name) = match name.strip_prefix('^') {
        Some(prefix) => (AclPattern::Prefixed, prefix),
        None => (AclPattern::Literal, name),
    };
    Acl {
        resource: match resource {
            "topic" => AclResource::Topic,
            "group" => AclResource::Group,
            _ => AclResource::TransactionalId,
        },
        pattern,
        name: name.to_owned(),
        principal: principal.to_owned(),
        host: host.first().unwrap_or(&"*").to_string(),
        operation: AclOperation::try_from(operation.to_owned()).unwrap(),
        permission: if permission == "allow" { AclPermission::Allow } else { AclPermission::Deny },
    }
}

fn acls(texts: &[&str]) -> BTreeSet<Acl> {
    texts.iter().map(|text| acl(text)).collect()
}

struct Case {
    source: BTreeSet<Acl>,
    target: BTreeSet<Acl>,
    ours: BTreeSet<Acl>,
    settings: Vec<(&'static str, &'static str)>,
}

/// `orders` and `billing.eu` are mirrored, `other` is not; groups `app-.*` and `one` are.
fn case(source: &[&str], target: &[&str], ours: &[&str]) -> Case {
    let settings = vec![("topics", r"orders, billing\..*, later"), ("groups", "app-.*, one")];
    Case { source: acls(source), target: acls(target), ours: acls(ours), settings }
}

impl Case {
    fn set(mut self, key: &'static str, value: &'static str) -> Self {
        self.settings.push((key, value));
        self
    }

    fn plan(&self) -> Vec<Step> {
        let mut properties = Properties::new();
        properties.set("source.bootstrap.servers", "a:1").set("target.bootstrap.servers", "b:1");
        for (key, value) in &self.settings {
            properties.set(*key, *value);
        }
        let (config, _) = properties.build().unwrap();
        let names = ["orders", "billing.eu", "other"].into_iter().filter(|topic| config.topics.matches(topic));
        let policy = Policy { config: &config, mirrored: &names.map(str::to_owned).collect() };
        plan(&self.source, &self.target, &self.ours, &policy)
    }

    #[track_caller]
    fn expect(&self, expected: &[(Action, &str)]) {
        let steps: Vec<(Action, Acl)> = self.plan().into_iter().map(|step| (step.action, step.acl)).collect();
        let expected: Vec<(Action, Acl)> = expected.iter().map(|(action, text)| (*action, acl(text))).collect();
        assert_eq!(steps, expected);
    }
}

const READ: &str = "allow User:a READ topic orders";

use Action::{Create, Delete, Forget};

/// Every combination of source, target and whose it is.
#[test]
fn the_whole_table() {
    let (one, none): (&[&str], &[&str]) = (&[READ], &[]);
    for (source, target, ours, expected) in [
        (none, none, none, None),
        (none, none, one, Some(Forget)),
        // Somebody's own.
        (none, one, none, None),
        (none, one, one, Some(Delete)),
        (one, none, none, Some(Create)),
        (one, none, one, Some(Create)),
        (one, one, none, None),
        (one, one, one, None),
    ] {
        let expected: Vec<(Action, &str)> = expected.into_iter().map(|action| (action, READ)).collect();
        case(source, target, ours).expect(&expected);
    }
}

#[test]
fn every_part_of_an_acl_makes_it_another_one() {
    let all = [
        READ,
        "deny User:a READ topic orders",
        "allow User:b READ topic orders",
        "allow Group:a READ topic orders",
        "allow User:a DESCRIBE topic orders",
        "allow User:a READ topic orders 10.0.0.1",
        "allow User:a READ topic ^orders",
        "allow User:a READ group one",
        "allow User:a READ id orders",
    ];
    for missing in 0..all.len() {
        let target: Vec<&str> =
            all.iter().copied().enumerate().filter(|(at, _)| *at != missing).map(|(_, a)| a).collect();
        case(&all, &target, &[]).expect(&[(Create, all[missing])]);
        case(&target, &all, &all).expect(&[(Delete, all[missing])]);
    }
}

#[test]
fn what_concerns_what_is_mirrored_is_copied() {
    for (taken, text) in [
        (true, "allow User:a READ topic orders"),
        // Matches, and may be created any moment.
        (true, "allow User:a READ topic later"),
        (false, "allow User:a READ topic other"),
        (false, "allow User:a READ topic kmirror.x.internal"),
        (false, "allow User:a READ topic __consumer_offsets"),
        (true, "allow User:a READ topic *"),
        (true, "allow User:a READ topic ^o"),
        (true, "allow User:a READ topic ^billing."),
        (true, "allow User:a READ topic ^orders"),
        (false, "allow User:a READ topic ^orders2"),
        (false, "allow User:a READ topic ^oth"),
        (false, "allow User:a READ topic ^kmirror."),
        (true, "allow User:a READ group app-1"),
        (true, "allow User:a READ group one"),
        (false, "allow User:a READ group two"),
        (true, "allow User:a READ group *"),
        (true, "allow User:a READ group ^app-"),
        (true, "allow User:a READ group ^app-x"),
        (true, "allow User:a READ group ^on"),
        (false, "allow User:a READ group ^tw"),
        (true, "allow User:a WRITE id anything"),
        (true, "allow User:a WRITE id *"),
        (true, "allow User:a WRITE id ^any"),
        (false, "allow User:a WRITE id ^kmirror.back:"),
        (false, "allow User:a WRITE id kmirror.back:orders:0"),
    ] {
        let expected: &[(Action, &str)] = if taken { &[(Create, text)] } else { &[] };
        case(&[text], &[], &[]).expect(expected);
    }
}

/// What holds for all topics of the source holds on the target for all that begin with its alias.
#[test]
fn topics_of_another_name_get_the_acls_under_that() {
    for (at_source, on_target) in [
        ("deny User:a READ topic orders", "deny User:a READ topic east.orders"),
        ("allow User:a READ topic ^bill", "allow User:a READ topic ^east.bill"),
        ("allow User:a READ topic *", "allow User:a READ topic ^east."),
        ("allow User:a READ group one", "allow User:a READ group one"),
        ("allow User:a WRITE id tx", "allow User:a WRITE id tx"),
    ] {
        let renaming = |source: &[&str], target: &[&str], ours: &[&str]| {
            case(source, target, ours).set("replication.policy", "default").set("source.cluster.alias", "east")
        };
        renaming(&[at_source], &[], &[]).expect(&[(Create, on_target)]);
        renaming(&[at_source], &[on_target], &[on_target]).expect(&[]);
        renaming(&[], &[on_target], &[on_target]).expect(&[(Delete, on_target)]);
    }
}

#[test]
fn wildcards_concern_nothing_where_nothing_is_mirrored() {
    let wildcards = ["allow User:a READ topic *", "allow User:a READ group *"];
    case(&wildcards, &[], &[]).set("topics", "later").set("groups", "").expect(&[]);
}

#[test]
fn what_falls_out_of_the_selection_stays_until_the_source_takes_it_away() {
    let fallen = "allow User:a READ topic ^oth";
    case(&[fallen], &[fallen], &[fallen]).expect(&[]);
    case(&[], &[fallen], &[fallen]).expect(&[(Delete, fallen)]);
    case(&[fallen], &[], &[fallen]).expect(&[]);
}

#[test]
fn a_downgrade_leaves_reading() {
    let source = [
        "allow User:a WRITE topic orders",
        "allow User:a ALL topic ^orders",
        "allow User:a DESCRIBE topic orders",
        "deny User:a WRITE topic orders",
        "deny User:a ALL topic *",
        "allow User:a ALL group one",
        "allow User:a WRITE id x",
    ];
    let copies = [
        (Create, "deny User:a WRITE topic orders"),
        (Create, "deny User:a ALL topic *"),
        (Create, "allow User:a READ topic ^orders"),
        (Create, "allow User:a DESCRIBE topic orders"),
        (Create, "allow User:a ALL group one"),
        (Create, "allow User:a WRITE id x"),
    ];
    let downgraded = case(&source, &[], &[]).set("topic.acls.downgrade", "read-only").plan();
    let steps: BTreeSet<Acl> = downgraded.iter().map(|step| step.acl.clone()).collect();
    assert_eq!(steps, copies.iter().map(|(_, text)| acl(text)).collect());
    let exact = case(&source, &[], &[]).plan();
    assert_eq!(exact.iter().map(|step| step.acl.clone()).collect::<BTreeSet<_>>(), acls(&source));
    // What was copied before the downgrade goes.
    let write = "allow User:a WRITE topic orders";
    case(&[write], &[write], &[write]).set("topic.acls.downgrade", "read-only").expect(&[(Delete, write)]);
}

#[test]
fn nobody_may_do_more_for_a_moment() {
    let new = ["allow User:a READ topic orders", "deny User:a READ topic orders"];
    let old = ["allow User:z READ topic orders", "deny User:z READ topic orders", "allow User:y READ topic orders"];
    let steps = case(&new, &old[..2], &old).plan();
    let order: Vec<(Action, AclPermission)> = steps.iter().map(|step| (step.action, step.acl.permission)).collect();
    use AclPermission::{Allow, Deny};
    assert_eq!(order, [(Create, Deny), (Create, Allow), (Forget, Allow), (Delete, Allow), (Delete, Deny)]);
}

#[test]
fn a_permission_waits_for_its_prohibition_and_no_other() {
    let step = |action, text: &str| Step { action, acl: acl(text), reason: "" };
    let deny = step(Create, "deny User:a READ topic ^or");
    for (waits, text) in [
        (true, READ),
        (true, "allow User:* WRITE topic orders 10.0.0.1"),
        (true, "allow User:a ALL topic *"),
        (true, "allow User:a ALL topic ^ord"),
        (true, "allow User:a ALL topic ^o"),
        (false, "allow User:a ALL topic ^b"),
        (false, "allow User:a READ topic billing.eu"),
        (false, "allow User:b READ topic orders"),
        (false, "allow User:a READ group orders"),
        (false, "deny User:a READ topic orders"),
    ] {
        assert_eq!(step(Create, text).waits_for(&deny), waits, "{text}");
        assert!(!step(Delete, text).waits_for(&deny), "{text}");
    }
    let deletion = step(Delete, READ);
    assert!(step(Delete, "deny User:a READ topic orders").waits_for(&deletion));
    assert!(!step(Create, "deny User:a READ topic orders").waits_for(&deletion));
}

#[test]
fn it_is_said_in_words() {
    assert_eq!(
        acl("deny User:a ALL topic ^or 10.0.0.1").to_string(),
        "deny User:a ALL on topics prefixed 'or' from 10.0.0.1"
    );
    assert_eq!(acl("allow User:a WRITE id x").to_string(), "allow User:a WRITE on transactional id 'x' from *");
    for number in i8::MIN..=i8::MAX {
        let operation = AclOperation(number);
        assert_eq!(AclOperation::try_from(operation.to_string()), Ok(operation));
    }
    assert_eq!(AclOperation(12).to_string(), "IDEMPOTENT_WRITE");
    assert_eq!(AclOperation(15).to_string(), "TWO_PHASE_COMMIT");
}
