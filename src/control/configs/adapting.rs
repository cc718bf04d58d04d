//! Asks the target for topics and settings and, where it does not take a setting, for what it takes instead: what that is
//! decides `machine::configs`.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::{alter_target, told};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::machine::configs::{Adaptations, Change, Policy};
use crate::terms::broker_error::BrokerError;
use crate::terms::settings::Counting;
use crate::terms::topic::NewTopic;
use crate::wire::admin;
use crate::wire::cluster::Cluster;
use crate::wire::configs::ByTopic;

/// A topic may have several settings that the target does not take; it names one at a time.
const ROUNDS: usize = 10;
/// INVALID_CONFIG, INVALID_REQUEST and POLICY_VIOLATION: what brokers say of settings.
const OF_SETTINGS: [i16; 3] = [40, 42, 44];

/// Asks whether topics could be created, and adapts their settings until they can or nothing is left to adapt.
pub(crate) async fn may_create(
    target: &Cluster,
    controller_id: i32,
    new: &mut [NewTopic],
    policy: Policy<'_>,
    adaptations: &RefCell<Adaptations>,
) -> Result<BTreeMap<String, Result<Counting>>> {
    let adapt = |topic: &mut NewTopic| adaptations.borrow().adapt_new(&topic.name, &mut topic.configs);
    new.iter_mut().for_each(adapt);
    let mut answers = admin::may_create_topics(target, controller_id, new).await?;
    for _ in 0..ROUNDS {
        let learns = |topic: &&mut NewTopic| {
            let asked = topic.configs.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            let refusal = answers.get(&topic.name).and_then(|answer| answer.as_ref().err()).and_then(said);
            refusal.is_some_and(|why| adaptations.borrow_mut().learn(&topic.name, why, asked, policy))
        };
        let mut again: Vec<&mut NewTopic> = new.iter_mut().filter(learns).collect();
        if again.is_empty() {
            break;
        }
        again.iter_mut().for_each(|topic| adapt(topic));
        let asked: Vec<NewTopic> = again.into_iter().map(|topic| topic.clone()).collect();
        answers.extend(admin::may_create_topics(target, controller_id, &asked).await?);
    }
    Ok(answers)
}

/// Changes topics, or asks whether it would, and adapts what the target does not take; what became of each, by their names at the source. The
/// changes are those that were asked for in the end.
pub(crate) async fn alter(
    target: &Cluster,
    config: &Config,
    changes: &mut [(String, Vec<Change>)],
    adaptations: &RefCell<Adaptations>,
    only_ask: bool,
) -> Result<ByTopic<()>> {
    let mut answers = alter_target(target, config, changes, only_ask).await?;
    for _ in 0..ROUNDS {
        let mut again = Vec::new();
        for (topic, changes) in changes.iter_mut() {
            let refusal = told(&answers, topic).err();
            let Some(why) = refusal.as_ref().and_then(said) else { continue };
            let on_target = config.names.on_target(topic);
            let asked = changes.iter().filter_map(|change| Some((change.key(), change.to()?)));
            if adaptations.borrow_mut().learn(&on_target, why, asked, Policy::of(config)) {
                *changes = adaptations.borrow().adapt(&on_target, std::mem::take(changes)).0;
                again.push((topic.clone(), changes.clone()));
            }
        }
        if again.is_empty() {
            break;
        }
        // Nothing is left to change of these.
        answers.extend(again.iter().map(|(topic, _)| (topic.clone(), Ok(()))));
        again.retain(|(_, changes)| !changes.is_empty());
        answers.extend(alter_target(target, config, &again, only_ask).await?);
    }
    Ok(answers)
}

/// What a broker says of a setting that it does not take, in its own words.
fn said(error: &Error) -> Option<&str> {
    let code = error.kafka_code().filter(|code| OF_SETTINGS.contains(code))?;
    let (_, said) = error.message().split_once(BrokerError::of(code)?.reason)?;
    Some(said.trim().trim_start_matches('(').trim_end_matches(')'))
}
