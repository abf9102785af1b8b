//! Requests and answers, as far as a plugin may write and read them.
//!
//! A plugin writes a method, a path, a few headers and a body. Where the request goes, who it is from and how it is
//! framed are the host's.

use std::fmt;

/// A request's body at most: a batch of a thousand packages is a tenth of it.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// A path with its query at most: servers and proxies refuse longer ones.
const PATH_BYTES_MAX: usize = 8 << 10;

/// Headers of one request at most.
const HEADERS_MAX: usize = 16;

/// One header's value at most.
const HEADER_BYTES_MAX: usize = 1 << 10;

/// What a plugin may say of its request.
const FROM_GUESTS: [&str; 5] = [
    "accept",
    "accept-language",
    "content-type",
    "if-modified-since",
    "if-none-match",
];

/// What a plugin is told of an answer. No cookies, and no `location`: whoever redirects is not followed.
const TO_GUESTS: [&str; 6] = [
    "content-language",
    "content-type",
    "etag",
    "last-modified",
    "link",
    "retry-after",
];

/// How a request is framed and to whom it goes: not even the operator writes these.
const OF_THE_HOST: [&str; 14] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// How a request asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reads.
    Get,
    /// Asks with a body, or changes something there; the operator says which.
    Post,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "GET",
            Self::Post => "POST",
        })
    }
}

/// Why a plugin's request makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Its path is none.
    #[error("a path starts with one `/` and is printable ASCII without spaces, `\\`, `#` and `..`")]
    Path,
    /// Its path is too long.
    #[error("a path has at most {PATH_BYTES_MAX} bytes")]
    LongPath,
    /// A header that is not a plugin's to write.
    #[error("the header `{0}` is not a plugin's to write; it may write {list}", list = FROM_GUESTS.join(", "))]
    Header(String),
    /// A header's value with a line break in it, or the like.
    #[error("the value of the header `{0}` is not printable ASCII of at most {HEADER_BYTES_MAX} bytes")]
    HeaderValue(String),
    /// Too many headers.
    #[error("a request has at most {HEADERS_MAX} headers")]
    Headers,
    /// Its body is too long.
    #[error("the body of a request has at most {BODY_BYTES_MAX} bytes, and this one has {0}")]
    Body(usize),
}

/// A request, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// How it asks.
    pub method: Method,
    /// With its query; starts with one slash.
    path: String,
    headers: Vec<(String, String)>,
    /// Of a POST.
    pub body: Vec<u8>,
}

impl Question {
    /// Checks what a plugin wrote.
    ///
    /// # Errors
    /// It is more than a plugin may write.
    pub fn new(
        method: Method,
        path: &str,
        headers: &[(String, String)],
        body: Vec<u8>,
    ) -> Result<Self, RequestError> {
        check_path(path)?;
        if headers.len() > HEADERS_MAX {
            return Err(RequestError::Headers);
        }
        let mut checked = Vec::with_capacity(headers.len());
        for (name, value) in headers {
            let lower = name.to_ascii_lowercase();
            if !is_header_of_guests(&lower) {
                return Err(RequestError::Header(name.chars().take(64).collect()));
            }
            if !is_header_value(value) {
                return Err(RequestError::HeaderValue(lower));
            }
            checked.push((lower, value.clone()));
        }
        if body.len() > BODY_BYTES_MAX {
            return Err(RequestError::Body(body.len()));
        }
        Ok(Self {
            method,
            path: path.to_owned(),
            headers: checked,
            body,
        })
    }

    /// With its query; starts with one slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Lower-case names with their values.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }
}

fn check_path(path: &str) -> Result<(), RequestError> {
    if path.len() > PATH_BYTES_MAX {
        return Err(RequestError::LongPath);
    }
    let printable = path
        .bytes()
        .all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'#' | b'"' | b'<' | b'>' | b'`'));
    let (before_query, _) = path.split_once('?').unwrap_or((path, ""));
    // Some server would take an encoded dot or slash for a plain one.
    let decoded = before_query
        .to_ascii_lowercase()
        .replace("%2e", ".")
        .replace("%2f", "/")
        .replace("%5c", "/");
    let climbs = decoded.split('/').any(|part| part == ".." || part == ".");
    if path.starts_with('/') && !decoded.starts_with("//") && printable && !climbs && are_escapes_whole(path)
    {
        Ok(())
    } else {
        Err(RequestError::Path)
    }
}

/// Every `%` is followed by two hexadecimal digits, and none of them is a control character.
fn are_escapes_whole(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| {
        rest.get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .is_some_and(|byte| byte >= 0x20 && byte != 0x7f && !rest.starts_with('+'))
    })
}

/// True for a header that a plugin may write; `name` is lower-case.
pub fn is_header_of_guests(name: &str) -> bool {
    FROM_GUESTS.contains(&name)
}

/// True for a header that a plugin is told; `name` is lower-case.
pub fn is_header_told(name: &str) -> bool {
    TO_GUESTS.contains(&name)
}

/// True for a header that an operator may have sent with every request.
pub fn is_header_of_operators(name: &str) -> bool {
    is_header_name(name) && !OF_THE_HOST.contains(&name.to_ascii_lowercase().as_str())
}

/// True for the name of a header.
pub fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// True for a value that cannot begin a header of its own.
pub fn is_header_value(value: &str) -> bool {
    value.len() <= HEADER_BYTES_MAX && value.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
}

/// What came back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// 100 to 599.
    pub status: u16,
    /// Those that a plugin is told, names in lower case.
    pub headers: Vec<(String, String)>,
    /// As it came: nothing is unpacked.
    pub body: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Result<Question, RequestError> {
        Question::new(Method::Get, path, &[], Vec::new())
    }

    #[test]
    fn a_path_stays_below_its_origin() {
        for good in [
            "/",
            "/v1/vulns/GHSA-35jh-r3h4-6jhm",
            "/v1/query?a=b&c=%20d/../e",
            "/a%25b",
            "/@x",
            "/~u;v=1",
        ] {
            assert!(get(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "v1",
            "@127.0.0.1/",
            ":80/",
            ".evil.com/",
            "https://evil.com/",
            "//evil.com/",
            "/%2fevil.com",
            "/%2Fevil.com",
            "/%5cevil.com",
            "/\\evil.com",
            "\\\\evil.com",
            "/../admin",
            "/v1/../admin",
            "/v1/%2e%2e/admin",
            "/v1/.%2E/admin",
            "/v1/..%2fadmin",
            "/./admin",
            "/v1/..",
            "/a b",
            "/a\tb",
            "/a\r\nHost: evil",
            "/a%0d%0aHost:%20evil",
            "/a%00",
            "/a%7f",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%+1",
            "/a#b",
            "/ä",
            "/a\u{2028}b",
            "/<script>",
        ] {
            assert_eq!(get(bad), Err(RequestError::Path), "{bad:?}");
        }
        assert!(get(&format!("/{}", "a".repeat(PATH_BYTES_MAX - 1))).is_ok());
        assert_eq!(
            get(&format!("/{}", "a".repeat(PATH_BYTES_MAX))),
            Err(RequestError::LongPath)
        );
    }

    #[test]
    fn a_plugin_writes_few_headers_and_none_that_says_who_asks() {
        let with = |name: &str, value: &str| {
            Question::new(
                Method::Get,
                "/",
                &[(name.to_owned(), value.to_owned())],
                Vec::new(),
            )
        };
        assert_eq!(
            with("Content-Type", "application/json")
                .expect("its own")
                .headers(),
            [("content-type".to_owned(), "application/json".to_owned())]
        );
        for name in [
            "Host",
            "host",
            "Authorization",
            "Cookie",
            "Proxy-Authorization",
            "Content-Length",
            "Transfer-Encoding",
            "Connection",
            "X-Forwarded-For",
            "X-Aws-Ec2-Metadata-Token",
            "Metadata-Flavor",
            "Metadata",
            "Referer",
            "Accept\r\nHost",
            "",
        ] {
            assert!(
                matches!(with(name, "x"), Err(RequestError::Header(_))),
                "{name:?}"
            );
        }
        for value in [
            "a\r\nHost: evil",
            "a\nb",
            "a\0b",
            "ä",
            &"x".repeat(HEADER_BYTES_MAX + 1),
        ] {
            assert!(
                matches!(with("accept", value), Err(RequestError::HeaderValue(_))),
                "{value:?}"
            );
        }
        let many: Vec<_> = (0..=HEADERS_MAX)
            .map(|_| ("accept".to_owned(), "a".to_owned()))
            .collect();
        assert!(Question::new(Method::Get, "/", &many[1..], Vec::new()).is_ok());
        assert_eq!(
            Question::new(Method::Get, "/", &many, Vec::new()),
            Err(RequestError::Headers)
        );
    }

    #[test]
    fn a_body_has_an_end() {
        let of = |bytes: usize| Question::new(Method::Post, "/", &[], vec![b'x'; bytes]);
        assert!(of(BODY_BYTES_MAX).is_ok());
        assert_eq!(
            of(BODY_BYTES_MAX + 1),
            Err(RequestError::Body(BODY_BYTES_MAX + 1))
        );
    }

    #[test]
    fn an_operators_headers_leave_the_framing_alone() {
        for good in ["Authorization", "X-Api-Key", "User-Agent", "Cookie"] {
            assert!(is_header_of_operators(good), "{good}");
        }
        for bad in [
            "Host",
            "content-length",
            "Transfer-Encoding",
            "Connection",
            "a b",
            "",
            "a:b",
            "a\r\n",
        ] {
            assert!(!is_header_of_operators(bad), "{bad:?}");
        }
    }
}
