//! A command in another face: as one for curl, for netcat, or in Rust.

use kv_protocol::request::{Condition, Interval, Pattern, Read, Request, Selection};

use crate::exit::Failure;

/// Where the command is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Face {
    Curl,
    Netcat,
    Rust,
}

/// The command, or why there is none.
pub(crate) fn of(face: Face, statement: &[u8], address: &str) -> Result<String, Failure> {
    if face == Face::Netcat {
        return Ok(netcat(statement, address));
    }
    let request = match Request::parse(statement) {
        Ok(Some(request)) => request,
        Ok(None) => return Err(Failure::usage("there is no command yet to show")),
        Err(error) => return Err(Failure::usage(error.to_string())),
    };
    let shown = match face {
        Face::Curl => curl(&request, address),
        _ => rust(&request),
    };
    let name = request.spec().name;
    let face = if face == Face::Curl { "over HTTP" } else { "in the client library" };
    shown.ok_or_else(|| Failure::usage(format!("{name} is not to be had {face} in this form")))
}

fn netcat(statement: &[u8], address: &str) -> String {
    let to = match address.strip_prefix("unix:") {
        Some(path) => format!("-U {}", quoted(path.as_bytes())),
        None => match address.rsplit_once(':') {
            Some((host, port)) => format!("{} {port}", host.trim_matches(['[', ']'])),
            None => address.to_owned(),
        },
    };
    format!("printf '%s\\n' {} | nc -N {to}", quoted(statement))
}

/// A word for a shell.
fn quoted(bytes: &[u8]) -> String {
    if bytes.iter().all(|byte| (b' '..=b'~').contains(byte))
        || std::str::from_utf8(bytes).is_ok_and(is_visible)
    {
        let text = String::from_utf8_lossy(bytes);
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    format!("$'{}'", bytes.escape_ascii())
}

fn is_visible(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// A key or value within a URL.
fn encoded(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => {
                out.push(char::from(*byte));
            }
            byte => out += &format!("%{byte:02X}"),
        }
    }
    out
}

fn curl(request: &Request<'_>, address: &str) -> Option<String> {
    let host = address.rsplit_once(':').map_or("127.0.0.1", |(host, _)| host);
    let host = if address.starts_with("unix:") { "127.0.0.1" } else { host };
    let root = format!("http://{host}:8080");
    let kv = |key: &[u8]| format!("{root}/v1/kv/{}", encoded(key));
    let (options, url) = match request {
        Request::Get { key, read: Read::Newest { .. } } => (String::new(), kv(key)),
        Request::Get { key, read: Read::Version(n) } => {
            (String::new(), format!("{}?version={n}", kv(key)))
        }
        Request::Get { key, read: Read::At(n) } => (String::new(), format!("{}?at={n}", kv(key))),
        Request::Put { key, value, options, .. } => {
            let mut words = format!("-X PUT --data-binary {}", quoted(value));
            // By itself curl says that it is a form, which no page of somebody else's may send.
            let kind = if options.json { "json" } else { "octet-stream" };
            words += &format!(" -H 'Content-Type: application/{kind}'");
            match options.condition {
                Some(Condition::Absent) => words += " -H 'If-None-Match: *'",
                Some(Condition::Present) => words += " -H 'If-Match: *'",
                Some(Condition::Version(n)) => words += &format!(" -H 'If-Match: \"{n}\"'"),
                None => {}
            }
            let ttl = options.ttl_s.map(|s| format!("?ttl={s}")).unwrap_or_default();
            (words, kv(key) + &ttl)
        }
        Request::Del { key, if_version, .. } => {
            let condition = if_version.map(|n| format!(" -H 'If-Match: \"{n}\"'"));
            (format!("-X DELETE{}", condition.unwrap_or_default()), kv(key))
        }
        Request::History { key, .. } => {
            (String::new(), format!("{root}/v1/history/{}", encoded(key)))
        }
        Request::Scan(selection) => (String::new(), format!("{root}/v1/kv{}", query(selection)?)),
        Request::Begin { .. } => ("-X POST".to_owned(), format!("{root}/begin")),
        Request::Commit { .. } => (token("POST"), format!("{root}/commit")),
        Request::Rollback { .. } => (token("POST"), format!("{root}/rollback")),
        Request::Locks => (String::new(), format!("{root}/v1/locks")),
        Request::Transactions => (String::new(), format!("{root}/v1/transactions")),
        Request::Stats => (String::new(), format!("{root}/v1/stats")),
        _ => return None,
    };
    let gap = if options.is_empty() { "" } else { " " };
    Some(format!("curl -s {options}{gap}{}", quoted(url.as_bytes())))
}

fn token(method: &str) -> String {
    format!("-X {method} -H \"Kv-Transaction: $TOKEN\"")
}

fn query(selection: &Selection<'_>) -> Option<String> {
    let mut parts = Vec::new();
    match &selection.interval {
        Interval::All => {}
        Interval::Prefix(prefix) => parts.push(format!("prefix={}", encoded(prefix))),
        Interval::Range { from, to } => {
            parts.push(format!("from={}&to={}", encoded(from), encoded(to)));
        }
    }
    match &selection.key {
        Some(Pattern::Glob(glob)) => parts.push(format!("match={}", encoded(glob))),
        Some(Pattern::Regex(_)) => return None,
        None => {}
    }
    if selection.value.is_some() {
        return None;
    }
    parts.extend(selection.limit.map(|limit| format!("limit={limit}")));
    parts.extend(selection.after.as_ref().map(|key| format!("after={}", encoded(key))));
    Some(if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) })
}

/// A key or value as a literal.
fn literal(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => format!("{text:?}"),
        Err(_) => format!("b\"{}\"", bytes.escape_ascii()),
    }
}

fn rust(request: &Request<'_>) -> Option<String> {
    let (on, call) = match request {
        Request::Get { key, read: Read::Newest { txn, for_update } } => {
            let name = if *for_update { "get_for_update" } else { "get" };
            (txn, format!("{name}({})", literal(key)))
        }
        Request::Get { key, read: Read::Version(n) } => {
            (&None, format!("get_version({}, {n})", literal(key)))
        }
        Request::Get { key, read: Read::At(n) } => {
            (&None, format!("get_at({}, {n})", literal(key)))
        }
        Request::Put { key, value, options, txn } => {
            let (key, value) = (literal(key), literal(value));
            let mut with = String::new();
            if let Some(s) = options.ttl_s {
                with += &format!(".expires_after(Duration::from_secs({s}))");
            }
            match options.condition {
                Some(Condition::Absent) => with += ".if_absent()",
                Some(Condition::Present) => with += ".if_present()",
                Some(Condition::Version(n)) => with += &format!(".if_version({n})"),
                None => {}
            }
            (
                txn,
                match with.is_empty() {
                    true => format!("put({key}, {value})"),
                    false => format!("put_with({key}, {value}, Put::new(){with})"),
                },
            )
        }
        Request::Del { key, if_version: None, txn } => (txn, format!("delete({})", literal(key))),
        Request::Del { key, if_version: Some(n), txn } => {
            (txn, format!("delete_version({}, {n})", literal(key)))
        }
        Request::Exists { key, txn } => (txn, format!("exists({})", literal(key))),
        Request::Incr { key, by, txn } => (txn, format!("increment({}, {by})", literal(key))),
        Request::Meta { key, txn } => (txn, format!("meta({})", literal(key))),
        Request::Expire { key, ttl_s, txn } => {
            (txn, format!("expire({}, Duration::from_secs({ttl_s}))", literal(key)))
        }
        Request::Persist { key, txn } => (txn, format!("persist({})", literal(key))),
        Request::Ttl { key, txn } => (txn, format!("time_to_live({})", literal(key))),
        Request::History { key, limit } => {
            (&None, format!("history({}, {})", literal(key), limit.unwrap_or(u64::MAX)))
        }
        Request::Begin { isolation, .. } => {
            let isolation = isolation.unwrap_or(kv_protocol::Isolation::Serializable);
            let name = match isolation {
                kv_protocol::Isolation::Serializable => "Serializable",
                kv_protocol::Isolation::Snapshot => "Snapshot",
                kv_protocol::Isolation::ReadOnly => "ReadOnly",
            };
            return Some(format!("let txn = client.begin(Isolation::{name}).await?;"));
        }
        Request::Commit { .. } => return Some("txn.commit().await?;".to_owned()),
        Request::Rollback { .. } => return Some("txn.rollback().await?;".to_owned()),
        Request::Ping => (&None, "ping()".to_owned()),
        Request::Version => (&None, "version()".to_owned()),
        Request::Stats => (&None, "stats()".to_owned()),
        _ => return None,
    };
    let on = if on.is_some() { "txn" } else { "client" };
    Some(format!("{on}.{call}.await?;"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(face: Face, line: &str) -> String {
        of(face, line.as_bytes(), "127.0.0.1:7878").unwrap_or_else(|failure| failure.to_string())
    }

    #[test]
    fn a_command_is_shown_in_every_face() {
        let line = "PUT \"my house\" it's EX 60 IF VERSION 3";
        let expected = "curl -s -X PUT --data-binary 'it'\\''s' \
                        -H 'Content-Type: application/octet-stream' -H 'If-Match: \"3\"' \
                        'http://127.0.0.1:8080/v1/kv/my%20house?ttl=60'";
        assert_eq!(shown(Face::Curl, line), expected);
        let expected = "printf '%s\\n' 'PUT \"my house\" it'\\''s EX 60 IF VERSION 3' \
                        | nc -N 127.0.0.1 7878";
        assert_eq!(shown(Face::Netcat, line), expected);
        let expected = "client.put_with(\"my house\", \"it's\", \
                        Put::new().expires_after(Duration::from_secs(60)).if_version(3)).await?;";
        assert_eq!(shown(Face::Rust, line), expected);
    }

    #[test]
    fn what_a_face_does_not_have_is_said() {
        assert!(shown(Face::Rust, "CHECK").contains("CHECK is not to be had"));
        assert!(shown(Face::Curl, "SCAN VALUE EQ 1").contains("over HTTP in this form"));
    }
}
