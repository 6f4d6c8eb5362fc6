//! As much of an HTTP client as the tests need: it says exactly what it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use kv_testkit::server::PATIENCE;
use serde_json::Value;

/// A connection that is kept.
pub(crate) struct Http {
    stream: TcpStream,
    received: BufReader<TcpStream>,
    host: String,
}

/// A reply.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body came to its end.
    pub(crate) is_whole: bool,
}

impl Http {
    pub(crate) fn connect(address: &str) -> Http {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let received = BufReader::new(stream.try_clone().unwrap());
        Http { stream, received, host: address.to_owned() }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(crate) fn get(&mut self, path: &str) -> Reply {
        self.ask("GET", path, &[], b"")
    }

    /// A request with JSON.
    pub(crate) fn send(&mut self, method: &str, path: &str, body: &str) -> Reply {
        self.ask(method, path, &[("content-type", "application/json")], body.as_bytes())
    }

    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        self.say(method, path, headers, body);
        self.hear(method == "HEAD")
    }

    pub(crate) fn say(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut request = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request += &format!("Host: {}\r\n", self.host);
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() || method != "GET" {
            request += &format!("Content-Length: {}\r\n", body.len());
        }
        // A server that has refused already reads no further.
        let _ = self.stream.write_all(&[request.as_bytes(), b"\r\n", body].concat());
    }

    pub(crate) fn hear(&mut self, is_head: bool) -> Reply {
        let mut line = String::new();
        self.received.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no reply: {line:?}"));
        let status = status.parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            self.received.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let mut reply = Reply { status, headers, body: Vec::new(), is_whole: true };
        if is_head || status == 304 || status == 204 {
            return reply;
        }
        match reply.header("content-length").map(|length| length.parse::<usize>().unwrap()) {
            Some(length) => {
                reply.body.resize(length, 0);
                self.received.read_exact(&mut reply.body).unwrap();
            }
            None => self.hear_chunks(&mut reply),
        }
        reply
    }

    fn hear_chunks(&mut self, reply: &mut Reply) {
        assert_eq!(reply.header("transfer-encoding"), Some("chunked"), "{reply:?}");
        loop {
            let mut line = String::new();
            if self.received.read_line(&mut line).unwrap_or(0) == 0 {
                reply.is_whole = false;
                return;
            }
            let length = usize::from_str_radix(line.trim_end(), 16).unwrap();
            let from = reply.body.len();
            reply.body.resize(from + length, 0);
            if self.received.read_exact(&mut reply.body[from..]).is_err() {
                reply.is_whole = false;
                return;
            }
            self.received.read_line(&mut line).unwrap();
            if length == 0 {
                return;
            }
        }
    }

    /// All that comes until the server closes the connection.
    pub(crate) fn read_to_end(&mut self) -> String {
        let mut text = Vec::new();
        let _ = self.received.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(of, _)| of == name).map(|(_, value)| &**value)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
