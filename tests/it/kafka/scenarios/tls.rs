//! A target that is reached over TLS, with a key made by the JDK's own tool and a trust store that holds its certificate.
//! What tests ask and read goes past it, by the broker's other listener.

use std::path::Path;
use std::process::Command;

use super::finding::{Finding, Verdict};
use super::tool::{Stage, Tool, write};
use crate::support::cluster::{Cluster, Options, Pair};
use crate::support::{Outcome, nursery, tool};

const PASSWORD: &str = "changeit";

pub(super) fn target(tool: Tool, pair: &Pair) -> Outcome<Finding> {
    match tool {
        Tool::Kmirror => refused(pair),
        Tool::MirrorMaker2 => mirrored(),
    }
}

fn over_tls<'a>(stage: Stage<'a>, trust_store: &Path) -> Stage<'a> {
    let west = stage.west.clone();
    stage
        .with(&format!("{west}.security.protocol"), "SSL")
        .with(&format!("{west}.ssl.truststore.location"), &trust_store.display().to_string())
        .with(&format!("{west}.ssl.truststore.password"), PASSWORD)
        .with(&format!("{west}.ssl.truststore.type"), "PKCS12")
}

fn refused(pair: &Pair) -> Outcome<Finding> {
    let stage = over_tls(Stage::new(Tool::Kmirror, pair, "K15"), Path::new("trust.p12"));
    let mut running = stage.start()?;
    let code = running.wait()?;
    assert!(running.said().contains("security.protocol"), "{}", running.said());
    let mut finding = Finding::default();
    finding.see(Verdict::NotYet, format!("security.protocol=SSL is refused (exit code {code}): PLAINTEXT only"));
    Ok(finding)
}

/// A key store with a key for this machine, and a trust store with its certificate.
fn stores() -> Outcome<[std::path::PathBuf; 2]> {
    let directory = nursery::directory("tls")?;
    let [keys, trust, certificate] = ["keys.p12", "trust.p12", "certificate"].map(|name| directory.join(name));
    let keytool = |arguments: &[&str]| {
        let mut command = Command::new("keytool");
        command.args(arguments).args(["-storetype", "PKCS12", "-storepass", PASSWORD, "-alias", "broker"]);
        tool::run(&mut command, "it is part of the JDK")
    };
    let [keys_text, trust_text, certificate] = [&keys, &trust, &certificate].map(|path| path.display().to_string());
    let name = ["-dname", "CN=localhost", "-ext", "san=dns:localhost,ip:127.0.0.1", "-validity", "30"];
    keytool(&[&["-genkeypair", "-keyalg", "RSA", "-keystore", &keys_text, "-keypass", PASSWORD], &name[..]].concat())?;
    keytool(&["-exportcert", "-keystore", &keys_text, "-file", &certificate])?;
    keytool(&["-importcert", "-noprompt", "-keystore", &trust_text, "-file", &certificate])?;
    Ok([keys, trust])
}

fn mirrored() -> Outcome<Finding> {
    let [keys, trust] = stores()?;
    // The listener that clients are told of; the other one is the test's.
    let secure = Options::default()
        .property("listener.security.protocol.map", "CLIENT:SSL,DIRECT:PLAINTEXT,CONTROLLER:PLAINTEXT")
        .property("ssl.keystore.location", &keys.display().to_string())
        .property("ssl.keystore.type", "PKCS12")
        .property("ssl.keystore.password", PASSWORD)
        .property("ssl.key.password", PASSWORD);
    let [source, target] = Cluster::start_all([Options::default(), secure])?;
    let pair = Pair { source, target };
    let stage = over_tls(Stage::new(Tool::MirrorMaker2, &pair, "K15"), &trust);
    let topic = stage.called("orders");
    stage.source().create_topic(&topic, 2, &[])?;
    write(stage.source(), &topic, 0..2, 50, 15)?;
    let mut running = stage.start()?;
    stage.wait_records(&mut running, stage.target(), &stage.copy(&topic), 100)?;
    let mut finding = Finding::default();
    finding.told("", stage.compared(&topic)?.told());
    Ok(finding)
}
