//! Transfers between accounts from many threads, while an auditor counts the money.
//!
//! Shows `update` (retried when two transfers deadlock), `get_for_update` (so that they seldom
//! do), a nested transaction that may fail alone, and `view` for a consistent sum without waiting.

#![allow(clippy::print_stdout, reason = "an example talks")]

use std::sync::atomic::{AtomicBool, Ordering};

use kv_core::{Database, Error, Interval, ScanOptions, Transaction, Value};

const ACCOUNTS: u64 = 10;
const OPENING_BALANCE: i64 = 100;
const TRANSFERS_PER_THREAD: u64 = 500;

fn account(number: u64) -> Vec<u8> {
    format!("account:{number:02}").into_bytes()
}

fn amount(value: Option<&Value>) -> i64 {
    value.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok()).unwrap_or(0)
}

/// Moves money, if there is enough; false if there is not.
fn transfer(txn: &mut Transaction, from: u64, to: u64, sum: i64) -> Result<bool, Error> {
    let balance = amount(txn.get_for_update(account(from))?.as_ref());
    if balance < sum {
        return Ok(false);
    }
    txn.add(account(from), -sum)?;
    txn.add(account(to), sum)?;
    // A note that must not fail the transfer: only what is nested is undone if it cannot be made.
    let noted: Result<i64, Error> = txn.nested(|txn| txn.add(b"transfers", 1));
    drop(noted);
    Ok(true)
}

fn total(db: &Database) -> Result<i64, Error> {
    let accounts = ScanOptions::of(Interval::prefix(b"account:"));
    db.view(|txn| {
        let rows = txn.scan(&accounts)?;
        Ok(rows.iter().map(|row| amount(row.value().as_ref())).sum())
    })
}

fn main() -> Result<(), Error> {
    let db = Database::builder().open();
    db.update(|txn| {
        (0..ACCOUNTS)
            .try_for_each(|number| txn.put(account(number), OPENING_BALANCE.to_string().as_bytes()))
    })?;
    let is_done = AtomicBool::new(false);
    let audits = std::thread::scope(|scope| {
        let auditor = scope.spawn(|| -> Result<u64, Error> {
            let mut audits = 0;
            while !is_done.load(Ordering::Relaxed) {
                assert_eq!(total(&db)?, ACCOUNTS as i64 * OPENING_BALANCE);
                audits += 1;
            }
            Ok(audits)
        });
        let clerks: Vec<_> = (1..=4)
            .map(|clerk: u64| {
                let db = &db;
                scope.spawn(move || {
                    (0..TRANSFERS_PER_THREAD).try_for_each(|turn| {
                        let (from, to) = ((turn * clerk) % ACCOUNTS, (turn + clerk) % ACCOUNTS);
                        db.update(|txn| transfer(txn, from, to, 7)).map(|_| ())
                    })
                })
            })
            .collect();
        for clerk in clerks {
            clerk.join().unwrap_or(Err(Error::Internal("a clerk panicked".into())))?;
        }
        is_done.store(true, Ordering::Relaxed);
        auditor.join().unwrap_or(Err(Error::Internal("the auditor panicked".into())))
    })?;
    let transfers = amount(db.get(b"transfers")?.as_ref());
    println!("{transfers} transfers, {audits} audits, total {}", total(&db)?);
    Ok(())
}

#[test]
fn runs() {
    main().unwrap();
}
