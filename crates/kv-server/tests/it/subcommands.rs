//! What the program does with a data directory instead of serving it, as operators see it: a
//! process, its output, its exit code, and what is in the directory afterwards.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kv_testkit::server::TestServer;
use tempfile::TempDir;

use super::{PROGRAM, converse};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const OTHER_KEY: &str = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// A directory for data directories, and how the server is to keep them.
struct Place {
    dir: TempDir,
    flags: Vec<&'static str>,
    key: Option<&'static str>,
}

impl Place {
    fn new(flags: &[&'static str]) -> Place {
        Place { dir: TempDir::new().unwrap(), flags: flags.to_vec(), key: None }
    }

    fn encrypted(flags: &[&'static str]) -> Place {
        Place { key: Some(KEY), ..Place::new(flags) }
    }

    /// Places that keep their data in every way.
    fn all() -> Vec<Place> {
        let (sqlite, json) = (["--snapshot", "sqlite"], ["--snapshot", "json"]);
        let zstd =
            |snapshot: [&'static str; 2]| [&snapshot[..], &["--compression", "zstd"]].concat();
        vec![
            Place::new(&sqlite),
            Place::new(&json),
            Place::new(&zstd(json)),
            Place::encrypted(&zstd(sqlite)),
            Place::encrypted(&json),
        ]
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    fn command(&self, data: &Path) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--data-dir").arg(data).args(&self.flags);
        if let Some(key) = self.key {
            command.env("KV_ENCRYPTION_KEY", key);
        }
        command
    }

    fn server_on(&self, data: &Path) -> TestServer {
        let mut command = self.command(data);
        // What is tested wants to know what is in the log and what in the snapshot.
        command.args(["--listen", "127.0.0.1:0", "--checkpoint-interval", "1h"]);
        TestServer::start_command(command)
    }

    fn server(&self) -> TestServer {
        self.server_on(&self.data())
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let mut command = self.command(&self.data());
        Outcome::of(command.args(arguments).stdin(Stdio::null()).output().unwrap())
    }

    fn verify(&self) -> Outcome {
        self.run(&["verify"])
    }

    /// Whether all is well, told without changing anything.
    fn is_sound(&self) {
        let before = listing(&self.data());
        let outcome = self.verify();
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert!(outcome.output.ends_with(" is sound\n"), "{outcome:?}");
        assert_eq!(listing(&self.data()), before);
    }

    /// What is wrong, told without changing anything.
    fn faults(&self) -> Vec<String> {
        let before = listing(&self.data());
        let outcome = self.verify();
        assert_eq!(outcome.code, 3, "{outcome:?}");
        assert_eq!(listing(&self.data()), before);
        let faults = outcome.output.lines().filter_map(|line| line.strip_prefix("fault: "));
        faults.map(str::to_owned).collect()
    }

    /// Saves what can be saved into the directory `new`, and answers what was lost.
    fn repair(&self) -> Vec<String> {
        let before = listing(&self.data());
        let outcome = self.run(&["repair", "--into", self.path("new").to_str().unwrap()]);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert_eq!(listing(&self.data()), before, "what is damaged is left as it is");
        let lost = outcome.output.lines().filter_map(|line| line.strip_prefix("lost: "));
        lost.map(str::to_owned).collect()
    }

    /// The log's segments, oldest first.
    fn segments(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.data().join("log")).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    /// Flips a bit of the only segment that has these bytes, in their first occurrence.
    fn damage_log(&self, text: &[u8]) {
        let holds = |path: &PathBuf| find(&std::fs::read(path).unwrap(), text).is_some();
        let segment = self.segments().into_iter().find(holds).unwrap();
        damage(&segment, text);
    }
}

/// What a run of the program left.
#[derive(Debug)]
struct Outcome {
    code: i32,
    output: String,
    messages: String,
}

impl Outcome {
    fn of(output: Output) -> Outcome {
        Outcome {
            code: output.status.code().unwrap(),
            output: String::from_utf8(output.stdout).unwrap(),
            messages: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// All files below a directory, with their length and a hash of their content, the lock file aside.
fn listing(dir: &Path) -> BTreeMap<PathBuf, Option<(usize, u64)>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(listing(&path));
            found.insert(path, None);
        } else if path.ends_with("kv.sqlite-shm") {
            // What SQLite knows of its write-ahead log: worth nothing to anybody who starts.
            found.insert(path, None);
        } else if !path.ends_with("LOCK") {
            let content = std::fs::read(&path).unwrap();
            let mut hasher = DefaultHasher::new();
            content.hash(&mut hasher);
            found.insert(path, Some((content.len(), hasher.finish())));
        }
    }
    found
}

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}

/// Flips a bit in the first byte of a text in a file.
fn damage(path: &Path, text: &[u8]) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = find(&bytes, text).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn stop(mut server: TestServer) {
    server.signal("TERM");
    assert!(server.wait_for_exit().success());
}

fn kill(mut server: TestServer) {
    server.signal("KILL");
    server.wait_for_exit();
}

/// Pairs a to e: as many commits, the first three in the snapshot and all in the log.
fn filled(place: &Place) {
    let server = place.server();
    let mut client = server.connect();
    converse(
        &mut client,
        &[("PUT a first", "OK"), ("PUT a second", "OK"), ("PUT b value-b", "OK")],
    );
    assert!(client.ask("CHECKPOINT").starts_with("OK"));
    converse(
        &mut client,
        &[("PUT c value-c", "OK"), ("PUT d value-d", "OK"), ("PUT e value-e", "OK")],
    );
    drop(client);
    kill(server);
}

#[test]
fn what_is_imported_is_served_and_exported_again() {
    let files = [
        (
            "pairs.ndjson",
            "{\"key\":\"a\",\"value\":1}\n{\"key\":\"b\",\"value\":\"x, y\"}\n\
                          {\"key\":\"c\",\"value_base64\":\"/w==\"}\n{\"end\":true,\"count\":3}\n",
        ),
        (
            "pairs.json",
            "[\n{\"key\":\"a\",\"value\":1},\n{\"key\":\"b\",\"value\":\"x, y\"},\n\
                        {\"key\":\"c\",\"value_base64\":\"/w==\"}\n]\n",
        ),
    ];
    for place in Place::all() {
        for (name, content) in files {
            std::fs::write(place.path(name), content).unwrap();
            let imported = place.run(&["import", place.path(name).to_str().unwrap()]);
            assert_eq!((imported.code, &*imported.messages), (0, "imported 3 pairs\n"));
            place.is_sound();

            let server = place.server();
            let mut client = server.connect();
            converse(
                &mut client,
                &[("GET a", "\"1\""), ("GET b", "\"x, y\""), ("PUT b new", "OK")],
            );
            converse(&mut client, &[("PUT b \"x, y\"", "OK"), ("COUNT", "3")]);
            drop(client);
            stop(server);

            let before = listing(&place.data());
            let to = place.path("out").join(name);
            std::fs::create_dir_all(place.path("out")).unwrap();
            let exported = place.run(&["export", to.to_str().unwrap()]);
            assert_eq!((exported.code, &*exported.messages), (0, "exported 3 pairs\n"));
            assert_eq!(std::fs::read_to_string(&to).unwrap(), content);
            assert_eq!(listing(&place.data()), before, "an export changes nothing");
        }
    }
}

#[test]
fn csv_goes_through_standard_streams() {
    let place = Place::new(&[]);
    let text = "key,value,value_base64,expires,type\na,1,,,text\nb,\"x, y\",,,text\n";
    let mut command = place.command(&place.data());
    command.args(["import", "-", "--format", "csv"]).stdin(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert_eq!(Outcome::of(child.wait_with_output().unwrap()).code, 0);
    let exported = place.run(&["export", "--format", "csv"]);
    assert_eq!((exported.code, &*exported.output), (0, text));
}

#[test]
fn what_a_kill_leaves_is_sound_and_stays_as_it_is() {
    for place in Place::all() {
        filled(&place);
        place.is_sound();
        let _ = std::fs::remove_file(place.data().join("kv.sqlite-shm"));
        place.is_sound();
        let outcome = place.run(&["export", "--format", "csv"]);
        assert_eq!(outcome.output.lines().count(), 6, "{outcome:?}");
        place.is_sound();
        stop(place.server());
        place.is_sound();
    }
}

#[test]
fn a_torn_tail_is_no_fault() {
    let place = Place::new(&[]);
    filled(&place);
    let last = place.segments().pop().unwrap();
    let bytes = std::fs::read(&last).unwrap();
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    std::fs::write(&last, &bytes[..end]).unwrap();
    place.is_sound();
    assert!(place.verify().output.contains("\nnote: "));
}

#[test]
fn damage_is_told_wherever_it_is() {
    let place = Place::new(&[]);
    filled(&place);
    place.damage_log(b"value-c");
    let faults = place.faults();
    assert!(faults.len() == 1 && faults[0].contains("0000000000000002.log"), "{faults:?}");

    let place = Place::new(&[]);
    filled(&place);
    stop(place.server());
    place.is_sound();
    damage(&place.data().join("kv.sqlite"), b"value-b");
    let faults = place.faults();
    assert!(faults.len() == 1 && faults[0].contains("key \"b\""), "{faults:?}");

    let place = Place::new(&["--snapshot", "json"]);
    filled(&place);
    damage(&place.data().join("kv.json"), b"value-b");
    let faults = place.faults();
    assert!(faults.len() == 1 && faults[0].contains("checksum is wrong"), "{faults:?}");
}

#[test]
fn what_is_missing_is_told() {
    let place = Place::new(&[]);
    filled(&place);
    std::fs::rename(place.data().join("log"), place.path("aside")).unwrap();
    let faults = place.faults();
    assert!(faults.len() == 1 && faults[0].contains("log that goes on from it is missing"));

    std::fs::rename(place.path("aside"), place.data().join("log")).unwrap();
    place.is_sound();
    std::fs::remove_file(place.data().join("kv.sqlite")).unwrap();
    let outcome = place.verify();
    assert_eq!(outcome.code, 3);
    assert!(outcome.messages.contains("the snapshot kv.sqlite that it goes on from is missing"));

    let nothing = Place::new(&[]);
    assert_eq!(nothing.verify().code, 1, "there is no directory at all");
    std::fs::create_dir(nothing.data()).unwrap();
    assert_eq!(nothing.verify().code, 3, "there is no database in it");
}

#[test]
fn a_wrong_key_changes_nothing() {
    for flags in [["--snapshot", "sqlite"], ["--snapshot", "json"]] {
        let mut place = Place::encrypted(&flags);
        filled(&place);
        let before = listing(&place.data());
        for key in [None, Some(OTHER_KEY)] {
            place.key = key;
            let new = place.path("new");
            let repair = ["repair", "--into", new.to_str().unwrap()];
            for arguments in [&["verify"][..], &["export"], &repair] {
                let outcome = place.run(arguments);
                assert_eq!((outcome.code, &*outcome.output), (3, ""), "{outcome:?}");
                assert!(outcome.messages.contains("encrypted"), "{outcome:?}");
            }
            assert!(!place.path("new").exists());
        }
        assert_eq!(listing(&place.data()), before);
    }
}

#[test]
fn a_directory_in_use_is_refused_with_the_process_that_uses_it() {
    let place = Place::new(&[]);
    let server = place.server();
    std::fs::write(place.path("pairs.csv"), "key,value\na,1\n").unwrap();
    let pairs = place.path("pairs.csv");
    let new = place.path("new");
    let (pairs, new) = (pairs.to_str().unwrap(), new.to_str().unwrap());
    for arguments in [&["verify"][..], &["repair", "--into", new], &["import", pairs], &["export"]]
    {
        let outcome = place.run(arguments);
        assert_eq!(outcome.code, 3, "{outcome:?}");
        let told = format!("is in use by process {}", server.process_id());
        assert!(outcome.messages.contains(&told), "{outcome:?}");
    }
}

#[test]
fn a_sound_directory_is_saved_whole() {
    for place in Place::all() {
        filled(&place);
        assert_eq!(place.repair(), Vec::<String>::new());
        let server = place.server_on(&place.path("new"));
        let mut client = server.connect();
        converse(
            &mut client,
            &[("COUNT", "5"), ("GET a VERSION 1", "\"first\""), ("GET a", "\"second\"")],
        );
        converse(&mut client, &[("GET e", "\"value-e\""), ("PUT e newer", "OK"), ("CHECK", "OK")]);
        drop(client);
        stop(server);
        // It is a database of its own, and goes on.
        let server = place.server_on(&place.path("new"));
        converse(
            &mut server.connect(),
            &[("GET e", "\"newer\""), ("GET e VERSION 1", "\"value-e\"")],
        );
        stop(server);
    }
}

#[test]
fn all_but_what_is_damaged_is_saved() {
    let place = Place::new(&[]);
    filled(&place);
    // The first start goes on in another segment, so that what the first has is folded.
    let server = place.server();
    let mut client = server.connect();
    assert!(client.ask("CHECKPOINT").starts_with("OK"));
    converse(
        &mut client,
        &[("PUT f value-f", "OK"), ("PUT g value-g", "OK"), ("PUT h value-h", "OK")],
    );
    drop(client);
    stop(server);
    let server = place.server();
    let mut client = server.connect();
    converse(
        &mut client,
        &[("PUT i value-i", "OK"), ("PUT a third", "OK"), ("PUT j value-j", "OK")],
    );
    drop(client);
    kill(server);
    damage(&place.data().join("kv.sqlite"), b"value-b");
    place.damage_log(b"value-i");
    assert!(place.faults().len() >= 2);

    let lost = place.repair();
    assert!(lost.iter().any(|line| line.starts_with("1 rows of kv.sqlite")), "{lost:?}");
    assert!(lost.iter().any(|line| line.starts_with("revision 10 of the log")), "{lost:?}");
    assert_eq!(lost.len(), 2, "{lost:?}");
    let server = place.server_on(&place.path("new"));
    let mut client = server.connect();
    let pairs = [
        ("a", "third"),
        ("c", "value-c"),
        ("d", "value-d"),
        ("e", "value-e"),
        ("f", "value-f"),
        ("g", "value-g"),
        ("h", "value-h"),
        ("j", "value-j"),
    ];
    for (key, value) in pairs {
        assert_eq!(client.ask(format!("GET {key}")), format!("\"{value}\""));
    }
    converse(
        &mut client,
        &[("COUNT", "8"), ("GET a VERSION 1", "\"first\""), ("GET a VERSION 2", "\"second\"")],
    );
    drop(client);
    stop(server);
}

#[test]
fn the_log_alone_and_the_snapshot_alone_are_saved() {
    let place = Place::new(&[]);
    filled(&place);
    stop(place.server());
    std::fs::remove_dir_all(place.data().join("log")).unwrap();
    let lost = place.repair();
    assert!(lost.len() == 1 && lost[0].contains("log is missing"), "{lost:?}");
    let server = place.server_on(&place.path("new"));
    converse(&mut server.connect(), &[("COUNT", "5"), ("GET a VERSION 1", "\"first\"")]);
    stop(server);

    let place = Place::new(&[]);
    filled(&place);
    std::fs::write(place.data().join("kv.sqlite"), "nothing that SQLite knows").unwrap();
    let _ = std::fs::remove_file(place.data().join("kv.sqlite-wal"));
    place.faults();
    let lost = place.repair();
    assert!(!lost.is_empty());
    let server = place.server_on(&place.path("new"));
    converse(&mut server.connect(), &[("GET c", "\"value-c\""), ("GET e", "\"value-e\"")]);
    stop(server);
}

#[test]
fn a_json_file_is_saved_line_by_line() {
    let place = Place::new(&["--snapshot", "json"]);
    filled(&place);
    stop(place.server());
    damage(&place.data().join("kv.json"), b"\"key\":\"b\"");
    let lost = place.repair();
    assert!(lost.iter().any(|line| line.contains("lines of kv.json")), "{lost:?}");
    assert!(lost.iter().any(|line| line.ends_with("may be wrong.")), "{lost:?}");
    let server = place.server_on(&place.path("new"));
    let mut client = server.connect();
    converse(
        &mut client,
        &[("COUNT", "4"), ("GET a VERSION 1", "\"first\""), ("GET e", "\"value-e\"")],
    );
    drop(client);
    stop(server);
}

#[test]
fn what_is_there_is_never_repaired_into() {
    let place = Place::new(&[]);
    filled(&place);
    std::fs::create_dir(place.path("new")).unwrap();
    std::fs::write(place.path("new").join("precious"), "").unwrap();
    let outcome = place.run(&["repair", "--into", place.path("new").to_str().unwrap()]);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert_eq!(listing(&place.path("new")).len(), 1);
    std::fs::remove_file(place.path("new").join("precious")).unwrap();
    assert_eq!(place.repair(), Vec::<String>::new(), "an empty one is as good as a new one");
    let outcome = place.run(&["repair", "--into", place.data().join("x").to_str().unwrap()]);
    assert_eq!(outcome.code, 2, "{outcome:?}");
}
