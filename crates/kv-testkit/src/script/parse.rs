//! From the text of a script to its steps. What the language is, the module page says; what a
//! step does, the runner knows. Nothing here looks into a command.

use std::fmt;
use std::path::Path;
use std::time::Duration;

/// A whole script, ready to run.
#[derive(Debug, Clone)]
pub struct Script {
    /// Where it came from, for messages.
    pub file: String,
    /// The first line, without its `#`.
    pub title: String,
    /// What to do, in order.
    pub steps: Vec<Step>,
}

/// One step and what must come of it.
#[derive(Debug, Clone)]
pub struct Step {
    /// Line in the file, counted from 1.
    pub line: usize,
    /// What is done.
    pub action: Action,
    /// What must come of it.
    pub expectation: Expectation,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `NAME: command`
    Send {
        /// Who sends.
        session: String,
        /// The line that is sent.
        command: String,
    },
    /// `NAME: goes on`
    GoesOn {
        /// Whose replies have come.
        session: String,
    },
    /// `NAME: closes`
    Closes {
        /// Whose connection is dropped.
        session: String,
    },
    /// `sleep 200ms`
    Sleep(Duration),
}

/// The indented block below a step.
#[derive(Debug, Clone, Default)]
pub struct Expectation {
    /// The reply lines that must come, as patterns.
    pub lines: Vec<ExpectedLine>,
    /// What holds after them.
    pub ending: Ending,
    /// How long after the command was sent they come, from and to.
    pub within: Option<(Duration, Duration)>,
}

/// One line of a reply, as a pattern.
#[derive(Debug, Clone)]
pub struct ExpectedLine {
    /// Line in the file, counted from 1.
    pub line: usize,
    /// The pattern.
    pub text: String,
}

/// Whether a session is left waiting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ending {
    /// It has all its replies.
    #[default]
    Replied,
    /// `waits`: at least one reply is missing.
    Waits,
    /// `queues`: the same, and it did so before this step.
    Queues,
}

/// Why a text is not a script.
#[derive(Debug, Clone)]
pub struct ParseError {
    /// The script's file.
    pub file: String,
    /// Line in the file, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.reason)
    }
}

impl std::error::Error for ParseError {}

impl Script {
    /// Reads a script from its text; `file` is only for messages.
    ///
    /// # Errors
    /// When the text is not a script, naming the first offending line.
    pub fn parse(file: &str, text: &str) -> Result<Self, ParseError> {
        let error =
            |line, reason: &str| ParseError { file: file.into(), line, reason: reason.into() };
        let title = text.lines().next().and_then(|first| first.strip_prefix('#')).map(str::trim);
        let title = title.filter(|title| !title.is_empty());
        let title = title.ok_or_else(|| error(1, "the first line must be `# the title`"))?;

        let mut steps: Vec<Step> = Vec::new();
        let mut repeats: Vec<usize> = Vec::new();
        for (index, raw) in text.lines().enumerate() {
            let line = index + 1;
            let content = raw.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            if raw.starts_with([' ', '\t']) {
                let step = steps.last_mut().ok_or_else(|| error(line, "a reply to no step"))?;
                add_to_block(step, line, content).map_err(|reason| error(line, &reason))?;
            } else {
                let (times, action) =
                    parse_action(content).map_err(|reason| error(line, &reason))?;
                steps.push(Step { line, action, expectation: Expectation::default() });
                repeats.push(times);
            }
        }
        for step in &steps {
            check_step(step).map_err(|reason| error(step.line, reason))?;
        }
        let steps = steps.into_iter().zip(repeats);
        let steps = steps.flat_map(|(step, times)| std::iter::repeat_n(step, times)).collect();
        Ok(Self { file: file.into(), title: title.into(), steps })
    }

    /// Reads a script from a file.
    ///
    /// # Errors
    /// When the file cannot be read or is not a script.
    pub fn load(path: &Path) -> Result<Self, ParseError> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&file, &text),
            Err(error) => Err(ParseError { file, line: 0, reason: error.to_string() }),
        }
    }
}

/// One unindented line: how many times, and what.
fn parse_action(content: &str) -> Result<(usize, Action), String> {
    if let Some(duration) = content.strip_prefix("sleep ") {
        return Ok((1, Action::Sleep(parse_duration(duration)?)));
    }
    let (times, content) = match content.split_once(" times ") {
        Some((count, rest)) if count.bytes().all(|byte| byte.is_ascii_digit()) => {
            (count.parse().map_err(|_| format!("not a number of times: {count}"))?, rest.trim())
        }
        _ => (1, content),
    };
    let (name, rest) = content.split_once(':').ok_or("expected `NAME: command`")?;
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(good) {
        return Err(format!("not a session's name: {name:?}"));
    }
    let session = name.to_string();
    let action = match rest.trim() {
        "" => return Err("a step without a command".into()),
        "goes on" => Action::GoesOn { session },
        "closes" => Action::Closes { session },
        command => Action::Send { session, command: command.to_string() },
    };
    Ok((times, action))
}

/// One indented line.
fn add_to_block(step: &mut Step, line: usize, content: &str) -> Result<(), String> {
    let block = &mut step.expectation;
    if block.ending != Ending::Replied {
        return Err("nothing can follow `waits` or `queues` in a block".into());
    }
    if content == "waits" {
        block.ending = Ending::Waits;
    } else if content == "queues" {
        block.ending = Ending::Queues;
    } else if let Some(bounds) = content.strip_prefix("within ") {
        let (from, to) = bounds.split_once("..").ok_or("expected `within 150ms..2s`")?;
        block.within = Some((parse_duration(from)?, parse_duration(to)?));
    } else {
        block.lines.push(ExpectedLine { line, text: content.to_string() });
    }
    Ok(())
}

/// What a step's kind asks of its block.
fn check_step(step: &Step) -> Result<(), &'static str> {
    let block = &step.expectation;
    let is_empty = block.lines.is_empty();
    match step.action {
        Action::Send { .. } if block.ending == Ending::Queues && !is_empty => {
            Err("a command that queues has no reply yet")
        }
        Action::Send { .. } => Ok(()),
        Action::GoesOn { .. } if is_empty => Err("`goes on` needs the replies that have come"),
        Action::GoesOn { .. } if block.ending == Ending::Queues => Err("nothing was sent to queue"),
        Action::GoesOn { .. } => Ok(()),
        Action::Closes { .. } | Action::Sleep(_) => {
            let nothing = is_empty && block.ending == Ending::Replied && block.within.is_none();
            if nothing { Ok(()) } else { Err("this step has no reply") }
        }
    }
}

/// `150ms` or `2s`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let (digits, make): (&str, fn(u64) -> Duration) = match text.strip_suffix("ms") {
        Some(digits) => (digits, Duration::from_millis),
        None => (text.strip_suffix('s').unwrap_or(""), Duration::from_secs),
    };
    digits.parse().map(make).map_err(|_| format!("not a duration such as 150ms or 2s: {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Script, ParseError> {
        Script::parse("test.kv", text)
    }

    #[test]
    fn a_script_has_title_steps_and_blocks() {
        let text = "# Title here\n# more\n\nA: PUT k1 10\n   OK\nB: PUT k1 11\n   waits\n\
                    sleep 20ms\nB: goes on\n   within 150ms..2s\n   ERR TIMEOUT …\nB: closes\n\
                    3 times A: PING\n   PONG\n";
        let script = parse(text).unwrap();
        assert_eq!(script.title, "Title here");
        assert_eq!(script.steps.len(), 8);
        assert_eq!(
            script.steps[0].action,
            Action::Send { session: "A".into(), command: "PUT k1 10".into() }
        );
        assert_eq!(script.steps[0].expectation.lines[0].text, "OK");
        assert_eq!(script.steps[1].expectation.ending, Ending::Waits);
        assert_eq!(script.steps[2].action, Action::Sleep(Duration::from_millis(20)));
        let within = script.steps[3].expectation.within.unwrap();
        assert_eq!(within, (Duration::from_millis(150), Duration::from_secs(2)));
        assert_eq!(script.steps[4].action, Action::Closes { session: "B".into() });
        assert_eq!(script.steps[7].line, 13);
    }

    #[test]
    fn a_text_that_is_no_script_is_refused_with_its_line() {
        for (line, text) in [
            (1, "A: PUT k 1\n"),
            (2, "# t\n   OK\n"),
            (2, "# t\nPUT k 1\n"),
            (2, "# t\nA b: PUT k 1\n"),
            (2, "# t\nA:\n"),
            (2, "# t\nsleep long\n"),
            (2, "# t\nA: goes on\n"),
            (2, "# t\nA: goes on\n  waits\n"),
            (4, "# t\nA: GET k\n  waits\n  \"1\"\n"),
            (3, "# t\nA: GET k\n  within 3\n"),
            (2, "# t\nA: closes\n  OK\n"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text}: {error}");
        }
    }

    #[test]
    fn a_colon_in_the_command_belongs_to_the_command() {
        let script = parse("# t\nA: PUT a:b c:d\n").unwrap();
        assert_eq!(
            script.steps[0].action,
            Action::Send { session: "A".into(), command: "PUT a:b c:d".into() }
        );
    }
}
