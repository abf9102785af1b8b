//! Who asks, and what they may: bearer tokens, compared by hash and in constant time.
//!
//! Where no token is configured, the address is this machine's own, and whoever is on it may look. Nobody may operate, and no
//! page of a browser gets in: neither by a name that leads here nor by a script from elsewhere.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sereno_core::run::digest;
use sereno_core::serve::Role;
use subtle::{Choice, ConstantTimeEq};

use super::problem::Problem;
use crate::serve::{Host, KnownToken};

/// Longer than any token, shorter than what would take time to hash.
const TOKEN_BYTES_MAX: usize = 1 << 10;

/// Lets through who may do what they ask.
pub(super) async fn authorize(State(host): State<Arc<Host>>, request: Request, next: Next) -> Response {
    let tokens = &host.loaded().tokens;
    let needed = match *request.method() {
        Method::GET | Method::HEAD => Role::Read,
        _ => Role::Operate,
    };
    match role(request.headers(), tokens) {
        Ok(role) if role >= needed => next.run(request).await,
        Ok(role) => {
            let problem = Problem::new(
                StatusCode::FORBIDDEN,
                "forbidden",
                format!("this needs the role `{needed}`, and the caller has `{role}`"),
            );
            let hint = if tokens.is_empty() {
                "no token is configured: add a section `[serve.token.NAME]` with `role = \"operate\"`"
            } else {
                "use a token with that role"
            };
            problem.hint(hint).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

/// What the caller may do.
fn role(headers: &HeaderMap, tokens: &[KnownToken]) -> Result<Role, Problem> {
    if tokens.is_empty() {
        return local(headers);
    }
    let unknown = |detail: &str| Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail);
    let given = headers
        .get(header::AUTHORIZATION)
        .ok_or_else(|| unknown("a token is needed").hint("send `Authorization: Bearer TOKEN`"))?;
    let token = given
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer") && token.len() <= TOKEN_BYTES_MAX)
        .map(|(_, token)| token.trim())
        .ok_or_else(|| unknown("this is no bearer token").hint("send `Authorization: Bearer TOKEN`"))?;
    let hash = digest(token.as_bytes());
    // Every token is looked at, whichever it is: the time tells nothing.
    let mut role = None;
    for known in tokens {
        let is_it: Choice = known.hash.as_bytes().ct_eq(hash.as_bytes());
        if bool::from(is_it) {
            role = role.max(Some(known.role));
        }
    }
    role.ok_or_else(|| unknown("this token is not known"))
}

/// A caller without a token on this machine's own address.
fn local(headers: &HeaderMap) -> Result<Role, Problem> {
    let forbidden = |detail: &str| {
        Problem::new(StatusCode::FORBIDDEN, "forbidden", detail)
            .hint("add a section `[serve.token.NAME]` to the configuration, and send its token")
    };
    if headers.contains_key(header::ORIGIN) {
        return Err(forbidden("pages of other origins are not answered"));
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    if host.is_some_and(is_local) {
        Ok(Role::Read)
    } else {
        Err(forbidden(
            "without tokens only this machine's own names are answered",
        ))
    }
}

/// `localhost`, `127.0.0.1`, `[::1]`, each with or without a port.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_loopback = |address: std::net::IpAddr| address.is_loopback();
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = header::HeaderName::from_static(name);
            (name, value.parse().expect("a value"))
        });
        pairs.collect()
    }

    fn known(token: &str, role: Role) -> KnownToken {
        KnownToken {
            name: "one".to_owned(),
            hash: digest(token.as_bytes()),
            role,
        }
    }

    fn status(result: Result<Role, Problem>) -> Result<Role, u16> {
        result.map_err(|problem| problem.into_response().status().as_u16())
    }

    #[test]
    fn a_token_is_its_role_and_anything_else_is_nobody() {
        let tokens = [
            known("reader-reader-reader", Role::Read),
            known("operator-operator-op", Role::Operate),
        ];
        let asks = |value: &str| status(role(&headers(&[("authorization", value)]), &tokens));
        assert_eq!(asks("Bearer reader-reader-reader"), Ok(Role::Read));
        assert_eq!(asks("bearer operator-operator-op"), Ok(Role::Operate));
        for wrong in [
            "Bearer reader-reader-reade",
            "Bearer reader-reader-readerr",
            "Bearer ",
            "Basic cmVhZGVyOg==",
            "reader-reader-reader",
        ] {
            assert_eq!(asks(wrong), Err(401), "{wrong}");
        }
        assert_eq!(
            status(role(&headers(&[("host", "localhost")]), &tokens)),
            Err(401)
        );
    }

    #[test]
    fn without_tokens_this_machine_may_look_and_no_page_of_a_browser_gets_in() {
        let asks = |pairs: &[(&'static str, &str)]| status(role(&headers(pairs), &[]));
        for local in ["localhost", "localhost:8321", "127.0.0.1:8321", "[::1]:8321"] {
            assert_eq!(asks(&[("host", local)]), Ok(Role::Read), "{local}");
        }
        assert_eq!(asks(&[("host", "evil.example:8321")]), Err(403));
        assert_eq!(
            asks(&[("host", "localhost"), ("origin", "http://evil.example")]),
            Err(403)
        );
        assert_eq!(asks(&[]), Err(403));
    }
}
