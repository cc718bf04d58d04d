//! A process of the mirror: the real engine, on tasks of its own. It crashes when they are dropped, and is stopped
//! while they are not polled.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;

use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::network::OfProcess;
use super::world::World;
use crate::Callbacks;
use crate::config::Config;
use crate::control::{self, Host, REQUESTS, Request};
use crate::error::{Error, Result};
use crate::machine::lease::Purpose;
use crate::shared::Shared;
use crate::tasks;
use crate::waiting::{self, Waiter};
use crate::wire::dialer::memory::{self, Network};

/// A process.
pub(super) struct Process {
    /// What the engine does; nothing after a crash.
    local: Option<Pin<Box<LocalSet>>>,
    network: Rc<dyn Network>,
    /// Everything in it stands still.
    pub(super) is_stopped: bool,
    pub(super) shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
    started: Waiter<()>,
    start: Option<Result<()>>,
    ended: Rc<RefCell<Option<std::io::Result<()>>>>,
}

impl Process {
    pub(super) fn start(world: &Rc<World>, number: usize, config: Config) -> Self {
        let shared = Arc::new(Shared::new(Callbacks::new()));
        let (requests, receiver) = mpsc::channel(REQUESTS);
        let (started, answer) = waiting::pair();
        let local = LocalSet::new();
        let ended: Rc<RefCell<Option<std::io::Result<()>>>> = Rc::default();
        let (of_task, says_end) = (shared.clone(), ended.clone());
        local.spawn_local(async move {
            let mut host = Host::new(receiver, answer);
            let served = control::serve(Arc::new(config), of_task, Purpose::Run, &mut host);
            let outcome = tasks::watched(served).await;
            *says_end.borrow_mut() = Some(outcome);
        });
        let network = Rc::new(OfProcess { world: world.clone(), process: number });
        let local = Some(Box::pin(local));
        Process { local, network, is_stopped: false, shared, requests, started, start: None, ended }
    }

    /// It goes on, if it can.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) {
        let Some(local) = self.local.as_mut().filter(|_| !self.is_stopped) else { return };
        let before = memory::use_network(Some(self.network.clone()));
        // That no task is left is told by the first of them.
        let _ = local.as_mut().poll(context);
        memory::use_network(before);
    }

    /// Everything of it is gone, and what the system had still to send is sent.
    pub(super) fn crash(&mut self) {
        self.local = None;
    }

    /// Asks it to stop in good order.
    pub(super) fn ask_to_stop(&self) {
        // One that has ended does not listen.
        let _ = self.requests.try_send(Request::Stop(crate::clock::Instant::now() + std::time::Duration::from_secs(5)));
    }

    pub(super) fn is_there(&self) -> bool {
        self.local.is_some() && self.ended.borrow().is_none()
    }

    /// Why it has ended, if it was not asked to: the error of its start, or what it failed with.
    pub(super) fn error(&mut self) -> Option<Error> {
        if self.start.is_none() {
            self.start = self.started.now();
        }
        let start = self.start.as_ref().and_then(|start| start.as_ref().err().cloned());
        start.or_else(|| self.shared.error())
    }

    /// Whether a task of it has panicked.
    pub(super) fn has_panicked(&self) -> bool {
        matches!(&*self.ended.borrow(), Some(Err(_)))
    }
}
