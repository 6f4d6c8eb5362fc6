//! What a command says beside keys and values, as types.

use std::borrow::Cow;
use std::time::Duration;

pub use kv_protocol::Isolation;
use kv_protocol::request::{Condition, Interval, Parent, Pattern, PutOptions, Selection};
use kv_protocol::{Request, ValueCondition};

use crate::error::{Error, Result};

/// What a put says beside key and value.
///
/// ```
/// use std::time::Duration;
/// use kv_client::Put;
///
/// let once = Put::new().if_absent().expires_after(Duration::from_secs(60));
/// # let _ = once;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Put {
    expires_after: Option<Duration>,
    condition: Option<Condition>,
}

impl Put {
    /// No condition, and no end of its life.
    pub fn new() -> Self {
        Self::default()
    }

    /// The key expires after this, in whole seconds, at least one. Without it the key does not
    /// expire, even if it would have before.
    pub fn expires_after(self, life: Duration) -> Self {
        Self { expires_after: Some(life), ..self }
    }

    /// Only if there is no such key; else the server answers PRECONDITION.
    pub fn if_absent(self) -> Self {
        Self { condition: Some(Condition::Absent), ..self }
    }

    /// Only if there is such a key; else the server answers PRECONDITION.
    pub fn if_present(self) -> Self {
        Self { condition: Some(Condition::Present), ..self }
    }

    /// Only if this is the key's newest version, 0 if there must be none; else the server answers
    /// PRECONDITION, and [`Error::current_version`] tells which it is.
    pub fn if_version(self, version: u64) -> Self {
        Self { condition: Some(Condition::Version(version)), ..self }
    }

    pub(crate) fn options(self, json: bool) -> Result<PutOptions> {
        let ttl_s = self.expires_after.map(whole_seconds).transpose()?;
        Ok(PutOptions { ttl_s, condition: self.condition, json })
    }
}

/// A time to live as the server counts it.
pub(crate) fn whole_seconds(life: Duration) -> Result<u64> {
    match (life.as_secs(), life.subsec_nanos()) {
        (seconds @ 1.., 0) => Ok(seconds),
        _ => Err(Error::Argument(format!(
            "a key expires after whole seconds, at least one; got {life:?}"
        ))),
    }
}

/// How a transaction is begun. An [`Isolation`] alone is one, too.
///
/// ```
/// use std::time::Duration;
/// use kv_client::{Begin, Isolation};
///
/// let patient = Begin::new(Isolation::Serializable).waits_for_locks(Duration::from_secs(60));
/// let yesterday = Begin::new(Isolation::ReadOnly).at_revision(1742);
/// # let _ = (patient, yesterday);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Begin {
    isolation: Isolation,
    at: Option<u64>,
    wait: Option<Duration>,
}

impl Begin {
    /// With this isolation.
    pub fn new(isolation: Isolation) -> Self {
        Self { isolation, at: None, wait: None }
    }

    /// Reads what was committed at this revision; only with [`Isolation::ReadOnly`].
    pub fn at_revision(self, revision: u64) -> Self {
        Self { at: Some(revision), ..self }
    }

    /// How long it waits for a lock, in whole milliseconds; without it as long as the server says.
    pub fn waits_for_locks(self, wait: Duration) -> Self {
        Self { wait: Some(wait), ..self }
    }

    pub(crate) fn isolation(self) -> Isolation {
        self.isolation
    }

    pub(crate) fn request(self) -> Request<'static> {
        let Begin { isolation, at, wait } = self;
        Request::Begin { parent: Parent::None, isolation: Some(isolation), at, wait }
    }
}

impl From<Isolation> for Begin {
    fn from(isolation: Isolation) -> Self {
        Begin::new(isolation)
    }
}

/// Which pairs a scan returns and a count counts.
///
/// ```
/// use kv_client::Scan;
///
/// let open = Scan::prefix("order:").value_matching(r#"*"open"*"#).limit(100);
/// # let _ = open;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Scan {
    pub(crate) selection: Selection<'static>,
}

impl Scan {
    /// All of them.
    pub fn all() -> Self {
        Self::default()
    }

    /// Those whose keys begin with these bytes.
    pub fn prefix(prefix: impl AsRef<[u8]>) -> Self {
        Self::within(Interval::Prefix(owned(prefix)))
    }

    /// Those with `from` ≤ key < `to`.
    pub fn range(from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Self {
        Self::within(Interval::Range { from: owned(from), to: owned(to) })
    }

    fn within(interval: Interval<'static>) -> Self {
        Self { selection: Selection { interval, ..Selection::default() } }
    }

    /// Only those whose keys fit a glob: `*`, `?`, `[a-z]`, `\` before what is meant as itself.
    pub fn matching(mut self, glob: impl AsRef<[u8]>) -> Self {
        self.selection.key = Some(Pattern::Glob(owned(glob)));
        self
    }

    /// Only those in whose keys a regular expression is found.
    pub fn matching_regex(mut self, regex: impl AsRef<[u8]>) -> Self {
        self.selection.key = Some(Pattern::Regex(owned(regex)));
        self
    }

    /// Only those with this value.
    pub fn value_equal_to(self, value: impl AsRef<[u8]>) -> Self {
        self.with_value(ValueCondition::Equal(owned(value)))
    }

    /// Only those whose values fit a glob.
    pub fn value_matching(self, glob: impl AsRef<[u8]>) -> Self {
        self.with_value(ValueCondition::Matches(Pattern::Glob(owned(glob))))
    }

    /// Only those in whose values a regular expression is found.
    pub fn value_matching_regex(self, regex: impl AsRef<[u8]>) -> Self {
        self.with_value(ValueCondition::Matches(Pattern::Regex(owned(regex))))
    }

    /// Only those with `from` ≤ value < `to`, byte by byte.
    pub fn value_range(self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Self {
        self.with_value(ValueCondition::Range { from: owned(from), to: owned(to) })
    }

    /// Only those whose values are numbers from `low` to `high`, both included.
    pub fn value_between(self, low: f64, high: f64) -> Self {
        let (low, high) = (low.to_string(), high.to_string());
        self.with_value(ValueCondition::Number { low: owned(low), high: owned(high) })
    }

    fn with_value(mut self, condition: ValueCondition<'static>) -> Self {
        self.selection.value = Some(condition);
        self
    }

    /// At most so many.
    pub fn limit(mut self, rows: u64) -> Self {
        self.selection.limit = Some(rows);
        self
    }

    /// Only those after this key, which need not exist: where an earlier scan ended.
    pub fn after(mut self, key: impl AsRef<[u8]>) -> Self {
        self.selection.after = Some(owned(key));
        self
    }
}

fn owned(bytes: impl AsRef<[u8]>) -> Cow<'static, [u8]> {
    Cow::Owned(bytes.as_ref().to_vec())
}
