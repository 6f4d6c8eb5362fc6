//! Every script, run over an engine so simple that one can read it in one go: the scripts are
//! tested before the real store is.
//!
//! A script that fails here contradicts the rules as written down in `naive.rs` and `locks.rs`;
//! one of the two is wrong, and no real store is involved. The server's tests run the same
//! scripts over the real thing.

#![expect(clippy::unwrap_used, reason = "a panic is how a test tells what is wrong")]

mod commands;
mod locks;
mod naive;

use kv_testkit::script::{Script, run, run_all, script_files};
use naive::Naive;

#[test]
fn every_script_holds_over_the_naive_engine() {
    let count = run_all("", || Ok(Naive::default())).unwrap_or_else(|text| panic!("{text}"));
    assert!(count > 100, "only {count} scripts were found");
}

#[test]
fn every_row_has_a_script_in_every_mode() {
    let names = |folder: &str| -> Vec<String> {
        let files = script_files(&format!("{folder}/")).unwrap();
        files.iter().map(|path| path.file_name().unwrap().display().to_string()).collect()
    };
    let rows = names("serializable");
    assert_eq!(rows.len(), 16, "{rows:?}");
    for folder in ["snapshot", "mixed-2pl-si", "mixed-si-2pl"] {
        assert_eq!(names(folder), rows, "{folder}");
    }
}

/// Weakens each lock rule of the naive engine and asserts that scripts notice.
#[test]
fn scripts_notice_a_broken_engine() {
    let scripts: Vec<Script> =
        script_files("").unwrap().iter().map(|path| Script::load(path).unwrap()).collect();
    let quick = scripts.iter().filter(|script| !script.file.contains("timeout"));
    let quick: Vec<&Script> = quick.collect();
    for flaw in naive::Flaw::ALL {
        let fails = |script: &&&Script| run(script, &mut Naive::with(flaw)).is_err();
        let noticed = quick.iter().filter(fails).count();
        assert!(noticed > 0, "no script notices {flaw:?}");
    }
}
