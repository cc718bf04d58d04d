//! The page of the manual with the table of both tools: read, compared with what was seen, and written when it is to be blessed.
//!
//! The first columns come from the list of scenarios; the last two are what was seen, and nobody writes them by hand.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use super::Scenario;
use super::tool::Tool;
use crate::support::cluster::Version;
use crate::support::failure::Context;
use crate::support::{Outcome, fail};

const BLESS: &str = "KMIRROR_BLESS=1 cargo test --test it scenarios -- --include-ignored --test-threads=1";
const HEAD: &str = "|  | Kafka's test asks | kmirror | MirrorMaker 2 |\n| --- | --- | --- | --- |\n";
const NOT_MEASURED: &str = "not measured";

/// How far what is seen has to agree with the page.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    /// Word by word: what kmirror does is no matter of luck.
    Words,
    /// The verdicts: how many records MirrorMaker 2 reads again depends on the moment.
    Verdict,
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/manual/scenarios.md")
}

/// The cells of a scenario as the page has them: kmirror's and MirrorMaker 2's.
fn cells(page: &str, scenario: &Scenario) -> Option<[String; 2]> {
    let start = format!("| {} | ", scenario.id);
    let row = page.lines().find_map(|line| line.strip_prefix(&start))?.strip_suffix(" |")?;
    // A bar that belongs to a text has a backslash before it.
    let mut cells = row.split(" | ").skip(1).map(str::to_owned);
    Some([cells.next()?, cells.next()?])
}

fn row(scenario: &Scenario, [kmirror, mirror_maker]: &[String; 2]) -> String {
    format!("| {} | {} (`{}`) | {kmirror} | {mirror_maker} |\n", scenario.id, scenario.asks, scenario.test)
}

/// Compares what was seen with the page, or writes it there.
pub(super) fn settle(scenario: &Scenario, tool: Tool, cell: &str, strictness: Strictness) -> Outcome {
    static WRITING: Mutex<()> = Mutex::new(());
    let column = usize::from(tool == Tool::MirrorMaker2);
    if std::env::var_os("KMIRROR_BLESS").is_some() {
        let writing = WRITING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let page = fs::read_to_string(path()).unwrap_or_default();
        fs::write(
            path(),
            rewritten(&page, |other, cells| {
                if other.id == scenario.id {
                    cells[column] = cell.to_owned();
                }
            }),
        )?;
        drop(writing);
        return Ok(());
    }
    let page = fs::read_to_string(path()).context("the page of the manual")?;
    let told = cells(&page, scenario).map(|cells| cells[column].clone()).unwrap_or_default();
    let agrees = match strictness {
        Strictness::Words => told == cell,
        Strictness::Verdict => verdicts(&told) == verdicts(cell),
    };
    match agrees {
        true => Ok(()),
        false => fail(format!(
            "{} with {tool:?} is not as src/manual/scenarios.md has it.\n  seen:  {cell}\n  there: {told}\nIf that is meant: {BLESS}",
            scenario.id
        )),
    }
}

/// What stands between pairs of stars.
fn verdicts(cell: &str) -> Vec<&str> {
    cell.split("**").skip(1).step_by(2).collect()
}

/// The whole page, with the cells that it had and what `change` makes of them.
fn rewritten(page: &str, change: impl Fn(&Scenario, &mut [String; 2])) -> String {
    let rows = super::SCENARIOS.iter().map(|scenario| {
        let mut cells = cells(page, scenario).unwrap_or_else(|| [NOT_MEASURED.to_owned(), NOT_MEASURED.to_owned()]);
        change(scenario, &mut cells);
        row(scenario, &cells)
    });
    format!("{}{HEAD}{}", introduction(), rows.collect::<String>())
}

/// The page lists these scenarios, each measured with both tools, and says what it is about.
pub(super) fn expect_complete(scenarios: &[Scenario]) -> Outcome {
    let page = fs::read_to_string(path()).context("the page of the manual")?;
    if page != rewritten(&page, |_, _| ()) {
        return fail(format!("src/manual/scenarios.md does not list exactly the scenarios that exist: {BLESS}"));
    }
    let missing: Vec<&str> = scenarios
        .iter()
        .filter(|scenario| {
            cells(&page, scenario).is_none_or(|cells| cells.iter().any(|cell| verdicts(cell).is_empty()))
        })
        .map(|scenario| scenario.id)
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => fail(format!("not measured with both tools: {missing:?}")),
    }
}

fn introduction() -> String {
    format!(
        "What Kafka's own tests ask of MirrorMaker 2, and what kmirror and MirrorMaker 2 do.\n\
         \n\
         Every cell is what was seen: `tests/it/kafka/scenarios` does what Kafka's integration tests of MirrorMaker 2 do, with the same\n\
         properties file for both tools, between real brokers (Kafka {number}, MirrorMaker 2 of {number} in its dedicated mode). `make test`\n\
         compares kmirror's column word by word, `make nightly` runs both tools and compares the verdicts. To write this page anew:\n\
         `{BLESS}`.\n\
         \n\
         | verdict | meaning |\n\
         | --- | --- |\n\
         | kept | what Kafka's test asks for, with what was seen |\n\
         | another way | not that, and what somebody wants with it is reached all the same |\n\
         | not yet | planned, and not there |\n\
         | not kept | not what the test asks for |\n\
         | besides | what was seen and Kafka's test does not look at |\n\
         \n\
         kmirror's files of MirrorMaker 2 are described in `mirror-maker-2.md`. Where a row says \"again\", it counts records that a consumer\n\
         reads a second time.\n\
         \n",
        number = Version::Latest.number()
    )
}
