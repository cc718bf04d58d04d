//! The brokers of the engine's simulation answer as a real one does: the same requests go to both, and the answers are compared.
//! What is asked and compared is in `src/simulation/contract.rs`.

use std::process::Command;

use crate::support::cluster::shared;
use crate::support::{Outcome, fail, tool};

#[test]
fn brokers_of_the_simulation_answer_as_a_real_one_does() -> Outcome {
    let mut cargo = Command::new(env!("CARGO"));
    // With the packages that the tests were built with: another selection would be built anew.
    cargo
        .args(["test", "--locked", "--quiet", "--workspace", "--lib", "--", "--ignored", "--nocapture"])
        .arg("brokers_of_a_simulation_answer_as_real_ones_do")
        .env("KMIRROR_CONTRACT_BROKER", shared()?.source.bootstrap())
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let stdout = tool::run_program(cargo)?;
    match stdout.contains(" answers are the same") {
        true => Ok(()),
        false => fail(format!("nothing was compared:\n{stdout}")),
    }
}
