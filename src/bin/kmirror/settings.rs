//! From flags and files to the configuration of a mirror.
//! Which of them counts is decided by `Properties`; here is told where each one comes from.

use std::collections::BTreeSet;

use kmirror::config::{Config, Properties, Side, properties};
use kmirror::{Error, ErrorKind, Result};

use crate::args::{MirrorOptions, Property};

/// The configuration of each mirror: several only of a MirrorMaker 2 file. What is worth a warning is logged.
pub(crate) fn configure(options: &MirrorOptions) -> Result<Vec<Config>> {
    let mut properties = load_files(options)?;
    let flags = [
        ("--num.streams", "num.streams", &options.num_streams),
        ("--include", "topics", &options.include),
        ("--exclude", "topics.exclude", &options.exclude),
    ];
    for (flag, key, value) in flags {
        if let Some(value) = value {
            properties.set_from(flag, key, value);
        }
    }
    for property in &options.set {
        let Property::Is { key, value } = property else {
            let message = "--set: an argument has no '='; write --set KEY=VALUE, without blanks. It is not repeated here, because it \
                           may be a secret";
            return Err(Error::new(ErrorKind::Config, message));
        };
        properties.set_from("--set", key, value);
        if is_secret(key) && !value.is_empty() {
            // At once, as it is out in the open whether the rest of the configuration is right or not.
            tracing::warn!(
                "--set: {key}: everybody on this machine can see it in the list of processes; put it into a file that only \
                 you can read, and name that with --config"
            );
        }
    }
    let mirrors = match options.flow.as_slice() {
        [] => properties.mirrors()?,
        flows => flows.iter().map(|flow| properties.of_flow(flow)?.build()).collect::<Result<_>>()?,
    };
    let mut configs = Vec::new();
    let mut told = BTreeSet::new();
    for (config, warnings) in mirrors {
        // What holds for several flows is told once.
        for warning in warnings.iter().map(ToString::to_string).filter(|warning| told.insert(warning.clone())) {
            tracing::warn!("{warning}");
        }
        configs.push(config);
    }
    Ok(configs)
}

/// The configuration of the only mirror: a command that is about one says which of several flows is meant.
pub(crate) fn configure_one(options: &MirrorOptions) -> Result<Config> {
    let mut configs = configure(options)?;
    match (configs.pop(), configs.is_empty()) {
        (Some(config), true) => Ok(config),
        _ => Err(Error::new(ErrorKind::Config, "several flows are enabled: choose one of them with --flow")),
    }
}

/// Reads all files, and tells of all that cannot be read.
fn load_files(options: &MirrorOptions) -> Result<Properties> {
    let mut properties = Properties::new();
    let mut unreadable = Vec::new();
    let clients = [(Side::Source, &options.consumer_config), (Side::Target, &options.producer_config)];
    for (side, file) in clients {
        if let Some(file) = file {
            unreadable.extend(properties.load_client_file(side, file).err());
        }
    }
    for file in &options.config {
        unreadable.extend(properties.load_file(file).err());
    }
    match unreadable.as_slice() {
        [] => Ok(properties),
        [only] => Err(only.clone()),
        several => {
            let lines: String = several.iter().map(|error| format!("\n  {error}")).collect();
            Err(Error::new(ErrorKind::Config, format!("{} files cannot be read:{lines}", several.len())))
        }
    }
}

/// Whether a key, in whatever spelling and known or not, is one of a secret.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let short = key.strip_prefix("source.").or_else(|| key.strip_prefix("target.")).unwrap_or(&key);
    let known = properties::table()
        .any(|property| property.secret && (property.key == short || property.aliases.contains(&short)));
    known
        || ["password", "secret", "jaas", "token"].iter().any(|word| short.contains(word))
        || short == "ssl.keystore.key"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_in_every_spelling() {
        for key in ["sasl.password", "source.sasl.jaas.config", "target.ssl.key.password", "ssl.truststore.password"] {
            assert!(is_secret(key), "{key}");
        }
        assert!(!is_secret("source.bootstrap.servers") && !is_secret("topics"));
    }
}
