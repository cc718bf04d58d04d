/*
 * Mirrors a topic until it has caught up, and asks the library all that a careless program could ask of it.
 *
 * Arguments: the properties file of a consumer of the source, the addresses of the target, the topic, the version. The
 * records are compared by the test that runs this; here only what the library says is checked.
 */
#include "expect.h"

static void null_is_an_error_and_never_a_crash(void)
{
    kmirror_config_t *config = kmirror_config_new();
    kmirror_status_t *status = NULL;
    kmirror_report_t *report = NULL;
    kmirror_t *mirror = NULL;

    expect_error(kmirror_config_set(NULL, "topics", "orders"), KMIRROR_ERROR_CONFIG, "config is NULL");
    expect_error(kmirror_config_set(config, NULL, "orders"), KMIRROR_ERROR_CONFIG, "key is NULL");
    expect_error(kmirror_config_set(config, "topics", NULL), KMIRROR_ERROR_CONFIG, "value is NULL");
    expect_error(kmirror_config_load(NULL, KMIRROR_SOURCE, "x"), KMIRROR_ERROR_CONFIG, "config is NULL");
    expect_error(kmirror_config_load(config, KMIRROR_TARGET, NULL), KMIRROR_ERROR_CONFIG, "path is NULL");
    expect_error(kmirror_start(NULL, &mirror), KMIRROR_ERROR_CONFIG, "config is NULL");
    expect_error(kmirror_start(config, NULL), KMIRROR_ERROR_CONFIG, "mirror is NULL");
    expect_error(kmirror_wait_until_caught_up(NULL, 0), KMIRROR_ERROR_STATE, "mirror is NULL");
    expect_error(kmirror_pause(NULL), KMIRROR_ERROR_STATE, "mirror is NULL");
    expect_error(kmirror_resume(NULL), KMIRROR_ERROR_STATE, "mirror is NULL");
    expect_error(kmirror_stop(NULL, 0), KMIRROR_ERROR_STATE, "mirror is NULL");
    expect_error(kmirror_config_check(NULL), KMIRROR_ERROR_CONFIG, "config is NULL");
    expect_error(kmirror_check(NULL, NULL, &report), KMIRROR_ERROR_CONFIG, "config is NULL");
    expect_error(kmirror_check(config, NULL, NULL), KMIRROR_ERROR_CONFIG, "report is NULL");
    expect_error(kmirror_plan(NULL, NULL, &report), KMIRROR_ERROR_CONFIG, "config is NULL");
    expect_error(kmirror_plan(config, NULL, NULL), KMIRROR_ERROR_CONFIG, "report is NULL");
    expect_error(kmirror_config_verify(NULL, NULL, NULL, 0, NULL, &report), KMIRROR_ERROR_CONFIG, "config is NULL");
    expect_error(kmirror_config_verify(config, NULL, NULL, 0, NULL, NULL), KMIRROR_ERROR_CONFIG, "report is NULL");
    expect_error(kmirror_config_verify(config, NULL, "many", 0, NULL, &report), KMIRROR_ERROR_CONFIG, "many");
    expect_error(kmirror_config_promote(NULL, false, 0, NULL, &report), KMIRROR_ERROR_CONFIG, "config is NULL");
    expect_error(kmirror_config_promote(config, false, 0, NULL, NULL), KMIRROR_ERROR_CONFIG, "report is NULL");
    expect_error(kmirror_status(NULL, &status), KMIRROR_ERROR_STATE, "mirror is NULL");
    expect_error(kmirror_verify(NULL, 0, NULL, &report), KMIRROR_ERROR_STATE, "mirror is NULL");
    expect_error(kmirror_promote(NULL, 0, NULL, &report), KMIRROR_ERROR_STATE, "mirror is NULL");
    expect_error(kmirror_set_throttle(NULL, 0), KMIRROR_ERROR_STATE, "mirror is NULL");
    expect_error(kmirror_set_lag_callback(NULL, NULL, NULL), KMIRROR_ERROR_STATE, "mirror is NULL");
    expect_error(kmirror_set_event_callback(NULL, NULL, NULL), KMIRROR_ERROR_STATE, "mirror is NULL");
    expect_error(kmirror_set_log_callback(NULL, NULL, NULL), KMIRROR_ERROR_STATE, "mirror is NULL");
    EXPECT(kmirror_poll(NULL, 0) == NULL && kmirror_poll(NULL, -1) == NULL);
    EXPECT(kmirror_event_fd(NULL) == -1 && strcmp(kmirror_state(NULL), "") == 0);
    EXPECT(report == NULL && status == NULL);
    EXPECT(mirror == NULL);
    kmirror_config_free(config);
}

static void no_object_has_answers_too(void)
{
    EXPECT(kmirror_error_code(NULL) == 0 && kmirror_error_kafka_code(NULL) == 0);
    EXPECT(strcmp(kmirror_error_name(NULL), "success") == 0);
    EXPECT(strcmp(kmirror_error_message(NULL), "") == 0);
    EXPECT(!kmirror_error_is_retriable(NULL) && !kmirror_error_is_fatal(NULL));
    EXPECT(kmirror_error_topic(NULL) == NULL);
    EXPECT(kmirror_error_partition(NULL) == -1 && kmirror_error_offset(NULL) == -1);

    EXPECT(kmirror_event_kind(NULL) == 0 && strcmp(kmirror_event_name(NULL), "") == 0);
    EXPECT(kmirror_event_topic(NULL) == NULL && kmirror_event_group(NULL) == NULL);
    EXPECT(kmirror_event_state(NULL) == NULL && kmirror_event_error(NULL) == NULL);
    EXPECT(kmirror_event_partition(NULL) == -1 && kmirror_event_timestamp_ms(NULL) == -1);
    EXPECT(kmirror_event_lag_records(NULL) == -1);
    EXPECT(kmirror_event_lag_bytes(NULL) == -1 && kmirror_event_lag_ms(NULL) == -1);
    EXPECT(kmirror_event_source_as_of_ms(NULL) == -1 && kmirror_event_target_as_of_ms(NULL) == -1);
    EXPECT(kmirror_status_source_as_of_ms(NULL) == -1 && kmirror_status_target_as_of_ms(NULL) == -1);
    EXPECT(kmirror_status_partition_source_as_of_ms(NULL, 0, 0) == -1);
    EXPECT(kmirror_status_partition_target_as_of_ms(NULL, 0, 0) == -1);
    EXPECT(strcmp(kmirror_event_message(NULL), "") == 0 && strcmp(kmirror_event_json(NULL), "") == 0);

    EXPECT(strcmp(kmirror_status_name(NULL), "") == 0 && strcmp(kmirror_status_state(NULL), "") == 0);
    EXPECT(kmirror_status_lag_records(NULL) == -1 && kmirror_status_lag_bytes(NULL) == -1);
    EXPECT(kmirror_status_lag_ms(NULL) == -1 && kmirror_status_events_dropped(NULL) == -1);
    EXPECT(kmirror_status_replicated_records(NULL) == -1 && kmirror_status_replicated_bytes(NULL) == -1);
    EXPECT(kmirror_status_error(NULL) == NULL && kmirror_status_topic_count(NULL) == 0);
    EXPECT(kmirror_status_topic(NULL, 0) == NULL && kmirror_status_topic_lag_records(NULL, 0) == -1);
    EXPECT(kmirror_status_topic_lag_ms(NULL, 0) == -1 && kmirror_status_partition_count(NULL, 0) == 0);
    EXPECT(kmirror_status_partition_state(NULL, 0, 0) == NULL);
    EXPECT(kmirror_status_partition_source_offset_next(NULL, 0, 0) == -1);
    EXPECT(kmirror_status_partition_target_offset_next(NULL, 0, 0) == -1);
    EXPECT(kmirror_status_partition_error(NULL, 0, 0) == NULL && strcmp(kmirror_status_json(NULL), "") == 0);

    EXPECT(strcmp(kmirror_report_kind(NULL), "") == 0 && strcmp(kmirror_report_json(NULL), "") == 0);
    EXPECT(kmirror_report_problem_count(NULL) == 0 && kmirror_report_problem(NULL, 0) == NULL);
    EXPECT(!kmirror_report_identical(NULL) && !kmirror_report_promoted(NULL));
    EXPECT(strcmp(kmirror_report_outcome(NULL), "") == 0);
    kmirror_report_allow(NULL, true, true);
    EXPECT(kmirror_report_records_compared(NULL) == -1 && kmirror_report_differences(NULL) == -1);
    EXPECT(kmirror_report_records_not_copied(NULL) == -1);
    EXPECT(strcmp(kmirror_config_warnings(NULL), "") == 0);

    kmirror_config_free(NULL);
    kmirror_free(NULL);
    kmirror_error_free(NULL);
    kmirror_event_free(NULL);
    kmirror_status_free(NULL);
    kmirror_report_free(NULL);
}

static void bad_input_is_told_in_words(void)
{
    kmirror_config_t *config = kmirror_config_new();
    kmirror_t *mirror = NULL;
    kmirror_error_t *error;

    expect_error(kmirror_config_set(config, "topics", "\xff"), KMIRROR_ERROR_CONFIG, "value is not UTF-8");
    expect_error(kmirror_config_set(config, "\xc3", ""), KMIRROR_ERROR_CONFIG, "key is not UTF-8");
    expect_error(kmirror_config_load(config, 7, "x"), KMIRROR_ERROR_CONFIG, "KMIRROR_SOURCE or KMIRROR_TARGET");
    expect_error(kmirror_config_load(config, KMIRROR_SOURCE, "no/such.file"), KMIRROR_ERROR_CONFIG, "no/such.file");

    /* All problems at once, when it starts. */
    expect_success(kmirror_config_set(config, "bufer.memory", "1"));
    expect_success(kmirror_config_set(config, "num.streams", "many"));
    error = kmirror_start(config, &mirror);
    EXPECT(error != NULL && mirror == NULL);
    EXPECT(strstr(kmirror_error_message(error), "did you mean buffer.memory") != NULL);
    EXPECT(kmirror_error_is_fatal(error) && !kmirror_error_is_retriable(error));
    expect_error(error, KMIRROR_ERROR_CONFIG, "num.streams");
    expect_error(kmirror_config_check(config), KMIRROR_ERROR_CONFIG, "bufer.memory");
    kmirror_config_free(config);
}

static kmirror_config_t *configured(const char *consumer, const char *target, const char *topic)
{
    kmirror_config_t *config = kmirror_config_new();
    expect_success(kmirror_config_load(config, KMIRROR_SOURCE, consumer));
    expect_success(kmirror_config_set(config, "target.bootstrap.servers", target));
    expect_success(kmirror_config_set(config, "topics", topic));
    expect_success(kmirror_config_set(config, "name", topic));
    expect_success(kmirror_config_set(config, "lag.interval.ms", "50"));
    return config;
}

/* A target that nobody listens at. */
static void a_cluster_that_is_not_there_is_told(const char *consumer, const char *topic)
{
    kmirror_config_t *config = configured(consumer, "127.0.0.1:1", topic);
    kmirror_t *mirror = NULL;
    kmirror_report_t *report = NULL;
    kmirror_error_t *error = kmirror_start(config, &mirror);
    EXPECT(error != NULL && mirror == NULL);
    EXPECT(kmirror_error_is_retriable(error));
    expect_success(kmirror_check(config, NULL, &report));
    EXPECT(kmirror_report_problem_count(report) == 1);
    EXPECT(strstr(kmirror_report_problem(report, 0), "check target.bootstrap.servers (127.0.0.1:1)") != NULL);
    kmirror_report_free(report);
    expect_error(error, KMIRROR_ERROR_CONNECT, "127.0.0.1:1");
    kmirror_config_free(config);
}

/* What a Java client has and a mirror does not need is told; the plan says what would be done, and does nothing. */
static void a_configuration_is_checked_and_planned(const char *consumer, const char *target, const char *topic)
{
    kmirror_config_t *config = configured(consumer, target, topic);
    kmirror_report_t *report = NULL;

    EXPECT(strcmp(kmirror_config_warnings(config), "") == 0);
    expect_success(kmirror_config_check(config));
    EXPECT(strstr(kmirror_config_warnings(config), "key.deserializer") != NULL);
    expect_success(kmirror_check(config, NULL, &report));
    EXPECT(strcmp(kmirror_report_kind(report), "check") == 0 && kmirror_report_problem_count(report) == 0);
    EXPECT(strstr(kmirror_report_json(report), "\"ok\":true") != NULL);
    kmirror_report_free(report);
    expect_success(kmirror_plan(config, NULL, &report));
    EXPECT(strcmp(kmirror_report_kind(report), "plan") == 0 && kmirror_report_problem_count(report) == 0);
    EXPECT(strstr(kmirror_report_json(report), "\"action\":\"create\"") != NULL);
    kmirror_report_free(report);
    report = NULL;
    expect_success(kmirror_config_verify(config, topic, "10%", 60000, NULL, &report));
    EXPECT(strcmp(kmirror_report_kind(report), "verify") == 0 && !kmirror_report_identical(report));
    EXPECT(kmirror_report_differences(report) == 2 && kmirror_report_problem_count(report) == 2);
    EXPECT(strstr(kmirror_report_problem(report, 1), topic) != NULL && kmirror_report_problem(report, 2) == NULL);
    EXPECT(strcmp(kmirror_report_outcome(report), "different") == 0);
    /* Differences cannot be accepted. */
    kmirror_report_allow(report, true, true);
    EXPECT(strcmp(kmirror_report_outcome(report), "different") == 0 && !kmirror_report_identical(report));
    EXPECT(strstr(kmirror_report_json(report), "\"allow_behind\":true") != NULL);
    kmirror_report_free(report);
    kmirror_config_free(config);
}

static void mirrors_until_caught_up(const char *consumer, const char *target, const char *topic)
{
    kmirror_config_t *config = configured(consumer, target, topic);
    kmirror_t *mirror = NULL;
    kmirror_event_t *event;
    kmirror_report_t *report = NULL;
    int states = 0, lags = 0, topics = 0, polls;

    expect_success(kmirror_start(config, &mirror));
    kmirror_config_free(config);
    EXPECT(mirror != NULL);
    expect_success(kmirror_wait_until_caught_up(mirror, 120000));

    for (polls = 0; polls < 2000 && !(states > 0 && lags > 0 && topics > 0); polls++) {
        event = kmirror_poll(mirror, 100);
        if (event == NULL) {
            continue;
        }
        EXPECT(strlen(kmirror_event_message(event)) > 0);
        switch (kmirror_event_kind(event)) {
        case KMIRROR_EVENT_STATE_CHANGED:
            states++;
            EXPECT(kmirror_event_lag_records(event) == -1 && kmirror_event_state(event) != NULL);
            EXPECT(strstr(kmirror_event_json(event), kmirror_event_state(event)) != NULL);
            break;
        case KMIRROR_EVENT_LAG:
            lags++;
            /* -1 is what is not known yet. */
            EXPECT(kmirror_event_lag_records(event) >= -1);
            EXPECT(kmirror_event_lag_bytes(event) >= -1 && kmirror_event_lag_ms(event) >= -1);
            EXPECT(kmirror_event_lag_records(event) == -1
                   || (kmirror_event_source_as_of_ms(event) > 0 && kmirror_event_target_as_of_ms(event) > 0));
            break;
        case KMIRROR_EVENT_TOPIC_ADDED:
            topics++;
            EXPECT(strcmp(kmirror_event_topic(event), topic) == 0);
            EXPECT(kmirror_event_partition(event) == -1);
            break;
        default:
            break;
        }
        kmirror_event_free(event);
    }
    fprintf(stderr, "%d changes of state, %d of lag, %d topics\n", states, lags, topics);
    EXPECT(states > 0 && lags > 0 && topics > 0);

    expect_success(kmirror_pause(mirror));
    expect_success(kmirror_resume(mirror));
    expect_success(kmirror_wait_until_caught_up(mirror, -1));
    expect_success(kmirror_verify(mirror, -1, NULL, &report));
    EXPECT(kmirror_report_identical(report) && kmirror_report_differences(report) == 0);
    EXPECT(kmirror_report_records_compared(report) > 0 && kmirror_report_problem_count(report) == 0);
    EXPECT(strcmp(kmirror_report_outcome(report), "identical") == 0);
    kmirror_report_free(report);
    report = NULL;
    expect_success(kmirror_promote(mirror, 60000, NULL, &report));
    EXPECT(strcmp(kmirror_report_kind(report), "promote") == 0 && kmirror_report_promoted(report));
    EXPECT(kmirror_report_records_not_copied(report) == 0);
    EXPECT(strstr(kmirror_report_json(report), "\"drained\":true") != NULL);
    kmirror_report_free(report);
    EXPECT(strcmp(kmirror_state(mirror), "promoted") == 0);
    expect_success(kmirror_stop(mirror, 10000));
    expect_success(kmirror_stop(mirror, -1));
    expect_error(kmirror_pause(mirror), KMIRROR_ERROR_STATE, "promoted");
    expect_error(kmirror_wait_until_caught_up(mirror, 1000), KMIRROR_ERROR_STATE, "promoted");
    kmirror_free(mirror);
}

int main(int argc, char **argv)
{
    EXPECT(argc == 5);
    EXPECT(strcmp(kmirror_version(), argv[4]) == 0);
    EXPECT(strcmp(KMIRROR_VERSION, argv[4]) == 0);
    null_is_an_error_and_never_a_crash();
    no_object_has_answers_too();
    bad_input_is_told_in_words();
    a_cluster_that_is_not_there_is_told(argv[1], argv[3]);
    a_configuration_is_checked_and_planned(argv[1], argv[2], argv[3]);
    mirrors_until_caught_up(argv[1], argv[2], argv[3]);
    return 0;
}
