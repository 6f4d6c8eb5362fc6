//! What is folded in comes back, in every form the file can have; what is damaged, cut off or
//! another's does not; and whichever operation of the file system fails, the file is whole.

mod failing;

use std::collections::BTreeMap;
use std::sync::Mutex;

use kv_core::{Datum, Revision, Stamp, ValueKind, Version};
use proptest::prelude::*;

use super::*;
use crate::crypt::MasterKey;
use crate::fs::Disk;
use crate::snapshot::sqlite::{SqliteOptions, SqliteSnapshot};
use crate::snapshot::{KeyChanges, Older};
use crate::stored::{Stored, ValueBuf};

use failing::Failing;

const DATABASE: DatabaseId = DatabaseId([0x5f; 16]);

/// What a file is written with.
#[derive(Debug, Clone, Copy)]
struct Form {
    compression: Compression,
    is_encrypted: bool,
}

const FORMS: [Form; 4] = [
    Form { compression: Compression::None, is_encrypted: false },
    Form { compression: Compression::Lz4, is_encrypted: false },
    Form { compression: Compression::None, is_encrypted: true },
    Form { compression: Compression::Zstd, is_encrypted: true },
];

const PLAIN: Form = FORMS[0];

fn cipher(digit: u8) -> Arc<Cipher> {
    let key = MasterKey::from_text(&format!("{digit:02x}").repeat(32)).unwrap();
    Arc::new(Cipher::new(&key, DATABASE))
}

/// A snapshot in a directory that goes when this does.
struct Fixture {
    dir: tempfile::TempDir,
    form: Form,
    keep: Keep,
}

impl Fixture {
    fn new(form: Form, keep: Keep) -> Fixture {
        let fixture = Fixture { dir: tempfile::tempdir().unwrap(), form, keep };
        JsonSnapshot::create(fixture.options(), DATABASE).unwrap();
        fixture
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("kv.json")
    }

    fn options(&self) -> JsonOptions {
        JsonOptions {
            files: Arc::new(Failing::never()),
            path: self.path(),
            keep: self.keep,
            cipher: self.form.is_encrypted.then(|| cipher(1)),
            compression: self.form.compression,
        }
    }

    fn open_with(&self, cipher: Option<Arc<Cipher>>) -> Result<JsonSnapshot, Error> {
        JsonSnapshot::open(JsonOptions { cipher, ..self.options() })
    }

    fn open(&self) -> Result<JsonSnapshot, Error> {
        JsonSnapshot::open(self.options())
    }

    fn fold(&self, revision: u64, versions: &[StoredBuf]) {
        fold(&mut self.open().unwrap(), revision, versions).unwrap();
    }

    fn load(&self) -> Result<Vec<StoredBuf>, Error> {
        load(&self.open()?)
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.path()).unwrap()
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }
}

fn load(snapshot: &dyn Snapshot) -> Result<Vec<StoredBuf>, Error> {
    let loaded = Mutex::new(Vec::new());
    snapshot.load(2, &|stored| {
        loaded.lock().unwrap().push(stored.to_buf());
        Ok(())
    })?;
    Ok(loaded.into_inner().unwrap())
}

fn fold(snapshot: &mut JsonSnapshot, revision: u64, versions: &[StoredBuf]) -> Result<(), Error> {
    let mut keys: BTreeMap<&[u8], Vec<Stored<'_>>> = BTreeMap::new();
    for version in versions {
        keys.entry(&version.key).or_default().push(version.borrowed());
    }
    let keys = keys.into_values().map(|versions| KeyChanges { versions }).collect();
    let through = Stamp { revision: Revision(revision), time_ms: revision * 1000 };
    snapshot.fold(&Fold::new(keys, through))
}

fn version(key: &str, version: u64, revision: u64, value: Option<ValueBuf>) -> StoredBuf {
    let stamp = Stamp { revision: Revision(revision), time_ms: revision * 1000 };
    StoredBuf { key: key.into(), version: Version(version), stamp, value }
}

fn value(bytes: impl Into<Vec<u8>>, kind: ValueKind) -> Option<ValueBuf> {
    Some(ValueBuf { bytes: bytes.into(), kind, expires_ms: None })
}

fn text(key: &str, number: u64, revision: u64, bytes: &str) -> StoredBuf {
    version(key, number, revision, value(bytes, ValueKind::Text))
}

/// A version of each kind.
fn examples() -> Vec<StoredBuf> {
    let expiring = ValueBuf { bytes: b"tea".to_vec(), kind: ValueKind::Text, expires_ms: Some(9) };
    let mut versions = vec![
        text("house", 1, 3, "\"red\"\n"),
        version("house", 2, 7, value("{\"rooms\": 3}", ValueKind::Json)),
        version("house", 3, 8, value("[1.00,\n2]", ValueKind::Json)),
        version("house", 4, 9, None),
        version("kettle", 1, 4, Some(expiring)),
        version("null", 1, 5, value("null", ValueKind::Json)),
    ];
    versions.push(StoredBuf { key: vec![0xff], ..text("", 1, 6, "") });
    versions.push(version("zeros", 1, 6, value([0xff, 0], ValueKind::Text)));
    versions
}

fn sorted(mut versions: Vec<StoredBuf>) -> Vec<StoredBuf> {
    versions.sort_by(|a, b| (&a.key, a.version).cmp(&(&b.key, b.version)));
    versions
}

#[test]
fn the_document_is_what_the_page_says() {
    let fixture = Fixture::new(PLAIN, Keep::All);
    fixture.fold(9, &examples());
    let first = "{\"format\":1,\"database\":\"5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f\",\
                 \"revision\":9,\"time\":9000,\"backup\":false,\"keys\":[\n";
    let others = r#"{"key":"house","versions":[
{"version":1,"revision":3,"time":3000,"type":"text","value":"\"red\"\n"},
{"version":2,"revision":7,"time":7000,"type":"json","value":{"rooms": 3}},
{"version":3,"revision":8,"time":8000,"type":"json-text","value":"[1.00,\n2]"},
{"version":4,"revision":9,"time":9000,"type":"deleted"}
]},
{"key":"kettle","versions":[
{"version":1,"revision":4,"time":4000,"expires":9,"type":"text","value":"tea"}
]},
{"key":"null","versions":[
{"version":1,"revision":5,"time":5000,"type":"json","value":null}
]},
{"key":"zeros","versions":[
{"version":1,"revision":6,"time":6000,"type":"text","value":{"base64":"/wA="}}
]},
{"key":{"base64":"/w=="},"versions":[
{"version":1,"revision":6,"time":6000,"type":"text","value":""}
]}
],"count":{"keys":5,"versions":8},"crc32c":""#;
    let expected = format!("{first}{others}");
    let sum = crc32c::crc32c(expected.as_bytes());
    assert_eq!(fixture.text(), format!("{expected}{sum:08x}\"}}\n"));
    let document: serde_json::Value = serde_json::from_str(&fixture.text()).unwrap();
    assert_eq!(document["keys"][0]["versions"][1]["value"]["rooms"], 3);
}

#[test]
fn a_new_file_is_empty_and_never_replaces_one() {
    for form in FORMS {
        let fixture = Fixture::new(form, Keep::All);
        let snapshot = fixture.open().unwrap();
        let key = if form.is_encrypted { cipher(1).key_id() } else { KeyId::NONE };
        let expected = Identity { database: DATABASE, through: EMPTY, key, is_backup: false };
        assert_eq!(snapshot.identity(), expected);
        assert_eq!(load(&snapshot).unwrap(), []);
        assert_eq!(snapshot.verify().unwrap(), Verified::default());
        assert!(snapshot.history().is_none());
        let again = JsonSnapshot::create(fixture.options(), DATABASE);
        assert!(again.unwrap_err().to_string().ends_with("kv.json: entity already exists"));
    }
}

#[test]
fn what_is_folded_in_comes_back_in_every_form() {
    for form in FORMS {
        let fixture = Fixture::new(form, Keep::All);
        fixture.fold(9, &examples());
        let snapshot = fixture.open().unwrap();
        assert_eq!(load(&snapshot).unwrap(), sorted(examples()), "{form:?}");
        assert_eq!(snapshot.through(), Stamp { revision: Revision(9), time_ms: 9000 });
        let looked_at = JsonSnapshot::look(&Disk, &fixture.path()).unwrap();
        assert_eq!(looked_at, snapshot.identity());
        let verified = Verified { keys: 5, versions: 8, faults: Vec::new() };
        assert_eq!(snapshot.verify().unwrap(), verified);
        assert_eq!(snapshot.stats().file_bytes, fixture.bytes().len() as u64);
    }
}

#[test]
fn a_fold_merges_and_keeps_what_the_policy_keeps() {
    let fixture = Fixture::new(PLAIN, Keep::Newest(2));
    fixture.fold(3, &[text("b", 1, 1, "b1"), text("d", 1, 2, "d1"), text("d", 2, 3, "d2")]);
    let changes = [
        text("a", 1, 4, "a1"),
        text("b", 2, 4, "b2"),
        text("d", 3, 5, "d3"),
        text("e", 6, 6, "e6"),
        text("e", 7, 7, "e7"),
        text("e", 8, 8, "e8"),
    ];
    fixture.fold(8, &changes);
    let names = |loaded: Vec<StoredBuf>| -> Vec<String> {
        let values = loaded.into_iter().map(|stored| stored.value.unwrap().bytes);
        values.map(|bytes| String::from_utf8(bytes).unwrap()).collect()
    };
    assert_eq!(names(fixture.load().unwrap()), ["a1", "b1", "b2", "d2", "d3", "e7", "e8"]);
    // Once more, as after a fold whose success was not known.
    fixture.fold(8, &changes);
    assert_eq!(names(fixture.load().unwrap()), ["a1", "b1", "b2", "d2", "d3", "e7", "e8"]);
    // A key that was forgotten begins anew.
    fixture.fold(9, &[text("e", 1, 9, "new")]);
    assert_eq!(names(fixture.load().unwrap()), ["a1", "b1", "b2", "d2", "d3", "new"]);
    // Nothing but the revision.
    fixture.fold(10, &[]);
    assert_eq!(fixture.load().unwrap().len(), 6);
    assert_eq!(fixture.open().unwrap().through().revision, Revision(10));
}

#[test]
fn values_longer_than_a_chunk_and_deeper_than_a_stack_come_back() {
    let long = "0123456789abcde\n".repeat(60_000);
    let deep = "[".repeat(200_000) + &"]".repeat(200_000);
    let versions = [text("long", 1, 1, &long), version("tree", 1, 2, value(deep, ValueKind::Json))];
    for form in FORMS {
        let fixture = Fixture::new(form, Keep::All);
        fixture.fold(2, &versions);
        assert!(fixture.load().unwrap() == versions, "{form:?}");
    }
}

#[test]
fn a_file_opens_with_its_key_and_no_other() {
    let sealed = Fixture::new(FORMS[3], Keep::All);
    sealed.fold(9, &examples());
    let told = |opened: Result<JsonSnapshot, Error>| match opened.unwrap_err() {
        Error::Key { what } => what,
        other => panic!("{other}"),
    };
    assert!(told(sealed.open_with(None)).contains("is encrypted; give the key"));
    assert!(told(sealed.open_with(Some(cipher(2)))).contains("with another key"));
    let plain = Fixture::new(PLAIN, Keep::All);
    assert!(told(plain.open_with(Some(cipher(1)))).contains("is not encrypted, and"));
    let packed = Fixture::new(FORMS[1], Keep::All);
    assert!(told(packed.open_with(Some(cipher(1)))).contains("is not encrypted, and"));
    let shows = |bytes: Vec<u8>| memchr::memmem::find(&bytes, b"kettle").is_some();
    assert!(!shows(sealed.bytes()));
}

#[test]
fn the_file_of_another_database_is_not_folded_into() {
    let (mine, other) = (Fixture::new(PLAIN, Keep::All), Fixture::new(PLAIN, Keep::All));
    let mut snapshot = mine.open().unwrap();
    let foreign = other.text().replace("5f5f", "6060");
    std::fs::write(mine.path(), &foreign).unwrap();
    let told = fold(&mut snapshot, 1, &[text("a", 1, 1, "")]).unwrap_err();
    assert!(matches!(told, Error::Mismatch { .. }), "{told}");
    assert_eq!(mine.text(), foreign);
    assert_eq!(snapshot.through(), EMPTY);
}

#[test]
fn a_copy_holds_the_same_however_small_its_batches() {
    let original = Fixture::new(PLAIN, Keep::All);
    original.fold(9, &examples());
    for batch_bytes in [0, 8, 1 << 20] {
        let copy = Fixture::new(FORMS[3], Keep::All);
        let mut target = copy.open().unwrap();
        original.open().unwrap().copy_into(&mut target, batch_bytes).unwrap();
        assert_eq!(copy.load().unwrap(), sorted(examples()));
        assert_eq!(target.through(), original.open().unwrap().through());
    }
}

#[test]
fn a_backup_is_an_sqlite_file_with_everything_in_it() {
    for form in FORMS {
        let fixture = Fixture::new(form, Keep::All);
        fixture.fold(9, &examples());
        let snapshot = fixture.open().unwrap();
        let path = fixture.dir.path().join("backup.sqlite");
        snapshot.backup(&path).unwrap();
        assert!(snapshot.backup(&path).is_err(), "it exists");
        let JsonOptions { keep, cipher, compression, .. } = fixture.options();
        let options = SqliteOptions { path, keep, cipher, compression };
        let backup = SqliteSnapshot::open(options).unwrap();
        let expected = Identity { is_backup: true, ..snapshot.identity() };
        assert_eq!(backup.identity(), expected);
        let mut all = load(&backup).unwrap();
        let history = backup.history().unwrap();
        for newest in all.clone() {
            let below = newest.version;
            let older = Older { below, until: None, down_to: None, limit: usize::MAX };
            all.extend(history.older(&newest.key, older).unwrap());
        }
        assert_eq!(sorted(all), sorted(examples()), "{form:?}");
        drop((backup, history));
        let names = Disk.list(fixture.dir.path()).unwrap();
        assert!(names.iter().all(|name| !name.contains("converted")), "{names:?}");
    }
}

/// What became of a file that was changed: read as it was, or refused.
fn outcome(fixture: &Fixture, changed: &[u8]) -> Option<Vec<StoredBuf>> {
    // A file that is overwritten may be synced by the file system; a new one is not.
    std::fs::remove_file(fixture.path()).unwrap();
    std::fs::write(fixture.path(), changed).unwrap();
    match fixture.load() {
        Ok(loaded) => Some(loaded),
        Err(error) => {
            assert!(error.is_refusal(), "{error}");
            None
        }
    }
}

#[test]
fn a_changed_bit_in_any_byte_is_found() {
    for form in FORMS {
        let fixture = Fixture::new(form, Keep::All);
        fixture.fold(9, &examples());
        let whole = fixture.bytes();
        for byte in 0..whole.len() {
            let mut changed = whole.clone();
            changed[byte] ^= 1 << (byte % 8);
            let read = outcome(&fixture, &changed);
            // What only packs may be packed in two ways.
            let is_harmless = form.compression == Compression::Lz4
                && read.as_ref().is_some_and(|read| *read == sorted(examples()));
            assert!(read.is_none() || is_harmless, "{form:?}: byte {byte}");
        }
    }
}

#[test]
fn a_file_that_was_cut_or_goes_on_is_refused() {
    for form in FORMS {
        let fixture = Fixture::new(form, Keep::All);
        fixture.fold(9, &examples());
        let whole = fixture.bytes();
        for length in 0..whole.len() {
            assert!(outcome(&fixture, &whole[..length]).is_none(), "{form:?}: {length}");
        }
        for more in [&b"\n"[..], b"}", &whole] {
            assert!(outcome(&fixture, &[&whole, more].concat()).is_none(), "{form:?}");
        }
        assert!(outcome(&fixture, &whole).is_some());
    }
}

#[test]
fn damage_is_told_with_its_place() {
    let fixture = Fixture::new(PLAIN, Keep::All);
    fixture.fold(9, &examples());
    let changed = fixture.text().replace("\"tea\"", "\"pea\"");
    let last_line = changed.find("],\"count\"").unwrap();
    std::fs::write(fixture.path(), &changed).unwrap();
    let snapshot = fixture.open().unwrap();
    let told = load(&snapshot).unwrap_err().to_string();
    let expected = format!("is damaged at byte {last_line}: its checksum is wrong");
    assert!(told.contains(&expected), "{told}");
    let verified = snapshot.verify().unwrap();
    assert_eq!((verified.keys, verified.versions, verified.faults.len()), (5, 8, 1));
    let mut snapshot = snapshot;
    let told = fold(&mut snapshot, 10, &[]).unwrap_err();
    assert!(matches!(told, Error::Damaged { .. }), "{told}");
    assert_eq!(fixture.text(), changed);
}

#[test]
fn chunks_do_not_change_places() {
    let fixture = Fixture::new(FORMS[2], Keep::All);
    let long = "0123456789abcdef".repeat(50_000);
    fixture.fold(1, &[text("long", 1, 1, &long)]);
    let mut bytes = fixture.bytes();
    assert!(outcome(&fixture, &bytes).is_some());
    let chunk_bytes = 8 + (256 << 10) + 16;
    let (first, second) = bytes[84..].split_at_mut(chunk_bytes);
    first.swap_with_slice(&mut second[..chunk_bytes]);
    assert!(outcome(&fixture, &bytes).is_none());
}

#[test]
fn later_formats_are_refused_as_such() {
    let plain = Fixture::new(PLAIN, Keep::All);
    let future = plain.text().replace("{\"format\":1,", "{\"format\":2,\"new\":[],");
    std::fs::write(plain.path(), future).unwrap();
    let packed = Fixture::new(FORMS[1], Keep::All);
    let mut future = packed.bytes();
    future[8] = 2;
    std::fs::write(packed.path(), future).unwrap();
    for fixture in [plain, packed] {
        let told = fixture.open().unwrap_err();
        assert!(matches!(told, Error::FromTheFuture { found: 2, known: 1, .. }), "{told}");
    }
}

#[test]
fn a_file_has_its_name_only_once_it_is_durable() {
    let fixture = Fixture::new(PLAIN, Keep::All);
    let failing = Failing::never();
    let files = Arc::new(failing.clone());
    let mut snapshot = JsonSnapshot::open(JsonOptions { files, ..fixture.options() }).unwrap();
    // A fold may have been killed between its last two steps.
    let passed = std::mem::take(&mut *failing.passed.lock().unwrap());
    assert_eq!(passed.last(), Some(&"sync_dir"));
    fold(&mut snapshot, 1, &[text("a", 1, 1, "")]).unwrap();
    let passed = failing.passed.lock().unwrap();
    assert_eq!(passed[..2], ["remove", "create"]);
    assert_eq!(passed[passed.len() - 4..], ["write", "sync", "rename", "sync_dir"]);
}

#[test]
fn whichever_operation_fails_the_file_is_whole_and_the_fold_can_be_repeated() {
    let before = [text("a", 1, 1, "old"), text("b", 1, 2, "old")];
    let change = [text("b", 2, 3, "new")];
    let after = [&before[..], &change].concat();
    let (mut failures, mut renamed) = (0, 0);
    for form in FORMS {
        for passes in 0.. {
            let fixture = Fixture::new(form, Keep::All);
            fixture.fold(2, &before);
            let failing = Failing::never();
            let files = Arc::new(failing.clone());
            let options = JsonOptions { files, ..fixture.options() };
            let mut snapshot = JsonSnapshot::open(options).unwrap();
            failing.allow(passes);
            let folded = fold(&mut snapshot, 3, &change);
            let found = fixture.load().unwrap();
            if folded.is_ok() {
                assert_eq!(found, after);
                break;
            }
            assert!(folded.unwrap_err().is_full());
            failures += 1;
            renamed += u64::from(found == after);
            assert!(found == before || found == after, "{form:?}: {passes}");
            assert_eq!(snapshot.through().revision, Revision(2));
            failing.allow(u64::MAX);
            fold(&mut snapshot, 3, &change).unwrap();
            assert_eq!(fixture.load().unwrap(), after);
            assert_eq!(Disk.list(fixture.dir.path()).unwrap(), ["kv.json"]);
        }
    }
    assert!(failures > 40, "{failures}");
    assert_eq!(renamed, 4, "only when the directory cannot be synced");
}

fn any_value() -> impl Strategy<Value = Option<ValueBuf>> {
    let bytes = prop_oneof![
        any::<Vec<u8>>(),
        any::<String>().prop_map(String::into_bytes),
        prop::sample::select(vec![
            "1",
            "1.0",
            " 1",
            "\"ä\"",
            "[\n]",
            "{}}",
            "nul",
            "{\"base64\":\"\"}"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    let kind = prop::sample::select(vec![ValueKind::Text, ValueKind::Json]);
    let value = (bytes, kind, any::<Option<u64>>())
        .prop_map(|(bytes, kind, expires_ms)| ValueBuf { bytes, kind, expires_ms });
    prop::option::weighted(0.9, value)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn anything_comes_back_byte_for_byte(
        keys in prop::collection::btree_map(
            prop_oneof![any::<Vec<u8>>(), any::<String>().prop_map(String::into_bytes)],
            prop::collection::vec(any_value(), 1..4),
            0..20,
        ),
        form in 0..FORMS.len(),
        split in any::<prop::sample::Index>(),
    ) {
        let mut versions = Vec::new();
        for (key, values) in keys {
            for (number, value) in (1..).zip(values) {
                let stored = version("", number, number, value);
                versions.push(StoredBuf { key: key.clone(), ..stored });
            }
        }
        let fixture = Fixture::new(FORMS[form], Keep::All);
        // Two folds: the older versions first.
        let split = Version(split.index(4) as u64);
        let (old, new): (Vec<_>, Vec<_>) =
            versions.iter().cloned().partition(|stored| stored.version <= split);
        fixture.fold(3, &old);
        fixture.fold(4, &new);
        prop_assert_eq!(fixture.load().unwrap(), versions);
    }
}

#[test]
fn a_borrowed_value_is_told_from_none() {
    let empty = version("a", 1, 1, value("", ValueKind::Json));
    let expected = Datum { bytes: b"", kind: ValueKind::Json, expires_ms: None };
    assert_eq!(empty.borrowed().datum, Some(expected));
    let fixture = Fixture::new(PLAIN, Keep::All);
    fixture.fold(1, std::slice::from_ref(&empty));
    assert_eq!(fixture.load().unwrap(), [empty]);
}
