//! What a scenario has found out about a tool, as it stands in the table of the manual.
//! Every sentence has a verdict of its own; a cell of the table shows the worst first.

/// How a tool answers what is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As Kafka's test asks for it.
    Kept,
    /// Not that, and what somebody wants with it is reached all the same.
    AnotherWay,
    /// Planned, and not there.
    NotYet,
    NotKept,
    /// What Kafka's test does not look at.
    Besides,
}

impl Verdict {
    const ALL: [Self; 5] = [Self::NotKept, Self::NotYet, Self::AnotherWay, Self::Kept, Self::Besides];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::AnotherWay => "another way",
            Self::NotYet => "not yet",
            Self::NotKept => "not kept",
            Self::Besides => "besides",
        }
    }
}

/// What was seen, each with a verdict.
#[derive(Default)]
pub(super) struct Finding {
    seen: Vec<(Verdict, String)>,
}

impl Finding {
    pub(super) fn see(&mut self, verdict: Verdict, seen: impl Into<String>) {
        self.seen.push((verdict, seen.into()));
    }

    /// Kept if so, else not kept.
    pub(super) fn judge(&mut self, kept: bool, seen: impl Into<String>) {
        self.see(if kept { Verdict::Kept } else { Verdict::NotKept }, seen);
    }

    /// What Kafka's test does not look at.
    pub(super) fn besides(&mut self, seen: impl Into<String>) {
        self.see(Verdict::Besides, seen);
    }

    /// The same with what was compared.
    pub(super) fn told(&mut self, what: &str, (kept, how): (bool, String)) {
        self.judge(kept, format!("{what}{how}"));
    }

    /// A cell of the table: the worst first.
    pub(super) fn cell(&self) -> String {
        let of = |verdict: Verdict| {
            let seen: Vec<&str> =
                self.seen.iter().filter(|(of, _)| *of == verdict).map(|(_, seen)| seen.as_str()).collect();
            (!seen.is_empty()).then(|| format!("**{}**: {}.", verdict.name(), seen.join("; ")))
        };
        Verdict::ALL.into_iter().filter_map(of).collect::<Vec<_>>().join(" ").replace('|', "\\|").replace('\n', " ")
    }
}
