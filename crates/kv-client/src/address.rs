//! Where a server is and who asks: `host:port`, or a URL.
//!
//! | form | |
//! |---|---|
//! | `127.0.0.1:7878`, `db.example:7878`, `[::1]:7878` | host and port |
//! | `db.example` | port 7878 |
//! | `kv://user:password@host:port` | the same with who asks; both percent-encoded |
//! | `unix:/run/kv.sock` | a socket file |
//!
//! `kvs://`, for TLS, is refused: a client that quietly spoke without it would be worse than none.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use crate::error::Error;

/// The port of a server that was told nothing else.
pub const DEFAULT_PORT: u16 = 7878;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// A host's name or number, and a port.
    Tcp { host: String, port: u16 },
    /// A socket file.
    Unix(PathBuf),
}

/// Where a server is, and who asks.
///
/// ```
/// use kv_client::Address;
///
/// let address: Address = "kv://ann:pass%40word@db.example".parse()?;
/// assert_eq!(address.to_string(), "db.example:7878");
/// # Ok::<(), kv_client::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    pub(crate) place: Place,
    pub(crate) credentials: Option<Credentials>,
}

/// Who asks.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl FromStr for Address {
    type Err = Error;

    /// Reads an address; see [the module](self) for its forms.
    ///
    /// # Errors
    ///
    /// [`Error::Address`], which says what is wrong with it and never shows the password.
    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(wrong("unix: must be followed by the path of a socket file"));
            }
            return Ok(Address { place: Place::Unix(path.into()), credentials: None });
        }
        let authority = match text.split_once("://") {
            None => text,
            Some(("kv", rest)) => rest.strip_suffix('/').unwrap_or(rest),
            Some(("kvs", _)) => {
                return Err(wrong("kvs:// (TLS) is not supported yet; use kv:// within a tunnel"));
            }
            Some((scheme, _)) => {
                return Err(wrong(&format!("the scheme {scheme}:// is unknown; expected kv://")));
            }
        };
        let (credentials, host) = match authority.rsplit_once('@') {
            Some((credentials, host)) => (Some(parse_credentials(credentials)?), host),
            None => (None, authority),
        };
        let (host, port) = parse_host(host)?;
        Ok(Address { place: Place::Tcp { host, port }, credentials })
    }
}

fn parse_credentials(text: &str) -> Result<Credentials, Error> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let decoded = |part: &str| {
        percent_decode_str(part)
            .decode_utf8()
            .map(|text| text.into_owned())
            .map_err(|_| wrong("user and password must be UTF-8, percent-encoded"))
    };
    Ok(Credentials { user: decoded(user)?, password: decoded(password)? })
}

fn parse_host(text: &str) -> Result<(String, u16), Error> {
    // A number in brackets has colons of its own.
    let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(None) => return Err(wrong("the bracket of the host is not closed")),
        Some(Some((host, ""))) => (host, None),
        Some(Some((host, port))) => match port.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None => return Err(wrong("expected :port after the host in brackets")),
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/') {
        return Err(wrong("expected host:port, as in 127.0.0.1:7878"));
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => match port.parse() {
            Ok(port) if port != 0 => port,
            _ => return Err(wrong("the port must be a number from 1 to 65535")),
        },
    };
    Ok((host.to_owned(), port))
}

fn wrong(text: &str) -> Error {
    Error::Address(text.to_owned())
}

impl fmt::Display for Address {
    /// Shows the place; never the user or the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Place::Tcp { host, port } => write!(f, "{host}:{port}"),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Address>().map_or_else(|error| error.to_string(), |a| a.to_string())
    }

    #[test]
    fn every_form_is_read() {
        assert_eq!(shown("127.0.0.1:7"), "127.0.0.1:7");
        assert_eq!(shown("localhost"), "localhost:7878");
        assert_eq!(shown("[::1]:7"), "[::1]:7");
        assert_eq!(shown("[::1]"), "[::1]:7878");
        assert_eq!(shown("kv://db.example/"), "db.example:7878");
        assert_eq!(shown("unix:/run/kv.sock"), "unix:/run/kv.sock");
    }

    #[test]
    fn a_password_is_decoded_and_never_shown() {
        let address: Address = "kv://ann:a%3Ab%40c@h:1".parse().unwrap();
        let credentials = address.credentials.clone().unwrap();
        assert_eq!((&*credentials.user, &*credentials.password), ("ann", "a:b@c"));
        assert_eq!(format!("{address} {address:?}"), "h:1 Address(h:1)");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("", "expected host:port"),
            (":7878", "expected host:port"),
            ("a b:1", "expected host:port"),
            ("h:0", "from 1 to 65535"),
            ("h:99999", "from 1 to 65535"),
            ("[::1", "not closed"),
            ("[::1]7", "expected :port"),
            ("kvs://h", "TLS"),
            ("http://h", "http:// is unknown"),
            ("unix:", "path of a socket file"),
            ("kv://%ff@h", "UTF-8"),
        ] {
            assert!(shown(text).contains(part), "{text}: {}", shown(text));
        }
    }
}
