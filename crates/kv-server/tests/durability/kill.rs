//! `kill -9` at random moments under load, again and again on the same data.

use std::time::Duration;

use crate::Data;
use crate::journal::Journal;
use crate::numbers::{Numbers, variable};
use crate::writers::{Load, Traffic};

/// Kills in an ordinary run; `KV_KILLS` asks for more.
const KILLS: u64 = 30;
/// Kills before the data is begun anew, so that comparing it stays quick.
const KILLS_PER_DIRECTORY: u64 = 6;
const LIFE_MS_MAX: usize = 400;

#[test]
fn nothing_acknowledged_is_lost_however_often_it_is_killed() {
    let (seed, kills) = (variable("KV_SEED").unwrap_or(1), variable("KV_KILLS").unwrap_or(KILLS));
    let mut numbers = Numbers::new(seed, 1000);
    let (mut kill, mut acknowledged) = (0, 0);
    while kill < kills {
        let flags: &[&str] = if numbers.below(4) == 0 { &["--snapshot", "json"] } else { &[] };
        let data = Data::with_flags(flags);
        let mut journal = Journal::default();
        for life in 0..KILLS_PER_DIRECTORY.min(kills - kill) {
            let server = data.start();
            journal.check(&server);
            let load = Load::start(&server, Traffic::default(), life as usize, seed + kill);
            sleep_ms(numbers.below(LIFE_MS_MAX));
            server.kill();
            load.join(&mut journal);
            if numbers.below(3) == 0 {
                kill_while_starting(&data, numbers.below(40));
            }
            kill += 1;
        }
        let server = data.start();
        let first = journal.check(&server);
        server.kill();
        assert_eq!(journal.check(&data.start()), first, "recovery twice gives the same");
        acknowledged += journal.acknowledged();
    }
    assert!(acknowledged as u64 > 10 * kills, "{acknowledged} commits are hardly a load");
}

/// Recovery itself is cut off: a start that nobody waits for.
fn kill_while_starting(data: &Data, after_ms: usize) {
    let mut start = data.command().stderr(std::process::Stdio::null()).spawn().unwrap();
    sleep_ms(after_ms);
    start.kill().unwrap();
    start.wait().unwrap();
}

fn sleep_ms(ms: usize) {
    std::thread::sleep(Duration::from_millis(ms as u64));
}
