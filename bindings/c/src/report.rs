//! What a check, a plan, a verification or a switch-over has come to, as an object that C can ask.
//!
//! Each of them is a list of problems, which is empty if all is well, some numbers, and a JSON document with everything.

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use engine::{CheckLine, CheckOutcome, CheckReport, Plan, PromoteReport, TopicPlan, VerifyOutcome, VerifyReport};

use crate::boundary::{Json, ask, boundary, c_string, count, take_back};

/// What a check, a plan, a verification or a switch-over has come to.
pub struct kmirror_report_t {
    kind: &'static CStr,
    problems: Vec<CString>,
    /// Of a verification, so that it can be judged again.
    verified: Option<VerifyReport>,
    outcome: &'static CStr,
    identical: bool,
    records_compared: i64,
    differences: i64,
    promoted: bool,
    records_not_copied: i64,
    json: Json,
}

impl kmirror_report_t {
    fn new(kind: &'static CStr, problems: impl Iterator<Item = String>, json: Json) -> Self {
        kmirror_report_t {
            kind,
            problems: problems.map(|problem| c_string(&problem)).collect(),
            verified: None,
            outcome: NOTHING,
            identical: false,
            records_compared: -1,
            differences: -1,
            promoted: false,
            records_not_copied: -1,
            json,
        }
    }

    pub(crate) fn of_check(report: &CheckReport) -> Self {
        let wrong = report.lines.iter().filter(|line| line.outcome == CheckOutcome::Failed);
        let problem = |line: &CheckLine| match &line.fix {
            Some(fix) => format!("{line}; {fix}"),
            None => line.to_string(),
        };
        kmirror_report_t::new(c"check", wrong.map(problem), Json::of(report))
    }

    pub(crate) fn of_plan(plan: &Plan) -> Self {
        let refused = plan.topics.iter().flat_map(TopicPlan::refusals);
        let missing = plan.missing_permissions.iter().map(ToString::to_string);
        let unseen = plan.groups_unseen.iter().map(|(what, why)| format!("{what}: {why}"));
        let promoted = plan.promoted_at_ms.map(|_| "the mirror was promoted: it would not start".to_owned());
        kmirror_report_t::new(c"plan", promoted.into_iter().chain(refused).chain(missing).chain(unseen), Json::of(plan))
    }

    pub(crate) fn of_verification(report: VerifyReport) -> Self {
        let differences = report.differences.iter().map(ToString::to_string);
        let findings = report.not_allowed().map(ToString::to_string);
        let unread = report.unread.iter().map(|unread| unread.error.message().to_owned());
        kmirror_report_t {
            outcome: match report.outcome {
                VerifyOutcome::Identical => c"identical",
                VerifyOutcome::IdenticalInASample => c"identical_in_a_sample",
                VerifyOutcome::Different => c"different",
                _ => c"incomplete",
            },
            identical: report.identical,
            records_compared: count(report.records_compared),
            differences: count(report.counts.real()),
            ..kmirror_report_t::new(c"verify", differences.chain(findings).chain(unread), Json::of(&report))
        }
        .with(report)
    }

    fn with(self, report: VerifyReport) -> Self {
        kmirror_report_t { verified: Some(report), ..self }
    }

    pub(crate) fn of_promotion(report: &PromoteReport) -> Self {
        let source = report.source_error.clone();
        let drained = report.not_drained_because.clone();
        let behind = (report.records_not_copied > 0).then(|| {
            format!("{} records in {} partitions are not copied", report.records_not_copied, report.partitions_behind)
        });
        let not_mirrored = report.not_mirrored.iter().map(|(topic, why)| format!("topic '{topic}': {why}"));
        let groups = report.groups.iter().flat_map(|groups| &groups.not_copied);
        let groups = groups.map(|(group, why)| format!("group '{group}': {why}"));
        let written = report.written_afterwards.iter();
        let written =
            written.map(|end| format!("topic '{}' partition {}: was written to afterwards", end.topic, end.partition));
        let problems = source.into_iter().chain(drained).chain(behind).chain(not_mirrored).chain(groups).chain(written);
        kmirror_report_t {
            promoted: report.promoted,
            records_not_copied: count(report.records_not_copied),
            ..kmirror_report_t::new(c"promote", problems, Json::of(report))
        }
    }
}

const NOTHING: &CStr = c"";

/// What it is of: "check", "plan", "verify" or "promote"; empty for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_report_kind(report: *const kmirror_report_t) -> *const c_char {
    boundary!(else NOTHING.as_ptr(), {
        // SAFETY: the header asks for a report that lives, or NULL.
        unsafe { ask(report, NOTHING.as_ptr(), |report| report.kind.as_ptr()) }
    })
}

/// How many problems it tells, as sentences: of a verification the first differences and what is not proved to be equal, of a plan what
/// cannot be mirrored and which permissions are missing, of a check what has failed and what to do, of a switch-over what is not
/// copied. 0 is well.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_report_problem_count(report: *const kmirror_report_t) -> usize {
    boundary!(else 0, {
        // SAFETY: the header asks for a report that lives, or NULL.
        unsafe { ask(report, 0, |report| report.problems.len()) }
    })
}

/// A problem, from 0; NULL if there is none of this number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_report_problem(report: *const kmirror_report_t, problem: usize) -> *const c_char {
    boundary!(else ptr::null(), {
        // SAFETY: the header asks for a report that lives, or NULL.
        unsafe {
            ask(report, ptr::null(), |report| report.problems.get(problem).map_or(ptr::null(), |text| text.as_ptr()))
        }
    })
}

/// Of a verification: whether every record that the source had when it began is on the target, equal, at its place, and nothing else is in
/// the range; where a sample was asked for, as far as it goes. What was allowed by kmirror_report_allow may be missing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_report_identical(report: *const kmirror_report_t) -> bool {
    boundary!(else false, {
        // SAFETY: the header asks for a report that lives, or NULL.
        unsafe { ask(report, false, |report| report.identical) }
    })
}

/// Of a verification: "identical", "identical_in_a_sample", "incomplete" (no difference was seen, but not everything is proved to be equal:
/// the problems say what and why) or "different"; empty for other reports.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_report_outcome(report: *const kmirror_report_t) -> *const c_char {
    boundary!(else NOTHING.as_ptr(), {
        // SAFETY: the header asks for a report that lives, or NULL.
        unsafe { ask(report, NOTHING.as_ptr(), |report| report.outcome.as_ptr()) }
    })
}

/// Judges a verification again: whether it is accepted that the target is behind, and that one side has removed records at the beginning
/// of its log which the other still has. At first neither is. Problems, outcome and JSON follow; strings that were asked of the report
/// before are freed. Other reports stay as they are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_report_allow(report: *mut kmirror_report_t, behind: bool, expired: bool) {
    boundary!(else (), {
        // SAFETY: the header asks for a report that lives and that no other thread uses, or NULL.
        if let Some(report) = unsafe { report.as_mut() }
            && let Some(mut verified) = report.verified.take()
        {
            verified.allow(behind, expired);
            *report = kmirror_report_t::of_verification(verified);
        }
    })
}

/// Of a verification: how many records were compared; -1 for other reports.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_report_records_compared(report: *const kmirror_report_t) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for a report that lives, or NULL.
        unsafe { ask(report, -1, |report| report.records_compared) }
    })
}

/// Of a verification: how many real differences there are, also those that are not among the problems; -1 for other reports.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_report_differences(report: *const kmirror_report_t) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for a report that lives, or NULL.
        unsafe { ask(report, -1, |report| report.differences) }
    })
}

/// Of a switch-over: whether the mirror is marked, so that no process of it writes again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_report_promoted(report: *const kmirror_report_t) -> bool {
    boundary!(else false, {
        // SAFETY: the header asks for a report that lives, or NULL.
        unsafe { ask(report, false, |report| report.promoted) }
    })
}

/// Of a switch-over: how many records are not copied, as far as it is known; -1 for other reports.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_report_records_not_copied(report: *const kmirror_report_t) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for a report that lives, or NULL.
        unsafe { ask(report, -1, |report| report.records_not_copied) }
    })
}

/// All of it as a JSON document; empty for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_report_json(report: *const kmirror_report_t) -> *const c_char {
    boundary!(else NOTHING.as_ptr(), {
        // SAFETY: the header asks for a report that lives, or NULL.
        unsafe { ask(report, NOTHING.as_ptr(), |report| report.json.as_ptr()) }
    })
}

/// Frees a report, and the strings that were asked of it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_report_free(report: *mut kmirror_report_t) {
    boundary!(else (), {
        // SAFETY: the header asks for an object that was not freed yet, or NULL.
        unsafe { take_back(report) }
    })
}
