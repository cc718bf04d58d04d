//! What a tool does to the target besides writing records, in somebody's own hands: MirrorMaker 2 by a Java class that stands
//! between it and the target, kmirror by a plan that names everything before it is done.

use std::process::Command;

use super::finding::{Finding, Verdict};
use super::tool::{Stage, Tool, write};
use crate::kafka::mirror::grow;
use crate::support::cluster::{Pair, Version};
use crate::support::process::Kmirror;
use crate::support::{Outcome, acls, fail, nursery, tool};

/// Whom the source lets read.
const READER: &str = "User:reader";

/// Says what it is asked to do, and does it.
const ADMIN: &str = r#"
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.config.ConfigResource;

public class TellingAdmin extends ForwardingAdmin {
    public TellingAdmin(Map<String, Object> configs) { super(configs); }
    private static void tell(String what) { System.out.println("TELLING " + what); }
    @Override public CreateTopicsResult createTopics(Collection<NewTopic> topics, CreateTopicsOptions options) {
        for (NewTopic topic : topics) tell("topic " + topic.name());
        return super.createTopics(topics, options);
    }
    @Override public CreatePartitionsResult createPartitions(Map<String, NewPartitions> partitions, CreatePartitionsOptions options) {
        partitions.forEach((topic, wanted) -> tell("partitions " + topic + " " + wanted.totalCount()));
        return super.createPartitions(partitions, options);
    }
    @Override public AlterConfigsResult incrementalAlterConfigs(Map<ConfigResource, Collection<AlterConfigOp>> configs, AlterConfigsOptions options) {
        configs.forEach((resource, changes) -> tell("settings " + resource.name()));
        return super.incrementalAlterConfigs(configs, options);
    }
    @Override public CreateAclsResult createAcls(Collection<AclBinding> acls, CreateAclsOptions options) {
        for (AclBinding acl : acls) tell("acl " + acl.pattern().name() + " " + acl.entry().principal());
        return super.createAcls(acls, options);
    }
}
"#;

pub(super) fn own_class(tool: Tool, _: &Pair) -> Outcome<Finding> {
    let pair = Pair::start(acls::guarded(), acls::guarded())?;
    let mut stage = Stage::new(tool, &pair, "K18")
        .with("sync.topic.acls.enabled", "true")
        .with("sync.topic.acls.interval.seconds", "1");
    let topic = stage.called("orders");
    stage.source().create_topic(&topic, 1, &[("retention.bytes", "1000000")])?;
    write(stage.source(), &topic, 0..1, 10, 18)?;
    // Whoever has no name mirrors: a topic that has an ACL is closed to everybody else.
    let ours = |topic: &str| format!("allow User:ANONYMOUS ALL topic {topic} *");
    acls::create(stage.target(), &[&ours(&stage.copy(&topic))])?;
    acls::create(stage.source(), &[&ours(&topic), &format!("allow {READER} READ topic {topic} *")])?;
    match tool {
        Tool::Kmirror => planned(stage, &topic),
        Tool::MirrorMaker2 => {
            stage.more_classes = Some(compiled()?);
            stage.set("forwarding.admin.class", "TellingAdmin");
            told(&stage, &topic)
        }
    }
}

fn compiled() -> Outcome<std::path::PathBuf> {
    let directory = nursery::directory("admin")?;
    std::fs::write(directory.join("TellingAdmin.java"), ADMIN)?;
    let mut javac = Command::new("javac");
    javac
        .arg("-cp")
        .arg(Version::Latest.jars()?.join("*"))
        .arg("-d")
        .arg(&directory)
        .arg(directory.join("TellingAdmin.java"));
    tool::run(&mut javac, "it is part of the JDK")?;
    Ok(directory)
}

/// One more partition and another setting, while the tool runs.
fn change(stage: &Stage<'_>, topic: &str) -> Outcome {
    grow(stage.source(), topic, 2)?;
    stage.source().client().alter_topic(topic, &[("retention.bytes", "2000000")])
}

fn told(stage: &Stage<'_>, topic: &str) -> Outcome<Finding> {
    let copy = stage.copy(topic);
    let mut running = stage.start()?;
    stage.wait_records(&mut running, stage.target(), &copy, 10)?;
    change(stage, topic)?;
    let acl = format!("acl {copy} {READER}");
    let wanted = [format!("topic {copy}"), format!("partitions {copy} 2"), format!("settings {copy}"), acl];
    let log = running.log_path();
    stage.wait(&mut running, "the class is asked for everything", || {
        let said = std::fs::read_to_string(&log)?;
        Ok(wanted.iter().all(|what| said.contains(&format!("TELLING {what}"))).then_some(()))
    })?;
    stage.wait(&mut running, "there is a second partition", || {
        Ok((stage.target().client().partitions(&copy)?.len() == 2).then_some(()))
    })?;
    let mut finding = Finding::default();
    finding.see(
        Verdict::Kept,
        "a class of one's own is asked for the topic, for the second partition, for the settings and for the ACL",
    );
    Ok(finding)
}

fn planned(stage: Stage<'_>, topic: &str) -> Outcome<Finding> {
    let mut finding = Finding::default();
    let copy = stage.copy(topic);
    let plan = |stage: &Stage<'_>| -> Outcome<serde_json::Value> {
        let file = stage.file()?.display().to_string();
        let mut kmirror = Kmirror::start(["plan", "--config", &file, "--json"])?;
        match kmirror.wait(super::tool::LIMIT)?.code() {
            Some(0) => Ok(serde_json::from_str(&kmirror.stdout())?),
            code => fail(format!("kmirror plan ended with {code:?}:\n{}", kmirror.stderr())),
        }
    };
    let before = plan(&stage)?;
    let untouched = !stage.target().client().topics()?.contains(&copy);
    let planned = before["topics"][0]["target_topic"] == copy.as_str() && before["topics"][0]["action"] == "create";
    let planned = planned && before["acls"].to_string().contains(READER);
    let untouched = untouched && !acls::all(stage.target())?.iter().any(|line| line.contains(READER));
    finding.see(
        if planned && untouched { Verdict::AnotherWay } else { Verdict::NotKept },
        "kmirror plan names the topic and the ACL to be created and creates nothing",
    );
    let mut running = stage.start()?;
    stage.wait_records(&mut running, stage.target(), &copy, 10)?;
    stage.wait(&mut running, "the ACL is there", || {
        Ok(acls::all(stage.target())?.iter().any(|line| line.contains(READER) && line.contains(&copy)).then_some(()))
    })?;
    running.stop()?;
    change(&stage, topic)?;
    let plan = plan(&stage)?;
    let grows = plan["topics"][0]["action"] == "grow";
    let sets = plan["configs"][0]["changes"][0]["key"] == "retention.bytes";
    let untouched = stage.target().client().partitions(&copy)?.len() == 1;
    finding.see(
        if grows && sets && untouched { Verdict::AnotherWay } else { Verdict::NotKept },
        "the second partition and the changed setting are in the plan, and wait for the mirror",
    );
    let stage = stage.with("forwarding.admin.class", "TellingAdmin");
    let code = stage.start()?.wait()?;
    finding.see(Verdict::AnotherWay, format!("a Java class is refused (exit code {code})"));
    Ok(finding)
}
