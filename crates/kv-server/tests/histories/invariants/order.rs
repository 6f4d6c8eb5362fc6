//! Who comes before whom: ids that rise with revisions, two writes that nobody sees in two orders,
//! and two inserts of which each forbids the other.

use std::sync::Barrier;

use kv_testkit::model::Isolation;

use super::{AnyClient, at_once, attempt, number, over_both};
use crate::command::{Command, Refusal, Selection};
use crate::seed::{Random, say};

/// Each transaction takes the next id and writes it down; ids and revisions rise together.
#[test]
fn ids_rise_in_commit_order() {
    over_both("invariants::order::ids_rise_in_commit_order", 200, |store, round| {
        let taken = at_once(store, round, 4, |_, client, random| {
            let mut taken = Vec::new();
            for _ in 0..round.size {
                random.linger();
                taken.extend(take_id(client, random).ok());
            }
            taken
        });
        let mut all: Vec<(u64, i64)> = taken.into_iter().flatten().collect();
        all.sort_unstable();
        say(format_args!("{} ids", all.len()));
        assert!(all.iter().map(|(_, id)| *id).eq(1..=all.len() as i64), "{all:?}");
        let listed = Command::Scan(Selection::prefix("id."));
        let listed = store.client().ask(None, &listed).unwrap().pairs();
        assert_eq!(listed.len(), all.len(), "each acknowledged id was written down");
    });
}

/// The revision and the id.
fn take_id(client: &mut AnyClient, random: &mut Random) -> Result<(u64, i64), Refusal> {
    let isolation = random.one_of(&[Isolation::Serializable, Isolation::Snapshot]);
    let for_update = random.percent(70);
    let (id, revision) = attempt(client, isolation, |client, txn| {
        let get = Command::Get { key: "last".into(), for_update };
        let id = number(client.ask(Some(txn), &get)?.value()) + 1;
        std::thread::yield_now();
        client.ask(Some(txn), &Command::put(&format!("id.{id:06}"), id))?;
        client.ask(Some(txn), &Command::put("last", id))?;
        Ok(id)
    })?;
    Ok((revision.unwrap(), id))
}

/// Long fork: of two independent writes, no two readers see each only the other one.
#[test]
fn nobody_sees_two_writes_in_opposite_orders() {
    let test = "invariants::order::nobody_sees_two_writes_in_opposite_orders";
    over_both(test, 100, |store, round| {
        let barrier = Barrier::new(6);
        let seen = at_once(store, round, 6, |number, client, random| {
            let mut seen = Vec::new();
            for turn in 0..round.size {
                let keys = [format!("{turn}.x"), format!("{turn}.y")];
                barrier.wait();
                match number {
                    0 | 1 => drop(client.ask(None, &Command::put(&keys[number], 1))),
                    _ => seen.push(look(client, random, &keys)),
                }
            }
            seen
        });
        let mut forked = 0;
        for turn in 0..round.size {
            let saw = |what: [bool; 2]| {
                let looks = seen[2..].iter().flat_map(|seen| &seen[turn]);
                looks.filter(|look| **look == what).count()
            };
            let (only_x, only_y) = (saw([true, false]), saw([false, true]));
            assert!(only_x == 0 || only_y == 0, "turn {turn}: {only_x} and {only_y} readers");
            forked += usize::from(only_x + only_y > 0);
        }
        say(format_args!("one write was seen without the other in {forked} turns"));
    });
}

/// What a reader sees of both keys, several times.
fn look(client: &mut AnyClient, random: &mut Random, keys: &[String; 2]) -> Vec<[bool; 2]> {
    let levels = [Isolation::Serializable, Isolation::Snapshot, Isolation::Readonly];
    let mut seen = Vec::new();
    for _ in 0..4 {
        let mut order = [0, 1];
        if random.percent(50) {
            order.reverse();
        }
        let isolation = random.one_of(&levels);
        let looked = attempt(client, isolation, |client, id| {
            let mut is_there = [false; 2];
            for key in order {
                let value = client.ask(Some(id), &Command::get(&keys[key]))?.value();
                is_there[key] = value.is_some();
            }
            Ok(is_there)
        });
        seen.extend(looked.ok().map(|(is_there, _)| is_there));
    }
    seen
}

/// G2: two transactions each look whether the other's row is there, and insert their own if not.
#[test]
fn at_most_one_of_two_inserts() {
    over_both("invariants::order::at_most_one_of_two_inserts", 150, |store, round| {
        let barrier = Barrier::new(2);
        let inserted = at_once(store, round, 2, |number, client, random| {
            let mut inserted = Vec::new();
            for turn in 0..round.size {
                // Both or none by scans, and neither by GETs alone: as they like.
                let by_scan = random.percent(50);
                barrier.wait();
                inserted.push(insert_if_alone(client, turn, number, by_scan));
            }
            inserted
        });
        let pairs = inserted[0].iter().zip(&inserted[1]);
        let both = pairs.clone().filter(|(one, other)| **one && **other).count();
        let none = pairs.filter(|(one, other)| !**one && !**other).count();
        say(format_args!("of {} pairs, {none} were not inserted at all", round.size));
        assert_eq!(both, 0, "pairs were inserted twice");
        assert!(none < round.size, "nobody ever inserted anything");
    });
}

fn insert_if_alone(client: &mut AnyClient, turn: usize, number: usize, by_scan: bool) -> bool {
    let key = |number: usize| format!("pair{turn}.{number}");
    let inserted = attempt(client, Isolation::Serializable, |client, id| {
        let is_alone = if by_scan {
            let scan = Command::Scan(Selection::prefix(&format!("pair{turn}.")));
            client.ask(Some(id), &scan)?.pairs().is_empty()
        } else {
            client.ask(Some(id), &Command::get(&key(1 - number)))?.value().is_none()
        };
        if is_alone {
            std::thread::yield_now();
            client.ask(Some(id), &Command::put(&key(number), 1))?;
        }
        Ok(is_alone)
    });
    inserted.is_ok_and(|(inserted, _)| inserted)
}
