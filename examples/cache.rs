//! A cache in front of something slow, in a program without async.
//!
//! Shows the blocking client, keys that expire, and a lease that lets one caller do the slow thing
//! while the others wait for its answer, rather than all of them at once.

#![allow(clippy::print_stdout, reason = "an example talks")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use kv_client::blocking::{Client, Commands};
use kv_client::{ErrorCode, Put, Result, Value};

/// How long an answer is good.
const FRESH: Duration = Duration::from_secs(60);
/// How long the slow thing may take before somebody else tries.
const LEASE: Duration = Duration::from_secs(10);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// Something slow, that counts how often it is asked.
struct Slow {
    asked: AtomicU32,
}

impl Slow {
    fn answer(&self, question: &str) -> String {
        self.asked.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(50));
        format!("the answer to {question}")
    }
}

/// The answer, from the cache if it is there.
fn ask(client: &Client, slow: &Slow, question: &str) -> Result<Value> {
    let (answer, lease) = (format!("answer:{question}"), format!("lease:{question}"));
    loop {
        if let Some(value) = client.get(&answer)? {
            return Ok(value);
        }
        let mine = Put::new().if_absent().expires_after(LEASE);
        match client.put_with(&lease, "", mine) {
            Ok(()) => {
                let value = slow.answer(question);
                client.put_with(&answer, &value, Put::new().expires_after(FRESH))?;
                client.delete(&lease)?;
                return Ok(value.into_bytes().into());
            }
            // Somebody is at it.
            Err(error) if error.server_code() == Some(ErrorCode::Precondition) => {
                thread::sleep(LOOK_AGAIN_AFTER);
            }
            Err(error) => return Err(error),
        }
    }
}

fn run(address: &str) -> Result<()> {
    let client = Client::connect(address)?;
    let slow = Slow { asked: AtomicU32::new(0) };
    let answers: Vec<Result<Value>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..20)
            .map(|n| {
                let (client, slow) = (&client, &slow);
                scope.spawn(move || ask(client, slow, ["life", "everything"][n % 2]))
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    assert_eq!(answers.len(), 20);
    for answer in answers {
        assert!(answer?.to_str()?.starts_with("the answer to"));
    }
    let asked = slow.asked.load(Ordering::Relaxed);
    assert_eq!(asked, 2, "once for each question");
    println!("20 callers had their answers, and the slow thing was asked {asked} times");
    println!("they are kept for {:?} more", client.time_to_live("answer:life")?);
    Ok(())
}

fn main() -> Result<()> {
    run(&kv_examples::server())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_slow_thing_is_asked_once() {
        let server = kv_examples::test_server();
        super::run(&server.address().to_string()).unwrap();
    }
}
