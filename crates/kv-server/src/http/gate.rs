//! What every request passes: whose page made it, and what every reply says to browsers.
//!
//! A page of somebody else's that is open in a browser on this machine can send requests to it. It
//! is told apart by its `Origin`, which must be this server's own; and by its `Host` if it has had
//! a name of its own point here (DNS rebinding): a name is refused unless it is `localhost` or one
//! that `--http-host` allows. Addresses in numbers cannot be rebound. What a page shows as if it
//! were an image has no `Origin`; browsers say of it that it comes from another site
//! (`Sec-Fetch-Site`).
//!
//! Commands that the settings switch off are switched off here, too.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
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
    let is_let_in = checked(&request, &face.server.config().http_hosts).and_then(|()| {
        let name = command_of(request.method(), request.uri().path());
        name.map_or(Ok(()), |name| face.check_enabled(name))
    });
    let mut response = match is_let_in {
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

impl Face {
    /// Whether the settings leave a command switched on.
    pub(super) fn check_enabled(&self, name: &str) -> Result<(), Problem> {
        match kv_protocol::command::find(name.as_bytes()) {
            Some(spec) if !self.server.has_command(spec) => Err(Problem::disabled(spec.name)),
            _ => Ok(()),
        }
    }
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
    let says = |name: &str, value: &str| headers.get(name).is_some_and(|of| of == value);
    let is_elsewhere = says("sec-fetch-site", "cross-site") || says("sec-fetch-site", "same-site");
    // A link to one of the pages may be followed from anywhere.
    let is_page = request.uri().path() == "/" || request.uri().path().starts_with("/docs");
    if is_elsewhere && !(is_page && says("sec-fetch-mode", "navigate")) {
        return Err(Problem::foreign("A page of another site may not make requests here"));
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

/// The command that an endpoint stands for; of a batch, each operation is looked at by itself.
fn command_of(method: &Method, path: &str) -> Option<&'static str> {
    let is = |of: &Method| method == of;
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let v1 = path.strip_prefix("/v1/").unwrap_or_default();
    let of_key = || match () {
        () if is(&Method::PUT) || is(&Method::POST) => "PUT",
        () if is(&Method::DELETE) => "DEL",
        () => "GET",
    };
    Some(match first {
        "get" => "GET",
        "put" | "set" => "PUT",
        "delete" => "DEL",
        "begin" => "BEGIN",
        "commit" => "COMMIT",
        "rollback" => "ROLLBACK",
        "snapshot" => "SHOWALL",
        "kv" => of_key(),
        "metrics" | "cache" | "db" => "STATS",
        "v1" => match v1.split('/').next().unwrap_or_default() {
            "kv" if v1 == "kv" => "SCAN",
            "kv" => of_key(),
            "history" => "HISTORY",
            "export" => "SCAN",
            "import" => "PUT",
            "backup" => "BACKUP",
            "locks" => "LOCKS",
            "shards" => "SHARDS",
            "stats" => "STATS",
            _ => return None,
        },
        _ => return None,
    })
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
        let elsewhere = ("sec-fetch-site", "cross-site");
        assert!(!is_let_in(&[host, elsewhere], &[]));
        assert!(is_let_in(&[host, elsewhere, ("sec-fetch-mode", "navigate")], &[]));
        assert!(is_let_in(&[host, ("sec-fetch-site", "same-origin")], &[]));
        for origin in ["http://evil.example", "null", "http://localhost:9090", "file://"] {
            assert!(!is_let_in(&[host, ("origin", origin)], &[]), "{origin}");
        }
    }

    #[test]
    fn every_endpoint_of_a_command_is_known() {
        let of = |method, path| command_of(&method, path);
        assert_eq!(of(Method::GET, "/v1/kv"), Some("SCAN"));
        assert_eq!(of(Method::HEAD, "/v1/kv/a/b"), Some("GET"));
        assert_eq!(of(Method::DELETE, "/v1/kv/a"), Some("DEL"));
        assert_eq!(of(Method::PUT, "/kv"), Some("PUT"));
        assert_eq!(of(Method::POST, "/delete/a"), Some("DEL"));
        assert_eq!(of(Method::GET, "/v1/backup"), Some("BACKUP"));
        assert_eq!(of(Method::GET, "/healthz"), None);
    }
}
