//! Reads the forms in which people have MirrorMaker 2's settings beside its own file: the configuration of its connector in Kafka Connect, as
//! JSON for the REST interface or as properties.
//!
//! A connector is one flow, whose keys stand without `a->b.` before them. They get it here; what they mean is decided as for
//! any other file of MirrorMaker 2.

use serde_json::{Map, Value};

use super::files::{BadLine, Line};
use super::resolve::is_of_mirror_maker_2;

pub(super) type Lines = Vec<Result<Line, BadLine>>;

const CLASS: &str = "connector.class";
const NOT_JSON: &str = "it begins as JSON does, and is none: a brace, a quote or a comma is missing or too much";
const SEVERAL: &str = "it holds a list: give the configuration of one MirrorSourceConnector in a file of its own";
const BESIDE: &str = "it is the configuration of a connector that works beside MirrorSourceConnector: give that one's, and set in it \
     sync.group.offsets.enabled=true, emit.checkpoints.enabled=true or emit.heartbeats.enabled=true as you want them";
const OTHER: &str = "it is the configuration of a connector that is not MirrorMaker 2's MirrorSourceConnector: only that can be mirrored";
const RESOURCE: &str = "it is a Kubernetes resource: write its clusters and mirrors as a file of MirrorMaker 2 (clusters=a,b; \
     a.bootstrap.servers=…; a->b.enabled=true; the keys below 'config' behind a->b.)";

/// Whether it is JSON; no file of properties begins so.
pub(super) fn is_json(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    matches!(bytes.iter().find(|byte| !byte.is_ascii_whitespace()), Some(b'{' | b'['))
        && std::str::from_utf8(bytes).is_ok_and(|text| text.contains('"') || text.trim().len() <= 2)
}

/// The settings of a JSON object, or of its `config`.
pub(super) fn of_json(bytes: &[u8]) -> Result<Lines, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| NOT_JSON)?.trim_start_matches('\u{feff}');
    let object = match serde_json::from_str(text).map_err(|_| NOT_JSON)? {
        Value::Object(object) => object,
        Value::Array(_) => return Err(SEVERAL),
        _ => return Err(NOT_JSON),
    };
    let settings = match object.get("config") {
        Some(Value::Object(config)) => {
            let mut settings = config.clone();
            if let (Some(name), None) = (object.get("name"), config.get("name")) {
                settings.insert("name".to_owned(), name.clone());
            }
            settings
        }
        _ => object,
    };
    Ok(lines_of(settings, text))
}

fn lines_of(settings: Map<String, Value>, text: &str) -> Lines {
    let line = |(key, value): (String, Value)| {
        let quoted = Value::String(key.clone()).to_string();
        let before = text.find(&quoted).map_or("", |at| &text[..at]);
        let number = 1 + before.matches('\n').count();
        match value {
            Value::Null => None,
            Value::String(value) => Some(Ok(Line { number, key, value })),
            Value::Number(value) => Some(Ok(Line { number, key, value: value.to_string() })),
            Value::Bool(value) => Some(Ok(Line { number, key, value: value.to_string() })),
            Value::Array(_) | Value::Object(_) => {
                Some(Err(BadLine { number, what: "a setting takes a text, a number, true or false" }))
            }
        }
    };
    let mut lines: Lines = settings.into_iter().filter_map(line).collect();
    lines.sort_by_key(|line| line.as_ref().map_or_else(|bad| bad.number, |line| line.number));
    lines
}

/// The lines as a file of MirrorMaker 2 has them, if they are those of its connector.
pub(super) fn as_flow(lines: Lines) -> Result<Lines, &'static str> {
    let value_of =
        |key: &str| lines.iter().flatten().find(|line| line.key == key).map(|line| line.value.trim().to_owned());
    let is_resource =
        value_of("apiVersion").is_some() || value_of("kind").is_some_and(|kind| kind.starts_with("Kafka"));
    if is_resource {
        return Err(RESOURCE);
    }
    if lines.iter().flatten().any(|line| is_of_mirror_maker_2(&line.key)) {
        return Ok(lines);
    }
    let Some(class) = value_of(CLASS) else { return Ok(lines) };
    match class.rsplit('.').next().unwrap_or_default() {
        "MirrorSourceConnector" => {}
        "MirrorCheckpointConnector" | "MirrorHeartbeatConnector" => return Err(BESIDE),
        _ => return Err(OTHER),
    }
    // MirrorMaker 2's defaults of both.
    let alias = |side: &str| value_of(&format!("{side}.cluster.alias")).filter(|alias| !alias.is_empty());
    let source = alias("source").unwrap_or_else(|| "source".to_owned());
    let target = alias("target").unwrap_or_else(|| "target".to_owned());
    let at = lines.iter().flatten().find(|line| line.key == CLASS).map_or(1, |line| line.number);
    let said = |key: String, value: String| Ok(Line { number: at, key, value });
    let flow = format!("{source}->{target}");
    let in_flow = |line: Result<Line, BadLine>| line.map(|line| Line { key: format!("{flow}.{}", line.key), ..line });
    let head = [
        said("clusters".to_owned(), format!("{source}, {target}")),
        said(format!("{flow}.enabled"), "true".to_owned()),
    ];
    Ok(head.into_iter().chain(lines.into_iter().map(in_flow)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::collect::Place;
    use super::super::{Config, Properties, ReplicationFactor, ReplicationPolicy};

    const AS_PROPERTIES: &str = "name=mm2-msc\n\
        connector.class=org.apache.kafka.connect.mirror.MirrorSourceConnector\n\
        source.cluster.alias=east\ntarget.cluster.alias=west\n\
        source.cluster.bootstrap.servers=e:9092\ntarget.cluster.bootstrap.servers=w:9092\n\
        topics=orders,payments\ntasks.max=4\nreplication.factor=-1\nsource.consumer.fetch.max.bytes=1000000\n\
        producer.override.max.request.size=500000\n\
        replication.policy.class=org.apache.kafka.connect.mirror.IdentityReplicationPolicy\n\
        key.converter=org.apache.kafka.connect.converters.ByteArrayConverter\nsync.topic.acls.enabled=false\n";

    fn as_json() -> String {
        let pair = |line: &str| line.split_once('=').map(|(key, value)| format!("    \"{key}\": \"{value}\""));
        let pairs: Vec<String> = AS_PROPERTIES.lines().skip(1).filter_map(pair).collect();
        format!("{{\n  \"name\": \"mm2-msc\",\n  \"config\": {{\n{}\n  }}\n}}\n", pairs.join(",\n"))
    }

    fn read(text: &str) -> Result<Properties, &'static str> {
        let mut properties = Properties::new();
        properties.read(Place::FlatFile, "mm2.json", text.as_bytes()).map(|_| ())?;
        Ok(properties)
    }

    fn is_as_written(config: &Config) {
        assert_eq!(config.name.as_deref(), Some("mm2-msc"));
        assert_eq!(
            (config.source.bootstrap_servers[0].as_str(), config.target.bootstrap_servers[0].as_str()),
            ("e:9092", "w:9092")
        );
        assert!(config.mirrors("orders") && config.mirrors("payments") && !config.mirrors("others"));
        assert_eq!(config.replication_factor, ReplicationFactor::TargetDefault);
        assert_eq!(config.names.policy, ReplicationPolicy::Identity);
        assert_eq!((config.target.max_request_size, config.sync_topic_acls), (500_000, false));
    }

    #[test]
    fn a_connector_is_read_as_json_and_as_properties() {
        for text in [AS_PROPERTIES.to_owned(), as_json()] {
            let mirrors = read(&text).expect("it is read").mirrors().map_err(|error| format!("{text}\n{error}"));
            let mirrors = mirrors.expect("a good configuration");
            assert_eq!(mirrors.len(), 1);
            is_as_written(&mirrors[0].0);
        }
        let flat = format!(
            "{{{}}}",
            r#""source.bootstrap.servers": "a:1", "target.bootstrap.servers": "b:1", "num.streams": 3"#
        );
        assert_eq!(read(&flat).expect("it is read").build().expect("a good one").0.num_streams, 3);
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        let text =
            as_json().replace("\"orders,payments\"", "[\"orders\"]").replace("\"4\"", "\"4\",\n    \"topix\": 1");
        let error = read(&text).expect("it is read").build().expect_err("two mistakes");
        let (message, at) =
            (error.message(), |what: &str| 1 + text[..text.find(what).unwrap_or(0)].matches('\n').count());
        assert!(message.contains(&format!("mm2.json:{}", at("\"topix\""))) && message.contains("topix"), "{message}");
        assert!(message.contains(&format!("mm2.json:{}", at("\"topics\""))) && message.contains("a text"), "{message}");
    }

    #[test]
    fn what_is_another_form_is_one_sentence() {
        let connector =
            |class: &str| read(&AS_PROPERTIES.replace("MirrorSourceConnector", class)).err().unwrap_or_default();
        assert!(connector("MirrorCheckpointConnector").contains("emit.checkpoints.enabled=true"));
        assert!(connector("MirrorHeartbeatConnector").contains("MirrorSourceConnector"));
        assert!(connector("FileStreamSource").contains("MirrorSourceConnector"));
        assert!(
            read("apiVersion: kafka.strimzi.io/v1beta2\nkind: KafkaMirrorMaker2\n")
                .err()
                .is_some_and(|why| why.contains("clusters="))
        );
        assert!(read("[{\"name\": \"a\"}]").err().is_some_and(|why| why.contains("a list")));
        assert!(read("{\"name\": \"a\",").err().is_some_and(|why| why.contains("JSON")));
    }
}
