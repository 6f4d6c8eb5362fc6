//! The kinds of values that settings have, and how each is read.
//!
//! Every reader answers what it expected when it is given something else, so that a mistake in a
//! flag, a variable and a file is explained in the same words. Whether values fit *each other* is
//! not decided here, but in [`crate::config`]. Sizes and durations are written as in requests.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;
use kv_protocol::units::{DurationText, SizeText, parse_duration, parse_size};

use crate::limits;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP address; port 0 is any free one.
    Tcp(SocketAddr),
    /// A socket file.
    Unix(PathBuf),
}

/// Where to serve HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpEndpoint {
    /// Nowhere.
    Off,
    /// There.
    At(Endpoint),
}

impl FromStr for HttpEndpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            address => address.parse().map(Self::At).map_err(|told| format!("{told}, or off")),
        }
    }
}

/// How many versions of each key are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// The newest so many.
    Newest(NonZeroU32),
    /// All of them.
    All,
}

/// What is worth a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Nothing at all.
    Off,
    /// Faults that an operator has to act on.
    Error,
    /// What may need an eye: refused clients, settings with a catch.
    Warn,
    /// Start, stop, and what changes the server as a whole.
    Info,
    /// What single sessions do.
    Debug,
    /// Everything.
    Trace,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for programs.
    Json,
}

impl FromStr for Endpoint {
    type Err = String;

    /// Host names other than `localhost` are refused: a start that waits for a name server, or
    /// listens somewhere else when it answers differently, would surprise.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let given = (!path.is_empty()).then(|| Self::Unix(PathBuf::from(path)));
            return given.ok_or_else(|| "expected a path after unix:".to_owned());
        }
        let local = text.strip_prefix("localhost:").and_then(|port| port.parse::<u16>().ok());
        let address = local.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        address.or_else(|| text.parse().ok()).map(Self::Tcp).ok_or_else(|| {
            "expected IP:PORT such as 127.0.0.1:7878, 0.0.0.0:7878 or [::1]:0, or unix:PATH"
                .to_owned()
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

impl Endpoint {
    /// Whether other machines can reach it.
    pub fn is_public(&self) -> bool {
        matches!(self, Self::Tcp(address) if !address.ip().is_loopback())
    }
}

impl FromStr for History {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("all") {
            return Ok(Self::All);
        }
        let newest = text.parse().map(Self::Newest);
        newest.map_err(|_| "expected a whole number of versions from 1, or all".to_owned())
    }
}

impl fmt::Display for History {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest(versions) => versions.fmt(out),
            Self::All => out.write_str("all"),
        }
    }
}

/// Reads a whole number from `LOW` to `HIGH`.
pub(super) fn whole<const LOW: usize, const HIGH: usize>(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (LOW..=HIGH).contains(number));
    number.ok_or_else(|| format!("expected a whole number from {LOW} to {HIGH}"))
}

/// Reads a size from one byte to `HIGH` bytes.
pub(super) fn size<const HIGH: u64>(text: &str) -> Result<SizeText, String> {
    let bytes = parse_size(text).map_err(|error| error.to_string())?;
    let fits = (1..=HIGH).contains(&bytes);
    fits.then_some(SizeText(bytes))
        .ok_or_else(|| format!("expected a size from 1 byte to {}", SizeText(HIGH)))
}

/// Reads a duration.
pub(super) fn duration(text: &str) -> Result<DurationText, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    let longest = limits::DURATION_CEILING;
    let fits = duration <= longest;
    fits.then_some(DurationText(duration))
        .ok_or_else(|| format!("expected a duration of at most {}", DurationText(longest)))
}

/// Reads a duration that is not zero.
pub(super) fn positive_duration(text: &str) -> Result<DurationText, String> {
    let some = duration(text).map(|span| (!span.0.is_zero()).then_some(span))?;
    some.ok_or_else(|| "expected a duration longer than zero".to_owned())
}

/// Reads the name of a command, in either case or by another of its names; `CONFIG SET` can be
/// meant alone.
pub(super) fn command_name(text: &str) -> Result<&'static str, String> {
    let native = kv_protocol::command::find(text.as_bytes()).map(|command| command.name);
    let redis = || kv_protocol::redis::find(text.as_bytes()).map(|command| command.name);
    let config_set = "config|set";
    let part = Some(config_set).filter(|name| name.eq_ignore_ascii_case(&text.replace(' ', "|")));
    let found = native.or_else(redis).or(part);
    found.ok_or_else(|| "expected names of commands, such as SHOWALL,LOCKS".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn endpoints() {
        for (text, printed, public) in [
            ("127.0.0.1:7878", "127.0.0.1:7878", false),
            ("localhost:0", "127.0.0.1:0", false),
            ("[::1]:80", "[::1]:80", false),
            ("0.0.0.0:7878", "0.0.0.0:7878", true),
            ("unix:/run/kv.sock", "unix:/run/kv.sock", false),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((endpoint.to_string().as_str(), endpoint.is_public()), (printed, public));
        }
        for text in ["", "7878", ":7878", "example.org:1", "127.0.0.1", "127.0.0.1:70000"] {
            assert!(text.parse::<Endpoint>().unwrap_err().contains("IP:PORT"), "{text}");
        }
        assert_eq!("unix:".parse::<Endpoint>().unwrap_err(), "expected a path after unix:");
    }

    #[test]
    fn histories() {
        assert_eq!("ALL".parse(), Ok(History::All));
        assert_eq!("3".parse::<History>().unwrap().to_string(), "3");
        for text in ["0", "-1", "none", "", "5000000000"] {
            assert!(text.parse::<History>().unwrap_err().contains("or all"), "{text}");
        }
    }

    #[test]
    fn bounds_are_named_in_the_refusal() {
        assert_eq!(whole::<1, 8>("8"), Ok(8));
        for text in ["0", "9", "x", "", "-1", "1.0"] {
            assert_eq!(whole::<1, 8>(text).unwrap_err(), "expected a whole number from 1 to 8");
        }
        assert_eq!(size::<2048>("2kb"), Ok(SizeText(2048)));
        assert_eq!(size::<2048>("3kb").unwrap_err(), "expected a size from 1 byte to 2kb");
        assert_eq!(size::<2048>("0").unwrap_err(), "expected a size from 1 byte to 2kb");
        assert_eq!(duration("0s"), Ok(DurationText(Duration::ZERO)));
        assert_eq!(duration("40000d").unwrap_err(), "expected a duration of at most 36500d");
        assert_eq!(positive_duration("0s").unwrap_err(), "expected a duration longer than zero");
        assert_eq!(positive_duration("1ms"), Ok(DurationText(Duration::from_millis(1))));
        assert_eq!(command_name("ShowAll"), Ok("SHOWALL"));
        assert_eq!(command_name("INFO"), command_name("STATS"));
        assert!(command_name("SHOWAL").is_err() && command_name("").is_err());
    }
}
