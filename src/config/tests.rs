//! What users see of the configuration as a whole: what is accepted, what is told, and what is never told.
//! Most go through the whole table, so that a new row is tried without a new test.

use std::collections::BTreeSet;

use super::collect::Place;
use super::properties::{Availability, Kind, Property, Scope, is_secret, markdown, table};
use super::*;

mod told;

const SERVERS: &str = "source.bootstrap.servers=a:9092\ntarget.bootstrap.servers=b:9092\n";

fn flat(text: &str) -> Properties {
    let mut properties = Properties::new();
    properties.read(Place::FlatFile, "mirror.properties", text.as_bytes()).expect("text");
    properties
}

fn clients(consumer: &str, producer: &str) -> Properties {
    let mut properties = Properties::new();
    properties.read(Place::ClientFile(Side::Source), "consumer.properties", consumer.as_bytes()).expect("text");
    properties.read(Place::ClientFile(Side::Target), "producer.properties", producer.as_bytes()).expect("text");
    properties
}

fn build(properties: &Properties) -> (Config, Vec<String>) {
    let (config, warnings) = properties.build().map_err(|error| error.to_string()).expect("a good configuration");
    (config, warnings.iter().map(Warning::to_string).collect())
}

/// The lines of the error, without the line that counts them.
fn problems(properties: &Properties) -> Vec<String> {
    let error = properties.build().expect_err("a problem");
    assert_eq!(error.kind(), crate::ErrorKind::Config);
    let lines = error.message().lines().filter(|line| !line.starts_with("the configuration has"));
    lines.map(|line| line.trim().to_owned()).collect()
}

/// The only problem of a flat set that is right except for this.
fn problem(line: &str) -> String {
    let problems = problems(&flat(&format!("{SERVERS}{line}\n")));
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems.into_iter().next().unwrap_or_default()
}

/// A value of the property that is not its default, if there is one that this version takes.
fn another_value(property: &Property) -> Option<String> {
    if let Availability::Only(_) = property.availability {
        return None;
    }
    Some(match property.kind {
        Kind::Boolean if property.default == Some("true") => "false".to_owned(),
        Kind::Boolean => "true".to_owned(),
        Kind::Integer { min, .. } | Kind::OptionalInteger { min, .. } => (min + 1).to_string(),
        Kind::Choice(choices) => choices.iter().find(|choice| Some(**choice) != property.default)?.to_string(),
        Kind::Servers => "c:9093,[::1]:9094".to_owned(),
        Kind::Patterns => r"x, y\..*".to_owned(),
        Kind::Pairs => "cleanup.policy=compact,delete,retention.ms=1".to_owned(),
        Kind::Text if property.key == "replication.policy.separator" => "_".to_owned(),
        Kind::Text | Kind::Name => "some-text".to_owned(),
        Kind::Other(_) => "3".to_owned(),
    })
}

fn keys_of(property: &Property) -> Vec<String> {
    match property.scope {
        Scope::Mirror => vec![property.key.to_owned()],
        _ => property.scope.sides().iter().map(|side| property.flat_key(Some(*side))).collect(),
    }
}

#[test]
fn every_default_round_trips() {
    let (config, warnings) = build(&flat(SERVERS));
    assert_eq!(warnings, [""; 0]);
    for property in table().filter(|property| property.key != "bootstrap.servers") {
        for key in keys_of(property) {
            assert_eq!(config.get(&key).as_deref(), property.default.filter(|text| *text != "none"), "{key}");
            let Some(text) = property.default else { continue };
            let (again, _) = build(&flat(&format!("{SERVERS}{key}={}\n", text.replace('\\', r"\\"))));
            assert_eq!(again.get(&key), config.get(&key), "{key}");
        }
    }
}

#[test]
fn every_value_round_trips_under_every_spelling() {
    for property in table() {
        let Some(value) = another_value(property) else { continue };
        for key in keys_of(property) {
            for spelling in [property.key].into_iter().chain(property.aliases.iter().copied()) {
                let mut properties = flat(SERVERS);
                properties.set("source.cluster.alias", "a").set("target.cluster.alias", "b");
                properties.set(key.replace(property.key, spelling), value.as_str());
                // So that a first pause of 2 ms is not above the longest, nor a wait above the time a request has.
                let (config, _) =
                    build(properties.set("source.fetch.max.wait.ms", "1").set(key.as_str(), value.as_str()));
                assert_eq!(config.get(&key).as_deref(), Some(value.as_str()), "{spelling}");
                let listed: BTreeSet<_> = config.entries().collect();
                assert!(listed.contains(&(key.clone(), value.clone())), "{key} of {listed:?}");
            }
        }
    }
}

#[test]
fn ends_of_ranges_are_inside_and_what_is_beyond_is_told() {
    for property in table() {
        let (Kind::Integer { min, max } | Kind::OptionalInteger { min, max }) = property.kind else { continue };
        if property.availability != Availability::Now {
            continue;
        }
        for key in keys_of(property) {
            let with = |value: i128| {
                let mut properties = flat(&format!("{SERVERS}source.fetch.max.wait.ms=0\n"));
                properties.set(key.as_str(), value.to_string());
                properties
            };
            let inside = with(max.into()).build().map(drop).map_err(|error| error.to_string());
            assert!(inside.is_ok() || key == "source.fetch.max.wait.ms", "{key}: {inside:?}");
            build(&with(min.into()));
            let below = problems(&with(i128::from(min) - 1)).join("");
            assert!(below.contains("too small") && below.contains(&key), "{below}");
            let above = problems(&with(i128::from(max) + 1)).join("");
            assert!(above.contains("too large") && above.contains(&key), "{above}");
        }
    }
}

#[test]
fn keys_are_unique_in_all_tables() {
    let mut seen = BTreeSet::new();
    let spellings = table().flat_map(|property| [property.key].into_iter().chain(property.aliases.iter().copied()));
    for key in spellings.chain(ignored::IGNORED.iter().flat_map(|ignored| ignored.keys.iter().copied())) {
        assert!(seen.insert(key), "{key} is there twice");
        assert!(!security::is_security_key(key), "{key} is a key of TLS or SASL");
    }
}

#[test]
fn the_files_of_java_and_librdkafka_are_accepted() {
    macro_rules! data {
        ($($name:literal),*) => { [$(($name, include_str!(concat!("../../tests/data/config/", $name)))),*] };
    }
    let files = data!(
        "java-consumer-3.9.2.properties",
        "java-producer-3.9.2.properties",
        "java-adminclient-3.9.2.properties",
        "java-consumer-4.3.1.properties",
        "java-producer-4.3.1.properties",
        "java-adminclient-4.3.1.properties",
        "librdkafka-consumer-2.12.1.properties",
        "librdkafka-producer-2.12.1.properties"
    );
    for (name, text) in files {
        let sides: &[Side] = match name {
            _ if name.contains("consumer") => &[Side::Source],
            _ if name.contains("producer") => &[Side::Target],
            _ => &[Side::Source, Side::Target],
        };
        for side in sides {
            // librdkafka's default is a million, which no idempotent producer may use.
            let valid = |line: &&str| !line.starts_with("max.in.flight") || line.ends_with("=5");
            let text: Vec<&str> = text.lines().filter(valid).collect();
            let mut properties = Properties::new();
            properties.read(Place::ClientFile(*side), name, text.join("\n").as_bytes()).expect("text");
            properties.set(format!("{}.bootstrap.servers", side.other().name()), "b:9092");
            let (_, warnings) = build(&properties);
            assert!(warnings.iter().all(|warning| warning.contains(": has no effect")), "{warnings:#?}");
            let keys: BTreeSet<_> = warnings.iter().map(|warning| warning.split(": ").nth(1)).collect();
            assert_eq!(keys.len(), warnings.len(), "one line for each key: {warnings:#?}");
        }
    }
}

#[test]
fn a_key_without_meaning_says_why_unless_it_asks_for_what_is_done_anyway() {
    let (_, warnings) = build(&clients(
        "bootstrap.servers=a:9092\nkey.deserializer=X\nenable.auto.commit=false\n",
        "bootstrap.servers=b:9092\nacks=all\nlinger.ms=5\n",
    ));
    assert_eq!(warnings.len(), 2, "{warnings:#?}");
    assert!(warnings[0].starts_with("consumer.properties:2: key.deserializer: has no effect: record batches travel"));
    assert!(warnings[1].starts_with("producer.properties:3: linger.ms: has no effect: "));
    let (_, warnings) = build(&flat(&format!("{SERVERS}target.acks=1\n")));
    assert!(warnings[0].contains("always waits"), "{warnings:?}");
}

#[test]
fn the_files_of_a_consumer_and_a_producer_make_a_mirror() {
    let (config, warnings) = build(&clients(
        "bootstrap.servers = a:9092 , a2\ngroup.id = my group\nisolation.level=read_uncommitted\nfetch.wait.max.ms=100\n",
        "metadata.broker.list=PLAINTEXT://b:9092\nbuffer.memory=67108864\nmax.request.size=10485760\n",
    ));
    assert_eq!(config.source.bootstrap_servers, ["a:9092", "a2:9092"]);
    assert_eq!(config.target.bootstrap_servers, ["b:9092"]);
    assert_eq!(config.name.as_deref(), Some("my_group"));
    assert_eq!(config.isolation_level, IsolationLevel::ReadUncommitted);
    assert_eq!(config.source.fetch_max_wait, Duration::from_millis(100));
    assert_eq!((config.buffer_memory, config.target.max_request_size), (64 << 20, 10 << 20));
    assert!(warnings.len() == 1 && warnings[0].contains("my_group"), "{warnings:?}");
    let (config, _) = build(clients("bootstrap.servers=a:1\ngroup.id=g", "bootstrap.servers=b:1").set("name", "n"));
    assert_eq!(config.name.as_deref(), Some("n"));
}

#[test]
fn a_misspelt_key_names_the_nearest() {
    for (written, meant) in [
        ("source.fetch.min.byte", "source.fetch.min.bytes"),
        ("source.fecth.wait.max.ms", "source.fetch.wait.max.ms"),
        ("sorce.client.id", "source.client.id"),
        ("num.stream", "num.streams"),
        ("nmae", "name"),
        ("buffer_memory", "buffer.memory"),
        ("bootstrap.server", "source.bootstrap.servers or target.bootstrap.servers"),
        ("source.bootstrapServers", "source.bootstrap.servers"),
        ("source.consumer.fetch.min.bytes", "source.fetch.min.bytes"),
        ("target.linger", "target.linger.ms"),
        ("target.security.protocl", "target.security.protocol"),
    ] {
        let told = problem(&format!("{written}=1"));
        assert_eq!(told, format!("mirror.properties:3: {written}: there is no such key: did you mean {meant}?"));
    }
    let told = problems(flat(SERVERS).set_from("--set", "Nonsense", "1"));
    assert_eq!(told, ["--set: Nonsense: there is no such key: `kmirror config` lists the keys there are"]);
    assert!(problem("something.else=1").contains("kmirror config"));
}

#[test]
fn a_key_in_the_wrong_place_is_sent_to_the_right_one() {
    assert!(problem("target.fetch.min.bytes=1").ends_with("did you mean source.fetch.min.bytes?"));
    assert!(problem("source.max.request.size=1\ntarget.num.streams=1").ends_with("did you mean num.streams?"));
    assert!(
        problem("bootstrap.servers=a:1")
            .ends_with("did you mean source.bootstrap.servers or target.bootstrap.servers?")
    );
    assert!(problem("fetch.min.bytes=1").ends_with("did you mean source.fetch.min.bytes?"));
    assert!(problem("sasl.password=x").contains("did you mean source.sasl.password or target.sasl.password?"));
    let told =
        problems(&clients("source.client.id=x\nbootstrap.servers=a:1", "bootstrap.servers=b:1\nfetch.min.bytes=1"));
    assert!(told[0].ends_with("have no prefix: did you mean client.id?"), "{told:?}");
    assert!(told[1].ends_with("move it to their file, or set source.fetch.min.bytes"), "{told:?}");
    let (_, warnings) = build(&flat(&format!("{SERVERS}source.max.in.flight=1000000\n")));
    assert!(warnings[0].contains("nothing is produced to the source"), "{warnings:?}");
}

#[test]
fn all_problems_are_told_in_the_order_of_the_files() {
    let mut properties = clients(
        "bootstrap.servers=\nfetch.min.byte=1\nfetch.max.bytes=1MB\nx=\\u12\nfetch.max.bytes=2\n",
        "max.in.flight=6\nbuffer.memory=32MB\nrequest.timeout.ms=5s\n",
    );
    properties.set_from("--set", "num.streams", "0").set("topics", "a{1,2}").set("start", "soon");
    let told = problems(&properties);
    let starts = [
        "consumer.properties:1: bootstrap.servers: is empty: it takes host:port",
        "consumer.properties:2: fetch.min.byte: there is no such key: did you mean fetch.min.bytes?",
        "consumer.properties:3: fetch.max.bytes: is '1MB': it takes a plain number of bytes: write 1048576",
        "consumer.properties:4: \\u needs four hexadecimal digits",
        "consumer.properties:5: fetch.max.bytes: stands here and in line 3: keep one of them",
        "producer.properties:1: max.in.flight: is '6', which is too large: it takes a whole number of requests from 1 to 5",
        "producer.properties:2: buffer.memory: is '32MB': it takes a plain number of bytes: write 33554432",
        "producer.properties:3: request.timeout.ms: is '5s': it takes a plain number of milliseconds: write 5000",
        "--set: num.streams: is '0', which is too small",
        "topics: 'a{1' is neither a name nor a regular expression",
        "start: is 'soon': it takes earliest, latest, or a time as 2026-01-31T08:30:00Z",
        "target.bootstrap.servers: is missing",
    ];
    assert_eq!(told.len(), starts.len(), "{told:#?}");
    for (told, start) in told.iter().zip(starts) {
        assert!(told.starts_with(start), "{told}");
    }
}

#[test]
fn policies_and_the_start_are_words() {
    let lines =
        "on.data.loss=Continue\non.topic.reset=recreate-target\non.record.refused=skip\nstart=2023-11-14T22:13:20Z\n";
    let (config, warnings) = build(&flat(&format!("{SERVERS}{lines}")));
    assert_eq!(config.on_data_loss, OnDataLoss::Continue);
    assert_eq!(config.on_topic_reset, OnTopicReset::RecreateTarget);
    assert_eq!(config.on_target_conflict, OnTargetConflict::Fail);
    assert_eq!(config.on_record_refused, OnRecordRefused::Skip);
    assert_eq!(config.start, Start::Timestamp(1_700_000_000_000));
    assert_eq!(config.get("start").as_deref(), Some("1700000000000"));
    assert!(warnings.is_empty(), "{warnings:?}");
    assert!(problem("on.data.loss=skip").ends_with("it takes fail or continue"), "{}", problem("on.data.loss=skip"));
    assert!(problem("on.target.conflict=skip").ends_with("it takes fail"));
}

#[test]
fn what_stands_in_the_names_of_topics_is_checked() {
    let told = problem("replication.policy=default");
    assert!(told.starts_with("source.cluster.alias: is missing"), "{told}");
    let told = problem("source.cluster.alias=a b");
    assert!(told.ends_with(
        "source.cluster.alias: is 'a b': it takes letters, digits, '.', '_' and '-', as a topic's name does"
    ));
    let told = problem("source.cluster.alias=a\ntarget.cluster.alias=a");
    assert!(told.contains("target.cluster.alias: is the same as"), "{told}");
    let policy = "replication.policy=default\nsource.cluster.alias=a\ntarget.cluster.alias=b\n";
    let (config, warnings) = build(&flat(&format!("{SERVERS}{policy}")));
    assert!(
        config.names.on_target("x") == "a.x" && config.mirrors("c.x") && !config.mirrors("b.x") && warnings.is_empty()
    );
}

#[test]
fn a_topic_that_others_write_to_is_not_deleted() {
    let (config, warnings) = build(&flat(&format!("{SERVERS}offsets=translate\n")));
    assert_eq!((config.offsets, warnings), (Offsets::Translate, vec![]));
    let told = problem("offsets=translate\non.topic.reset=recreate-target");
    assert!(told.contains("on.topic.reset: deletes the target's topic, to which others may have written"), "{told}");
}

#[test]
fn what_comes_later_is_said_clearly() {
    let line = "http.listen=localhost:8080";
    let told = problem(line);
    assert!(told.ends_with(&format!("{line} is not available in this version yet: only none")), "{told}");
    let same = "offsets=preserve\nsync.topic.acls=false\nthrottle.bytes.per.second=none\non.data.loss=fail\nhttp.listen=\n\
        start=EARLIEST\nsync.group.offsets=false\n";
    assert_eq!(build(&flat(&format!("{SERVERS}{same}"))).1, [""; 0]);
    let (_, warnings) = build(&flat(&format!("{SERVERS}sync.group.offsets=true\ngroups=a\ngroups.exclude=b\n")));
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn security_is_refused_and_never_left_out_silently() {
    let told = problem("source.security.protocol=sasl_ssl\nsource.sasl.jaas.config=x\nsource.ssl.key.password=x");
    let what = "mirror.properties:3: source.security.protocol: security.protocol=SASL_SSL is not available in this version: \
        only PLAINTEXT";
    assert_eq!(told, what);
    let told = problem("target.ssl.truststore.location=x");
    assert!(told.contains("target.ssl.truststore.location: is not available in this version"), "{told}");
    assert!(problem("source.security.protocol=TLS").contains("it takes PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"));
    let (_, warnings) = build(&flat(&format!("{SERVERS}source.security.protocol=plaintext\nsource.sasl.username=x\n")));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let told = problems(&flat(&format!("{SERVERS}source.security.protocol=PLAINTEXT\ntarget.sasl.username=x\n")));
    assert!(told[0].starts_with("mirror.properties:4"), "{told:?}");
}

#[test]
fn a_call_counts_before_files_and_files_must_agree() {
    let mut properties = Properties::new();
    properties.set("num.streams", "2").set("num.streams", "3");
    properties
        .read(Place::FlatFile, "mirror.properties", format!("{SERVERS}num.streams=99\n").as_bytes())
        .expect("text");
    assert_eq!(build(&properties).0.num_streams, 3);
    properties.set_from("--num.streams", "num.streams", "4");
    assert_eq!(build(&properties).0.num_streams, 4);

    let mut properties = flat(&format!("{SERVERS}num.streams=2\nlag.interval.ms=100\n"));
    properties.read(Place::FlatFile, "more.properties", b"num.streams=3\nlag.interval.ms=100\n").expect("text");
    let told = problems(&properties);
    assert_eq!(told, ["more.properties:1: num.streams: has another value in mirror.properties:3: keep one of them"]);
}

#[test]
fn of_two_spellings_the_key_itself_counts() {
    let text = format!(
        "{SERVERS}source.socket.timeout.ms=60000\nsource.request.timeout.ms=5000\ntarget.reconnect.backoff.ms=50\n"
    );
    let (config, warnings) = build(&flat(&text));
    assert_eq!(config.source.request_timeout, Duration::from_secs(5));
    assert_eq!(config.target.retry_backoff, Duration::from_millis(50));
    let what = "mirror.properties:3: source.socket.timeout.ms: has no effect: source.request.timeout.ms in mirror.properties:4 decides";
    assert_eq!(warnings, [what]);
    let mut properties = clients("bootstrap.servers=a:1\nisolation.level=read_committed", "bootstrap.servers=b:1");
    properties.read(Place::FlatFile, "mirror.properties", b"isolation.level=read_uncommitted").expect("text");
    let what = "mirror.properties:1: isolation.level: has another value in consumer.properties:2: keep one of them";
    assert_eq!(problems(&properties), [what]);
    // The same file for both clients: the consumer's group and isolation level count.
    let (config, warnings) = build(&clients("bootstrap.servers=a:1\ngroup.id=x", "bootstrap.servers=b:1\ngroup.id=y"));
    assert_eq!((config.name.as_deref(), warnings.len()), (Some("x"), 1));
    let (config, _) =
        build(&flat(&format!("{SERVERS}source.isolation.level=read_uncommitted\ntarget.buffer.memory=2097152\n")));
    assert_eq!((config.isolation_level, config.buffer_memory), (IsolationLevel::ReadUncommitted, 2 << 20));
}

#[test]
fn what_does_not_go_together_is_told() {
    assert!(problem("source.fetch.max.wait.ms=30000").contains("shorter than source.request.timeout.ms"));
    assert!(problem("topics=").contains("selects nothing"));
    assert!(problem("topics=__consumer_offsets, a").contains("'__consumer_offsets'"));
    assert!(problem("name=a b").contains("letters"));
    assert!(problem("source.client.id=${env:ID}").contains("does not resolve"));
    assert!(problem("topic.configs.override=retention.ms").contains("key=value"));
    assert!(
        problems(&flat("source.bootstrap.servers=a:1,b:1\ntarget.bootstrap.servers=b:1,a:1"))[0].contains("to itself")
    );
    for servers in ["a:x", "a:0", "a b:1", ":1", "user:pass@a:1", "a:1:2"] {
        let told = problems(&flat(&format!("source.bootstrap.servers={servers}\ntarget.bootstrap.servers=b:1\n")));
        assert!(told.len() == 1 && told[0].contains("host:port") && !told[0].contains("pass"), "{told:?}");
    }
    let (config, warnings) = build(&flat(&format!("{SERVERS}source.retry.backoff.ms=5000\n")));
    assert_eq!((config.source.retry_backoff_max, warnings.len()), (Duration::from_secs(5), 0));
    let text = format!("{SERVERS}source.retry.backoff.ms=5000\nsource.retry.backoff.max.ms=2000\n");
    let (config, warnings) = build(&flat(&text));
    assert_eq!((config.source.retry_backoff, warnings.len()), (Duration::from_secs(2), 1));
}

#[test]
fn a_file_that_cannot_be_read_says_so() {
    let mut properties = Properties::new();
    let error = properties.load_file("/nowhere/mirror.properties").expect_err("no such file");
    assert!(error.message().starts_with("/nowhere/mirror.properties: cannot be read: "), "{error}");
    let folder = tempfile::tempdir().expect("a folder");
    assert!(properties.load_file(folder.path()).is_err());
    let path = folder.path().join("large.properties");
    std::fs::write(&path, vec![b'#'; 2 << 20]).expect("written");
    assert!(properties.load_file(&path).expect_err("too large").message().contains("1 MiB"));
    std::fs::write(&path, "bootstrap.servers=a:1").expect("written");
    properties.load_client_file(Side::Source, &path).expect("read").set("target.bootstrap.servers", "b:1");
    assert_eq!(build(&properties).0.source.bootstrap_servers, ["a:1"]);
}

/// A file full of secrets: under their keys, under misspelt ones, on the wrong side, and torn to pieces.
#[test]
fn no_secret_is_ever_told() {
    const CANARY: &str = "CanaryHunter2";
    let pem = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\nCanaryHunter2x3VvO\n";
    let secrets = "sasl.jaas.config=P required password=\"{C}\";\nsasl.password={C}\nsasl.pasword={C}\nssl.key.password={C}\n\
        ssl.keystore.key=-----BEGIN PRIVATE KEY-----\n{P}-----END PRIVATE KEY-----\nssl.key.pem=\\u00{C}\nmy.secret={C}\n\
        sasl.password={C}\nkeystore.pasword={C}\n{C}\n{C}={C}\n";
    let secrets = secrets.replace("{P}", pem).replace("{C}", CANARY);
    for protocol in ["", "security.protocol=SASL_SSL\n", "security.protocol=PLAINTEXT\n"] {
        let client = format!("bootstrap.servers=u:{CANARY}@a:1\n{protocol}{secrets}");
        let mut properties = clients(&client, &client);
        properties.read(Place::FlatFile, "mirror.properties", secrets.as_bytes()).expect("text");
        properties.set_from("--set", "source.sasl.password", CANARY).set("x.token", CANARY);
        let error = properties.build().expect_err("many problems");
        let told = format!("{error} {error:?} {properties:?}");
        assert!(!told.contains(CANARY) && !told.contains("MIIE"), "{told}");
        assert!(told.contains("mirror.properties") && told.contains("(not shown)"));
    }
    let client =
        format!("bootstrap.servers=a:1\nsecurity.protocol=PLAINTEXT\nsasl.password={CANARY}\nssl.key.pem={CANARY}\n");
    let (config, warnings) = clients(&client, &client.replace("a:1", "b:1")).build().expect("works");
    let told = format!("{config:?} {:?} {warnings:?} {:?}", config.source, config.entries().collect::<Vec<_>>());
    assert!(!told.contains(CANARY), "{told}");
    assert_eq!(config.get("source.sasl.password"), None);
    assert!(is_secret("source.sasl.password") && is_secret("any.token") && !markdown().contains("[hidden]"));
}

/// The keys and defaults that the project promises.
#[test]
fn every_promised_property_is_there() {
    let promised = [
        ("name", None),
        ("topics", Some(".*")),
        ("topics.exclude", Some(r".*[\-\.]internal, .*\.replica, __.*")),
        ("groups", Some(".*")),
        ("groups.exclude", Some("console-consumer-.*, connect-.*, __.*")),
        ("offsets", Some("preserve")),
        ("start", Some("earliest")),
        ("isolation.level", Some("read_committed")),
        ("num.streams", Some("1")),
        ("buffer.memory", Some("33554432")),
        ("replication.factor", Some("source")),
        ("replication.policy", Some("identity")),
        ("replication.policy.separator", Some(".")),
        ("source.cluster.alias", None),
        ("target.cluster.alias", None),
        ("sync.topic.configs", Some("true")),
        ("sync.group.offsets", Some("true")),
        ("sync.topic.acls", Some("false")),
        ("topic.acls.downgrade", Some("none")),
        ("refresh.interval.ms", Some("5000")),
        ("topic.configs.override", Some("")),
        ("throttle.bytes.per.second", Some("none")),
        ("on.data.loss", Some("fail")),
        ("on.topic.reset", Some("fail")),
        ("on.target.conflict", Some("fail")),
        ("on.record.refused", Some("fail")),
        ("lag.interval.ms", Some("1000")),
        ("lag.threshold.records", Some("none")),
        ("lag.threshold.ms", Some("none")),
        ("http.listen", Some("none")),
    ];
    for (key, default) in promised {
        let property = table().find(|property| property.key == key);
        assert_eq!(
            property.map(|property| (property.scope, property.default)),
            Some((Scope::Mirror, default)),
            "{key}"
        );
    }
}

#[test]
fn the_table_is_readable_as_json() {
    let streams = table().find(|property| property.key == "num.streams").expect("a row");
    let json = serde_json::to_value(streams).expect("JSON");
    let expected = serde_json::json!({
        "key": "num.streams",
        "scope": "mirror",
        "kind": {"integer": {"min": 1, "max": 64}},
        "default": "1",
        "unit": "threads",
        "meaning": streams.meaning,
        "aliases": [],
        "secret": false,
        "availability": "now",
    });
    assert_eq!(json, expected);
}

#[test]
fn no_bytes_make_it_panic() {
    let parts = [
        "source.",
        "topics",
        "name",
        "=",
        ":",
        " ",
        "\\",
        "\n",
        "\\u00",
        "\u{e9}",
        "->",
        "[",
        "(",
        "{1,",
        "*",
        ",",
        "9",
        "'",
        "é\u{1f600}",
    ];
    // A fixed sequence, so that a failure comes back.
    let mut state = 1_u64;
    let mut next = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap_or_default() % bound
    };
    for _ in 0..150 {
        let mut text: Vec<u8> = (0..next(20)).flat_map(|_| parts[next(parts.len())].bytes()).collect();
        text.extend((0..next(3)).map(|_| u8::try_from(next(256)).unwrap_or_default()));
        for place in [Place::FlatFile, Place::ClientFile(Side::Target)] {
            let mut properties = Properties::new();
            if properties.read(place, "x", &text).is_ok() {
                drop(properties.build());
            }
        }
        let value = String::from_utf8_lossy(&text).into_owned();
        for property in table() {
            drop(property.check(&value));
        }
        drop(TopicSelection::new(&value, &value));
    }
}
