//! Tests of the configuration as a whole: precedence, each refusal, and the help.

use std::path::{Path, PathBuf};

use kv_protocol::transfer::Format;

use super::*;

/// A configuration from flags, variables and the text of a file.
struct Given<'a> {
    flags: &'a [&'a str],
    variables: &'a [(&'a str, &'a str)],
    file: Option<&'a str>,
    descriptors_max: Option<usize>,
}

const NOTHING: Given<'static> =
    Given { flags: &[], variables: &[], file: None, descriptors_max: Some(1 << 20) };

impl Given<'_> {
    fn load(&self) -> Result<Config, Refusal> {
        self.invocation().map(|invocation| invocation.config)
    }

    fn invocation(&self) -> Result<Invocation, Refusal> {
        let mut arguments = vec![OsString::from("kv-server")];
        arguments.extend(self.flags.iter().map(OsString::from));
        let path = self.file.map(write_file);
        if let Some(path) = &path {
            arguments.extend(["--config".into(), path.into()]);
        }
        let variable = |name: &str| {
            let found = self.variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let descriptors_max = self.descriptors_max;
        let around = Surroundings { arguments, variable: &variable, descriptors_max, cores: 6 };
        let invocation = Invocation::from_surroundings(&around);
        if let Some(path) = path {
            std::fs::remove_file(path).unwrap();
        }
        invocation
    }

    fn config(&self) -> Config {
        self.load().unwrap_or_else(|refusal| panic!("{refusal}"))
    }

    /// The refusal, with the file's directory taken out of it.
    fn refusal(&self) -> String {
        let refusal = self.load().unwrap_err();
        assert_eq!(format!("{:?}", refusal.exit_code()), format!("{:?}", ExitCode::from(2)));
        let directory = format!("{}/", std::env::temp_dir().display());
        refusal.to_string().replace(&directory, "")
    }
}

use std::process::ExitCode;

fn write_file(text: &str) -> PathBuf {
    use std::hash::{DefaultHasher, Hash, Hasher};
    // Named after its text, the thread and the process, so that no two tests share one.
    let mut hasher = DefaultHasher::new();
    (text, std::thread::current().id()).hash(&mut hasher);
    let name = format!("kv-{}-{:016x}.toml", std::process::id(), hasher.finish());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let config = NOTHING.config();
    assert_eq!(config.listen, ["127.0.0.1:7878".parse().unwrap()]);
    let Storage::Directory(directory) = &config.storage else { panic!("{:?}", config.storage) };
    assert_eq!(directory.path, Path::new("./kv-data"));
    assert_eq!(directory.durability, Durability::Fsync);
    assert_eq!(directory.snapshot, SnapshotFormat::Sqlite);
    assert_eq!(directory.compression, Compression::None);
    assert_eq!(directory.checkpoint_interval, Duration::from_secs(5));
    assert_eq!(directory.checkpoint_log_bytes, 256 << 20);
    assert_eq!(directory.log_bytes_max, 1 << 30);
    assert_eq!((&directory.backup_dir, &directory.key), (&None, &None));
    assert_eq!(config.history.to_string(), "10");
    assert_eq!((config.shards, config.threads), (16, 6));
    assert_eq!(config.lock_timeout, Duration::from_secs(5));
    assert_eq!(config.idle_transaction_timeout, Duration::from_secs(60));
    assert_eq!(config.view_age_max, Duration::from_secs(3600));
    assert_eq!(config.drain_timeout, Duration::from_secs(10));
    assert_eq!(config.connections_max, 10_000);
    assert_eq!((config.log_level, config.log_format), (LogLevel::Info, LogFormat::Text));
    assert_eq!(config.key_bytes_max, 64 << 10);
    assert_eq!(config.value_bytes_max, 16 << 20);
    assert_eq!(config.line_bytes_max, 40 << 20);
    assert_eq!(config.nesting_max, 64);
    assert_eq!(config.write_set_bytes_max, 256 << 20);
    assert_eq!(config.locks_max, 1_000_000);
    assert_eq!(config.session_transactions_max, 1_000);
    assert_eq!(config.transactions_max, 100_000);
    assert!(config.disabled.is_empty());
}

#[test]
fn a_flag_wins_over_a_variable_over_the_file_over_the_default() {
    let file = Some("shards = 2\nhistory = 3\nlock-timeout = \"7s\"");
    let variables = &[("KV_SHARDS", "4"), ("KV_HISTORY", "all")];
    let config = Given { file, variables, flags: &["--shards", "8"], ..NOTHING }.config();
    assert_eq!(config.shards, 8);
    assert_eq!(config.history, History::All);
    assert_eq!(config.lock_timeout, Duration::from_secs(7));
    assert_eq!(config.nesting_max, 64);
}

#[test]
fn lists_replace_each_other_rather_than_add_up() {
    let file = Some("listen = [\"127.0.0.1:1\", \"unix:/tmp/a\"]\ndisable = \"locks,showall\"");
    let from_file = Given { file, ..NOTHING }.config();
    assert_eq!(from_file.listen.len(), 2);
    assert_eq!(from_file.disabled, ["LOCKS", "SHOWALL"]);
    let variables = &[("KV_LISTEN", "127.0.0.1:2,127.0.0.1:3,[::1]:4")];
    assert_eq!(Given { file, variables, ..NOTHING }.config().listen.len(), 3);
    let flags = &["--listen", "127.0.0.1:5"];
    let config = Given { file, variables, flags, ..NOTHING }.config();
    assert_eq!(config.listen, ["127.0.0.1:5".parse().unwrap()]);
}

#[test]
fn a_switch_can_be_switched_back() {
    let is_in_memory = |given: Given<'_>| given.config().storage == Storage::InMemory;
    assert!(is_in_memory(Given { flags: &["--in-memory"], ..NOTHING }));
    let file = Some("in-memory = true");
    assert!(is_in_memory(Given { file, ..NOTHING }));
    assert!(!is_in_memory(Given { file, flags: &["--in-memory=false"], ..NOTHING }));
    assert!(!is_in_memory(Given { file, variables: &[("KV_IN_MEMORY", "false")], ..NOTHING }));
}

#[test]
fn files_are_set_up_as_the_settings_say() {
    let flags = &["--data-dir=/srv/kv", "--durability=interval", "--backup-dir=/srv/backups"];
    let variables = &[("KV_SNAPSHOT", "json"), ("KV_ENCRYPTION_KEY_FILE", "/etc/kv.key")];
    let file = Some(
        "compression = \"zstd\"\ncheckpoint-interval = \"1m\"\ncheckpoint-log = \"1mb\"\n\
         max-log = \"512mb\"",
    );
    let config = Given { flags, variables, file, ..NOTHING }.config();
    let directory = DataDirectory {
        path: "/srv/kv".into(),
        durability: Durability::Interval,
        snapshot: SnapshotFormat::Json,
        compression: Compression::Zstd,
        key: Some(KeySource::File("/etc/kv.key".into())),
        old_key: None,
        checkpoint_interval: Duration::from_secs(60),
        checkpoint_log_bytes: 1 << 20,
        log_bytes_max: 512 << 20,
        backup_dir: Some("/srv/backups".into()),
    };
    assert_eq!(config.storage, Storage::Directory(directory));
}

#[test]
fn who_gives_way_is_chosen_by_name() {
    for (name, eviction) in
        [("lru", Eviction::Lru), ("s3fifo", Eviction::S3Fifo), ("none", Eviction::None)]
    {
        let flag = format!("--eviction={name}");
        assert_eq!(Given { flags: &[&flag], ..NOTHING }.config().eviction, eviction);
    }
    assert_eq!(NOTHING.config().eviction, Eviction::Lru);
}

#[test]
fn settings_of_files_contradict_in_memory() {
    for (name, value) in [
        ("data-dir", "/srv/kv"),
        ("durability", "none"),
        ("snapshot", "json"),
        ("checkpoint-interval", "1s"),
        ("checkpoint-log", "1mb"),
        ("max-log", "2gb"),
        ("backup-dir", "/srv/backups"),
        ("encryption-key-file", "/etc/kv.key"),
        ("old-encryption-key-file", "none"),
        ("compression", "lz4"),
    ] {
        assert!(flags::about_files().any(|known| known == name), "{name}");
        let flag = format!("--{name}={value}");
        let variable = format!("KV_{}", name.replace('-', "_").to_uppercase());
        let variables = [(variable.as_str(), value), ("KV_IN_MEMORY", "true")];
        let file = format!("in-memory = true\n{name} = \"{value}\"");
        for contradiction in [
            Given { flags: &["--in-memory", &flag], ..NOTHING },
            Given { flags: &[&flag], file: Some("in-memory = true"), ..NOTHING },
            Given { variables: &variables, ..NOTHING },
            Given { variables: &variables[..1], file: Some("in-memory = true"), ..NOTHING },
            Given { file: Some(&file), ..NOTHING },
        ] {
            let refusal = contradiction.refusal();
            let start = format!("--{name} has no meaning with --in-memory, which keeps no files");
            assert!(refusal.starts_with(&start), "{refusal}");
        }
        // A stronger source overrules what a weaker one says of another server.
        let file = format!("{name} = \"{value}\"");
        for overruled in [
            Given { flags: &["--in-memory"], file: Some(&file), ..NOTHING },
            Given { flags: &["--in-memory"], variables: &variables[..1], ..NOTHING },
            Given { variables: &variables[1..], file: Some(&file), ..NOTHING },
        ] {
            assert_eq!(overruled.config().storage, Storage::InMemory);
        }
    }
    assert_eq!(flags::about_files().count(), 10, "each is tried above");
}

#[test]
fn the_key_may_stand_in_the_environment_and_nowhere_else() {
    let variables = &[("KV_ENCRYPTION_KEY", "swordfish")];
    let given = Given { variables, ..NOTHING };
    let Storage::Directory(directory) = given.config().storage else { unreachable!() };
    assert_eq!(directory.key, Some(KeySource::Given(Secret::new("swordfish".to_owned()))));

    let both = Given { flags: &["--encryption-key-file=/etc/kv.key"], ..given }.refusal();
    assert!(both.starts_with("--encryption-key-file and KV_ENCRYPTION_KEY both"), "{both}");
    let in_memory = Given { file: Some("in-memory = true"), ..given }.refusal();
    assert!(in_memory.starts_with("KV_ENCRYPTION_KEY has no meaning"), "{in_memory}");
    let overruled = Given { flags: &["--in-memory"], ..given }.config();
    assert_eq!(overruled.storage, Storage::InMemory);
    assert!(Given { flags: &["--encryption-key=swordfish"], ..NOTHING }.load().is_err());
    let in_file = Given { file: Some("encryption-key = \"swordfish\""), ..NOTHING }.refusal();
    assert!(in_file.contains("no such setting") && !in_file.contains("swordfish"), "{in_file}");
}

#[test]
fn a_key_is_changed_to_another_one() {
    let new = "--encryption-key-file=/etc/new.key";
    fn old_key(flags: &[&str], variables: &[(&str, &str)]) -> Option<OldKeySource> {
        match (Given { flags, variables, ..NOTHING }.config().storage) {
            Storage::Directory(directory) => directory.old_key,
            Storage::InMemory => unreachable!(),
        }
    }
    let file = OldKeySource::Key(KeySource::File("/etc/old.key".into()));
    assert_eq!(old_key(&[new, "--old-encryption-key-file=/etc/old.key"], &[]), Some(file));
    let none = Some(OldKeySource::NotEncrypted);
    assert_eq!(old_key(&[new, "--old-encryption-key-file=none"], &[]), none);
    let given = OldKeySource::Key(KeySource::Given(Secret::new("swordfish".to_owned())));
    let variables = &[("KV_OLD_ENCRYPTION_KEY", "swordfish")];
    assert_eq!(old_key(&[new], variables), Some(given));

    let without_new = Given { variables, ..NOTHING }.refusal();
    assert!(without_new.contains("there is no new one"), "{without_new}");
    let flags = &[new, "--old-encryption-key-file=none"];
    let both = Given { flags, variables, ..NOTHING }.refusal();
    assert!(both.starts_with("--old-encryption-key-file and KV_OLD_ENCRYPTION_KEY both"), "{both}");
    let in_memory = Given { variables, file: Some("in-memory = true"), ..NOTHING }.refusal();
    assert!(in_memory.starts_with("KV_OLD_ENCRYPTION_KEY has no meaning"), "{in_memory}");
}

#[test]
fn an_empty_variable_is_not_set() {
    let variables = &[("KV_SHARDS", ""), ("KV_CONFIG", "")];
    assert_eq!(Given { variables, ..NOTHING }.config().shards, 16);
}

#[test]
fn the_file_may_be_named_by_a_variable() {
    let path = write_file("shards = 5 # named by a variable");
    let variables = &[("KV_CONFIG", path.to_str().unwrap())];
    let config = Given { variables, ..NOTHING }.config();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(config.shards, 5);
}

#[test]
fn each_bad_value_is_refused_wherever_it_comes_from() {
    for (name, value, expected) in [
        ("listen", "7878", "expected IP:PORT"),
        ("in-memory", "maybe", "expected one of true, false"),
        ("durability", "often", "expected one of fsync, interval, none"),
        ("snapshot", "xml", "expected one of sqlite, json"),
        ("compression", "gzip", "expected one of none, lz4, zstd"),
        ("checkpoint-interval", "0s", "expected a duration longer than zero"),
        ("checkpoint-log", "0", "expected a size from 1 byte to 512gb"),
        ("max-log", "2tb", "expected a size from 1 byte to 1tb"),
        ("eviction", "fifo", "expected one of lru, s3fifo, none"),
        ("history", "0", "expected a whole number of versions from 1, or all"),
        ("shards", "0", "expected a whole number from 1 to 1024"),
        ("shards", "1025", "expected a whole number from 1 to 1024"),
        ("lock-timeout", "0s", "expected a duration longer than zero"),
        ("lock-timeout", "5", "expected a duration such as 250ms"),
        ("idle-transaction-timeout", "0ms", "expected a duration longer than zero"),
        ("max-view-age", "soon", "expected a duration such as 250ms"),
        ("drain-timeout", "40000d", "expected a duration of at most 36500d"),
        ("max-connections", "0", "expected a whole number from 1 to 1000000"),
        ("threads", "0", "expected a whole number from 1 to 1024"),
        ("log-level", "loud", "off, error, warn, info, debug, trace"),
        ("log-format", "xml", "text, json"),
        ("max-key", "65537", "expected a size from 1 byte to 64kb"),
        ("max-value", "0kb", "expected a size from 1 byte to 1gb"),
        ("max-line", "x", "expected a size such as 65536"),
        ("max-write-set", "65gb", "expected a size from 1 byte to 64gb"),
        ("max-nesting", "0", "expected a whole number from 1 to 1024"),
        ("max-locks", "-1", "expected a whole number from 1 to 100000000"),
        ("max-session-transactions", "0", "expected a whole number from 1 to 10000000"),
        ("max-transactions", "1.5", "expected a whole number from 1 to 10000000"),
        ("disable", "GET,GOT", "expected names of commands"),
    ] {
        let flag = format!("--{name}={value}");
        let refusal = Given { flags: &[&flag], ..NOTHING }.refusal();
        // The command line's own refusal lists what is possible in a line of its own.
        let expected_by_flag = match expected.strip_prefix("expected one of true, ") {
            Some(_) => "",
            None => expected.trim_start_matches("expected one of "),
        };
        assert!(refusal.contains(&format!("--{name}")), "{refusal}");
        assert!(refusal.contains(expected_by_flag), "{refusal}");

        let variable = format!("KV_{}", name.replace('-', "_").to_uppercase());
        let refusal = Given { variables: &[(&variable, value)], ..NOTHING }.refusal();
        let start = format!("environment variable {variable}: {name}: expected ");
        assert!(refusal.starts_with(&start), "{refusal}");
        assert!(refusal.contains(expected), "{refusal}");

        let file = format!("# a comment\n{name} = \"{value}\"");
        let refusal = Given { file: Some(&file), ..NOTHING }.refusal();
        assert!(refusal.contains(&format!(".toml:2: {name}: expected ")), "{refusal}");
        assert!(refusal.contains(expected), "{refusal}");
        assert!(refusal.contains(", found \""), "{refusal}");
    }
}

#[test]
fn unknown_settings_are_refused() {
    assert!(Given { flags: &["--shard=4"], ..NOTHING }.refusal().contains("'--shard'"));
    assert!(Given { flags: &["serve"], ..NOTHING }.refusal().contains("'serve'"));
    for text in ["shard = 4", "\n\nlock_timeout = \"5s\"", "config = \"x\"", "help = true"] {
        let refusal = Given { file: Some(text), ..NOTHING }.refusal();
        let line = text.lines().count();
        assert!(refusal.contains(&format!(".toml:{line}: ")), "{refusal}");
        assert!(
            refusal.contains("no such setting; there are listen, http, http-host, max-conn"),
            "{refusal}"
        );
    }
    let list = Given { file: Some("shards = [1, 2]"), ..NOTHING }.refusal();
    assert!(list.ends_with(".toml:1: shards: expected one value, not a list"), "{list}");
    let missing = Given { flags: &["--config", "/nowhere.toml"], ..NOTHING }.refusal();
    assert!(missing.starts_with("/nowhere.toml: cannot read: "), "{missing}");
}

#[test]
fn values_that_contradict_each_other_are_refused() {
    let refusal = |flags| Given { flags, ..NOTHING }.refusal();
    let line = refusal(&["--max-value", "32mb"]);
    assert!(line.contains("--max-line 40mb is too small"), "{line}");
    assert!(line.contains("at least 65668kb"), "{line}");
    assert!(refusal(&["--max-line", "1mb"]).contains("--max-line 1mb is too small"));
    let set = refusal(&["--max-write-set", "16mb"]);
    assert!(set.contains("--max-write-set 16mb is too small"), "{set}");
    let log = refusal(&["--max-log", "511mb"]);
    assert!(log.contains("--max-log 511mb is too small"), "{log}");
    assert!(log.ends_with("so at least 512mb"), "{log}");
    let log = refusal(&["--checkpoint-log", "513mb"]);
    assert!(log.ends_with("so at least 1026mb"), "{log}");
    let log = refusal(&["--max-write-set", "800mb"]);
    assert!(log.ends_with("so at least 1600mb"), "{log}");
    let set = refusal(&["--max-write-set", "1gb", "--max-log", "4gb"]);
    assert!(set.ends_with("at most 900mb with files"), "{set}");
    for dir in ["/srv/kv", "/srv/kv/backups"] {
        let flags = &["--data-dir=/srv/kv", "--backup-dir", dir];
        let backups = Given { flags, ..NOTHING }.refusal();
        assert!(backups.starts_with(&format!("--backup-dir {dir} is within")), "{backups}");
    }
    let sessions = refusal(&["--max-session-transactions", "200000"]);
    assert!(sessions.contains("more than --max-transactions 100000"), "{sessions}");
    let listen = refusal(&["--listen=127.0.0.1:0,127.0.0.1:0,127.0.0.1:0,127.0.0.1:0,\
        127.0.0.1:0,127.0.0.1:0,127.0.0.1:0,127.0.0.1:0,127.0.0.1:0"]);
    assert!(listen.contains("expected at most 8"), "{listen}");
}

#[test]
fn the_bounds_of_relations_are_allowed() {
    let least = limits::line_bytes_min(64 << 10, 1 << 20).to_string();
    let flags = &["--max-value", "1mb", "--max-line", &least, "--max-write-set", "1088kb"];
    let config = Given { flags, ..NOTHING }.config();
    assert_eq!(config.line_bytes_max, 2 * ((1 << 20) + (64 << 10)) + 4096);
    let flags = &["--checkpoint-log", "512mb", "--data-dir=/srv/kv", "--backup-dir=/srv/kv-2"];
    assert!(Given { flags, ..NOTHING }.load().is_ok());
    // Without files the log has no size to fit.
    let flags = &["--in-memory", "--max-write-set", "1gb"];
    assert!(Given { flags, ..NOTHING }.load().is_ok());
}

#[test]
fn connections_must_have_descriptors() {
    let low = Given { descriptors_max: Some(1024), ..NOTHING };
    let config = low.config();
    assert_eq!(config.connections_max, 968);
    assert!(config.warnings[0].contains("ulimit -n 10056"), "{:?}", config.warnings);

    let explicit = Given { flags: &["--max-connections", "969"], ..low };
    let refusal = explicit.refusal();
    assert!(refusal.contains("ulimit -n 1025"), "{refusal}");
    assert!(refusal.contains("to at most 968"), "{refusal}");
    let from_file = Given { file: Some("max-connections = 969"), ..low };
    assert!(from_file.refusal().contains("ulimit -n 1025"));

    let fits = Given { flags: &["--max-connections", "968"], ..low };
    assert_eq!(fits.config().connections_max, 968);
    assert!(Given { descriptors_max: Some(56), ..NOTHING }.refusal().contains("ulimit"));
    assert_eq!(Given { descriptors_max: None, ..NOTHING }.config().connections_max, 10_000);
}

#[test]
fn the_kernels_table_of_limits_is_read() {
    let table = "Limit             Soft Limit   Hard Limit   Units\n\
                 Max processes     127346       127346       processes\n\
                 Max open files    1024         1048576      files\n";
    assert_eq!(parse_descriptors_max(table), Some(1024));
    assert_eq!(parse_descriptors_max("Max open files   unlimited  unlimited  files"), None);
    assert_eq!(parse_descriptors_max(""), None);
}

#[test]
fn catches_are_warned_of() {
    for flags in [&[][..], &["--in-memory"]] {
        let silent = Given { flags, ..NOTHING }.config();
        assert!(silent.warnings.is_empty(), "{:?}", silent.warnings);
    }
    let loud = Given { flags: &["--listen", "0.0.0.0:7878"], ..NOTHING }.config();
    assert!(loud.warnings[0].starts_with("0.0.0.0:7878 can be reached"), "{:?}", loud.warnings);
}

#[test]
fn help_teaches_every_setting() {
    let refusal = Given { flags: &["--help"], ..NOTHING }.load().unwrap_err();
    assert_eq!(format!("{:?}", refusal.exit_code()), format!("{:?}", ExitCode::SUCCESS));
    let help = refusal.to_string();
    for (name, _) in sources::settings(&flags::command()) {
        assert!(help.contains(&format!("--{name} <")) || help.contains(&format!("--{name}[=")));
    }
    for text in ["[default: 5s]", "[default: 40mb]", "[default: 127.0.0.1:7878]", "Examples:"] {
        assert!(help.contains(text), "{text} is missing in\n{help}");
    }
    // With the margin that the terminal's width may take.
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
}

/// The operator's page is written by hand; this holds it to the flags.
#[test]
fn the_operators_page_names_every_setting_and_its_default() {
    let page = include_str!("../../../../docs/OPERATIONS.md");
    let command = flags::command();
    for flag in command.get_arguments() {
        let Some(name) = flag.get_long().filter(|name| !matches!(*name, "help" | "version")) else {
            continue;
        };
        let row = page.lines().find(|line| line.starts_with(&format!("| `--{name}")));
        let row = row.unwrap_or_else(|| panic!("docs/OPERATIONS.md has no row for --{name}"));
        for default in flag.get_default_values() {
            let default = format!("`{}`", default.to_str().unwrap());
            assert!(row.contains(&default), "--{name} has the default {default}, but: {row}");
        }
    }
}

#[test]
fn a_task_may_stand_before_its_settings_or_after_them() {
    let import = Task::Import { file: "a.csv".into(), format: Some(Format::Json) };
    let task = ["import", "a.csv", "--format", "json"];
    let settings = ["--data-dir", "/srv/kv", "--history=all", "--shards=2"];
    let variables = &[("KV_SNAPSHOT", "json"), ("KV_SHARDS", "4")];
    for flags in [
        [&task[..], &settings].concat(),
        [&settings[..], &task].concat(),
        [&settings[..2], &task, &settings[2..]].concat(),
        [&task[..1], &settings, &task[1..]].concat(),
        [&["--shards=3", "--history=1"], &task[..], &settings].concat(),
    ] {
        let file = Some("history = 3\ncompression = \"lz4\"");
        let invocation = Given { flags: &flags, variables, file, ..NOTHING }.invocation().unwrap();
        assert_eq!(invocation.task.as_ref(), Some(&import), "{flags:?}");
        let Config { history, shards, storage, .. } = invocation.config;
        assert_eq!((history, shards), (History::All, 2), "{flags:?}");
        let Storage::Directory(directory) = storage else { panic!("{flags:?}") };
        assert_eq!(directory.path, Path::new("/srv/kv"), "{flags:?}");
        assert_eq!(directory.snapshot, SnapshotFormat::Json, "{flags:?}");
        assert_eq!(directory.compression, Compression::Lz4, "{flags:?}");
    }
}

#[test]
fn tasks_are_told_apart() {
    let task = |flags| Given { flags, ..NOTHING }.invocation().unwrap().task;
    assert_eq!(task(&[]), None);
    assert_eq!(task(&["verify"]), Some(Task::Verify));
    assert_eq!(task(&["repair", "--into=new"]), Some(Task::Repair { into: "new".into() }));
    assert_eq!(task(&["import", "-"]), Some(Task::Import { file: "-".into(), format: None }));
    assert_eq!(task(&["export"]), Some(Task::Export { file: "-".into(), format: None }));
    let csv = Task::Export { file: "a".into(), format: Some(Format::Csv) };
    assert_eq!(task(&["export", "a", "--format=CSV"]), Some(csv));
    for (flags, told) in [
        (&["repair"][..], "--into"),
        (&["import"], "<FILE>"),
        (&["import", "a", "b"], "'b'"),
        (&["export", "--format", "xml"], "expected one of ndjson, json, csv"),
        (&["--into", "new"], "--into"),
        (&["verifi"], "verify"),
    ] {
        let refusal = Given { flags, ..NOTHING }.refusal();
        assert!(refusal.contains(told), "{flags:?}: {refusal}");
    }
}

#[test]
fn what_only_a_server_needs_does_not_stop_a_task() {
    let flags = &["verify", "--max-connections=5000", "--listen=0.0.0.0:1"];
    let config = Given { flags, descriptors_max: Some(64), ..NOTHING }.config();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn help_on_a_task_shows_what_it_has_use_for() {
    for name in ["verify", "repair", "import", "export"] {
        let help = Given { flags: &[name, "--help"], ..NOTHING }.load().unwrap_err().to_string();
        for text in ["Example", "--data-dir <DIR>", "[default: ./kv-data]", "--config <FILE>"] {
            assert!(help.contains(text), "{text} is missing in\n{help}");
        }
        assert!(!help.contains("--listen") && !help.contains("--lock-timeout"), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
    let help = Given { flags: &["--help"], ..NOTHING }.load().unwrap_err().to_string();
    assert!(help.contains("Check every record and every row of a data directory"), "{help}");
}
