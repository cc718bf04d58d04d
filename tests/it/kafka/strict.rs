//! Targets that take less than others: limits of requests, policies for new topics, settings that a release does not know or forbids.
//! What is on the target is read back by librdkafka and by the suite's own client.

use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use serde_json::Value;

use super::mirror::configs_of;
use crate::support::cluster::{Cluster, Options, Version, shared, unique};
use crate::support::failure::Context;
use crate::support::mirroring::Mirroring;
use crate::support::process::Kmirror;
use crate::support::records::{Generator, Writing, produce};
use crate::support::{Failure, Outcome, fail, wait_for};

/// A hang limit, not a measure.
const LIMIT: Duration = Duration::from_secs(90);

/// The target of these tests: it takes requests of 1.2 MB, and has a policy like those of hosted clusters.
fn strict() -> Outcome<&'static Cluster> {
    static TARGET: OnceLock<Outcome<Cluster>> = OnceLock::new();
    let start = || {
        let mut options = Options::default()
            .never_fenced()
            .property("socket.request.max.bytes", "1200000")
            .property("create.topic.policy.class.name", "HostedPolicy")
            .property("alter.config.policy.class.name", "HostedPolicy");
        options.classes = Some(Version::Latest.compile("HostedPolicy")?);
        Cluster::start(options)
    };
    TARGET.get_or_init(start).as_ref().map_err(Clone::clone).context("the strict target did not start")
}

/// Of a plan, what is said of a topic in this field.
fn of_topic<'p>(plan: &'p Value, topic: &str, field: &str) -> &'p str {
    let topics = plan["topics"].as_array().into_iter().flatten();
    topics.filter(|one| one["topic"] == topic).find_map(|one| one[field].as_str()).unwrap_or_default()
}

/// The warnings about a topic's settings in a plan.
fn warnings_of(plan: &Value, topic: &str) -> String {
    let plans = plan["configs"].as_array().into_iter().flatten().filter(|one| one["topic"] == topic);
    plans.map(|one| one["warnings"].to_string()).collect()
}

fn expect_words(text: &str, words: &[&str]) -> Outcome {
    match words.iter().find(|words| !text.contains(**words)) {
        Some(words) => fail(format!("'{words}' is missing: {text}")),
        None => Ok(()),
    }
}

/// The settings that topics share with their source and with all of them: what a controller writes for one request would be more than it takes.
#[test]
fn more_records_than_a_controller_takes_at_once_are_asked_for_in_several_requests() -> Outcome {
    let (source, name) = (MockCluster::new(1)?, unique("many"));
    for number in 0..201 {
        source.create_topic(&format!("{name}.{number}"), 51, 1)?;
    }
    source.create_topic(&format!("{name}.huge"), 10_500, 1)?;
    let settings = [
        format!("source.bootstrap.servers={}", source.bootstrap_servers()),
        format!("target.bootstrap.servers={}", shared()?.target.bootstrap()),
        format!("name={name}"),
        format!("topics={name}\\..*"),
        // Mocks tell neither configurations nor much of groups.
        "sync.topic.configs=false".to_owned(),
        "sync.group.offsets=false".to_owned(),
    ];
    let set = settings.into_iter().flat_map(|setting| ["--set".to_owned(), setting]);
    let arguments: Vec<String> = ["plan".to_owned()].into_iter().chain(set).chain(["--json".to_owned()]).collect();
    let mut kmirror = Kmirror::start(arguments)?;
    let status = kmirror.wait(LIMIT * 4)?;
    let plan: Value = serde_json::from_str(&kmirror.stdout())?;
    let refused: Vec<&Value> =
        plan["topics"].as_array().into_iter().flatten().filter(|topic| topic["action"] != "create").collect();
    assert_eq!(
        (refused.len(), status.code()),
        (0, Some(0)),
        "the first of them: {:?}\n{}",
        refused.first(),
        kmirror.stderr()
    );
    Ok(())
}

#[test]
fn a_policy_against_small_segments_does_not_keep_a_mirror_from_starting() -> Outcome {
    let (source, target, name) = (&shared()?.source, strict()?, unique("hosted"));
    let [topic, small, misnamed] = ["fine", "small", "misnamed"].map(|kind| format!("{name}.{kind}"));
    source.create_topic(&topic, 1, &[])?;
    source.create_topic(&small, 1, &[("segment.bytes", "2097152"), ("flush.ms", "7000")])?;
    source.create_topic(&misnamed, 1, &[])?;
    produce(&source.bootstrap(), &topic, 0, Generator::new(5).take(50), &Writing::default())?;
    let mirroring = Mirroring::of(source, target, &name, &format!("{name}\\..*"));

    let plan = mirroring.plan()?;
    let warning = plan["internal_topic"]["warning"].as_str().unwrap_or_default();
    expect_words(warning, &["segment.bytes=52428800 instead of 8388608", "minimum allowed value"])?;
    // One topic of the request is refused, and it alone.
    expect_words(of_topic(&plan, &misnamed, "reason"), &["Topics are not called like this here"])?;
    assert_eq!([of_topic(&plan, &topic, "action"), of_topic(&plan, &small, "action")], ["create"; 2], "{plan:#}");
    let adapted = "segment.bytes is 52428800 on the target and 2097152 at the source";
    expect_words(&warnings_of(&plan, &small), &[adapted, "topic.configs.exclude=segment.bytes"])?;
    let (_, report) = mirroring.document("check", &[])?;
    expect_words(&report.to_string(), &["segment.bytes=52428800 instead of 8388608", adapted])?;

    let (kmirror, code) = mirroring.finish()?;
    assert_eq!(code, 5, "one topic is refused:\n{}", kmirror.stderr());
    expect_words(&kmirror.stderr(), &["segment.bytes=52428800 instead of 8388608", adapted])?;
    let there = configs_of(target, &small)?;
    assert_eq!((there["segment.bytes"].as_str(), there["flush.ms"].as_str()), ("52428800", "7000"), "{there:?}");
    let internal = configs_of(target, &format!("kmirror.{name}.internal"))?;
    assert_eq!((internal["cleanup.policy"].as_str(), internal["segment.bytes"].as_str()), ("compact", "52428800"));
    assert_eq!(target.client().bounds(&topic)?, source.client().bounds(&topic)?);
    // It stays as it is, and what is planned is what is there.
    let plan = mirroring.plan()?;
    expect_words(&warnings_of(&plan, &small), &[adapted])?;
    let changes = plan["configs"].as_array().into_iter().flatten().filter(|one| one["topic"] == small.as_str());
    assert!(changes.into_iter().all(|one| one["changes"] == serde_json::json!([])), "{plan:#}");
    Ok(())
}

#[test]
fn an_internal_topic_that_is_refused_is_told_with_how_to_make_it_by_hand() -> Outcome {
    let (source, target) = (&shared()?.source, strict()?);
    let (name, topic) = (unique("by-hand"), unique("orders"));
    source.create_topic(&topic, 1, &[])?;
    let mirroring = Mirroring::of(source, target, &name, &topic);
    let words = ["Such topics are made by hand here", "one partition and cleanup.policy=compact"];
    let (code, plan) = mirroring.document("plan", &[])?;
    assert_eq!(code, 5, "{plan:#}");
    expect_words(plan["internal_topic"]["reason"].as_str().unwrap_or_default(), &words)?;
    let (code, report) = mirroring.document("check", &[])?;
    assert_eq!(code, 5, "{report:#}");
    expect_words(&report.to_string(), &words)?;
    let (kmirror, code) = mirroring.finish()?;
    assert_eq!(code, 5, "{}", kmirror.stderr());
    expect_words(&kmirror.stderr(), &words)?;
    let by_hand = [("cleanup.policy", "compact"), ("flush.ms", "9000")];
    target.create_topic(&format!("kmirror.{name}.internal"), 1, &by_hand)?;
    assert_eq!(mirroring.document("plan", &[])?.0, 0);
    mirroring.catch_up().map(drop)
}

/// Four partitions with batches of 0.8 MB each.
fn large_batches(cluster: &Cluster, topic: &str) -> Outcome {
    cluster.create_topic(topic, 4, &[])?;
    for partition in 0..4 {
        let large = Generator::new(u64::try_from(partition)?).value_size(800_000..800_001).take(3);
        produce(&cluster.bootstrap(), topic, partition, large, &Writing::codec("none"))?;
    }
    Ok(())
}

#[test]
fn no_request_is_larger_than_max_request_size() -> Outcome {
    let (source, target, topic) = (&shared()?.source, strict()?, unique("large"));
    large_batches(source, &topic)?;
    let mirroring = Mirroring::of(source, target, &topic, &topic).set("target.max.request.size=1000000");
    let mut mirror = mirroring.command("run", &["--until-caught-up", "--timeout", "90"])?;
    assert_eq!(mirror.wait(LIMIT * 2)?.code(), Some(0), "{}", mirror.stderr());
    assert_eq!(target.client().bounds(&topic)?, source.client().bounds(&topic)?);
    Ok(())
}

#[test]
fn a_connection_that_is_closed_after_each_large_request_is_told_with_the_settings() -> Outcome {
    let (source, target, topic) = (&shared()?.source, strict()?, unique("closed"));
    large_batches(source, &topic)?;
    let mirroring = Mirroring::of(source, target, &topic, &topic).set("target.max.request.size=5000000");
    let mut mirror = mirroring.start()?;
    let waited = wait_for("it is told why connections are closed", LIMIT, || {
        Ok(mirror.stderr().contains("socket.request.max.bytes").then_some(()))
    });
    waited.map_err(|error| Failure(format!("{error}\n{}", mirror.stderr())))?;
    expect_words(&mirror.stderr(), &["closed the connection 3 times", "target.max.request.size, which is 5000000"])?;
    mirror.kill9()
}

#[test]
fn settings_that_the_target_does_not_know_or_forbids_are_left_out_or_raised() -> Outcome {
    let [previous, old] =
        Cluster::start_all([Version::Previous, Version::Old].map(|version| Options::default().version(version)))?;
    let newest = shared()?;
    // Before Kafka 4.0 segments may be smaller than 1 MiB; compression.zstd.level came with 3.8.
    let cases = [
        (
            &previous,
            &newest.target,
            ("segment.bytes", "262144"),
            Some("1048576"),
            "segment.bytes is 1048576 on the target",
        ),
        (
            &newest.source,
            &old,
            ("compression.zstd.level", "5"),
            None,
            "compression.zstd.level is left out on the target",
        ),
    ];
    for (source, target, (key, value), expected, told) in cases {
        let topic = unique("settings");
        source.create_topic(&topic, 1, &[(key, value), ("flush.ms", "8000")])?;
        produce(&source.bootstrap(), &topic, 0, Generator::new(6).take(50), &Writing::default())?;
        let mirroring = Mirroring::of(source, target, &topic, &topic);
        let plan = mirroring.plan()?;
        assert_eq!(of_topic(&plan, &topic, "action"), "create", "{plan:#}");
        expect_words(&warnings_of(&plan, &topic), &[told, &format!("topic.configs.override={key}=VALUE")])?;
        let mut mirror = mirroring.start()?;
        let waited = wait_for("it is told", LIMIT, || Ok(mirror.stderr().contains(told).then_some(())));
        waited.map_err(|error| Failure(format!("{error}\n{}", mirror.stderr())))?;
        super::mirror::wait_copied_between(source, target, &topic)?;
        let there = configs_of(target, &topic)?;
        assert_eq!((there.get(key).map(String::as_str), there["flush.ms"].as_str()), (expected, "8000"), "{there:?}");
        // The source's other settings follow as before, however often this one is looked at.
        source.client().alter_topic(&topic, &[(key, value), ("flush.ms", "9000")])?;
        wait_for("flush.ms follows", LIMIT, || {
            Ok((configs_of(target, &topic)?.get("flush.ms").map(String::as_str) == Some("9000")).then_some(()))
        })?;
        assert_eq!(configs_of(target, &topic)?.get(key).map(String::as_str), expected);
        mirror.kill9()?;
    }
    Ok(())
}
