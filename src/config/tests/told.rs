//! What somebody may have meant otherwise than it is read: nothing of that is taken silently.
//! Empty values and comments behind values are what people write; what each means is asserted for every property of the table.

use super::*;

/// What is empty on purpose, or carries what was meant for a comment, is never silently something else.
#[test]
fn an_empty_value_and_a_comment_behind_one_are_told() {
    let policy = "replication.policy=default\nsource.cluster.alias=A\n";
    let empty = problems(&flat(&format!("{SERVERS}{policy}replication.policy.separator=\n")));
    assert_eq!(empty.len(), 1, "{empty:#?}");
    assert!(
        empty[0].contains("replication.policy.separator: is empty") && empty[0].contains("IdentityReplicationPolicy")
    );
    // The old recipe for names that are the same on both sides.
    let recipe = "replication.policy=default\nsource.cluster.alias=\nreplication.policy.separator=\n";
    let told = problems(&flat(&format!("{SERVERS}{recipe}")));
    assert!(told.iter().any(|problem| problem.contains("source.cluster.alias: is empty")), "{told:#?}");
    assert!(told.iter().all(|problem| problem.contains("replication.policy=identity")), "{told:#?}");
    // With names that are the same anyway it does nothing.
    assert_eq!(build(&flat(&format!("{SERVERS}replication.policy.separator=\n"))).1, [""; 0]);

    for key in ["topics", "topics.exclude"] {
        let what = problem(&format!("{key}=secret   # personal data"));
        assert!(
            what.contains("'secret   # personal data', which matches no topic") && what.contains("a comment"),
            "{what}"
        );
    }
    assert!(problem("topics.exclude=my topic").contains("'my topic', which matches no topic"));
    assert!(problem("topic.configs.exclude=retention.ms # keep").contains("which matches no setting"));
    assert!(problem("topic.configs.override=retention.ms=5 # days").contains("in the value of retention.ms"));
    for line in ["groups.exclude=mine # not yours", "groups=a, b # c", "source.client.id=mirror # mine"] {
        let (_, warnings) = build(&flat(&format!("{SERVERS}{line}\n")));
        assert!(warnings.len() == 1 && warnings[0].contains("a '#' behind a blank"), "{line}: {warnings:?}");
    }
    // What has always been one word, and a comment on a line of its own.
    assert_eq!(build(&flat(&format!("{SERVERS}# a comment\ngroups=team#1\n"))).1, [""; 0]);
}

/// Every property, so that a new one is tried without a new test: an empty value is what it says, an error, or known to mean "not set".
#[test]
fn an_empty_value_of_any_property_is_taken_as_it_is_or_told() {
    // Java's files have the first, and the second has nothing else.
    let not_set = ["client.id", "http.listen", "name"];
    let others =
        |property: &&Property| property.key != "replication.policy.separator" && !not_set.contains(&property.key);
    for property in table().filter(others) {
        for key in keys_of(property) {
            match flat(&format!("{SERVERS}{key}=\n")).build() {
                Err(error) => assert!(error.message().contains(property.key), "{key}: {error}"),
                Ok((config, warnings)) => {
                    let now = config.get(&key).unwrap_or_default();
                    let is_empty = now.is_empty() || now == "none";
                    assert!(is_empty || !warnings.is_empty(), "{key} is '{now}', and nobody is told");
                }
            }
        }
    }
}
