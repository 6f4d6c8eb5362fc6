//! The same compare-and-set through HTTP, lines and RESP at once has one winner.

use std::sync::Barrier;
use std::thread;

use crate::{http, server};

const ROUNDS: u64 = 100;

#[test]
fn exactly_one_of_three_faces_wins_each_round() {
    let server = server(&[]);
    server.connect().ask("PUT k 0");
    for round in 1..=ROUNDS {
        let start = Barrier::new(3);
        let (server, start) = (&server, &start);
        let wins: u64 = thread::scope(|scope| {
            let over_http = scope.spawn(move || {
                let mut http = http(server);
                let tag = format!("\"{round}\"");
                let headers = [("content-type", "text/plain"), ("if-match", &*tag)];
                start.wait();
                u64::from(http.ask("PUT", "/v1/kv/k", &headers, b"http").status == 200)
            });
            let by_lines = scope.spawn(move || {
                let mut lines = server.connect();
                start.wait();
                u64::from(lines.ask(format!("PUT k lines IF VERSION {round}")) == "OK")
            });
            let in_resp = scope.spawn(move || {
                let mut resp = server.connect();
                let version = round.to_string();
                let words = ["KV", "PUT", "k", "resp", "IF", "VERSION", &version];
                let mut request = format!("*{}\r\n", words.len());
                for word in words {
                    request += &format!("${}\r\n{word}\r\n", word.len());
                }
                start.wait();
                resp.send_raw(request);
                u64::from(resp.read_line().trim_end() == "+OK")
            });
            [over_http, by_lines, in_resp].map(|thread| thread.join().unwrap()).iter().sum()
        });
        assert_eq!(wins, 1, "round {round}");
    }
    let meta = server.connect().ask("META k");
    assert!(meta.starts_with(&format!("\"version={} ", ROUNDS + 1)), "{meta}");
}
