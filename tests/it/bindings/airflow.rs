//! Airflow: a whole one is installed beside the module, and its DAGs run between real clusters. What they copied is compared by the ledger.
//!
//! The environment lies in the target's folder and stays there, with an empty database of Airflow; both are made anew when
//! `tests/airflow/requirements.txt` says something else. Each run has a home of its own.

use std::fs;
use std::path::Path;

use super::python::{Environment, RECORDS, root, written};
use crate::support::cluster::{shared, unique};
use crate::support::{Outcome, ledger, nursery, tool};

/// What the Python test writes into the topic of the task that is killed.
const RECORDS_OF_THE_KILLED: usize = 4_000;

/// Has Airflow write its tables into an empty database, once for each environment.
fn database(environment: &Environment, home: &Path) -> Outcome {
    let kept = environment.program("..").join("airflow.db");
    if !kept.exists() {
        let first = nursery::directory("airflow-first")?;
        let mut migrate = nursery::command(environment.program("airflow"));
        migrate.args(["db", "migrate"]).env("AIRFLOW_HOME", &first).current_dir(&first);
        tool::run_program(migrate)?;
        // Whole or not at all.
        fs::copy(first.join("airflow.db"), kept.with_extension("part"))?;
        fs::rename(kept.with_extension("part"), &kept)?;
    }
    fs::copy(kept, home.join("airflow.db")).map(drop)?;
    Ok(())
}

#[test]
fn dags_of_airflow_mirror_between_real_clusters() -> Outcome {
    let environment = Environment::prepare_as("airflow", &["--only-binary", ":all:"])?;
    environment.install()?;
    let home = nursery::directory("airflow")?;
    database(&environment, &home)?;

    let pair = shared()?;
    let (from, to) = (pair.source.bootstrap(), pair.target.bootstrap());
    let mut pytest = nursery::command(environment.program("pytest"));
    pytest.current_dir(root()).args(["tests/airflow", "--override-ini", "filterwarnings=default"]);
    pytest.env("AIRFLOW_HOME", &home).env("AIRFLOW__CORE__LOAD_EXAMPLES", "False").env("PYTHONDONTWRITEBYTECODE", "1");
    pytest.env("KMIRROR_TEST_SOURCE", &from).env("KMIRROR_TEST_TARGET", &to);
    let mut copied = Vec::new();
    for name in ["migration_topic", "lag_topic", "readme_topic", "different_topic"] {
        let topic = written(pair, &format!("airflow-{name}"))?;
        pytest.env(format!("KMIRROR_TEST_{}", name.to_uppercase()), &topic);
        copied.push((topic, RECORDS));
    }
    copied.pop();
    let killed_topic = unique("airflow-killed");
    pair.source.create_topic(&killed_topic, 2, &[])?;
    pytest.env("KMIRROR_TEST_KILLED_TOPIC", &killed_topic);
    copied.push((killed_topic, RECORDS_OF_THE_KILLED));
    println!("{}", tool::run_program(pytest)?);

    for (topic, records) in &copied {
        ledger::expect_identical(&from, &to, topic, *records)?;
    }
    Ok(())
}
