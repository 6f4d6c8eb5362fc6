//! Keeps `docs/PROTOCOL.md` and the registry the same.
//!
//! The part of the page between the two markers is what [`generate`] makes of the registry. To
//! bring it up to date, run the test once with `UPDATE_DOCS=1`.

use std::fmt::Write;
use std::path::Path;

use super::{COMMANDS, CommandSpec, Group};

const BEGIN: &str = "<!-- commands: begin, generated from the registry -->\n";
const END: &str = "<!-- commands: end -->\n";
/// The width of the page.
const LINE_CHARS_MAX: usize = 98;

fn generate() -> String {
    let mut page = String::new();
    for group in Group::ALL {
        writeln!(page, "\n### {}", group.as_str()).unwrap();
        for spec in COMMANDS.iter().filter(|spec| spec.group == group) {
            generate_command(&mut page, spec);
        }
    }
    page.push('\n');
    page
}

fn generate_command(page: &mut String, spec: &CommandSpec) {
    writeln!(page, "\n#### {}\n\n```\n{}\n```\n", spec.name, spec.syntax).unwrap();
    let mut prose = format!("{}.", capitalized(spec.summary));
    for alias in spec.aliases {
        write!(prose, " Also `{alias}`.").unwrap();
    }
    write!(prose, " {}", spec.detail).unwrap();
    generate_prose(page, &prose);
    page.push_str("\n```\n");
    for example in spec.examples {
        writeln!(page, "> {}\n{}", example.request, example.reply).unwrap();
    }
    page.push_str("```\n");
}

/// Breaks the text into lines of the page's width.
fn generate_prose(page: &mut String, prose: &str) {
    let mut column = 0;
    for word in prose.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > LINE_CHARS_MAX {
            page.push('\n');
            column = 0;
        } else if column > 0 {
            page.push(' ');
            column += 1;
        }
        page.push_str(word);
        column += length;
    }
    page.push('\n');
}

fn capitalized(text: &str) -> String {
    let (first, rest) = text.split_at(1);
    first.to_uppercase() + rest
}

/// Sees to it that a page has what is generated between its markers; answers the page as it is to
/// be.
pub(crate) fn keep(page: &str, generated: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    let now = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = now.split_once(BEGIN).expect("the begin marker stands in the page");
    let (_, after) = rest.split_once(END).expect("the end marker stands in the page");
    let expected = format!("{before}{BEGIN}{generated}{END}{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    } else {
        assert!(now == expected, "docs/{page} is out of date; run with UPDATE_DOCS=1");
    }
    expected
}

#[test]
fn the_protocol_page_has_every_command_as_the_registry_has_it() {
    let expected = keep("PROTOCOL.md", &generate());
    for spec in COMMANDS {
        assert!(expected.contains(&format!("```\n{}\n```", spec.syntax)), "{}", spec.name);
    }
}

#[test]
fn the_protocol_page_has_every_error_code() {
    let page = include_str!("../../../../docs/PROTOCOL.md");
    for code in crate::ErrorCode::ALL {
        assert!(page.contains(&format!("`{code}`")), "docs/PROTOCOL.md lacks {code}");
    }
}
