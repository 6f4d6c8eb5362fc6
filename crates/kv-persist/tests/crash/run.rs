//! One life of a store, from an empty directory to the crash that was chosen.

use std::path::Path;

use crate::check::{Crash, Start, start};
use crate::journal::{Journal, Violation, violation};
use crate::sim::{Restart, SimFs};
use crate::store::{DIRECTORIES, Options, Store};
use crate::workload::{Step, Workload};

/// How a life goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// How many steps it has, unless it ends before.
    pub(crate) steps: usize,
    pub(crate) options: Options,
    /// Whether operations fail on the way, so that a start may, too.
    pub(crate) has_faults: bool,
}

/// Starts in a row that may fail for want of room, or for the fault that is planned.
const FAILED_STARTS_MAX: usize = 4;

/// A store that lives.
#[derive(Debug)]
struct Life {
    fs: SimFs,
    plan: Plan,
    journal: Journal,
    workload: Workload,
    store: Option<Store>,
}

impl Plan {
    /// Lives until the system goes down, or to the end of the plan. `prepare` arranges for what is
    /// to go wrong.
    pub(crate) fn live(self, prepare: impl FnOnce(&SimFs)) -> Result<Crash, Violation> {
        let fs = SimFs::new(self.seed, &DIRECTORIES.map(Path::new));
        prepare(&fs);
        let mut life = Life {
            fs,
            plan: self,
            journal: Journal::default(),
            workload: Workload::new(self.seed),
            store: None,
        };
        life.start()?;
        for _ in 0..self.steps {
            if life.fs.is_down() {
                break;
            }
            life.step()?;
        }
        life.fs.crash_now();
        life.fs.mend();
        Ok(Crash { fs: life.fs, journal: life.journal })
    }
}

impl Life {
    /// Starts the store, checks what it has, and lets the clients in.
    fn start(&mut self) -> Result<(), Violation> {
        for _ in 0..FAILED_STARTS_MAX {
            match start(&self.fs, self.plan.options, &mut self.journal)? {
                Start::Open(store) => {
                    self.workload.connect(&store);
                    self.store = Some(*store);
                    return Ok(());
                }
                Start::Refused => return Ok(()),
                Start::Failed(_) if self.fs.is_down() => return Ok(()),
                // The operator mends what is wrong, and tries again.
                Start::Failed(_) if self.plan.has_faults => {
                    self.fs.set_capacity(None);
                    self.fs.restart(Restart::Killed);
                }
                Start::Failed(error) => return violation!("it does not open: {error}"),
            }
        }
        violation!("it does not open, though nothing is wrong any more")
    }

    fn step(&mut self) -> Result<(), Violation> {
        let Some(store) = &mut self.store else { return Ok(()) };
        let step = self.workload.next_step();
        match step {
            Step::Command => self.workload.command(store, &mut self.journal)?,
            Step::Flush => store.flush(),
            Step::Checkpoint => store.checkpoint(),
            Step::MakeRoom => self.fs.set_capacity(None),
            Step::Restart | Step::Kill => self.workload.disconnect(),
        }
        // What the store says before it goes down, it has said.
        self.journal.acknowledge(store.durable());
        let has_failed = store.has_failed();
        match step {
            // A process whose log has failed ends itself.
            _ if has_failed => self.restart(),
            Step::Kill => self.restart(),
            Step::Restart => {
                if let Some(mut store) = self.store.take() {
                    store.close();
                    self.journal.acknowledge(store.durable());
                }
                self.start()
            }
            Step::Command | Step::Flush | Step::Checkpoint | Step::MakeRoom => Ok(()),
        }
    }

    /// The process ends and is started again, unless the whole system is down.
    fn restart(&mut self) -> Result<(), Violation> {
        self.workload.disconnect();
        self.store = None;
        if self.fs.is_down() {
            return Ok(());
        }
        self.fs.restart(Restart::Killed);
        self.start()
    }
}
