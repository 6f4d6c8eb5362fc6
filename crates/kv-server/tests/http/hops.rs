//! A bank whose transfers change hands in the middle: each is begun by one connection, goes on in
//! another, and is committed by a third, over whatever face. No money is made or lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use kv_testkit::server::Client;
use serde_json::json;

use crate::client::Http;
use crate::{http, server};

const ACCOUNTS: u64 = 5;
const EACH: i64 = 100;
const TELLERS: u64 = 4;
const TRANSFERS: u64 = 40;

/// One hand that a transfer passes through.
enum Hand {
    Lines(Box<Client>),
    Http(Box<Http>),
}

/// The other side is to be told to begin again.
#[derive(Debug)]
struct Again;

impl Hand {
    fn begin(&mut self) -> String {
        match self {
            Hand::Lines(lines) => {
                assert!(lines.ask("BEGIN").starts_with("OK "));
                lines.ask("TOKEN").trim_matches('"').to_owned()
            }
            Hand::Http(http) => {
                let begun = http.ask("POST", "/begin", &[], b"");
                begun.json()["transaction_id"].as_str().unwrap().to_owned()
            }
        }
    }

    /// Adds to an account in the transaction of the token, and ends it if that is asked for.
    fn go_on(&mut self, token: &str, account: u64, by: i64, end: bool) -> Result<(), Again> {
        match self {
            Hand::Lines(lines) => {
                let attached = lines.ask(format!("ATTACH {token}"));
                let id = attached.strip_prefix("OK ").ok_or(Again)?.to_owned();
                // Every other one in a transaction of its own, which is handed to the outer one.
                let nested = account.is_multiple_of(2);
                let inner = match nested {
                    true => lines.ask(format!("BEGIN {id}")).strip_prefix("OK ").map(str::to_owned),
                    false => Some(id.clone()),
                };
                let inner = inner.ok_or(Again)?;
                let added = lines.ask(format!("INCR a{account} BY {by} {inner}"));
                added.parse::<i64>().map_err(|_| Again)?;
                if nested && lines.ask(format!("COMMIT {inner}")) != "OK" {
                    return Err(Again);
                }
                match end {
                    true if lines.ask(format!("COMMIT {id}")) != "OK" => Err(Again),
                    _ => Ok(()),
                }
            }
            Hand::Http(http) => {
                let headers = [("kv-transaction", token), ("content-type", "application/json")];
                let path = format!("/get/a{account}");
                let found = http.ask("GET", &path, &headers, b"");
                let balance = found.json()["value"].as_str().and_then(|text| text.parse().ok());
                let balance: i64 = balance.ok_or(Again)?;
                let value = json!({"value": (balance + by).to_string()}).to_string();
                let put = http.ask("POST", &format!("/put/a{account}"), &headers, value.as_bytes());
                if put.status != 200 {
                    return Err(Again);
                }
                match end {
                    true if http.ask("POST", "/commit", &headers, b"").status != 200 => Err(Again),
                    _ => Ok(()),
                }
            }
        }
    }

    fn roll_back(&mut self, token: &str) {
        match self {
            Hand::Lines(lines) => {
                let attached = lines.ask(format!("ATTACH {token}"));
                if let Some(id) = attached.strip_prefix("OK ") {
                    // An aborted one ends at any level; of others the root is meant.
                    let root = lines.ask_list("TRANSACTIONS");
                    let root = root.iter().filter_map(|row| row.split_once(" - ")).next_back();
                    let root = root.map_or_else(|| id.to_owned(), |(root, _)| root.to_owned());
                    assert_eq!(lines.ask(format!("ROLLBACK {root}")), "OK");
                }
            }
            Hand::Http(http) => {
                let headers = [("kv-transaction", token)];
                while http.ask("POST", "/rollback", &headers, b"").status == 200 {}
            }
        }
    }
}

#[test]
fn transfers_that_change_hands_keep_the_total() {
    let server = server(&["--lock-timeout", "2s"]);
    let mut bank = server.connect();
    (0..ACCOUNTS).for_each(|of| drop(bank.ask(format!("PUT a{of} {EACH}"))));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (server, is_over) = (&server, &is_over);
        let auditor = scope.spawn(move || {
            let mut audits = 0;
            let mut lines = server.connect();
            while !is_over.load(Ordering::Relaxed) {
                lines.ask("BEGIN READONLY");
                let rows = lines.ask_list("SCAN PREFIX a");
                let balance = |row: &String| -> Option<i64> {
                    row.split(' ').nth(1)?.trim_matches('"').parse().ok()
                };
                let total: i64 = rows[..rows.len() - 1].iter().filter_map(balance).sum();
                assert_eq!(total, EACH * ACCOUNTS as i64, "{rows:?}");
                lines.ask("ROLLBACK");
                audits += 1;
            }
            audits
        });
        let tellers: Vec<_> = (0..TELLERS)
            .map(|teller| {
                scope.spawn(move || {
                    let mut hands = [
                        Hand::Lines(Box::new(server.connect())),
                        Hand::Http(Box::new(http(server))),
                        Hand::Lines(Box::new(server.connect())),
                    ];
                    for nth in 0..TRANSFERS {
                        let (from, to) =
                            ((teller + nth) % ACCOUNTS, (teller * 3 + nth + 1) % ACCOUNTS);
                        loop {
                            let hand = |of: u64| ((nth + of) % 3) as usize;
                            let token = hands[hand(0)].begin();
                            let moved = hands[hand(1)]
                                .go_on(&token, from, -1, false)
                                .and_then(|()| hands[hand(2)].go_on(&token, to, 1, true));
                            // Whoever began it still has a number for it.
                            if let Hand::Lines(lines) = &mut hands[hand(0)]
                                && moved.is_ok()
                            {
                                assert!(lines.ask("ROLLBACK").starts_with("ERR NOTX"));
                            }
                            match moved {
                                Ok(()) => break,
                                Err(Again) => hands[hand(0)].roll_back(&token),
                            }
                            // The other hands have numbers for what is over, too.
                            for other in [hand(1), hand(2)] {
                                let Hand::Lines(lines) = &mut hands[other] else { continue };
                                while lines.ask("ROLLBACK").contains(" is over") {}
                            }
                        }
                    }
                })
            })
            .collect();
        for teller in tellers {
            teller.join().unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(auditor.join().unwrap() > 0);
    });
    server.check_idle();
}
