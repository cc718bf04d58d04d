//! The keys of TLS and SASL, which this version knows but cannot use, and which values must never be shown.
//! Secrecy is answered for every key there could be, because messages also speak of keys that do not exist.

use super::properties;

/// Whether the key is one of TLS or SASL, in Java's or librdkafka's spelling.
pub(super) fn is_security_key(key: &str) -> bool {
    const OTHERS: [&str; 10] = [
        "security.providers",
        "enable.ssl.certificate.verification",
        "enable.sasl.oauthbearer.unsecure.jwt",
        "oauthbearer_token_refresh_cb",
        "https.ca.location",
        "https.ca.pem",
        "ssl_ca",
        "ssl_key",
        "ssl_certificate",
        "ssl_engine_callback_data",
    ];
    key.starts_with("ssl.") || key.starts_with("sasl.") || OTHERS.contains(&key)
}

/// Whether the value of a key must never be shown, with or without prefix: the table says so, or its name makes it
/// likely. True for keys that do not exist too.
pub fn is_secret(key: &str) -> bool {
    const TELLING: [&str; 10] =
        ["password", "passphrase", "secret", "key", "pem", "token", "jaas", "username", "credential", "certificate"];
    // librdkafka marks these too.
    const OTHER_SECRETS: [&str; 2] = ["sasl.oauthbearer.config", "sasl.oauthbearer.client.id"];
    let bare = key.strip_prefix("source.").or_else(|| key.strip_prefix("target.")).unwrap_or(key);
    match properties::of_mirror(bare).or_else(|| properties::of_client(bare)) {
        Some(property) => property.secret,
        None => {
            let bare = bare.to_ascii_lowercase();
            OTHER_SECRETS.contains(&bare.as_str()) || TELLING.iter().any(|part| bare.contains(part))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_java_and_librdkafka_hold_back_is_held_back_here() {
        let theirs = "sasl.jaas.config sasl.oauthbearer.assertion.private.key.passphrase ssl.key.password ssl.key.pem \
            sasl.oauthbearer.client.credentials.client.secret ssl.keystore.certificate.chain ssl.keystore.key ssl.ca.pem \
            ssl.keystore.password ssl.truststore.certificates ssl.truststore.password sasl.oauthbearer.client.secret \
            sasl.oauthbearer.assertion.private.key.file sasl.oauthbearer.assertion.private.key.pem sasl.password \
            sasl.oauthbearer.client.id sasl.oauthbearer.config sasl.username ssl.key.location ssl.keystore.location";
        for key in theirs.split_whitespace() {
            assert!(is_secret(key) && is_secret(&format!("source.{key}")), "{key}");
        }
        assert!(!is_secret("topics") && !is_secret("source.bootstrap.servers"));
    }
}
