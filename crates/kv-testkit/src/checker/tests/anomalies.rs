//! One history by hand for each anomaly, and for each that looks like one and is allowed.

use super::*;

#[test]
fn what_is_in_order_passes() {
    passes("");
    passes(
        "one 0..1 c1: w x 1
         ser 2..5 c2: r x 1; w x 2; r x 2; w y 3
         si 3/4..9 c3: r x 1; r y -; w z 4; s a.. x=1,z=4
         ro 6/7..8 c: r x 2; r y 3; s x..z x=2,y=3
         one 20..21 c: s a.. x=2,y=3,z=4",
    );
}

#[test]
fn g0_dirty_write() {
    let mut planted = history(
        "ser 0..9 c1: w x 1; w y 2
         ser 0..9 c2: w x 3; w y 4",
    );
    let version = |revision, value| Installed { revision, value: Some(value) };
    planted.installed.insert("x".into(), vec![version(2, 3), version(1, 1)]);
    planted.installed.insert("y".into(), vec![version(1, 2), version(2, 4)]);
    assert_eq!(kinds(&planted), [Kind::VersionOrder, Kind::DirtyWrite]);
    // Without the store's own list, a later read shows it.
    finds(
        &[Kind::GSingle],
        "ser 0..9 c1: w x 1; w y 2
         ser 0..9 c2: w x 3; w y 4
         one 10..11 c: s a.. x=1,y=4",
    );
}

#[test]
fn g1a_aborted_read() {
    for reader in ["ser", "si", "ro", "one"] {
        let text = format!("ser 0..9 a: w x 1\n{reader} 0..9 c: r x 1");
        finds(&[Kind::AbortedRead], &text);
    }
    finds(&[Kind::AbortedRead], "ser 0..9 a: w x 1\nser 0..9 c: s a.. x=1");
}

#[test]
fn g1a_read_of_a_nested_transaction_that_was_rolled_back() {
    let mut planted = history("ser 0..9 c1: w y 2\nser 0..9 c: r x 1");
    planted.transactions[0].undone.push(("x".into(), 1));
    assert_eq!(kinds(&planted), [Kind::AbortedRead]);
}

#[test]
fn g1b_intermediate_read() {
    finds(&[Kind::IntermediateRead], "ser 0..9 c1: w x 1; w x 2\nser 0..9 c: r x 1");
    finds(&[Kind::IntermediateRead], "si 0..9 c1: w x 1; d x\nsi 0..9 c: r x 1");
}

#[test]
fn g1c_circular_information_flow() {
    finds(
        &[Kind::CircularFlow],
        "ser 0..9 c1: w x 1; r y 2
         ser 0..9 c2: w y 2; r x 1",
    );
}

#[test]
fn values_from_nowhere() {
    finds(&[Kind::UnwrittenValue], "one 0..1 c: r x 7");
    finds(&[Kind::UnwrittenValue], "one 0..1 c1: w y 7\none 2..3 c: r x 7");
    finds(&[Kind::UnwrittenValue], "one 0..1 c1: w y 7\none 2..3 c: s a..b y=7");
    finds(&[Kind::Malformed], "one 0..1 c1: w y 7\none 2..3 c2: w x 7");
    finds(&[Kind::Malformed], "one 0..9 c1: w y 7\none 2..3 c1: w x 8");
}

#[test]
fn own_writes_must_be_seen() {
    finds(&[Kind::Internal], "one 0..1 c1: w x 1\nser 2..9 c2: w x 2; r x 1");
    finds(&[Kind::Internal], "ser 2..9 c2: w x 2; s a..");
    finds(&[Kind::Internal], "one 0..1 c1: w x 1\nsi 2..9 c2: d x; r x 1");
    finds(&[Kind::Internal], "ser 2..9 c2: r x 2; w x 2");
}

#[test]
fn lost_update() {
    let text = |mode: &str| {
        format!(
            "one 0..1 c1: w x 1
             {mode} 2/3..9 c2: r x 1; w x 2
             {mode} 2/3..9 c3: r x 1; w x 3"
        )
    };
    finds(&[Kind::GSingle], &text("ser"));
    finds(&[Kind::FirstUpdaterLost], &text("si"));
}

#[test]
fn first_updater_wins_without_a_read_of_the_key() {
    // The view is pinned by another key: y was still 2.
    finds(
        &[Kind::FirstUpdaterLost],
        "one 0..1 c1: w x 1
         one 2..3 c2: w y 2
         si 4/5..20 c5: r y 2; w x 3
         ser 6..8 c3: w y 4; w x 5",
    );
    // By real time alone: the other began after BEGIN was answered.
    finds(
        &[Kind::FirstUpdaterLost],
        "si 4/5..20 c5: w x 3
         one 6..8 c3: w x 5",
    );
    passes(
        "si 4/5..20 c5: w x 3
         one 4..8 c3: w x 5",
    );
    // A delete that makes no version is no update.
    passes(
        "si 4/5..20 c5: r x -; w x 3
         ser 6..8 c3: w y 2; w x 5; d x",
    );
}

#[test]
fn read_skew() {
    let text = |mode: &str| {
        format!(
            "ser 0..1 c1: w x 1; w y 2
             ser 2..9 c2: w x 3; w y 4
             {mode} 2..9 c: r x 1; r y 4"
        )
    };
    finds(&[Kind::GSingle], &text("ser"));
    finds(&[Kind::FracturedView], &text("si"));
    finds(&[Kind::FracturedView, Kind::GSingle], &text("ro"));
}

#[test]
fn unrepeatable_read() {
    finds(
        &[Kind::GSingle],
        "one 0..1 c1: w x 1
         ser 2..9 c: r x 1; r x 2
         one 3..4 c2: w x 2",
    );
}

#[test]
fn write_skew_is_forbidden_under_locks_and_allowed_in_snapshots() {
    let text = |one: &str, other: &str| {
        format!(
            "ser 0..1 c1: w x 1; w y 2
             {one} 2/3..9 c2: r x 1; r y 2; w x 3
             {other} 2/3..9 c3: r x 1; r y 2; w y 4"
        )
    };
    finds(&[Kind::G2], &text("ser", "ser"));
    passes(&text("si", "si"));
    // Mixed: the cycle has an anti-dependency from the SNAPSHOT transaction's read.
    passes(&text("ser", "si"));
    passes(&text("si", "ser"));
}

#[test]
fn phantoms() {
    let text = |mode: &str| {
        format!(
            "one 0..1 c1: w k1 1
             {mode} 2/3..9 c2: s k..l k1=1; w k3 3
             {mode} 2/3..9 c3: s k..l k1=1; w k4 4"
        )
    };
    finds(&[Kind::G2], &text("ser"));
    passes(&text("si"));
    // A scan that finds more when it looks again.
    let twice = |mode: &str| {
        format!(
            "one 0..1 c1: w k1 1
             {mode} 2/3..9 c: s k..l k1=1; s k..l k1=1,k2=2
             one 4..5 c2: w k2 2"
        )
    };
    finds(&[Kind::GSingle], &twice("ser"));
    finds(&[Kind::FracturedView], &twice("si"));
    // A row that vanishes.
    finds(
        &[Kind::GSingle],
        "one 0..1 c1: w k1 1
         ser 2..9 c: s k..l k1=1; s k..l
         one 3..5 c2: d k1",
    );
}

#[test]
fn fractured_view() {
    finds(
        &[Kind::FracturedView],
        "ser 0..9 c1: w x 1; w y 2
         si 0..9 c: s a.. x=1",
    );
    finds(
        &[Kind::FracturedView],
        "ser 0..9 c1: w x 1; w y 2
         si 0..9 c: r x -; r y 2",
    );
}

#[test]
fn views_are_of_their_begin() {
    let old = "one 0..1 c1: w x 1\none 2..3 c2: w x 2\nsi 4/5..9 c: r x 1";
    finds(&[Kind::WrongView], old);
    let new = "one 0..1 c1: w x 1\nsi 2/3..9 c: r x 2\none 4..5 c2: w x 2";
    finds(&[Kind::WrongView], new);
    passes("one 0..1 c1: w x 1\nsi 2/5..9 c: r x 2\none 4..5 c2: w x 2");
    passes("one 0..1 c1: w x 1\none 2..5 c2: w x 2\nsi 4/5..9 c: r x 1");
}

#[test]
fn stale_reads_break_real_time() {
    for mode in ["one", "ser"] {
        let text = format!("one 0..1 c1: w x 1\none 2..3 c2: w x 2\n{mode} 4..5 c: r x 1");
        finds(&[Kind::RealTime], &text);
    }
    finds(&[Kind::RealTime], "one 0..1 c1: w x 1\none 4..5 c: r x -");
    passes("one 0..1 c1: w x 1\none 2..4 c2: w x 2\none 4..5 c: r x 1");
    // Two reads that see a write come and go again.
    finds(
        &[Kind::RealTime],
        "one 0..1 c1: w x 1
         one 2..9 c2: w x 2
         one 3..4 c: r x 2
         one 5..6 c: r x 1",
    );
}

#[test]
fn long_fork() {
    let text = |mode: &str| {
        format!(
            "ser 0..1 c1: w x 1; w y 2
             one 2..9 c2: w x 3
             one 2..9 c3: w y 4
             {mode} 2..9 c: r x 3; r y 2
             {mode} 2..9 c: r y 4; r x 1"
        )
    };
    finds(&[Kind::G2], &text("ser"));
    finds(&[Kind::FracturedView], &text("si"));
    assert!(kinds(&history(&text("ro"))).contains(&Kind::G2));
}

#[test]
fn mixed_cycles_that_are_forbidden() {
    // The locking transaction's read skew, from a SNAPSHOT writer.
    finds(
        &[Kind::GSingle],
        "ser 0..1 c1: w x 1; w y 2
         si 2/3..9 c2: w x 3; w y 4
         ser 2..9 c: r x 1; r y 4",
    );
    // The locking transaction's lost update.
    finds(
        &[Kind::GSingle],
        "one 0..1 c1: w x 1
         si 2/3..9 c2: r x 1; w x 2
         ser 2..9 c3: r x 1; w x 3",
    );
    // Write skew of two locking ones, with a SNAPSHOT one in between.
    finds(
        &[Kind::G2],
        "ser 0..1 c1: w x 1; w y 2
         ser 2..9 c2: r y 2; w x 3
         ser 2..9 c4: r x 1; w y 5
         si 2/3..9 c3: r x 1; w z 4",
    );
    // Information flows in a circle through a SNAPSHOT transaction.
    assert!(
        kinds(&history("si 0/1..9 c1: w x 1; r y 2\nser 0..9 c2: w y 2; r x 1"))
            .contains(&Kind::CircularFlow)
    );
}

#[test]
fn mixed_cycles_that_are_allowed() {
    // The read-only anomaly: S3 sees the deposit, S2 withdraws without having seen it.
    passes(
        "ser 0..1 c1: w x 1; w y 2
         si 2/3..20 c3: r x 1; r y 2; w x 4
         ser 4..5 c2: r y 2; w y 3
         ser 6..7 c: r x 1; r y 3",
    );
    // Fekete's two edges, A being the SNAPSHOT transaction.
    passes(
        "ser 0..1 c1: w k1 10; w k2 20
         si 2/3..20 c3: s k..l k1=10,k2=20; w k1 5
         ser 4..5 c2: w k2 25
         ser 6..7 c: s k..l k1=10,k2=25",
    );
    // The same with all under locks.
    finds(
        &[Kind::G2],
        "ser 0..1 c1: w k1 10; w k2 20
         ser 2/3..20 c3: s k..l k1=10,k2=20; w k1 5
         ser 2..5 c2: w k2 25
         ser 2..7 c: s k..l k1=10,k2=25",
    );
}

#[test]
fn unknown_outcomes() {
    // Seen or not: both can be.
    passes("one 0..1 u: w x 1\none 2..3 c: r x -");
    passes("one 0..1 u: w x 1\none 2..3 c: r x 1");
    passes("one 0..1 u: w x 1\none 2..3 c: r x -\none 4..5 c: r x 1");
    // Seen, so committed; then it is all there.
    let mut partly = history(
        "ser 0..9 u: w x 1; w y 2
         ser 10..11 c: r x 1; r y -",
    );
    let version = |revision, value| Installed { revision, value: Some(value) };
    partly.installed.insert("x".into(), vec![version(1, 1)]);
    partly.installed.insert("y".into(), vec![version(1, 2)]);
    assert_eq!(kinds(&partly), [Kind::GSingle]);
    // What it wrote and overwrote itself, and what an aborted one wrote, stays forbidden.
    finds(&[Kind::IntermediateRead], "ser 0..1 u: w x 1; w x 2\none 2..3 c: r x 1");
    // One that counts was shown something by one that did not commit.
    finds(
        &[Kind::AbortedRead],
        "ser 0..1 a: w x 1
         ser 0..3 u: r x 1; w y 2
         one 4..5 c: r y 2",
    );
    // A delete of unknown outcome may explain a missing key.
    passes("one 0..1 c1: w x 1\none 2..3 u: d x\none 4..5 c: r x -");
}

#[test]
fn missing_keys_may_have_been_several_versions() {
    let text = |read: &str| {
        format!(
            "one 0..1 c1: w x 1
             one 2..3 c2: d x
             one 4..5 c3: w x 2
             one 6..7 c4: d x
             {read}"
        )
    };
    passes(&text("one 0..9 c: r x -"));
    passes(&text("one 8..9 c: r x -"));
    passes(&text("ser 3..4 c: r x -"));
    passes(&text("si 3/4..9 c: r x -; r x -"));
    finds(&[Kind::RealTime], "one 0..1 c1: w x 1\none 2..3 c2: d x\none 4..5 c: r x 1");
    finds(
        &[Kind::GSingle],
        "one 0..1 c1: w x 1
         one 2..3 c2: d x
         ser 4..9 c4: r x -; w x 4
         one 4..9 c3: w x 3",
    );
}

#[test]
fn the_stores_own_list_is_held_against_the_clients() {
    let with_list = |text: &str, versions: &[(u64, Option<u64>)]| {
        let mut planted = history(text);
        let versions = versions.iter().map(|&(revision, value)| Installed { revision, value });
        planted.installed.insert("x".into(), versions.collect());
        kinds(&planted)
    };
    let text = "one 0..1 c1: w x 1\none 2..3 c2: w x 2\none 4..5 a: w x 3";
    assert!(with_list(text, &[(1, Some(1)), (2, Some(2))]).is_empty());
    for wrong in [
        &[(1, Some(1))][..],
        &[(1, Some(1)), (2, Some(2)), (3, Some(3))],
        &[(1, Some(1)), (2, Some(2)), (3, Some(9))],
        &[(1, Some(1)), (3, Some(2))],
    ] {
        assert_eq!(with_list(text, wrong), [Kind::VersionOrder], "{wrong:?}");
    }
    assert!(with_list(text, &[(2, Some(2)), (1, Some(1))]).contains(&Kind::VersionOrder));
    // An unknown one that is in the list did commit, and has its place.
    let text = "one 0..1 u: w x 1\none 2..9 c2: w x 2\none 10..11 c: r x 1";
    assert_eq!(with_list(text, &[(1, Some(1)), (2, Some(2))]), [Kind::RealTime]);
    assert!(with_list(text, &[(2, Some(2)), (3, Some(1))]).is_empty());
}

#[test]
fn revisions_follow_real_time() {
    finds(&[Kind::VersionOrder], "one 0..1 c2: w x 1\none 2..3 c1: w y 2");
    passes("one 0..2 c2: w x 1\none 2..3 c1: w y 2");
}

#[test]
fn a_report_names_everything() {
    let planted =
        history("one 0..1 c1: w x 1\nser 2..9 c2: r x 1; w x 2\nser 2..9 c3: r x 1; w x 3");
    let text = verify(&planted).unwrap_err();
    for part in [
        "G-single",
        "T2 -> T1: T2 read x = 1, before T1 made it 2 (rw)",
        "T1 -> T2: T1 wrote x before T2 made it 3 (ww)",
        "T2: client 0, SERIALIZABLE, 2..9, committed as 3: read x = 1; write x = 3",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn the_recorder_keeps_what_it_is_told() {
    let recorder = super::super::Recorder::new();
    let mut writer = recorder.begin(1, Mode::Serializable);
    writer.begun();
    let (one, two) = (recorder.new_value(), recorder.new_value());
    writer.read("y", None);
    writer.write("x", one);
    let savepoint = writer.savepoint();
    writer.read("z", None);
    writer.write("y", two);
    writer.read("y", Some(two));
    writer.undo(savepoint);
    writer.end(Outcome::Committed { revision: Some(1) });
    let mut reader = recorder.begin(2, Mode::Single);
    reader.scan("a", None, vec![("x".into(), one)]);
    drop(reader);
    let history = recorder.finish();
    let [writer, reader] = &history.transactions[..] else { panic!("two were recorded") };
    assert_eq!(writer.operations.len(), 3);
    assert_eq!(writer.undone, [("y".to_string(), two)]);
    assert!(writer.begin < writer.begun && writer.begun < writer.end);
    assert!(writer.end < reader.begin && reader.begun == reader.end);
    assert_eq!(reader.outcome, Outcome::Unknown);
    verify(&history).unwrap();
}
