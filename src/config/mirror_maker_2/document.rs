//! Writes the page of the manual about files of MirrorMaker 2, from the table of its keys.
//! The page is committed, and a test compares it with what is written here.

use std::fmt::Write as _;

use super::keys::{KEYS, Key, OF_WORKERS, Reading, Verdict};

const HEAD: &str = "\
Files of MirrorMaker 2.

Generated from the table in `src/config/mirror_maker_2/keys.rs`; to change this page, change the table and run
`KMIRROR_BLESS=1 cargo test mirror_maker_2_doc`.

`kmirror run --config mm2.properties` runs every flow that the file enables, in one process; `--flow 'a->b'` picks some of them.
A flow whose cluster cannot be reached at the start is named in the log and started again, as long as another flow runs; how it ended
counts in the exit code.
`plan` and `verify` take the same file. Of several lines the one closest to the flow counts, as in MirrorMaker 2:

| written as | holds for |
| --- | --- |
| `topics` | all flows |
| `a->b.topics` | the flow from a to b; counts before `topics` |
| `a.bootstrap.servers`, `a.security.protocol`, … | the clients of cluster a |
| `a.consumer.fetch.max.bytes` | the client that reads from a; counts before `a.fetch.max.bytes` |
| `b.producer.max.request.size` | the client that writes to b; counts before `b.max.request.size` |
| `a.admin.request.timeout.ms` | the client of a, where nothing else is said: kmirror has one client for each side |
| `a->b.consumer.…`, `a->b.producer.…`, `a->b.source.consumer.…`, `a->b.target.producer.…`, `a->b.source.cluster.…`, … | the clients of that flow |
| `bootstrap.servers`, `security.protocol`, `ssl.…`, `sasl.…` | the clients of all clusters |

`consumer.auto.offset.reset` is `start`, `consumer.isolation.level` is `isolation.level`. kmirror's own properties of a whole mirror
may stand in such a file too, alone or behind `a->b.`: `num.streams=4`. An unknown key is an error.

Defaults are MirrorMaker 2's where it has keys of its own. Where it leaves a default to Kafka's clients, it is kmirror's: above all
`isolation.level` is `read_committed`, so that what a producer has aborted does not become a record on the target. What it
never mirrors is not mirrored here either: internal topics, and with DefaultReplicationPolicy topics that came from the
target, also by way of other clusters. With IdentityReplicationPolicy heartbeats alone get the alias of their source, as there.
Heartbeats, checkpoints and offset syncs, which MirrorMaker 2 writes unless it is told not to, are written on request: only if the file says
`emit.heartbeats.enabled = true` and so on. With the same offsets on both sides nobody needs them but tools that are built on
MirrorMaker 2's client, such as `RemoteClusterUtils`; and heartbeats and offset syncs are written to the source, too. The topics and
records are MirrorMaker 2's, with these differences: a checkpoint is exact, as there is no gap between offset syncs, so its offset is the group's own or, where less is
replicated, what is (with `offsets=translate` what belongs to that on the target); offset syncs are written of a partition's newest record, with a refresh and not for every hundredth record.
The time in a heartbeat, and of these records, is the clock of the machine that kmirror runs on, as MirrorMaker 2's is that of its worker; MirrorMaker 2's
client reads neither, so a wrong clock matters only to monitoring that compares them, and to brokers that refuse times which are too far ahead.
A flow's mirror is called `<source alias>-to-<target alias>`, unless `a->b.name` is set; that is its identity on the target.
";

/// The page of the manual: what each key of MirrorMaker 2 is here.
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    page.push_str(
        "\n# Keys that have a meaning\n\n| key | default | property of kmirror | note |\n| --- | --- | --- | --- |\n",
    );
    for row in KEYS {
        let (to, note) = match row.verdict {
            Verdict::Flows(what) => (String::new(), what.to_owned()),
            Verdict::Property(to, reading, note) if row.keys.contains(&to) && reading == Reading::Same => {
                ("the same".to_owned(), note.to_owned())
            }
            Verdict::Property(to, Reading::Seconds, note) => (format!("`{to}`, in milliseconds"), note.to_owned()),
            Verdict::Property(to, _, note) => (format!("`{to}`"), note.to_owned()),
            Verdict::OnRequest(note) => {
                ("the same".to_owned(), format!("Only if it is written: MirrorMaker 2 takes true. {note}"))
            }
            Verdict::Idle(..) | Verdict::Only(..) => continue,
        };
        let default = row.default.or(matches!(row.verdict, Verdict::OnRequest(_)).then_some("false"));
        let default = default.map(|default| format!("`{default}`")).unwrap_or_default();
        let _ = writeln!(page, "| {} | {} | {to} | {} |", keys(row), escape(&default), escape(&note));
    }
    page.push_str("\n# Keys of which only some values can be done\n\nOther values are an error.\n\n| keys | values | why |\n| --- | --- | --- |\n");
    for row in KEYS {
        if let Verdict::Only(values, why) = row.verdict {
            let values: Vec<_> = values
                .iter()
                .map(|value| if value.is_empty() { "nothing".to_owned() } else { format!("`{value}`") })
                .collect();
            let _ = writeln!(page, "| {} | {} | {} |", keys(row), values.join(", "), escape(why));
        }
    }
    page.push_str(
        "\n# Keys without effect\n\nEach gives a warning with the reason.\n\n| keys | why |\n| --- | --- |\n",
    );
    for row in KEYS {
        if let Verdict::Idle(why, _) = row.verdict {
            let mut keys = keys(row);
            if row.keys.contains(&"group.id") {
                let beginnings = OF_WORKERS.iter().map(|beginning| format!(", `{beginning}…`"));
                keys.extend(beginnings);
            }
            let _ = writeln!(page, "| {keys} | {} |", escape(why));
        }
    }
    page
}

fn keys(row: &Key) -> String {
    row.keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

/// Keeps a text from ending its column or being read as a tag.
fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}
