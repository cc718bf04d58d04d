"""DAGs of the tests, each of one task; what they are about is in the configuration of a run."""

from datetime import timedelta

from airflow.sdk import DAG

from kmirror.airflow import KMirrorLagSensor, KMirrorOperator, KMirrorPromoteOperator, KMirrorVerifyOperator

CLUSTERS = {"source_conn_id": "kafka_old", "target_conn_id": "kafka_new"}
TOPIC = "{{ dag_run.conf['topic'] }}"
AT_ONCE = {"retries": 2, "retry_delay": timedelta(0)}


with DAG("one_mirror", schedule=None):
    KMirrorOperator(task_id="copy", **CLUSTERS, topics=[TOPIC], name=TOPIC, verify=True, progress_interval=0.5)

with DAG("slow_at_first", schedule=None):
    KMirrorOperator(
        task_id="copy",
        **CLUSTERS,
        topics=TOPIC,
        name=TOPIC,
        # The first try gets one answer of the source; the rest would take it days.
        config={"throttle.bytes.per.second": "{{ 1 if ti.try_number == 1 else 100_000_000 }}"},
        progress_interval=0.2,
        **AT_ONCE,
    )

with DAG("wait_for_lag", schedule=None):
    KMirrorLagSensor(task_id="in_step", **CLUSTERS, topics=TOPIC, deferrable=True, poke_interval=0.5, timeout=120)

with DAG("poke_for_lag", schedule=None):
    KMirrorLagSensor(
        task_id="in_step", **CLUSTERS, topics=TOPIC, deferrable=False, poke_interval=0.5, timeout=120, max_lag=10**6
    )

with DAG("one_verification", schedule=None):
    KMirrorVerifyOperator(task_id="compare", **CLUSTERS, topics=TOPIC, name=TOPIC, **AT_ONCE)

with DAG("one_look", schedule=None):
    KMirrorVerifyOperator(task_id="compare", **CLUSTERS, topics=TOPIC, name=TOPIC, wait=0.0, **AT_ONCE)

with DAG("one_look_may_be_behind", schedule=None):
    KMirrorVerifyOperator(
        task_id="compare", **CLUSTERS, topics=TOPIC, name=TOPIC, wait=0.0, allow_behind=True, **AT_ONCE
    )

with DAG("one_promotion", schedule=None):
    KMirrorPromoteOperator(task_id="switch_over", **CLUSTERS, topics=TOPIC, name="{{ dag_run.conf['mirror'] }}")

with DAG("sasl", schedule=None):
    KMirrorOperator(task_id="copy", source_conn_id="kafka_secret", target_conn_id="kafka_new", topics="x", **AT_ONCE)

with DAG("without_servers", schedule=None):
    KMirrorOperator(task_id="copy", source_conn_id="kafka_empty", target_conn_id="kafka_new", topics="x", **AT_ONCE)
