//! `http`: requests to granted origins.

use sereno_core::grant::Verb;
use sereno_core::ports::plugins::CallError;
use sereno_core::web::{Answer as Answered, Method, Question};

use crate::bindings::http::{Host, Response};
use crate::bindings::types;
use crate::state::{Call, Pace, State};

type Answer<T> = wasmtime::Result<Result<T, types::Error>>;
type Headers = Vec<(String, String)>;

impl Host for State {
    async fn get(&mut self, origin: String, path: String, headers: Headers) -> Answer<Response> {
        let call = self.call(Pace::Look)?;
        Ok(send(call, Verb::Get, origin, Method::Get, path, headers, Vec::new()).await)
    }

    async fn post(
        &mut self,
        origin: String,
        path: String,
        headers: Headers,
        body: Vec<u8>,
    ) -> Answer<Response> {
        let call = self.call(Pace::Step)?;
        Ok(send(call, Verb::Post, origin, Method::Post, path, headers, body).await)
    }
}

async fn send(
    call: Call,
    verb: Verb,
    origin: String,
    method: Method,
    path: String,
    headers: Headers,
    body: Vec<u8>,
) -> Result<Response, types::Error> {
    let reach = call.reach.clone();
    call.answer(async move {
        let origin = reach.origin(verb, &origin)?;
        let question = Question::new(method, &path, &headers, body)
            .map_err(|error| CallError::Invalid(error.to_string()))?;
        let answer: Answered = origin.send(question, reach.time_left()).await?;
        Ok(Response {
            status: answer.status,
            headers: answer.headers,
            body: answer.body,
        })
    })
    .await
}
