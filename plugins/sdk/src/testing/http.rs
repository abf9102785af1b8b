//! An origin in memory: what it answers by path, and what it was asked.

use std::collections::{BTreeMap, VecDeque};

use super::FakeHost;
use crate::{Error, Http, Response};

/// One origin. A path that nothing was put at answers 404.
#[derive(Debug, Default)]
pub struct FakeOrigin {
    answers: BTreeMap<String, VecDeque<Response>>,
    /// Every request, in order: `GET /v1/x`, or `POST /v1/x` and its body.
    pub asked: Vec<(String, Vec<u8>)>,
}

impl FakeOrigin {
    /// What `path` (with its query) answers next; the last answer stays.
    pub fn answer(&mut self, path: &str, status: u16, body: impl Into<Vec<u8>>) -> &mut Self {
        self.answers
            .entry(path.to_owned())
            .or_default()
            .push_back(Response {
                status,
                headers: vec![("content-type".to_owned(), "application/json".to_owned())],
                body: body.into(),
            });
        self
    }

    fn send(&mut self, method: &str, path: &str, body: &[u8]) -> Response {
        self.asked.push((format!("{method} {path}"), body.to_vec()));
        let not_found = Response {
            status: 404,
            ..Response::default()
        };
        match self.answers.get_mut(path) {
            None => not_found,
            Some(answers) if answers.len() > 1 => answers.pop_front().unwrap_or(not_found),
            Some(answers) => answers.front().cloned().unwrap_or(not_found),
        }
    }
}

impl FakeHost {
    fn at_origin(&mut self, call: &'static str, name: &str) -> Result<&mut FakeOrigin, Error> {
        self.enter(call, name)?;
        self.origins
            .get_mut(name)
            .ok_or_else(|| Error::Denied(format!("origin.{name} = [\"{call}\"]")))
    }
}

impl Http for FakeHost {
    fn get(&mut self, origin: &str, path: &str, _headers: &[(&str, &str)]) -> Result<Response, Error> {
        Ok(self.at_origin("get", origin)?.send("GET", path, &[]))
    }

    fn post(
        &mut self,
        origin: &str,
        path: &str,
        _headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response, Error> {
        Ok(self.at_origin("post", origin)?.send("POST", path, body))
    }
}
