//! The OpenAPI document names what there is, and its viewer and the console load nothing from
//! elsewhere.

use crate::{http, server};

#[test]
fn every_documented_request_is_answered_as_documented() {
    let server = server(&["--idle-transaction-timeout", "500ms"]);
    let mut http = http(&server);
    let document = http.get("/openapi.json").json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{document}");
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 24, "{}", paths.len());
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            let path = path.replace("{key}", "some-key");
            let reply = http.ask(&method.to_uppercase(), &path, &[], b"");
            assert_ne!(reply.status, 405, "{method} {path}");
            let is_unknown = reply.status == 404 && reply.text().contains("no such endpoint");
            assert!(!is_unknown && reply.status < 500, "{method} {path}: {reply:?}");
        }
    }
}

#[test]
fn the_pages_load_nothing_from_elsewhere() {
    let server = server(&[]);
    let mut http = http(&server);
    let page = http.get("/");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    for path in ["/console/console.js", "/console/console.css"] {
        let reply = http.get(path);
        assert_eq!(reply.status, 200);
        assert!(page.text().contains(path) && !reply.text().contains("://"), "{path}");
    }
    assert!(!page.text().contains("://"));
    assert_eq!(http.get("/console/other").status, 404);
    let viewer = http.get("/docs/");
    assert_eq!(viewer.status, 200);
    assert!(viewer.text().contains("swagger-ui") && !viewer.text().contains("https://"));
    let assets: Vec<String> = viewer
        .text()
        .split('"')
        .filter(|part| part.ends_with(".js") || part.ends_with(".css"))
        .map(str::to_owned)
        .collect();
    assert!(assets.len() >= 3, "{assets:?}");
    for asset in assets {
        let path = format!("/docs/{}", asset.trim_start_matches("./"));
        assert_eq!(http.get(&path).status, 200, "{path}");
    }
}
