//! Commands and their answers as data, so that one test can run over the engine, over the server
//! and over the model, and compare or record what it is told.

use std::fmt;
use std::time::Duration;

use kv_testkit::model::{Condition, Conditions, Isolation, Open, Place};

/// What a client asks for. Values are text; keys are, too.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Begin {
        place: Place,
        isolation: Option<Isolation>,
        at: Option<u64>,
        wait: Option<Duration>,
    },
    Commit,
    Rollback,
    CommitAll,
    Get {
        key: String,
        for_update: bool,
    },
    GetVersion {
        key: String,
        version: u64,
    },
    GetAt {
        key: String,
        revision: u64,
    },
    Exists {
        key: String,
    },
    Meta {
        key: String,
    },
    History {
        key: String,
    },
    Put {
        key: String,
        value: String,
        condition: Condition,
    },
    PutFor {
        key: String,
        value: String,
        ttl_s: u64,
    },
    /// EXPIRE, or PERSIST without seconds.
    Expire {
        key: String,
        ttl_s: Option<u64>,
    },
    Ttl {
        key: String,
    },
    Delete {
        key: String,
        version: Option<u64>,
    },
    Add {
        key: String,
        by: i64,
    },
    Scan(Selection),
    Count(Selection),
    Nearest {
        number: String,
        rows: u64,
        prefix: Option<String>,
    },
    ShowAll,
    Transactions,
}

/// Which pairs a list is of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    pub(crate) interval: Interval,
    pub(crate) conditions: Conditions,
    pub(crate) after: Option<String>,
    pub(crate) limit: Option<u64>,
}

#[derive(Debug, Clone, Default)]
pub(crate) enum Interval {
    #[default]
    All,
    Prefix(String),
    Range(String, String),
}

/// One version of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Past {
    pub(crate) version: u64,
    pub(crate) revision: u64,
    pub(crate) value: Option<String>,
}

/// What the client is told when all is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    Begun(u64),
    /// A commit, with its revision if it changed something; of COMMITALL also how many.
    Committed {
        revision: Option<u64>,
        count: u64,
    },
    Value(Option<String>),
    Number(i64),
    /// Seconds to live, -1 for ever; none for a key that is not there.
    Ttl(Option<i64>),
    Flag(bool),
    /// Version, revision unless it is its own write, and length.
    Meta(Option<(u64, Option<u64>, usize)>),
    Pairs(Vec<(String, String)>),
    Shown(Vec<(String, Option<String>, Option<u64>)>),
    Versions(Vec<Past>),
    Open(Vec<Open>),
}

/// What it is told when not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The word for programs.
    pub(crate) code: String,
    /// Of PRECONDITION: the version that the key has.
    pub(crate) version: Option<u64>,
}

/// One who asks.
pub(crate) trait Client {
    /// Asks in the transaction, or in the current one, and waits for the answer.
    fn ask(&mut self, txn: Option<u64>, command: &Command) -> Result<Answer, Refusal>;

    /// Asks, but if that would wait, perhaps gives up at once (None) and goes on with other things.
    fn ask_impatiently(
        &mut self,
        txn: Option<u64>,
        command: &Command,
    ) -> Option<Result<Answer, Refusal>> {
        Some(self.ask(txn, command))
    }

    /// Asks outside of any transaction. Also answers the revision of the commit, if there was one.
    fn ask_alone(&mut self, command: &Command) -> (Result<Answer, Refusal>, Option<u64>);

    /// Asks, and goes away without a look at the answer, mid-wait if it has to wait. The next
    /// command comes from a new client.
    fn ask_and_vanish(&mut self, txn: Option<u64>, command: &Command);

    /// Goes away; the next command comes from a new client.
    fn vanish(&mut self);
}

impl Refusal {
    pub(crate) fn new(code: &str) -> Refusal {
        Refusal { code: code.into(), version: None }
    }

    /// Whether the transaction is lost.
    pub(crate) fn aborts(&self) -> bool {
        matches!(self.code.as_str(), "CONFLICT" | "DEADLOCK" | "ABORTED")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)
    }
}

impl Command {
    /// BEGIN of a transaction on its own.
    pub(crate) fn begin(isolation: Isolation) -> Command {
        Command::Begin { place: Place::Root, isolation: Some(isolation), at: None, wait: None }
    }

    pub(crate) fn get(key: &str) -> Command {
        Command::Get { key: key.into(), for_update: false }
    }

    pub(crate) fn put(key: &str, value: impl ToString) -> Command {
        let value = value.to_string();
        Command::Put { key: key.into(), value, condition: Condition::Always }
    }

    pub(crate) fn delete(key: &str) -> Command {
        Command::Delete { key: key.into(), version: None }
    }
}

impl Selection {
    pub(crate) fn prefix(prefix: &str) -> Selection {
        Selection { interval: Interval::Prefix(prefix.into()), ..Selection::default() }
    }
}

/// What an answer must be, of a command that cannot have another.
impl Answer {
    pub(crate) fn begun(self) -> u64 {
        let Answer::Begun(id) = self else { panic!("an id, not {self:?}") };
        id
    }

    pub(crate) fn value(self) -> Option<String> {
        let Answer::Value(value) = self else { panic!("a value, not {self:?}") };
        value
    }

    pub(crate) fn number(self) -> i64 {
        let Answer::Number(number) = self else { panic!("a number, not {self:?}") };
        number
    }

    pub(crate) fn pairs(self) -> Vec<(String, String)> {
        let Answer::Pairs(pairs) = self else { panic!("pairs, not {self:?}") };
        pairs
    }

    pub(crate) fn revision(self) -> Option<u64> {
        let Answer::Committed { revision, .. } = self else { panic!("a commit, not {self:?}") };
        revision
    }
}
