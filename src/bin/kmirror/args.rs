//! What can be typed after `kmirror`.
//!
//! The flags of MirrorMaker 1 are here in its spellings, so that a command line of it works with the name of the program
//! changed. Those that have no meaning in this design are accepted too, and answered with the reason: with a warning
//! where nothing is lost without them, with an error where the user would rely on what does not happen.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand, ValueEnum};
use kmirror::Sample;
use kmirror::config::Flow;

use crate::exit::ExitCode;
use crate::output;

const EXIT_CODES: &str = "\
Exit codes:
  0  done                              5  data loss, reset or conflict of a topic
  1  internal error                    6  verification found differences
  2  usage or configuration            7  not done in the time given
  3  cannot connect or authenticate    130, 143  stopped by SIGINT, SIGTERM
  4  not authorized

Environment:
  KMIRROR_LOG  what is logged: error, warn, info, debug, trace, or target=level,...
  NO_COLOR     no colours";

/// Kafka-to-Kafka replication: same offsets, exactly once.
#[derive(Parser)]
#[command(name = "kmirror", version, after_help = EXIT_CODES, max_term_width = 100, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Mirror a cluster to another one until stopped
    Run(Box<RunOptions>),
    /// Print what run would do on the target, and what it could not; writes nothing
    Plan(Box<LookOptions>),
    /// Look whether a mirror would run: every broker, permissions, topics, clocks, with the fix of what is wrong; writes nothing
    Check(Box<LookOptions>),
    /// Compare what consumers would read from source and target, while both are live
    Verify(Box<VerifyArguments>),
    /// End a mirror for a switch-over: copy what the source has, then mark the mirror so that it never writes again
    Promote(Box<PromoteArguments>),
    /// Show it all in a few seconds: two embedded clusters, load, a mirror, kills and resumes, a comparison
    Demo(DemoOptions),
    /// Print the table of properties
    Config(ConfigOptions),
}

#[derive(Args)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub(crate) mirror: MirrorOptions,
    /// Stop when every selected partition has reached the end the source has now
    #[arg(long)]
    pub(crate) until_caught_up: bool,
    /// Stop with exit code 7 after this time
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
    /// Print the plan of the way back after a switch-over, and what differs; writes nothing. With the same offsets the way
    /// back is copied by a mirror of its own (NAME, or the mirror's name with -reverse) into fresh topics: one that the old
    /// source still has is to be deleted there first
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "",
          conflicts_with_all = ["until_caught_up", "timeout"])]
    pub(crate) reverse: Option<String>,
    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    /// How log lines look on standard error
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    #[command(flatten)]
    pub(crate) obsolete: ObsoleteOptions,
}

#[derive(Args)]
pub(crate) struct LookOptions {
    #[command(flatten)]
    pub(crate) mirror: MirrorOptions,
    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct VerifyArguments {
    #[command(flatten)]
    pub(crate) mirror: MirrorOptions,
    /// Only these of the mirrored topics: names or regular expressions, separated by commas
    #[arg(long, value_name = "REGEX")]
    pub(crate) topics: Option<String>,
    /// Compare the head, the tail and random stretches of each partition: so many offsets, or N% of them. The result is
    /// "identical in a sample" then
    #[arg(long, value_name = "N|N%")]
    pub(crate) sample: Option<Sample>,
    /// Makes the random stretches the same as in an earlier sample
    #[arg(long, value_name = "SEED", requires = "sample")]
    pub(crate) sample_seed: Option<u64>,
    /// How many differences are listed
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) differences: usize,
    /// How long a target that is behind is waited for
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "5")]
    pub(crate) wait: Duration,
    /// Accept that the target is behind, or behind an open transaction: exit code 0 all the same
    #[arg(long)]
    pub(crate) allow_behind: bool,
    /// Accept that one side has removed records at the beginning of its log which the other still has
    #[arg(long)]
    pub(crate) allow_expired: bool,
    /// Keys that are remembered at a time, for each partition of a compacted topic of which one side lacks records; where there are
    /// more, both sides are read again. A million take about 50 MB
    #[arg(long, value_name = "N", default_value_t = 1 << 20)]
    pub(crate) max_keys: usize,
    /// Give up with exit code 7 after this time
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    /// How log lines look on standard error
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// Stop the source's writers first. Other processes that run this mirror end by themselves. If the source cannot be reached,
/// the mirror is marked all the same, and what is not copied is reported as far as it was known. Exit code 0 means that the
/// mirror is promoted, with or without records that are not copied; otherwise nothing is marked.
#[derive(Args)]
pub(crate) struct PromoteArguments {
    #[command(flatten)]
    pub(crate) mirror: MirrorOptions,
    /// How long the source is waited for, and copying what it has may take; then nothing is marked, with exit code 7
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "60")]
    pub(crate) timeout: Duration,
    /// Mark the mirror also if something the source has cannot be copied in that time, and report what
    #[arg(long, conflicts_with = "undo")]
    pub(crate) force: bool,
    /// Take the mark back, if nothing was written to the target since
    #[arg(long)]
    pub(crate) undo: bool,
    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    /// How log lines look on standard error
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// Which mirror: shared by all commands that are about one.
#[derive(Args)]
pub(crate) struct MirrorOptions {
    /// Properties of the source's clients, without prefix (as in MirrorMaker 1)
    #[arg(long = "consumer.config", value_name = "FILE")]
    pub(crate) consumer_config: Option<PathBuf>,
    /// Properties of the target's clients, without prefix (as in MirrorMaker 1)
    #[arg(long = "producer.config", value_name = "FILE")]
    pub(crate) producer_config: Option<PathBuf>,
    /// All properties, those of clients with the prefix source. or target.; or a MirrorMaker 2 file, whose enabled flows are
    /// mirrored all at once
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Vec<PathBuf>,
    /// Of a MirrorMaker 2 file: only this flow, written as source->target; can be repeated
    #[arg(long, value_name = "FLOW")]
    pub(crate) flow: Vec<Flow>,
    /// One property; counts before what files say; can be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<Property>,
    /// Worker threads (property num.streams)
    #[arg(long = "num.streams", value_name = "N")]
    pub(crate) num_streams: Option<String>,
    /// Topics to mirror: names or regular expressions, separated by commas (property topics)
    #[arg(long, visible_alias = "whitelist", value_name = "REGEX")]
    pub(crate) include: Option<String>,
    /// Topics to leave out (property topics.exclude)
    #[arg(long, visible_alias = "blacklist", value_name = "REGEX")]
    pub(crate) exclude: Option<String>,
}

/// Flags of MirrorMaker 1 that have no meaning here.
#[derive(Args)]
pub(crate) struct ObsoleteOptions {
    #[arg(long = "message.handler", hide = true)]
    message_handler: Option<String>,
    #[arg(long = "message.handler.args", hide = true)]
    message_handler_args: Option<String>,
    #[arg(long = "rebalance.listener", alias = "consumer.rebalance.listener", hide = true)]
    rebalance_listener: Option<String>,
    #[arg(long = "rebalance.listener.args", hide = true)]
    rebalance_listener_args: Option<String>,
    #[arg(long = "offset.commit.interval.ms", hide = true)]
    offset_commit_interval_ms: Option<String>,
    #[arg(long = "abort.on.send.failure", hide = true)]
    abort_on_send_failure: Option<String>,
    #[arg(long = "new.consumer", hide = true)]
    new_consumer: bool,
}

#[derive(Args)]
pub(crate) struct DemoOptions {
    /// How often the mirror is killed
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=10))]
    pub(crate) kills: u32,
    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct ConfigOptions {
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line for people
    Text,
    /// A JSON object in each line
    Json,
}

/// What to say about the obsolete flags that were used.
#[derive(Default)]
pub(crate) struct Objections {
    pub(crate) errors: Vec<&'static str>,
    pub(crate) warnings: Vec<&'static str>,
}

impl ObsoleteOptions {
    pub(crate) fn objections(&self) -> Objections {
        let mut said = Objections::default();
        if self.message_handler.is_some() || self.message_handler_args.is_some() {
            said.errors.push(
                "--message.handler: a mirror passes batches on as the bytes they are and runs no code on records; \
                 leave records out with --exclude, change them in a consumer of the target",
            );
        }
        if self.rebalance_listener.is_some() || self.rebalance_listener_args.is_some() {
            said.errors.push(
                "--rebalance.listener: Java classes cannot be run here, and partitions do not move between consumers",
            );
        }
        match self.abort_on_send_failure.as_deref() {
            None => {}
            Some(value) if value.eq_ignore_ascii_case("false") => said.errors.push(
                "--abort.on.send.failure false: a record is never left out silently; a partition whose record the \
                 target refuses stops, and the others go on",
            ),
            Some(_) => said.warnings.push(
                "--abort.on.send.failure has no meaning: a partition whose record the target refuses stops, and the \
                 others go on",
            ),
        }
        if self.offset_commit_interval_ms.is_some() {
            said.warnings.push(
                "--offset.commit.interval.ms has no meaning: the end of the target partition is the position of the \
                 mirror, no offsets are committed",
            );
        }
        if self.new_consumer {
            said.warnings.push("--new.consumer has no meaning: there is only one consumer");
        }
        said
    }
}

/// The command, or the exit code when there is nothing more to do.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, ExitCode> {
    let error = match CommandLine::try_parse_from(args) {
        Ok(line) => return Ok(line.command),
        Err(error) => error,
    };
    if error.exit_code() == 0 {
        // Help and version are what was asked for; clap knows whether the terminal shows colours.
        let _ = error.print();
        return Err(ExitCode::SUCCESS);
    }
    if is_left_over(&error) {
        output::complain(
            "an argument is left over that belongs to no flag: is there a blank where '=' should be? It is not repeated here, \
             because it may be a secret",
        );
        return Err(ExitCode::from(2));
    }
    if let Some(twice) = file_given_twice(&error) {
        output::complain(twice);
        return Err(ExitCode::from(2));
    }
    let text = error.render().to_string();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        output::note(text.trim_end());
        return Err(ExitCode::from(2));
    }
    output::complain(text.strip_prefix("error: ").unwrap_or(&text).trim_end());
    Err(ExitCode::from(2))
}

/// MirrorMaker 1 read several clusters with several files.
fn file_given_twice(error: &clap::Error) -> Option<&'static str> {
    let Some(ContextValue::String(what)) = error.get(ContextKind::InvalidArg) else { return None };
    match error.kind() {
        ErrorKind::ArgumentConflict if what.starts_with("--consumer.config") => Some(
            "--consumer.config is given twice, and a mirror has one source: run one mirror for each, with a 'name' of its own; to bring \
             the same topics of several clusters together, give each of them --set offsets=translate",
        ),
        ErrorKind::ArgumentConflict if what.starts_with("--producer.config") => Some(
            "--producer.config is given twice, and a mirror has one target: run one mirror for each, with a 'name' of its own",
        ),
        _ => None,
    }
}

/// Whether it is about something that is no flag, as what stands behind a blank in `--set key value`.
fn is_left_over(error: &clap::Error) -> bool {
    let what = error.get(ContextKind::InvalidArg);
    let is_word = matches!(what, Some(ContextValue::String(word)) if !word.starts_with('-'));
    error.kind() == ErrorKind::UnknownArgument && is_word
}

/// What `--set` was given. One without '=' is told later, and not repeated: what stands there may be a secret.
#[derive(Clone)]
pub(crate) enum Property {
    Is { key: String, value: String },
    Malformed,
}

impl From<String> for Property {
    fn from(text: String) -> Self {
        match text.split_once('=') {
            Some((key, value)) => Property::Is { key: key.trim().to_owned(), value: value.trim().to_owned() },
            None => Property::Malformed,
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "not a number of seconds from 0".to_owned())
}

#[cfg(test)]
#[allow(clippy::panic, reason = "tests")]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_command_line_of_mirror_maker_1_is_understood() {
        let line = "kmirror run --consumer.config c --producer.config p --num.streams 4 --whitelist a|b --new.consumer \
                    --abort.on.send.failure true --offset.commit.interval.ms 60000";
        let command = parse(line.split(' ').map(OsString::from)).ok();
        let options = command.and_then(|command| match command {
            Command::Run(options) => Some(options),
            _ => None,
        });
        let options = options.expect("it is understood");
        assert_eq!(options.mirror.include.as_deref(), Some("a|b"));
        let said = options.obsolete.objections();
        assert_eq!((said.errors.len(), said.warnings.len()), (0, 3));
    }
}
