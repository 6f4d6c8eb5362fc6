//! What is done to both stores, at random.

use kv_core::{Interval, Isolation};
use proptest::prelude::*;
use proptest::sample::Index;

/// How a store is opened again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opening {
    pub(super) shards: usize,
    /// Else it is dropped, as after a kill.
    pub(super) is_closed_before: bool,
    /// The bound while it is opened, if that is another than afterwards.
    pub(super) bytes_max: Option<usize>,
}

#[derive(Debug, Clone)]
pub(super) enum Command {
    Begin(usize, Isolation, bool),
    BeginAt(usize, Index),
    Commit(usize),
    Rollback(usize),
    Put(usize, Index, usize, Option<u64>),
    PutIf(usize, Index, u64),
    Add(usize, Index),
    Delete(usize, Index, Option<u64>),
    Expire(usize, Index, Option<u64>),
    DeleteAll(usize),
    Get(usize, Index, bool),
    Meta(usize, Index),
    Version(usize, Index, u64),
    At(usize, Index, Index),
    History(usize, Index),
    Scan(usize, Interval, Option<u64>),
    Count(usize, Interval, u64),
    ShowAll(usize),
    Wait(u64),
    /// These are done to the one with files only.
    Fold,
    Sweep,
    /// Has everything leave memory that can.
    Empty,
    Open(Opening),
}

pub(super) const SESSIONS: usize = 4;
const KEYS: usize = 48;

/// Some keys are text, others are not.
pub(super) fn key(index: &Index) -> Vec<u8> {
    named(index.index(KEYS))
}

fn named(number: usize) -> Vec<u8> {
    match number % 3 {
        0 => vec![0xff, 0x00, number as u8],
        _ => format!("key{number:02}").into_bytes(),
    }
}

fn interval(from: &Index, to: &Index) -> Interval {
    Interval::range(&key(from), &key(to))
}

/// Looks at every key.
pub(super) fn everything() -> Vec<Command> {
    let all = || Interval::all();
    let mut commands = vec![Command::Count(0, all(), u64::MAX), Command::Scan(0, all(), None)];
    for number in 0..KEYS {
        commands.push(Command::Scan(0, Interval::prefix(&named(number)), None));
    }
    commands
}

pub(super) fn commands() -> impl Strategy<Value = Vec<Command>> {
    let command = prop_oneof![
        14 => transactions(),
        28 => writes(),
        32 => reads(),
        10 => scans(),
        1 => (0..20_000u64).prop_map(Command::Wait),
        6 => Just(Command::Fold),
        3 => Just(Command::Sweep),
        6 => Just(Command::Empty),
        1 => (1..9usize, any::<bool>(), prop::option::of(3_000..8_000usize)).prop_map(
            |(shards, is_closed_before, bytes_max)| {
                Command::Open(Opening { shards, is_closed_before, bytes_max })
            }
        ),
    ];
    prop::collection::vec(command, 100..500)
}

fn transactions() -> impl Strategy<Value = Command> {
    let of = || 0..SESSIONS;
    let isolation = prop_oneof![
        Just(Isolation::Serializable),
        Just(Isolation::Snapshot),
        Just(Isolation::Readonly)
    ];
    prop_oneof![
        6 => (of(), isolation, any::<bool>()).prop_map(|(s, i, n)| Command::Begin(s, i, n)),
        1 => (of(), any::<Index>()).prop_map(|(s, at)| Command::BeginAt(s, at)),
        6 => of().prop_map(Command::Commit),
        3 => of().prop_map(Command::Rollback),
    ]
}

fn writes() -> impl Strategy<Value = Command> {
    let of = || (0..SESSIONS, any::<Index>());
    // Long values have a table of their own.
    let bytes = prop_oneof![8 => 0..500usize, 1 => 2_000..5_000usize];
    let seconds = || prop::option::weighted(0.2, 1..60u64);
    prop_oneof![
        16 => (of(), bytes, seconds())
            .prop_map(|((s, k), bytes, ttl)| Command::Put(s, k, bytes, ttl)),
        3 => (of(), 0..4u64).prop_map(|((s, k), n)| Command::PutIf(s, k, n)),
        4 => of().prop_map(|(s, k)| Command::Add(s, k)),
        4 => (of(), prop::option::weighted(0.2, 1..4u64))
            .prop_map(|((s, k), version)| Command::Delete(s, k, version)),
        2 => (of(), seconds()).prop_map(|((s, k), ttl)| Command::Expire(s, k, ttl)),
        1 => (0..SESSIONS).prop_map(Command::DeleteAll),
    ]
}

fn reads() -> impl Strategy<Value = Command> {
    let of = || (0..SESSIONS, any::<Index>());
    prop_oneof![
        14 => (of(), any::<bool>()).prop_map(|((s, k), u)| Command::Get(s, k, u)),
        3 => of().prop_map(|(s, k)| Command::Meta(s, k)),
        4 => (of(), 0..8u64).prop_map(|((s, k), n)| Command::Version(s, k, n)),
        4 => (of(), any::<Index>()).prop_map(|((s, k), at)| Command::At(s, k, at)),
        4 => of().prop_map(|(s, k)| Command::History(s, k)),
    ]
}

fn scans() -> impl Strategy<Value = Command> {
    let of = || (0..SESSIONS, any::<Index>(), any::<Index>());
    let limit = || prop::option::of(0..9u64);
    prop_oneof![
        5 => (of(), limit())
            .prop_map(|((s, from, to), limit)| Command::Scan(s, interval(&from, &to), limit)),
        3 => (of(), limit()).prop_map(|((s, from, to), limit)| {
            Command::Count(s, interval(&from, &to), limit.unwrap_or(u64::MAX))
        }),
        2 => (0..SESSIONS, limit()).prop_map(|(s, limit)| Command::Scan(s, Interval::all(), limit)),
        1 => (0..SESSIONS).prop_map(Command::ShowAll),
    ]
}
