//! All integration tests, one binary, ordered by purity: simulated, then mock clusters, then real Kafka.
