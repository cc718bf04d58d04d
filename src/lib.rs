//! kmirror copies a Kafka cluster to another one, live, from inside a program.
#![forbid(unsafe_code)]
