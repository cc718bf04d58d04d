//! `kmirror run --reverse`: the plan of the way back after a switch-over, and what differs between the clusters.
//! It writes nothing, on either side.

use kmirror::config::utc;
use kmirror::text::printable;
use kmirror::{ReversePartition, ReversePlan, ReverseTopic, ReverseTopicAction};

use crate::args::RunOptions;
use crate::exit::ExitCode;
use crate::progress::Display;
use crate::text::{counted, grouped};
use crate::{logs, output, plan, settings};

pub(crate) fn command(options: &RunOptions, name: &str) -> ExitCode {
    let name = Some(name.to_owned()).filter(|name| !name.is_empty());
    let plan = logs::start(options.log_format, Display::new())
        .and_then(|()| settings::configure_one(&options.mirror))
        .and_then(|config| kmirror::plan_reverse(config, name));
    match plan {
        Ok(plan) if options.json => output::print_json(&plan),
        Ok(plan) => output::print(&text(&plan)),
        Err(error) => {
            logs::complain(options.log_format, &error);
            return ExitCode::from(error.kind().exit_code());
        }
    }
    ExitCode::SUCCESS
}

fn text(reverse: &ReversePlan) -> String {
    let mut text = match reverse.promoted_at_ms {
        Some(at) => format!("the way back of mirror '{}', promoted at {}\n", reverse.of, utc(at)),
        None => format!(
            "the way back of mirror '{}', which is not promoted: while it runs, it is no way back; promote it first\n",
            reverse.of
        ),
    };
    for topic in &reverse.topics {
        push_topic(&mut text, topic);
    }
    text.push_str(
        "Nothing was written. With the same offsets the way back is copied by a mirror of its own, from what is the target now \
         to the old source, into fresh topics: what differs cannot be appended to.\n\nAs the clusters are now that is: ",
    );
    text.push_str(&plan::text(&reverse.plan));
    text
}

fn push_topic(text: &mut String, topic: &ReverseTopic) {
    let what = match topic.action {
        ReverseTopicAction::Create => "only on the target: is created at the old source, and copied",
        ReverseTopicAction::DeleteFirst => "is to be deleted at the old source first, and is copied into a fresh topic",
        _ => "only at the old source: nothing to copy back",
    };
    text.push_str(&format!("{}: {what}\n", printable(&topic.topic)));
    for partition in &topic.partitions {
        push_partition(text, partition);
    }
}

fn push_partition(text: &mut String, partition: &ReversePartition) {
    let offset = |offset: i64| grouped(offset.unsigned_abs());
    text.push_str(&format!(
        "    partition {}: both agree up to offset {}",
        partition.partition,
        offset(partition.agree_until)
    ));
    if partition.only_at_old_source > 0 {
        text.push_str(&format!(
            "; the old source has {} up to {} that the target never got, which would be lost",
            counted(partition.only_at_old_source, "offset"),
            offset(partition.old_source_offset_next)
        ));
    }
    if partition.only_on_target > 0 {
        text.push_str(&format!(
            "; the target has {} more up to {}",
            counted(partition.only_on_target, "offset"),
            offset(partition.target_offset_next)
        ));
    }
    text.push('\n');
}
