//! What the editor asks while a line is typed.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

use kv_client::OpenTransaction;
use kv_protocol::word::write_word;
use rustyline::completion::{Completer, Pair};
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Result};

use super::lookup::Lookup;
use super::meta::META_COMMANDS;
use crate::statement::{Completeness, completeness};
use crate::style::{Palette, Style};

/// What the helper looks at.
pub(super) struct State {
    pub(super) palette: Palette,
    pub(super) lookup: Lookup,
    pub(super) open: Vec<OpenTransaction>,
}

/// Answers the editor.
#[derive(Clone)]
pub(super) struct Helper(Rc<RefCell<State>>);

impl Helper {
    pub(super) fn new(state: Rc<RefCell<State>>) -> Self {
        Helper(state)
    }
}

impl rustyline::Helper for Helper {}

/// The words before the cursor, and where the last one begins, which may be empty. Good enough to
/// complete by; the server decides what a word is.
fn words_before(line: &str) -> (Vec<&str>, usize) {
    let (mut words, mut start, mut is_open) = (Vec::new(), 0, false);
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if is_open => at += 1,
            b'"' if is_open || at == start => is_open = !is_open,
            b' ' | b'\t' if !is_open => {
                if at > start {
                    words.push(&line[start..at]);
                }
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    (words, start.min(line.len()))
}

/// The parts of a usage line: a word, or what stands in brackets together.
fn parts(syntax: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_u32, 0);
    for (at, c) in syntax.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            ' ' if depth == 0 => {
                parts.push(&syntax[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&syntax[start..]);
    parts
}

/// The words in upper case within a usage line: what can be typed as it stands.
fn keywords(syntax: &str) -> Vec<&str> {
    syntax
        .split(|c: char| !c.is_ascii_alphabetic())
        .skip(1)
        .filter(|word| word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_uppercase()))
        .collect()
}

impl State {
    /// What the word at the end of the line may become.
    fn candidates(&self, words: &[&str], partial: &str) -> Vec<Pair> {
        let Some(verb) = words.first() else { return self.verbs(partial) };
        if verb.starts_with('\\') {
            return Vec::new();
        }
        let Some(usage) = self.lookup.usage(verb) else { return Vec::new() };
        if verb.eq_ignore_ascii_case("HELP") {
            return self.verbs(partial);
        }
        let previous = words.last().copied().unwrap_or_default();
        if previous.eq_ignore_ascii_case("VERSION") && words.len() > 2 {
            let versions = self.lookup.versions(unquoted(words[1]).as_bytes());
            return versions.iter().map(|version| plain(version.to_string())).collect();
        }
        let wanted = parts(&usage.syntax).get(words.len()).copied().unwrap_or_default();
        let is_key = wanted == "key" || previous.eq_ignore_ascii_case("PREFIX");
        if is_key {
            return self.keys(partial);
        }
        let mut found: Vec<Pair> = Vec::new();
        if usage.syntax.contains("[id") || wanted == "id" {
            found.extend(self.open.iter().map(|of| plain(of.id.to_string())));
        }
        found.extend(keywords(&usage.syntax).into_iter().map(|word| plain(word.to_owned())));
        found.retain(|pair| starts_with(&pair.replacement, partial));
        found
    }

    fn verbs(&self, partial: &str) -> Vec<Pair> {
        if partial.starts_with('\\') {
            let all = META_COMMANDS.iter().filter(|(name, _)| name.starts_with(partial));
            return all
                .map(|(name, does)| Pair {
                    display: format!("{name}  {does}"),
                    replacement: name.split(' ').next().unwrap_or_default().to_owned() + " ",
                })
                .collect();
        }
        let usages = self.lookup.commands().iter().filter_map(|usage| {
            let name = usage.syntax.split(' ').next()?;
            starts_with(name, partial).then(|| Pair {
                display: format!("{name}  {}", usage.summary),
                replacement: format!("{name} "),
            })
        });
        usages.collect()
    }

    fn keys(&self, partial: &str) -> Vec<Pair> {
        let prefix = unquoted(partial);
        let keys = self.lookup.keys(prefix.as_bytes());
        keys.iter()
            .map(|key| {
                let mut word = Vec::new();
                write_word(&mut word, key);
                plain(String::from_utf8_lossy(&word).into_owned())
            })
            .collect()
    }
}

fn plain(word: String) -> Pair {
    Pair { display: word.clone(), replacement: word + " " }
}

fn starts_with(word: &str, partial: &str) -> bool {
    word.get(..partial.len()).is_some_and(|start| start.eq_ignore_ascii_case(partial))
}

/// What was typed of a word, without the quote that it may begin with.
fn unquoted(word: &str) -> &str {
    let word = word.strip_prefix('"').unwrap_or(word);
    word.strip_suffix('"').unwrap_or(word)
}

impl Completer for Helper {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        let (words, start) = words_before(&line[..pos]);
        Ok((start, self.0.borrow().candidates(&words, &line[start..pos])))
    }
}

impl Hinter for Helper {
    type Hint = String;

    /// What the command still takes.
    fn hint(&self, line: &str, pos: usize, _: &Context<'_>) -> Option<String> {
        if pos < line.len() || line.contains('\n') {
            return None;
        }
        let (words, start) = words_before(line);
        let state = self.0.borrow();
        let is_at_word = start == line.len();
        let verb = words.first().copied().unwrap_or(&line[start..]);
        let usage = state.lookup.usage(verb)?;
        let typed = words.len() + usize::from(!is_at_word);
        let rest = parts(&usage.syntax).get(typed..)?.join(" ");
        let gap = if is_at_word { "" } else { " " };
        (!rest.is_empty()).then(|| format!("{gap}{rest}"))
    }
}

impl Highlighter for Helper {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        let state = self.0.borrow();
        if !state.palette.is_on {
            return Cow::Borrowed(line);
        }
        let mut painted = String::with_capacity(line.len() * 2);
        let (_, mut at) = (0, 0);
        let mut is_verb = true;
        while at < line.len() {
            let rest = &line[at..];
            let gap = rest.len() - rest.trim_start().len();
            painted.push_str(&rest[..gap]);
            at += gap;
            let word = word_at(&line[at..]);
            if word.is_empty() {
                break;
            }
            let style = if is_verb {
                let is_known = word.starts_with('\\') || state.lookup.usage(word).is_some();
                Some(if is_known { Style::Keyword } else { Style::Bad })
            } else if word.starts_with('"') {
                Some(Style::Value)
            } else if word.bytes().all(|byte| byte.is_ascii_digit()) {
                Some(Style::Number)
            } else {
                None
            };
            match style {
                Some(style) => painted.push_str(&state.palette.paint(style, word)),
                None => painted.push_str(word),
            }
            is_verb = false;
            at += word.len();
        }
        Cow::Owned(painted)
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        let palette = self.0.borrow().palette;
        let is_bad = prompt.contains(" [LOST]") || prompt.contains(" ABORTED");
        palette.paint(if is_bad { Style::Bad } else { Style::Bold }, prompt)
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        self.0.borrow().palette.paint(Style::Dim, hint)
    }

    fn highlight_char(&self, _: &str, _: usize, _: CmdKind) -> bool {
        self.0.borrow().palette.is_on
    }
}

/// The word that a text begins with.
fn word_at(text: &str) -> &str {
    let (mut is_open, mut at) = (false, 0);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if is_open => at += 1,
            b'"' if is_open || at == 0 => is_open = !is_open,
            byte if !is_open && byte.is_ascii_whitespace() => break,
            _ => {}
        }
        at += 1;
    }
    let end = at.min(bytes.len());
    text.get(..end).unwrap_or(text)
}

impl Validator for Helper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> Result<ValidationResult> {
        Ok(match completeness(context.input().as_bytes()) {
            Completeness::Whole => ValidationResult::Valid(None),
            Completeness::InQuotes | Completeness::Until(_) => ValidationResult::Incomplete,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_lines_fall_into_parts() {
        let syntax = "PUT key value [id] [IF ABSENT|IF PRESENT]";
        assert_eq!(parts(syntax), ["PUT", "key", "value", "[id]", "[IF ABSENT|IF PRESENT]"]);
        assert_eq!(keywords(syntax), ["IF", "ABSENT", "IF", "PRESENT"]);
        assert_eq!(parts("PING"), ["PING"]);
    }

    #[test]
    fn the_word_at_the_cursor_is_found() {
        assert_eq!(words_before("GET ho"), (vec!["GET"], 4));
        assert_eq!(words_before("GET house "), (vec!["GET", "house"], 10));
        assert_eq!(words_before("GET \"my ho"), (vec!["GET"], 4));
        assert_eq!(words_before(""), (vec![], 0));
        assert_eq!(word_at("\"a b\" c"), "\"a b\"");
        assert_eq!(word_at("a\"b c"), "a\"b");
    }
}
