//! Keeps the ACLs of the target in step with those of the source: reads both, asks `machine::acls`, does it; again and again.
//!
//! What a round cannot do it names; the next one tries again. Before an ACL is created it is written down in the internal topic that
//! it is the mirror's, so that a mirror that is killed leaves nothing that the next one would take for somebody else's.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::Control;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::identity::acls::{self as memory, Ours};
use crate::machine::acls::{self, Action, Policy, Step};
use crate::machine::topics::selected;
use crate::status::Subject;
use crate::terms::acl::Acl;
use crate::terms::topic::Metadata;
use crate::wire::acls as wire;
use crate::wire::cluster::Cluster;

/// What is not in step, by the name under which it is shown: an ACL, or a whole cluster.
type Troubles = BTreeMap<String, Error>;

impl Control {
    /// Looks at the ACLs at once and then with every refresh, for ever.
    pub(super) async fn keep_acls(self: Rc<Self>) {
        let mut ours = Ours::default();
        loop {
            let troubles = match self.sync_acls(&mut ours).await {
                Ok(troubles) | Err(troubles) => troubles,
            };
            self.shared.set_troubles(Subject::Acl, troubles);
            self.acls_were_seen_to.set(true);
            tokio::time::sleep(self.config.refresh_interval).await;
        }
    }

    /// One round: what of it could not be done, or why there was none.
    async fn sync_acls(&self, ours: &mut Ours) -> Result<Troubles, Troubles> {
        let name = self.shared.name();
        let (source, target) = describe(&self.source, &self.target).await?;
        let ours = ours.read(&self.target, &name).await.map_err(of_target)?;
        let steps = {
            let metadata = self.source_metadata.borrow();
            plan(&self.config, &metadata, &source, &target, ours)
        };
        if steps.is_empty() {
            return Ok(Troubles::new());
        }
        // Nothing is written down as the mirror's that it would not be allowed to create.
        wire::check_may_alter(&self.target).await.map_err(of_target)?;
        let mut undone = Undone::default();
        for phase in steps.chunk_by(|one, next| one.phase() == next.phase()) {
            let free = undone.leave_out_waiting(phase);
            let results = match self.carry_out(&name, &free, ours).await {
                Ok(results) => results,
                Err(error) => {
                    undone.troubles.extend(of_target(error));
                    return Err(undone.troubles);
                }
            };
            for (step, result) in free.into_iter().zip(results) {
                match result {
                    Ok(()) => tracing::info!(acl = %step.acl, reason = step.reason, "{}", step.action.done()),
                    Err(error) => undone.add(step, error),
                }
            }
        }
        Ok(undone.troubles)
    }

    /// Does steps that are all creations or all deletions; the result of each.
    async fn carry_out(&self, name: &str, steps: &[&Step], ours: &BTreeSet<Acl>) -> Result<Vec<Result<()>>> {
        let acls: Vec<Acl> = steps.iter().map(|step| step.acl.clone()).collect();
        if steps.iter().all(|step| step.action == Action::Create) {
            let new: Vec<&Acl> = acls.iter().filter(|acl| !ours.contains(*acl)).collect();
            memory::remember(&self.target, name, &new).await?;
            return wire::create(&self.target, &acls).await;
        }
        let results = wire::delete(&self.target, &acls).await?;
        let gone: Vec<&Acl> =
            acls.iter().zip(&results).filter(|(_, result)| result.is_ok()).map(|(acl, _)| acl).collect();
        memory::forget(&self.target, name, &gone).await?;
        Ok(results)
    }
}

/// What a round could not do so far.
#[derive(Default)]
struct Undone<'a> {
    steps: Vec<&'a Step>,
    troubles: Troubles,
}

impl<'a> Undone<'a> {
    fn add(&mut self, step: &'a Step, error: Error) {
        self.troubles.insert(step.acl.to_string(), error);
        self.steps.push(step);
    }

    /// The steps that can be done; those that have to wait for one that could not be are named.
    fn leave_out_waiting(&mut self, steps: &'a [Step]) -> Vec<&'a Step> {
        let (mut free, mut waiting) = (Vec::new(), Vec::new());
        for step in steps {
            match self.steps.iter().find(|failed| step.waits_for(failed)) {
                Some(failed) => waiting.push((step, failed.acl.to_string())),
                None => free.push(step),
            }
        }
        for (step, failed) in waiting {
            let message = format!("the ACL '{}' waits until '{failed}' is in step, which limits it", step.acl);
            self.add(step, Error::new(ErrorKind::Topic, message));
        }
        free
    }
}

/// The ACLs of both clusters, or why there is nothing to compare.
pub(crate) async fn describe(
    source: &Cluster,
    target: &Cluster,
) -> Result<(BTreeSet<Acl>, BTreeSet<Acl>), BTreeMap<String, Error>> {
    match tokio::join!(wire::describe(source), wire::describe(target)) {
        (Ok(source), Ok(target)) => Ok((source, target)),
        (source_acls, target_acls) => {
            let failed = [(source.side, source_acls.err()), (target.side, target_acls.err())];
            Err(failed.into_iter().filter_map(|(side, error)| Some((side.to_owned(), error?))).collect())
        }
    }
}

/// Asks the machine, with what of the configuration concerns ACLs.
pub(crate) fn plan(
    config: &Config,
    source_metadata: &Metadata,
    source: &BTreeSet<Acl>,
    target: &BTreeSet<Acl>,
    ours: &BTreeSet<Acl>,
) -> Vec<Step> {
    let mirrored = selected(config, source_metadata).into_iter().collect();
    let policy = Policy { config, mirrored: &mirrored };
    acls::plan(source, target, ours, &policy)
}

fn of_target(error: Error) -> Troubles {
    Troubles::from([("target".to_owned(), error)])
}
