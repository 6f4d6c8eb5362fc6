//! What every request passes: whose page made it, and what every reply says to browsers.
//!
//! A page of somebody else's that is open in a browser on this machine can send requests to it. It
//! is told apart by its `Origin`, which must be this server's own; and by its `Host` if it has had
//! a name of its own point here (DNS rebinding): a name is refused unless it is `localhost` or one
//! that `--http-host` allows. Addresses in numbers cannot be rebound.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Face;
use super::problem::Problem;

/// Nothing from elsewhere is loaded, and nobody shows these pages within his own.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; \
    style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Lets a request through, or refuses it.
pub(super) async fn pass(State(face): State<Arc<Face>>, request: Request, next: Next) -> Response {
    let mut response = match checked(&request, &face.server.config().http_hosts) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn checked(request: &Request, allowed: &[String]) -> Result<(), Problem> {
    let headers = request.headers();
    let host = host(headers)?;
    let name = without_port(host);
    let is_number = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    let is_allowed = allowed.iter().any(|of| of == "*" || of.eq_ignore_ascii_case(name));
    if !is_number && !is_allowed && !name.eq_ignore_ascii_case("localhost") {
        let text = format!("The host {name:?} is not this server's; allow it with --http-host");
        return Err(Problem::foreign(text));
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let is_own = origin.to_str().ok().is_some_and(|origin| {
        let own = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        own.is_some_and(|own| own.eq_ignore_ascii_case(host))
    });
    match is_own {
        true => Ok(()),
        false => Err(Problem::foreign("A page of another origin may not make requests here")),
    }
}

fn host(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next().map(HeaderValue::to_str), hosts.next()) {
        (Some(Ok(host)), None) if !host.is_empty() => Ok(host),
        _ => Err(Problem::bad_request("A request has one header Host")),
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_let_in(headers: &[(&str, &str)], allowed: &[&str]) -> bool {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let allowed: Vec<String> = allowed.iter().map(|of| (*of).to_owned()).collect();
        let request = request.body(axum::body::Body::empty()).expect("a request");
        checked(&request, &allowed).is_ok()
    }

    #[test]
    fn only_this_servers_own_names_and_pages_are_let_in() {
        for host in ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "10.0.0.1"] {
            assert!(is_let_in(&[("host", host)], &[]), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:80", "", "127.0.0.1.evil.example"] {
            assert!(!is_let_in(&[("host", host)], &[]), "{host}");
        }
        assert!(is_let_in(&[("host", "kv.example:80")], &["kv.example"]));
        assert!(is_let_in(&[("host", "any.example")], &["*"]));
        assert!(!is_let_in(&[], &[]));
        assert!(!is_let_in(&[("host", "localhost"), ("host", "evil.example")], &[]));
        let host = ("host", "localhost:8080");
        assert!(is_let_in(&[host, ("origin", "http://localhost:8080")], &[]));
        for origin in ["http://evil.example", "null", "http://localhost:9090", "file://"] {
            assert!(!is_let_in(&[host, ("origin", origin)], &[]), "{origin}");
        }
    }
}
