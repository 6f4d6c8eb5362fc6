//! Client libraries and tools, unchanged: the `redis` crate here, and others that a machine may
//! have.

use std::process::Command;
use std::sync::Barrier;
use std::thread;

use kv_testkit::server::TestServer;
use redis::{AsyncCommands, Client, Commands, RedisResult, cmd, pipe};

use super::server;

fn open(server: &TestServer, protocol: &str) -> Client {
    Client::open(format!("redis://{}/?protocol={protocol}", server.address())).unwrap()
}

#[test]
fn commands_and_pipelines() {
    let server = server(&[]);
    for protocol in ["resp2", "resp3"] {
        let mut connection = open(&server, protocol).get_connection().unwrap();
        let _: () = connection.set("k", b"\0\xff\r\n").unwrap();
        assert_eq!(connection.get::<_, Vec<u8>>("k").unwrap(), b"\0\xff\r\n");
        assert_eq!(connection.get::<_, Option<String>>("nope").unwrap(), None);
        let _: () = connection.set_ex("k", "v", 100).unwrap();
        assert_eq!(connection.ttl::<_, i64>("k").unwrap(), 100);
        let all: (String, i64, Option<String>, Vec<Option<String>>) = pipe()
            .get("k")
            .incr("n", 2)
            .get("nope")
            .mget(&["k", "nope"])
            .query(&mut connection)
            .unwrap();
        assert_eq!(all, ("v".into(), 2, None, vec![Some("v".into()), None]));
        let refused: RedisResult<i64> = connection.incr("k", 1);
        assert!(refused.unwrap_err().to_string().contains("not an integer"));
        let found: Vec<String> = connection.scan_match("*").unwrap().map(Result::unwrap).collect();
        assert_eq!(found, ["k", "n"]);
        assert_eq!(connection.del::<_, i64>(&["k", "n"]).unwrap(), 2);
    }
}

#[test]
fn transactions_and_errors() {
    let server = server(&[]);
    let mut connection = open(&server, "resp3").get_connection().unwrap();
    let all: (i64, i64) = pipe().atomic().incr("a", 1).incr("a", 1).query(&mut connection).unwrap();
    assert_eq!(all, (1, 2));
    let id: i64 = cmd("BEGIN").query(&mut connection).unwrap();
    assert_eq!(id, 1);
    let _: () = connection.set("a", "changed").unwrap();
    let _: () = cmd("ROLLBACK").query(&mut connection).unwrap();
    assert_eq!(connection.get::<_, i64>("a").unwrap(), 2);
    let error = cmd("COMMIT").query::<()>(&mut connection).unwrap_err();
    assert_eq!(error.code(), Some("NOTX"));
}

#[test]
fn watch_under_contention() {
    const CLIENTS: i64 = 6;
    const EACH: i64 = 40;
    let server = server(&[]);
    let client = open(&server, "resp2");
    let start = Barrier::new(CLIENTS as usize);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut connection = client.get_connection().unwrap();
                start.wait();
                for _ in 0..EACH {
                    let (_, _): (i64, i64) =
                        redis::transaction(&mut connection, &["n"], |connection, pipe| {
                            let now: Option<i64> = connection.get("n")?;
                            let next = now.unwrap_or(0) + 1;
                            pipe.set("n", next).ignore().incr("other", 1).get("n");
                            pipe.query(connection)
                        })
                        .unwrap();
                }
            });
        }
    });
    let mut connection = client.get_connection().unwrap();
    assert_eq!(connection.mget::<_, (i64, i64)>(&["n", "other"]).unwrap(), (240, 240));
}

#[test]
fn a_pool() {
    let server = server(&[]);
    let pool = r2d2::Pool::builder().max_size(4).build(open(&server, "resp3")).unwrap();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let _: i64 = pool.get().unwrap().incr("n", 1).unwrap();
                }
            });
        }
    });
    assert_eq!(pool.get().unwrap().get::<_, i64>("n").unwrap(), 400);
}

#[test]
fn many_calls_at_once_on_one_connection() {
    let server = server(&[]);
    let client = open(&server, "resp3");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let connection = client.get_multiplexed_async_connection().await.unwrap();
        let calls: Vec<_> = (0..500)
            .map(|_| {
                let mut connection = connection.clone();
                tokio::spawn(async move { connection.incr::<_, _, i64>("n", 1).await.unwrap() })
            })
            .collect();
        let mut sums = Vec::new();
        for call in calls {
            sums.push(call.await.unwrap());
        }
        sums.sort_unstable();
        assert_eq!(sums, (1..=500).collect::<Vec<i64>>());
    });
}

/// Runs a program against a server; its arguments name the port.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}{errors}");
    said
}

#[test]
#[ignore = "needs python3 with the package redis; run it with --ignored where they are"]
fn redis_for_python() {
    let server = server(&[]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/redis/redis_py.py");
    let port = server.address().port().to_string();
    assert_eq!(run("python3", &[script, &port]).trim(), "all is well");
}

#[test]
#[ignore = "needs redis-cli and redis-benchmark; run it with --ignored where they are"]
fn the_tools_of_redis() {
    let server = server(&[]);
    let port = server.address().port().to_string();
    let cli = |words: &[&str]| run("redis-cli", &[&["-p", &port][..], words].concat());
    assert_eq!(cli(&["SET", "k", "a b"]), "OK\n");
    assert_eq!(cli(&["GET", "k"]), "a b\n");
    assert_eq!(cli(&["-3", "GET", "nope"]), "\n");
    assert!(cli(&["--scan"]).contains('k'));
    let tests = ["-t", "set,get,incr,mset", "-n", "2000", "-q", "--csv"];
    let table = run("redis-benchmark", &[&["-p", &port][..], &tests].concat());
    for test in ["SET", "GET", "INCR", "MSET"] {
        assert!(table.contains(&format!("\"{test}")), "{table}");
    }
    let pipelined = ["-t", "set,get", "-n", "20000", "-P", "16", "-c", "20", "-r", "1000", "-q"];
    run("redis-benchmark", &[&["-p", &port][..], &pipelined].concat());
}
