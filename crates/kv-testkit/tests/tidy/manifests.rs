//! The rules for manifests: which crate must not know of which.

use toml::{Table, Value};

use crate::Violation;

/// A crate, and what its manifest must not name.
pub(crate) struct Layer {
    pub(crate) name: &'static str,
    bans: &'static [&'static str],
    reason: &'static str,
}

/// The layers that are to stay apart, tests included.
pub(crate) const LAYERS: [Layer; 5] = [
    Layer {
        name: "kv-core",
        bans: &["tokio", "rusqlite", "kv-persist", "kv-protocol", "kv-server"],
        reason: "the engine has no runtime, no files and no wire",
    },
    Layer {
        name: "kv-protocol",
        bans: &["tokio", "rusqlite", "kv-core", "kv-persist", "kv-server"],
        reason: "requests and replies are data; what they mean is not known here",
    },
    Layer {
        name: "kv-persist",
        bans: &["tokio", "kv-protocol", "kv-server"],
        reason: "files know no runtime and no wire",
    },
    Layer {
        name: "kv-client",
        bans: &["kv-core", "kv-persist", "kv-server", "kv-cli"],
        reason: "a client knows the wire, and nothing of what is behind it",
    },
    Layer {
        name: "kv-cli",
        bans: &["kv-core", "kv-persist", "kv-server"],
        reason: "the command line speaks to a server through the client library",
    },
];

/// What the manifest of a layer names although it must not.
pub(crate) fn violations(layer: &Layer, path: &str, manifest: &str) -> Vec<Violation> {
    let manifest: Table = manifest.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut names = Vec::new();
    collect(&manifest, &mut names);
    let banned = names.iter().filter(|name| layer.bans.contains(&name.as_str()));
    let told = banned.map(|name| {
        Violation::new(path, 0, format!("must not depend on {name}: {}", layer.reason))
    });
    told.collect()
}

/// The crates in every table of dependencies, those of single targets included.
fn collect(table: &Table, names: &mut Vec<String>) {
    for (key, value) in table {
        let Value::Table(inner) = value else { continue };
        if key.ends_with("dependencies") {
            names.extend(inner.iter().map(|(name, how)| {
                let renamed = how.get("package").and_then(Value::as_str);
                renamed.unwrap_or(name).to_owned()
            }));
        } else {
            collect(inner, names);
        }
    }
}

#[test]
fn what_a_layer_must_not_know_is_found() {
    let told = |manifest| -> Vec<String> {
        let found = violations(&LAYERS[0], "Cargo.toml", manifest);
        found.iter().map(ToString::to_string).collect()
    };
    assert!(told("[package]\nname = \"tokio\"\n[dependencies]\nbytes.workspace = true").is_empty());
    for manifest in [
        "[dependencies]\ntokio.workspace = true",
        "[dev-dependencies]\ntokio = \"1\"",
        "[build-dependencies.tokio]\nversion = \"1\"",
        "[target.'cfg(unix)'.dependencies]\ntokio = \"1\"",
        "[dependencies]\nrt = { package = \"tokio\", version = \"1\" }",
    ] {
        let expected = "Cargo.toml: must not depend on tokio: the engine has no runtime, no files \
                        and no wire";
        assert_eq!(told(manifest), [expected], "{manifest}");
    }
}
