"""A migration of topics to another cluster: copy, wait until the target is in step, compare every record, switch
over.

The connections kafka_old and kafka_new are ordinary Kafka connections. The last task waits for nobody: stop the
writers of the old cluster before you start it, or put an approval of yours in front.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param

from kmirror.airflow import KMirrorLagSensor, KMirrorOperator, KMirrorPromoteOperator, KMirrorVerifyOperator

with DAG(
    "kafka_migration",
    schedule=None,
    max_active_runs=1,
    render_template_as_native_obj=True,
    params={"topics": Param(["orders"], type="array"), "mirror": Param("migration", type="string")},
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    doc_md=__doc__,
):
    mirrored = {
        "source_conn_id": "kafka_old",
        "target_conn_id": "kafka_new",
        "topics": "{{ params.topics }}",
        "name": "{{ params.mirror }}",
    }
    copy = KMirrorOperator(task_id="copy", **mirrored, timeout=6 * 3600)
    in_step = KMirrorLagSensor(
        task_id="in_step", **mirrored, max_lag=0, deferrable=True, poke_interval=10, timeout=3600
    )
    compare = KMirrorVerifyOperator(task_id="compare", **mirrored)
    switch_over = KMirrorPromoteOperator(task_id="switch_over", **mirrored, timeout=300)

    copy >> in_step >> compare >> switch_over
