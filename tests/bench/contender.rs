//! Who is measured, and how each is started for the same work.
//! Each does the same work on the same clusters; what it used is measured from outside.

use std::path::Path;
use std::process::Command;

use crate::options::Options;
use crate::stage::{LOAD_CODEC, Stage};
use crate::support::cluster::unique;
use crate::support::{Outcome, nursery};
use crate::{c_copier, mirror_maker, python_copier, rdkafka_loop};

/// A program that moves a topic, or just its bytes, from one place to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Kmirror,
    /// Another build of the command line, that of `--baseline`: whether a change has made it slower.
    KmirrorBefore,
    /// The same by the C library.
    KmirrorC,
    /// The same by the Python module.
    KmirrorPython,
    /// A well-tuned loop of an rdkafka consumer and producer: what people write by hand.
    Rdkafka,
    /// Reads a socket and writes a socket, knowing nothing: less than this nobody can use.
    Relay,
    MirrorMakerTuned,
    MirrorMakerDefaults,
}

/// What a contender shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Copy what is there as cheaply as possible.
    CatchUp,
    /// Follow what is written with as little delay as possible, until killed.
    Follow,
}

impl Contender {
    pub(crate) const ALL: [Self; 7] = [
        Self::Kmirror,
        Self::KmirrorC,
        Self::KmirrorPython,
        Self::Rdkafka,
        Self::Relay,
        Self::MirrorMakerTuned,
        Self::MirrorMakerDefaults,
    ];

    /// As on the command line and in the results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kmirror => "kmirror",
            Self::KmirrorBefore => "kmirror-before",
            Self::KmirrorC => "kmirror-c",
            Self::KmirrorPython => "kmirror-python",
            Self::Rdkafka => "rdkafka",
            Self::Relay => "relay",
            Self::MirrorMakerTuned => "mm2-tuned",
            Self::MirrorMakerDefaults => "mm2-defaults",
        }
    }

    /// For people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Kmirror => "kmirror",
            Self::KmirrorBefore => "kmirror, the build before",
            Self::KmirrorC => "kmirror, from a C program",
            Self::KmirrorPython => "kmirror, from a Python program",
            Self::Rdkafka => "rdkafka consumer to producer",
            Self::Relay => "blind relay (read socket, write socket)",
            Self::MirrorMakerTuned => "MirrorMaker 2, tuned",
            Self::MirrorMakerDefaults => "MirrorMaker 2, defaults",
        }
    }

    pub(crate) fn is_kmirror(self) -> bool {
        matches!(self, Self::Kmirror | Self::KmirrorBefore | Self::KmirrorC | Self::KmirrorPython)
    }

    pub(crate) fn is_mirror_maker(self) -> bool {
        matches!(self, Self::MirrorMakerTuned | Self::MirrorMakerDefaults)
    }

    /// The name `topic` gets on the target.
    pub(crate) fn target_topic(self, topic: &str) -> String {
        match self {
            // Its default policy puts the alias of the source cluster before the name.
            Self::MirrorMakerDefaults => format!("{}.{topic}", mirror_maker::source_alias(self, Work::CatchUp)),
            _ => topic.to_owned(),
        }
    }

    /// The command for a topic. The relay knows no topics and is started by [`crate::relay`].
    pub(crate) fn command(self, options: &Options, stage: &Stage, topic: &str, work: Work) -> Outcome<Command> {
        match self {
            // A new name is a new mirror: nothing is known from earlier rounds.
            Self::Kmirror => Ok(kmirror(options, stage, &unique("bench"), topic, work)),
            Self::KmirrorBefore => {
                let before = options.baseline.as_deref().unwrap_or(&options.kmirror);
                Ok(kmirror_at(before, stage, &unique("bench"), topic, work))
            }
            Self::KmirrorC => c_copier::command(options, stage, topic),
            Self::KmirrorPython => python_copier::command(options, stage, topic),
            Self::Rdkafka | Self::Relay => rdkafka_loop::command(stage, topic, work, LOAD_CODEC),
            Self::MirrorMakerTuned | Self::MirrorMakerDefaults => mirror_maker::command(self, stage, topic, work),
        }
    }
}

/// With its defaults, whatever the work.
pub(crate) fn kmirror(options: &Options, stage: &Stage, name: &str, topics: &str, work: Work) -> Command {
    kmirror_at(&options.kmirror, stage, name, topics, work)
}

fn kmirror_at(program: &Path, stage: &Stage, name: &str, topics: &str, work: Work) -> Command {
    let mut command = nursery::command(program);
    command.arg("run").args(["--include", topics]);
    for setting in [
        format!("source.bootstrap.servers={}", stage.pair.source.bootstrap()),
        format!("target.bootstrap.servers={}", stage.pair.target.bootstrap()),
        format!("name={name}"),
    ] {
        command.arg("--set").arg(setting);
    }
    if work == Work::CatchUp {
        command.arg("--until-caught-up");
    }
    command
}
