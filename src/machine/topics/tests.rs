//! What is done about topics, row by row: what either cluster says of one, and what the mirror knew of it before.
//! Each row is what somebody would see who runs `kmirror plan`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::config::Properties;

const UNKNOWN: i16 = 3;
const DENIED: i16 = 29;
const NO_LEADER: i16 = 5;

fn config(lines: &[(&str, &str)]) -> Config {
    let mut properties = Properties::new();
    for (key, value) in [("source.bootstrap.servers", "a:1"), ("target.bootstrap.servers", "b:1")].iter().chain(lines) {
        properties.set(*key, *value);
    }
    properties.build().unwrap().0
}

fn topic(id: u128, partitions: usize) -> TopicMetadata {
    TopicMetadata { id, leaders: vec![1; partitions], replication_factor: 3, ..TopicMetadata::default() }
}

fn broken(error_code: i16) -> TopicMetadata {
    TopicMetadata { error_code, ..TopicMetadata::default() }
}

fn cluster(topic: Option<TopicMetadata>) -> Metadata {
    let topics = topic.into_iter().map(|topic| ("t".to_owned(), topic)).collect();
    Metadata { broker_count: 2, topics, ..Metadata::default() }
}

/// What was known of the topic: by this process, or by one before it.
#[derive(Clone, Copy)]
enum Before {
    Nothing,
    Mirrored(TopicIds, usize),
    /// And the target held what somebody else has written.
    Mixed(TopicIds, usize),
    Remembered(TopicIds),
}

fn lives(before: Before) -> Lives {
    let mut lives = Lives::restored(BTreeMap::new(), BTreeMap::from([("t".to_owned(), IDS.target)]));
    match before {
        Before::Nothing => lives = Lives::default(),
        Before::Mirrored(ids, partitions) => lives.handle_mirrored("t", ids, partitions),
        Before::Mixed(ids, partitions) => {
            lives.handle_mirrored("t", ids, partitions);
            lives.handle_other_writer("t");
        }
        Before::Remembered(ids) => lives.handle_remembered("t", ids),
    }
    lives
}

fn plan(source: &Metadata, target: &Metadata, lives: &mut Lives, config: &Config) -> BTreeMap<String, Action> {
    lives.look(source, target, &Default::default(), config)
}

/// What the first look says that says something, of so many that show what is lost for good.
fn decide(source: Option<TopicMetadata>, target: Option<TopicMetadata>, before: Before, config: &Config) -> String {
    let mut lives = lives(before);
    for _ in 0..3 {
        let said = said(&source, &target, &mut lives, config);
        if said != "nothing" {
            return said;
        }
    }
    "nothing".to_owned()
}

fn said(source: &Option<TopicMetadata>, target: &Option<TopicMetadata>, lives: &mut Lives, config: &Config) -> String {
    let mut actions = plan(&cluster(source.clone()), &cluster(target.clone()), lives, config);
    let action = actions.remove("t");
    assert!(actions.is_empty());
    match action {
        None => "nothing".to_owned(),
        Some(Action::Create { partitions, replication_factor, clamped_from }) => {
            format!("create {partitions} x {replication_factor} of {clamped_from:?}")
        }
        Some(Action::Grow { partitions }) => format!("grow to {partitions}"),
        Some(Action::Mirror { from, to, ids }) => format!("mirror {from}..{to} {}/{}", ids.source, ids.target),
        Some(Action::Refuse(error)) => format!("refuse {}", error.kind().name()),
        Some(Action::Park(error)) => format!("park {}", error.kind().name()),
        Some(Action::LetGo(error)) => format!("let go {}", error.kind().name()),
        Some(Action::Delete { id, error }) => format!("delete {id} {}", error.kind().name()),
        Some(Action::Gone(error)) => format!("gone {}", error.kind().name()),
        Some(Action::Resume) => "resume".to_owned(),
        Some(Action::Forget { .. }) => "forget".to_owned(),
    }
}

const IDS: TopicIds = TopicIds { source: 1, target: 2 };

#[test]
fn a_topic_is_created_grows_and_is_mirrored() {
    use Before::*;
    let config = config(&[]);
    for (source, target, before, expected) in [
        (Some(topic(1, 4)), None, Nothing, "create 4 x 2 of Some(3)"),
        (Some(topic(1, 4)), Some(broken(UNKNOWN)), Nothing, "create 4 x 2 of Some(3)"),
        (Some(topic(1, 4)), Some(topic(2, 4)), Nothing, "mirror 0..4 1/2"),
        (Some(topic(1, 4)), Some(topic(2, 9)), Nothing, "mirror 0..4 1/2"),
        (Some(topic(1, 4)), Some(topic(2, 4)), Mirrored(IDS, 4), "nothing"),
        (Some(topic(1, 6)), Some(topic(2, 4)), Mirrored(IDS, 4), "grow to 6"),
        (Some(topic(1, 6)), Some(topic(2, 6)), Mirrored(IDS, 4), "mirror 4..6 1/2"),
        // One that grew while no mirror ran, and one that is somebody else's.
        (Some(topic(1, 6)), Some(topic(2, 4)), Remembered(IDS), "grow to 6"),
        (Some(topic(1, 6)), Some(topic(2, 4)), Nothing, "refuse topic"),
        (Some(topic(1, 6)), Some(topic(7, 4)), Remembered(IDS), "refuse topic"),
        (Some(topic(0, 6)), Some(topic(0, 4)), Remembered(TopicIds { source: 0, target: 0 }), "refuse topic"),
        (Some(topic(1, 4)), Some(topic(2, 4)), Remembered(IDS), "mirror 0..4 1/2"),
        (None, Some(topic(2, 4)), Nothing, "nothing"),
    ] {
        let case = format!("{source:?} {target:?}");
        assert_eq!(decide(source, target, before, &config), expected, "{case}");
    }
}

#[test]
fn a_topic_that_is_not_the_one_it_was_stops() {
    use Before::*;
    let fail = config(&[]);
    for (source, target, before, expected) in [
        (Some(topic(9, 4)), Some(topic(2, 4)), Mirrored(IDS, 4), "park topic_reset"),
        (Some(topic(9, 4)), Some(topic(2, 4)), Remembered(IDS), "refuse topic_reset"),
        // Its copy was deleted to start anew.
        (Some(topic(9, 4)), None, Remembered(IDS), "create 4 x 2 of Some(3)"),
        (Some(topic(9, 4)), None, Mirrored(IDS, 4), "let go topic_reset"),
        (Some(topic(9, 4)), Some(topic(8, 4)), Mirrored(IDS, 4), "let go topic_reset"),
        (Some(topic(9, 4)), Some(topic(8, 4)), Remembered(IDS), "mirror 0..4 9/8"),
        (Some(topic(1, 4)), Some(topic(8, 4)), Mirrored(IDS, 4), "park target_conflict"),
        (Some(topic(1, 4)), None, Mirrored(IDS, 4), "gone target_conflict"),
        (None, Some(topic(2, 4)), Mirrored(IDS, 4), "gone topic"),
        // What somebody else had written is gone with the topic.
        (Some(topic(1, 4)), Some(topic(2, 4)), Mixed(IDS, 4), "nothing"),
        (Some(topic(1, 4)), Some(topic(8, 4)), Mixed(IDS, 4), "let go target_conflict"),
        (Some(topic(1, 4)), None, Mixed(IDS, 4), "let go target_conflict"),
        // Clusters without ids tell nothing.
        (Some(topic(0, 4)), Some(topic(0, 4)), Mirrored(IDS, 4), "nothing"),
        (Some(topic(9, 4)), Some(topic(2, 4)), Mirrored(TopicIds { source: 0, target: 0 }, 4), "nothing"),
    ] {
        let case = format!("{source:?} {target:?}");
        assert_eq!(decide(source, target, before, &fail), expected, "{case}");
    }
    let recreate = config(&[("on.topic.reset", "recreate-target")]);
    for before in [Mirrored(IDS, 4), Remembered(IDS)] {
        let [source, target] = [Some(topic(9, 4)), Some(topic(2, 4))];
        let mut lives = lives(before);
        assert_eq!(said(&source, &target, &mut lives, &recreate), "let go topic_reset");
        // Gone again for a while: nothing is forgotten meanwhile.
        assert_eq!(said(&None, &target, &mut lives, &recreate), "nothing");
        assert_eq!(said(&source, &target, &mut lives, &recreate), "delete 2 topic_reset");
        lives.handle_deleted("t", 2);
        // A broker shows the copy for a little longer.
        assert_eq!(said(&source, &target, &mut lives, &recreate), "create 4 x 2 of Some(3)");
        assert_eq!(said(&source, &Some(topic(3, 4)), &mut lives, &recreate), "mirror 0..4 9/3");
    }
    // What the mirror has not created, or others have written to, is not deleted.
    let mut foreign = Lives::default();
    foreign.handle_mirrored("t", IDS, 4);
    let mut mixed = lives(Mixed(IDS, 4));
    for lives in [&mut foreign, &mut mixed] {
        let [source, target] = [Some(topic(9, 4)), Some(topic(2, 4))];
        assert_eq!(said(&source, &target, lives, &recreate), "park topic_reset");
        assert_eq!(said(&source, &target, lives, &recreate), "nothing", "it is told once");
        // Somebody has deleted it, as the sentence says.
        assert_eq!(said(&source, &None, lives, &recreate), "let go topic_reset");
        assert_eq!(said(&source, &None, lives, &recreate), "forget");
        assert_eq!(said(&source, &None, lives, &recreate), "create 4 x 2 of Some(3)");
    }
    let no_ids = TopicIds { source: 1, target: 0 };
    assert_eq!(decide(Some(topic(9, 4)), Some(topic(0, 4)), Mirrored(no_ids, 4), &recreate), "park topic_reset");
}

#[test]
fn what_a_cluster_does_not_describe_is_refused_or_waited_for() {
    let config = config(&[]);
    for (source, target, expected) in [
        (broken(DENIED), None, "refuse authorization"),
        (broken(NO_LEADER), None, "nothing"),
        (topic(1, 4), Some(broken(DENIED)), "refuse topic"),
        (topic(1, 4), Some(broken(NO_LEADER)), "nothing"),
    ] {
        let case = format!("{source:?} {target:?}");
        assert_eq!(decide(Some(source), target, Before::Nothing, &config), expected, "{case}");
    }
}

#[test]
fn replicas_are_those_of_the_source_or_as_asked_for_but_no_more_than_brokers() {
    for (wanted, expected) in
        [("source", "2 of Some(3)"), ("1", "1 of None"), ("2", "2 of None"), ("5", "2 of Some(5)")]
    {
        let config = config(&[("replication.factor", wanted)]);
        assert_eq!(
            decide(Some(topic(1, 4)), None, Before::Nothing, &config),
            format!("create 4 x {expected}"),
            "{wanted}"
        );
    }
}

#[test]
fn only_what_is_selected_is_mirrored_under_its_name_on_the_target() {
    let internal = TopicMetadata { is_internal: true, ..topic(1, 4) };
    assert_eq!(decide(Some(internal), None, Before::Nothing, &config(&[])), "nothing");
    assert_eq!(decide(Some(topic(1, 4)), None, Before::Nothing, &config(&[("topics", "u")])), "nothing");
    let renaming = config(&[("replication.policy", "default"), ("source.cluster.alias", "a")]);
    // A topic of the same name there is another one.
    assert_eq!(decide(Some(topic(1, 4)), Some(topic(2, 4)), Before::Nothing, &renaming), "create 4 x 2 of Some(3)");
    let there = Metadata { topics: BTreeMap::from([("a.t".to_owned(), topic(2, 4))]), ..cluster(None) };
    let actions = plan(&cluster(Some(topic(1, 4))), &there, &mut Lives::default(), &renaming);
    assert!(matches!(actions["t"], Action::Mirror { from: 0, to: 4, ids: IDS }), "{actions:?}");
}

#[test]
fn names_are_mapped_there_and_back() {
    let renaming = config(&[("replication.policy", "default"), ("source.cluster.alias", "a"), ("topics.exclude", "u")]);
    let mut source = cluster(Some(topic(1, 4)));
    source.topics.insert("u".to_owned(), topic(3, 1));
    assert_eq!(selected(&renaming, &source), ["t"]);
    let topics = ["t", "u"].map(str::to_owned);
    assert_eq!(names_on_target(&renaming, &topics), ["a.t", "a.u"]);
    let answers = BTreeMap::from([("a.t".to_owned(), 1), ("u".to_owned(), 2)]);
    assert_eq!(under_source_names(&renaming, &topics, answers), BTreeMap::from([("t".to_owned(), 1)]));
}

#[test]
fn a_topic_that_stays_away_is_stopped_then_dropped_and_is_what_it_was_when_it_comes_back() {
    let config = config(&[]);
    let [source, target] = [Some(topic(1, 4)), Some(topic(2, 4))];
    let mut lives = lives(Before::Mirrored(IDS, 4));
    lives.handle_remembered("t", IDS);
    let away = |looks: usize, lives: &mut Lives| -> Vec<String> {
        (0..looks).map(|_| said(&None, &None, lives, &config)).filter(|said| said != "nothing").collect()
    };
    assert_eq!(away(2, &mut lives), [""; 0], "a broker that has just started shows less for a moment");
    assert_eq!(said(&source, &target, &mut lives, &config), "nothing");
    assert_eq!(away(5, &mut lives), ["gone topic"]);
    assert!(lives.is_stopped("t"));
    assert_eq!(said(&source, &target, &mut lives, &config), "resume");
    assert_eq!(away(30, &mut lives), ["gone topic", "forget"]);
    assert_eq!(lives.count(), 0, "nothing is kept of it but its ids");
    assert_eq!(said(&source, &target, &mut lives, &config), "mirror 0..4 1/2");
    lives.handle_mirrored("t", IDS, 4);
    assert_eq!(away(30, &mut lives).len(), 2);
    assert_eq!(said(&Some(topic(9, 4)), &target, &mut lives, &config), "refuse topic_reset", "it was another one");
}

#[test]
fn a_broker_that_shows_what_was_is_not_believed_while_another_shows_what_is_known() {
    let config = config(&[("on.topic.reset", "recreate-target")]);
    let lives = lives(Before::Mirrored(IDS, 4));
    let view = |id| cluster(Some(topic(id, 4)));
    assert!(lives.suspicious(&view(1), &view(2), &config).is_empty());
    let suspicious = lives.suspicious(&view(9), &view(2), &config);
    assert_eq!(suspicious.iter().collect::<Vec<_>>(), ["t"]);
    let in_doubt = |sources: &[Metadata]| !lives.in_doubt(&suspicious, sources, &[view(2)], &config).is_empty();
    assert!(in_doubt(&[view(9), view(1)]));
    assert!(!in_doubt(&[view(9), view(9)]));
    assert!(!in_doubt(&[view(9), cluster(None)]), "one that shows nothing contradicts nobody");
}
