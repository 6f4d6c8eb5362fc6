//! Holds the repository to its habits, so that a review need not.
//!
//! Each module has the rules for one kind of file, as functions from text to [`Violation`]s; here
//! they are given the files of the repository. So each rule is also tested on a text that breaks
//! it. What the compiler, rustfmt and clippy check already is not checked again.

#![expect(clippy::unwrap_used, reason = "a panic is how a test tells what is wrong")]

mod dependencies;
mod docs;
mod manifests;
mod mask;
mod source;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// A place that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    /// The file, from the root of the repository.
    path: String,
    /// The line, counted from 1; 0 for the file as a whole.
    line: usize,
    /// What is wrong, and what to do instead.
    text: String,
}

impl Violation {
    fn new(path: &str, line: usize, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, text: text.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "{}: {}", self.path, self.text),
            line => write!(out, "{}:{line}: {}", self.path, self.text),
        }
    }
}

#[test]
fn every_source_file_is_tidy() {
    let files = files_below(&["crates", "examples", "benches"], "rs");
    assert!(files.len() > 5, "the sources were not found");
    report(files.iter().flat_map(|path| source::violations(path, &read(path))));
}

#[test]
fn every_page_has_a_title_and_is_linked() {
    let pages: Vec<_> = files_below(&["docs"], "md").iter().map(|path| page(path)).collect();
    report(docs::violations(&pages, &page("README.md")));
}

#[test]
fn the_layers_are_kept_apart() {
    report(manifests::LAYERS.iter().flat_map(|layer| {
        let path = format!("crates/{}/Cargo.toml", layer.name);
        manifests::violations(layer, &path, &read(&path))
    }));
}

#[test]
fn every_dependency_comes_from_where_it_may() {
    report(dependencies::source_violations(&read("Cargo.lock")));
}

#[test]
fn every_dependency_has_a_licence_that_is_allowed() {
    let policy = dependencies::Policy::read(&read(".deny.toml"));
    match dependencies::metadata(&root()) {
        Some(metadata) => report(dependencies::licence_violations(&policy, &metadata)),
        None => eprintln!("licences were NOT checked: run `cargo fetch` with a network first"),
    }
}

fn report(violations: impl IntoIterator<Item = Violation>) {
    let lines: Vec<_> = violations.into_iter().map(|violation| violation.to_string()).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn page(path: &str) -> docs::Page {
    docs::Page { path: path.to_owned(), text: read(path) }
}

/// The files with an extension in some directories of the repository, by path, in order.
fn files_below(directories: &[&str], extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut left: Vec<PathBuf> = directories.iter().map(|name| root().join(name)).collect();
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}
