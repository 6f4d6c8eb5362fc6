//! Where the programs of the workspace are, for tests of crates that talk to them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The path of `kv-server`. `cargo test --workspace` has built it; for a crate tested alone it is
/// built now, if it is not there.
pub fn kv_server() -> &'static str {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| program("kv-server"))
}

/// The path of `kv-cli`, likewise.
pub fn kv_cli() -> &'static str {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| program("kv-cli"))
}

fn program(name: &str) -> String {
    let path = beside_this_test(name);
    if !path.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--locked", "--package", name, "--bin", name]);
        if path.components().any(|part| part.as_os_str() == "release") {
            build.arg("--release");
        }
        let status = build.status().expect("cargo can be run");
        assert!(status.success() && path.exists(), "{name} is built at {}", path.display());
    }
    path.to_str().expect("a path of text").to_owned()
}

/// Tests are in `target/PROFILE/deps`, those of examples in `target/PROFILE/examples`, programs in
/// `target/PROFILE`.
fn beside_this_test(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test is a program");
    let place = test.parent().expect("a program is in a directory");
    let is_below = place.ends_with("deps") || place.ends_with("examples");
    let profile = if is_below { place.parent() } else { Some(place) };
    profile.expect("a profile has a directory").join(name)
}
