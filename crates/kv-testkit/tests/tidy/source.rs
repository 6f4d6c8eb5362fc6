//! The rules for Rust files: what they begin with, how long things are, and what is not called.

use crate::Violation;
use crate::mask::{is_word, mask};

/// Characters in a line, lines in a function, lines in a file.
const LINE_CHARS_MAX: usize = 100;
const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 600;

/// A piece of code that is not to be written.
struct Ban {
    code: &'static str,
    /// Where it is banned: in files whose path begins so.
    below: &'static str,
    /// Where it may stand nevertheless.
    except: &'static str,
    instead: &'static str,
}

const BANS: [Ban; 5] = [
    Ban {
        code: "Instant::now(",
        below: "crates/kv-core/src/",
        except: "crates/kv-core/src/clock.rs",
        instead: "ask the Clock, so that a test can decide what time it is",
    },
    Ban {
        code: "SystemTime::now(",
        below: "crates/kv-core/src/",
        except: "crates/kv-core/src/clock.rs",
        instead: "ask the Clock, so that a test can decide what time it is",
    },
    Ban { code: "todo!", below: "", except: "", instead: "write it, or an error that says so" },
    Ban {
        code: "unimplemented!",
        below: "",
        except: "",
        instead: "write it, or an error that says so",
    },
    Ban {
        code: "#[ignore]",
        below: "",
        except: "",
        instead: "say when to run it: #[ignore = \"reason\"]",
    },
];

/// All that is wrong with the Rust file `text` at `path`.
pub(crate) fn violations(path: &str, text: &str) -> Vec<Violation> {
    let masked = mask(text);
    let mut found = Vec::new();
    if !text.starts_with("//!") {
        let what = "the first line must say what the file is responsible for: //! ...";
        found.push(Violation::new(path, 1, what));
    }
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        let what = format!("{lines} lines, at most {FILE_LINES_MAX}: split it by responsibility");
        found.push(Violation::new(path, 0, what));
    }
    for (index, line) in text.lines().enumerate() {
        let chars = line.chars().count();
        if chars > LINE_CHARS_MAX {
            let what = format!("{chars} characters, at most {LINE_CHARS_MAX}");
            found.push(Violation::new(path, index + 1, what));
        }
    }
    found.extend(long_functions(path, &masked));
    for ban in BANS.iter().filter(|ban| path.starts_with(ban.below) && path != ban.except) {
        for at in places(&masked, ban.code) {
            let what = format!("{} is banned: {}", ban.code, ban.instead);
            found.push(Violation::new(path, line_of(&masked, at), what));
        }
    }
    found
}

/// Where `code` stands in `masked` and is not the end of a longer word.
fn places(masked: &str, code: &str) -> Vec<usize> {
    let starts_word = code.starts_with(is_word);
    let found = masked.match_indices(code).map(|(at, _)| at);
    found.filter(|&at| !(starts_word && masked[..at].ends_with(is_word))).collect()
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text[..at].matches('\n').count()
}

/// Functions that are too long, counted from `fn` to the closing brace.
fn long_functions(path: &str, masked: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    for at in places(masked, "fn ") {
        let rest = &masked[at..];
        let name: String = rest["fn ".len()..].chars().take_while(|&char| is_word(char)).collect();
        let Some(end) = end_of_function(rest).filter(|_| !name.is_empty()) else { continue };
        let lines = line_of(rest, end);
        if lines > FUNCTION_LINES_MAX {
            let what = format!("fn {name} has {lines} lines, at most {FUNCTION_LINES_MAX}");
            found.push(Violation::new(path, line_of(masked, at), what));
        }
    }
    found
}

/// Where the function that `text` begins with ends; `None` if it has no body.
fn end_of_function(text: &str) -> Option<usize> {
    let (mut brackets, mut braces) = (0, 0);
    for (at, char) in text.char_indices() {
        match char {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            '{' => braces += 1,
            '}' if braces == 1 => return Some(at),
            '}' => braces -= 1,
            ';' if braces == 0 && brackets == 0 => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(path: &str, text: &str) -> Vec<String> {
        violations(path, text).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_begins_with_its_page() {
        assert!(told("a.rs", "//! A.\nfn a() {}\n").is_empty());
        assert!(told("a.rs", "fn a() {}\n")[0].starts_with("a.rs:1: the first line must say"));
        assert!(told("a.rs", "")[0].starts_with("a.rs:1: "));
    }

    #[test]
    fn lines_and_files_have_a_length() {
        let line = format!("//! {}", "ä".repeat(96));
        assert!(told("a.rs", &line).is_empty());
        assert_eq!(told("a.rs", &format!("//!\n{line}!")), ["a.rs:2: 101 characters, at most 100"]);
        let file = "//!\n".repeat(600);
        assert!(told("a.rs", &file).is_empty());
        assert!(told("a.rs", &(file + "//!"))[0].starts_with("a.rs: 601 lines, at most 600"));
    }

    #[test]
    fn functions_have_a_length() {
        let function = |lines: usize| {
            let body = "    a('{', \"{\"); // {\n".repeat(lines - 2);
            format!("//!\nimpl A {{\n    fn b<'c>(\n&'c self) -> [u8; 2] {{\n{body}}}\n}}\n")
        };
        assert!(told("a.rs", &function(69)).is_empty());
        assert_eq!(told("a.rs", &function(70)), ["a.rs:3: fn b has 71 lines, at most 70"]);
        let without_body = format!("//!\ntrait A {{ fn a(); fn b(&self, c: fn (u8)); }}\n{}", {
            "struct A {}\n".repeat(100)
        });
        assert!(told("a.rs", &without_body).is_empty());
    }

    #[test]
    fn bans_name_the_replacement() {
        let core = "crates/kv-core/src/txn/mod.rs";
        for (path, code, what) in [
            (core, "let a = Instant::now();", "ask the Clock"),
            (core, "std::time::SystemTime::now()", "ask the Clock"),
            ("a.rs", "todo!()", "write it"),
            ("a.rs", "unimplemented!(\"later\")", "write it"),
            ("a.rs", "#[ignore] fn a() {}", "#[ignore = \"reason\"]"),
        ] {
            let told = told(path, &format!("//!\n\n{code}\n"));
            assert!(told.len() == 1 && told[0].starts_with(&format!("{path}:3: ")), "{told:?}");
            assert!(told[0].contains(what), "{told:?}");
        }
        for (path, code) in [
            ("crates/kv-core/src/clock.rs", "Instant::now()"),
            ("crates/kv-server/src/a.rs", "Instant::now()"),
            (core, "// Instant::now() is banned\n\"todo!\""),
            ("a.rs", "not_todo!(); MyInstant::now();"),
            ("a.rs", "#[ignore = \"takes an hour\"] fn a() {}"),
        ] {
            assert!(told(path, &format!("//!\n{code}\n")).is_empty(), "{code}");
        }
    }
}
