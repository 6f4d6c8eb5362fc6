//! The rules for all crates that the project is built from: where they come from, and under which
//! licence. The licences stand in `.deny.toml`, so that they stand in one place; all crates come
//! from one registry.
//!
//! Sources are read from `Cargo.lock`. Licences are not in it, so cargo is asked; it knows them of
//! the crates that it has downloaded, and downloads those that only other platforms need.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;
use toml::{Table, Value};

use crate::Violation;

/// What is allowed.
pub(crate) struct Policy {
    licences: Vec<String>,
}

impl Policy {
    /// Reads the text of `.deny.toml`.
    pub(crate) fn read(text: &str) -> Self {
        let table: Table = text.parse().unwrap();
        let list = |section: &str, key: &str| -> Vec<String> {
            let list = table[section][key].as_array().unwrap().iter();
            list.map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        Self { licences: list("licenses", "allow") }
    }
}

/// Crates of a `Cargo.lock` that do not come from the one registry that nearly all come from: from
/// another registry, or from a repository, where what was read can be changed afterwards.
pub(crate) fn source_violations(lock: &str) -> Vec<Violation> {
    let lock: Table = lock.parse().unwrap();
    // Without a source it is a crate of this repository; `metadata` makes sure of that.
    let source_of = |package: &Value| Some(package.get("source")?.as_str()?.to_owned());
    let packages = lock["package"].as_array().unwrap();
    let mut crates_from: BTreeMap<String, usize> = BTreeMap::new();
    let registries = packages.iter().filter_map(source_of);
    for source in registries.filter(|source| source.starts_with("registry+")) {
        *crates_from.entry(source).or_default() += 1;
    }
    let registry = crates_from.into_iter().max_by_key(|(_, crates)| *crates);
    let registry = registry.map(|(source, _)| source);
    let foreign = |package: &Value| {
        let source = source_of(package).filter(|source| Some(source) != registry.as_ref())?;
        let name = package["name"].as_str().unwrap();
        let what = format!("{name} comes from {source}, not from where the others come from");
        Some(Violation::new("Cargo.lock", 0, what))
    };
    packages.iter().filter_map(foreign).collect()
}

/// What cargo knows about every crate of the build; `None` if that needs a network there is not.
pub(crate) fn metadata(root: &Path) -> Option<Json> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    for extra in [&["--offline"][..], &[]] {
        let mut command = Command::new(&cargo);
        command.args(["metadata", "--format-version", "1", "--locked"]).args(extra);
        let output = command.current_dir(root).env("CARGO_NET_RETRY", "0").output().unwrap();
        if output.status.success() {
            return Some(serde_json::from_slice(&output.stdout).unwrap());
        }
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!told.contains("lock file"), "Cargo.lock does not fit the manifests:\n{told}");
    }
    None
}

/// Crates under a licence that is not allowed, and crates that lie outside the repository.
pub(crate) fn licence_violations(policy: &Policy, metadata: &Json) -> Vec<Violation> {
    let root = metadata["workspace_root"].as_str().unwrap();
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let mut tell = |what| found.push(Violation::new("Cargo.lock", 0, what));
        match package["license"].as_str() {
            None => tell(format!("{name} names no licence")),
            Some(licence) if !is_allowed(licence, &policy.licences) => {
                tell(format!("{name} is under {licence}, which .deny.toml does not allow"));
            }
            Some(_) => {}
        }
        let manifest = Path::new(package["manifest_path"].as_str().unwrap());
        if package["source"].is_null() && !manifest.starts_with(root) {
            tell(format!("{name} is taken from {}, outside of here", manifest.display()));
        }
    }
    found
}

/// Whether an SPDX expression can be met by allowed licences alone.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, allowed };
    // What cannot be read cannot be allowed.
    parser.any().unwrap_or(false) && parser.words.is_empty()
}

/// Reads an expression: `OR` binds less than `AND`, and that less than `WITH`.
struct Parser<'a> {
    words: &'a [&'a str],
    allowed: &'a [String],
}

impl Parser<'_> {
    fn take(&mut self, wanted: &str) -> bool {
        let is_next = self.words.first() == Some(&wanted);
        self.words = &self.words[usize::from(is_next)..];
        is_next
    }

    fn any(&mut self) -> Option<bool> {
        let mut met = self.all()?;
        while self.take("OR") {
            met |= self.all()?;
        }
        Some(met)
    }

    fn all(&mut self) -> Option<bool> {
        let mut met = self.one()?;
        while self.take("AND") {
            met &= self.one()?;
        }
        Some(met)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let met = self.any()?;
            return self.take(")").then_some(met);
        }
        let (name, rest) = self.words.split_first()?;
        self.words = rest;
        if matches!(*name, "OR" | "AND" | "WITH" | ")") {
            return None;
        }
        let mut licence = (*name).to_owned();
        if self.take("WITH") {
            let (exception, rest) = self.words.split_first()?;
            self.words = rest;
            licence = format!("{licence} WITH {exception}");
        }
        Some(self.allowed.contains(&licence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "
        [licenses]
        allow = [\"MIT\", \"Zlib\", \"Apache-2.0 WITH LLVM-exception\"]";

    #[test]
    fn expressions_are_read_as_they_are_meant() {
        let allowed = Policy::read(POLICY).licences;
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0/MIT", true),
            ("Zlib AND MIT", true),
            ("GPL-3.0 AND MIT", false),
            ("GPL-3.0 AND MIT OR Zlib", true),
            ("GPL-3.0 AND (MIT OR Zlib)", false),
            ("(GPL-3.0 OR MIT) AND Zlib", true),
            ("Apache-2.0", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("MIT WITH LLVM-exception", false),
            ("", false),
            ("MIT OR", false),
            ("(MIT", false),
            ("MIT Zlib", false),
            ("OR MIT", false),
        ] {
            assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
        }
    }

    #[test]
    fn a_foreign_source_is_found() {
        let lock = |sources: &[&str]| {
            let package = |source: &&str| format!("[[package]]\nname = \"a\"\n{source}\n");
            source_violations(&sources.iter().map(package).collect::<String>()).len()
        };
        let usual = "source = \"registry+https://example.org/index\"";
        let other = "source = \"registry+https://example.org/other\"";
        let repository = "source = \"git+https://example.org/a?rev=1#2\"";
        assert_eq!(lock(&["", usual, usual]), 0);
        assert_eq!(lock(&["", usual, other, usual]), 1);
        assert_eq!(lock(&[usual, repository, repository, other, usual]), 3);
        assert_eq!(lock(&[repository]), 1);
    }

    #[test]
    fn a_foreign_licence_and_a_foreign_path_are_found() {
        let policy = Policy::read(POLICY);
        let told = |package: Json| -> Vec<String> {
            let metadata = serde_json::json!({"workspace_root": "/here", "packages": [package]});
            let found = licence_violations(&policy, &metadata);
            found.into_iter().map(|violation| violation.text).collect()
        };
        let package = |license: Json, path: &str, source: Json| {
            let manifest_path = format!("{path}/Cargo.toml");
            serde_json::json!({
                "name": "a", "license": license, "manifest_path": manifest_path, "source": source
            })
        };
        assert!(told(package("MIT".into(), "/here/a", Json::Null)).is_empty());
        assert!(told(package("MIT".into(), "/cache/a", "registry+x".into())).is_empty());
        let gpl = told(package("GPL-3.0".into(), "/cache/a", "registry+x".into()));
        assert_eq!(gpl, ["a is under GPL-3.0, which .deny.toml does not allow"]);
        let none = told(package(Json::Null, "/cache/a", "registry+x".into()));
        assert_eq!(none, ["a names no licence"]);
        let path = told(package("MIT".into(), "/elsewhere/a", Json::Null));
        assert_eq!(path, ["a is taken from /elsewhere/a/Cargo.toml, outside of here"]);
    }
}
