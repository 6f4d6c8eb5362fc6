//! Random folds, and what must be found afterwards.

use proptest::prelude::*;

use super::*;

/// Every version that was ever folded, by key, oldest first.
type Model = BTreeMap<Vec<u8>, Vec<StoredBuf>>;

#[derive(Debug, Clone)]
enum Step {
    /// A fold of so many versions of each of these keys; none is a delete.
    Fold(Vec<(usize, u8, Option<usize>)>),
    /// The file is closed and opened again, with this setting.
    Reopen(Keep),
    /// What can wait.
    Tidy,
}

/// Keys of both storage classes, with neighbours, long ones and ones with a zero byte.
fn keys() -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> =
        (0..20).map(|number| format!("key{number}").into_bytes()).collect();
    keys.extend([vec![0], vec![0, 0], vec![0xff], b"key1\0".to_vec(), "schlüssel".into()]);
    keys.extend([vec![b'k'; 300], vec![0xfe; 5000], vec![b'k'; 65536]]);
    keys
}

/// Lengths of values around what fits into `pair` and into a page.
const LENGTHS: [usize; 9] = [0, 1, 20, 190, 200, 201, 1000, 5000, 70_000];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = (0..28usize, 1..6u8, prop::option::weighted(0.8, 0..LENGTHS.len()));
    let fold = prop::collection::vec(change, 0..20).prop_map(Step::Fold);
    let keep = prop::sample::select(vec![Keep::Newest(1), Keep::Newest(3), Keep::All]);
    let step = prop_oneof![6 => fold, 1 => keep.prop_map(Step::Reopen), 1 => Just(Step::Tidy)];
    prop::collection::vec(step, 1..20)
}

fn fold_step(
    snapshot: &mut SqliteSnapshot,
    model: &mut Model,
    revision: &mut u64,
    changes: &[(usize, u8, Option<usize>)],
) {
    let keys = keys();
    let mut versions = Vec::new();
    for (key, count, length) in changes {
        for _ in 0..*count {
            *revision += 1;
            let of_key = model.entry(keys[*key].clone()).or_default();
            let number = of_key.last().map_or(0, |last| last.version.0) + 1;
            let value = length.map(|length| vec![b'a' + (number % 26) as u8; LENGTHS[length]]);
            let version = version(&keys[*key], number, *revision, value.as_deref());
            of_key.push(version.clone());
            versions.push(version);
        }
    }
    fold(snapshot, &versions).expect("a fold");
}

/// What is found is what was folded, as far as it is kept: all of it if `lost` is false.
fn check(snapshot: &SqliteSnapshot, model: &Model, keep: Keep, threads: usize, lost: bool) {
    let newest: BTreeMap<_, _> = model
        .iter()
        .map(|(key, versions)| (key.clone(), versions.last().expect("one").clone()))
        .collect();
    assert_eq!(load(snapshot, threads).expect("a load"), newest);
    for (key, versions) in model {
        let found = older(snapshot, key, ALL).expect("history");
        let last = versions.last().expect("one").version;
        let mut kept: Vec<_> = versions
            .iter()
            .rev()
            .filter(|version| keep.keeps(version.version, last))
            .cloned()
            .collect();
        if lost {
            kept.truncate(found.len());
            assert!(!found.is_empty());
        }
        assert_eq!(found, kept);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn folds_are_found_again(
        keep in prop::sample::select(vec![Keep::Newest(1), Keep::Newest(3), Keep::All]),
        steps in steps(),
    ) {
        let mut place = Place::new(keep);
        let mut snapshot = place.create();
        let (mut model, mut revision, mut lost) = (Model::new(), 0, false);
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Fold(changes) => {
                    fold_step(&mut snapshot, &mut model, &mut revision, changes);
                }
                Step::Reopen(keep) => {
                    drop(snapshot);
                    lost |= *keep != place.options.keep;
                    place.options.keep = *keep;
                    snapshot = place.open().expect("opened again");
                }
                Step::Tidy => snapshot.tidy().expect("tidied"),
            }
            assert_eq!(snapshot.through().revision.0, revision);
            check(&snapshot, &model, place.options.keep, number % 4, lost);
        }
    }
}
