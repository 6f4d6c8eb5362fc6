//! The runner against a store that says what the test wants: that right runs pass, and above all
//! that wrong ones fail. (A runner that never fails would make every script worthless.)

use std::collections::{BTreeMap, VecDeque};

use super::{Driver, Failure, Script, run};

/// Plays back: the n-th command sent brings these replies, each to its session.
#[derive(Default)]
struct Playback {
    answers: VecDeque<Vec<(&'static str, &'static str)>>,
    replies: BTreeMap<String, VecDeque<Vec<String>>>,
    locks: Vec<String>,
    closed: Vec<String>,
    sent: Vec<String>,
    stuck: bool,
}

impl Driver for Playback {
    fn send(&mut self, session: &str, line: &str) -> Result<(), String> {
        self.sent.push(format!("{session}: {line}"));
        for (to, reply) in self.answers.pop_front().unwrap_or_default() {
            let lines = reply.split('|').map(str::to_string).collect();
            self.replies.entry(to.to_string()).or_default().push_back(lines);
        }
        Ok(())
    }

    fn poll(&mut self, session: &str) -> Option<Vec<String>> {
        self.replies.get_mut(session)?.pop_front()
    }

    fn settle(&mut self) -> Result<(), String> {
        if self.stuck { Err("nothing moves".into()) } else { Ok(()) }
    }

    fn close(&mut self, session: &str) {
        self.closed.push(session.to_string());
    }

    fn locks(&mut self) -> Result<Vec<String>, String> {
        Ok(self.locks.clone())
    }
}

type Answers<'a> = &'a [&'a [(&'static str, &'static str)]];

fn playback(answers: Answers<'_>) -> Playback {
    let answers = answers.iter().map(|replies| replies.to_vec()).collect();
    Playback { answers, ..Playback::default() }
}

fn run_with(text: &str, driver: &mut Playback) -> Result<(), Box<Failure>> {
    let script = Script::parse("test.kv", &format!("# test\n{text}")).unwrap();
    run(&script, driver)
}

fn passes(text: &str, answers: Answers<'_>) {
    run_with(text, &mut playback(answers)).unwrap();
}

fn fails(text: &str, answers: Answers<'_>) -> Failure {
    *run_with(text, &mut playback(answers)).expect_err("the script should have failed")
}

const WAIT_AND_GO_ON: &str = "A: PUT k 1\n  OK\nB: PUT k 2\n  waits\nA: COMMIT\n  OK\n\
                              B: goes on\n  OK\n";

#[test]
fn a_run_that_is_as_the_script_says_passes() {
    passes(WAIT_AND_GO_ON, &[&[("A", "OK")], &[], &[("B", "OK"), ("A", "OK")]]);
    passes("A: SCAN\n  \"a\" \"1\"\n  END 1\n", &[&[("A", "\"a\" \"1\"|END 1")]]);
    passes("A: PUT k 1\n", &[&[("A", "OK")]]);
    passes("3 times A: PING\n  PONG\n", &[&[("A", "PONG")], &[("A", "PONG")], &[("A", "PONG")]]);
}

#[test]
fn a_reply_that_should_wait_fails() {
    let failure = fails(WAIT_AND_GO_ON, &[&[("A", "OK")], &[("B", "OK")], &[("A", "OK")]]);
    assert_eq!((failure.line, failure.expected.as_str()), (4, "no reply"));
    assert!(failure.transcript.contains("B: PUT k 2\n   B> OK"), "{failure}");
}

#[test]
fn a_reply_that_comes_before_its_goes_on_fails() {
    let text = "B: PUT k 2\n  waits\nA: GET x\n  NIL\nA: COMMIT\n  OK\nB: goes on\n  OK\n";
    let failure = fails(text, &[&[], &[("A", "NIL"), ("B", "OK")], &[("A", "OK")]]);
    assert!(failure.expected.starts_with("B waits until"), "{failure}");
}

#[test]
fn a_wrong_value_fails_and_names_its_line() {
    let text = "A: SCAN\n  \"a\" \"1\"\n  \"b\" \"2\"\n  END 2\n";
    let failure = fails(text, &[&[("A", "\"a\" \"1\"|\"b\" \"3\"|END 2")]]);
    assert_eq!(failure.line, 4);
    assert_eq!((failure.expected.as_str(), failure.got.as_str()), ("\"b\" \"2\"", "\"b\" \"3\""));
    let shown = failure.to_string();
    for part in ["test.kv:4", "expected: \"b\" \"2\"", "got:      \"b\" \"3\"", "A: SCAN"] {
        assert!(shown.contains(part), "{shown}");
    }
}

#[test]
fn a_missing_reply_fails() {
    assert_eq!(fails("A: GET k\n  \"1\"\n", &[&[]]).got, "A still waits");
    assert_eq!(fails("A: GET k\n", &[&[]]).got, "A still waits");
    let failure = fails(WAIT_AND_GO_ON, &[&[("A", "OK")], &[], &[("A", "OK")]]);
    assert_eq!((failure.line, failure.got.as_str()), (9, "B still waits"));
}

#[test]
fn a_missing_or_surplus_row_fails() {
    let text = "A: SCAN\n  \"a\" \"1\"\n  END 1\n";
    fails(text, &[&[("A", "END 0")]]);
    fails(text, &[&[("A", "\"a\" \"1\"|END 1|more")]]);
    fails("A: SCAN\n  \"a\" \"1\"\n", &[&[("A", "\"a\" \"1\"|END 1")]]);
}

#[test]
fn an_error_fails_where_no_block_is_given() {
    assert_eq!(fails("A: PUT k 1\n", &[&[("A", "ERR OOM x")]]).got, "ERR OOM x");
}

#[test]
fn queued_commands_are_answered_in_order() {
    let text = "A: DEL k\n  waits\nA: ROLLBACK\n  queues\nB: COMMIT\n  OK\n\
                A: goes on\n  ERR CONFLICT …\n  OK\n";
    passes(text, &[&[], &[], &[("B", "OK"), ("A", "ERR CONFLICT k"), ("A", "OK")]]);
    let failure = fails(text, &[&[], &[], &[("B", "OK"), ("A", "ERR CONFLICT k")]]);
    assert_eq!(failure.got, "A still waits");
    let failure = fails(text, &[&[], &[("A", "OK")]]);
    assert_eq!(failure.expected, "no reply");
    fails(text, &[&[("A", "OK")]]);
}

#[test]
fn a_session_can_go_on_and_wait_again() {
    let text = "A: PUT a 1\n  waits\nA: PUT b 1\n  queues\nB: COMMIT\n  OK\n\
                A: goes on\n  OK\n  waits\nC: COMMIT\n  OK\nA: goes on\n  OK\n";
    let answers: Answers<'_> =
        &[&[], &[], &[("B", "OK"), ("A", "OK")], &[("C", "OK"), ("A", "OK")]];
    passes(text, answers);
    let failure = fails(text, &[&[], &[], &[("B", "OK"), ("A", "OK"), ("A", "OK")]]);
    assert_eq!(failure.got, "OK");
}

#[test]
fn the_script_must_say_who_queues() {
    let failure = fails("A: GET k\n  waits\nA: GET k\n  waits\n", &[&[], &[]]);
    assert!(failure.expected.contains("queues"), "{failure}");
    let failure = fails("A: GET k\n  queues\n", &[&[]]);
    assert_eq!(failure.got, "A does not wait");
}

#[test]
fn the_end_asks_that_nobody_waits_and_nothing_is_locked() {
    assert_eq!(fails("A: GET k\n  waits\n", &[&[]]).expected, "nobody waits at the end");
    passes("A: GET k\n  waits\nA: closes\n", &[&[]]);
    let failure = fails("A: GET k\n  waits\nB: PING\n  PONG\n", &[&[], &[("B", "PONG")]]);
    assert_eq!(failure.got, "A still waits");
    let late = "A: GET k\n  waits\nB: PING\n  PONG\n";
    let failure = fails(late, &[&[], &[("B", "PONG"), ("A", "NIL")]]);
    assert_eq!(failure.got, "NIL");

    let mut driver = playback(&[&[("A", "OK")]]);
    driver.locks = vec!["1 1 \"k\" X held 5000".into()];
    let failure = run_with("A: PUT k 1\n  OK\n", &mut driver).unwrap_err();
    assert_eq!(failure.got, "1 1 \"k\" X held 5000");
    assert_eq!(driver.closed, ["A"]);
}

#[test]
fn a_store_that_does_not_come_to_rest_fails() {
    let mut driver = playback(&[]);
    driver.stuck = true;
    let failure = run_with("A: PUT k 1\n  OK\n", &mut driver).unwrap_err();
    assert_eq!(failure.got, "nothing moves");
}

#[test]
fn times_are_bounded_on_both_sides() {
    let text = "A: PUT k 1\n  within 50ms..90ms\n  OK\n";
    assert!(fails(text, &[&[("A", "OK")]]).expected.starts_with("within"));
    passes("A: PUT k 1\n  within 0ms..9s\n  OK\n", &[&[("A", "OK")]]);
    let never = "A: PUT k 1\n  waits\nA: goes on\n  within 10ms..30ms\n  OK\n";
    assert_eq!(fails(never, &[&[]]).got, "A still waits");
}

#[test]
fn remembered_words_are_sent_and_compared() {
    let text = "A: REVISION\n  <r>\nA: GET k AT <r>\n  \"<r>\"\n";
    let mut driver = playback(&[&[("A", "17")], &[("A", "\"17\"")]]);
    run_with(text, &mut driver).unwrap();
    assert_eq!(driver.sent[1], "A: GET k AT 17");
    fails(text, &[&[("A", "17")], &[("A", "\"18\"")]]);
}
