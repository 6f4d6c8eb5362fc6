//! Colours, where somebody looks at them: on a terminal, and not if `NO_COLOR` says so.

use std::borrow::Cow;
use std::io::IsTerminal;

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// A value or quoted word.
    Value,
    /// A number.
    Number,
    /// A command or keyword.
    Keyword,
    /// Of less importance: hints, NIL, counts.
    Dim,
    /// Something went well.
    Good,
    /// Something went wrong.
    Bad,
    /// A heading.
    Bold,
}

/// Whether there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Palette {
    pub(crate) is_on: bool,
}

impl Palette {
    /// For what goes to standard output.
    pub(crate) fn of_stdout() -> Self {
        // https://no-color.org: any value that is not empty.
        let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Palette { is_on: std::io::stdout().is_terminal() && !is_refused }
    }

    pub(crate) fn paint<'a>(self, style: Style, text: impl Into<Cow<'a, str>>) -> Cow<'a, str> {
        let text = text.into();
        if !self.is_on {
            return text;
        }
        let code = match style {
            Style::Value => "32",
            Style::Number => "36",
            Style::Keyword => "34",
            Style::Dim => "90",
            Style::Good => "32",
            Style::Bad => "1;31",
            Style::Bold => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m").into()
    }
}
