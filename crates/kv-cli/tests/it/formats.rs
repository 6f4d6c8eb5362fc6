//! Every format of replies against its golden file. `UPDATE_GOLDEN=1` writes them anew; look at the
//! difference before it is committed.

use std::path::Path;

use kv_testkit::server::TestServer;

use crate::{run, server};

/// One of each kind of reply.
const STATEMENTS: [&str; 13] = [
    "BEGIN",
    "PUT \"a key\" \"two\\nlines, \\\"quoted\\\"\"",
    "PUT number 42",
    r#"PUT json "{\"a\":[1, 2]}" JSON"#,
    "PUT bytes \"\\x00\\xff\"",
    "COMMIT",
    "GET \"a key\"",
    "GET json",
    "GET none",
    "COUNT",
    "SCAN",
    "SHOWALL",
    "SCAN PREFIX none",
];

fn shown(server: &TestServer, format: &str) -> String {
    let mut text = String::new();
    for statement in STATEMENTS.iter().skip(6) {
        let ran = run(server, &["--format", format, "-c", statement]);
        assert_eq!(ran.code, 0, "{statement}: {ran:?}");
        text += &format!("> {statement}\n{}", ran.out.replace('\0', "<NUL>\n"));
    }
    text
}

#[test]
fn every_format_is_as_its_golden_file_has_it() {
    let server = server();
    let script = STATEMENTS[..6].join("\n");
    let written = crate::run_with_input(&server, &[], script.as_bytes());
    assert!(written.status.success());
    for format in ["text", "raw", "raw0", "table", "json", "ndjson", "csv"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/it/golden")
            .join(format!("{format}.txt"));
        let now = shown(&server, format);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &now).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap();
        assert_eq!(now, golden, "{}", path.display());
    }
}

#[test]
fn each_format_has_a_flag_of_its_own() {
    let server = server();
    run(&server, &["put", "k", "v"]);
    for format in ["table", "json", "ndjson", "csv", "raw"] {
        let by_name = run(&server, &["--format", format, "scan"]);
        assert_eq!(run(&server, &[&format!("--{format}"), "scan"]), by_name);
    }
    // Nothing is coloured that does not go to a terminal.
    assert!(!run(&server, &["--format", "text", "scan"]).out.contains('\x1b'));
}
