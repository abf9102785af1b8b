//! An origin that is only asked.
//!
//! GET is asking, by what HTTP means. Whether a POST is, only the operator knows: it stands before this decorator.

use std::sync::Arc;

use async_trait::async_trait;

use crate::ports::http::{Bounds, HttpError, HttpOrigin};
use crate::web::{Answer, Method, Question};

/// The plan-mode decorator of a [`HttpOrigin`].
pub struct PlannedOrigin {
    inner: Arc<dyn HttpOrigin>,
}

impl PlannedOrigin {
    /// Decorates `inner`.
    pub fn new(inner: Arc<dyn HttpOrigin>) -> Self {
        Self { inner }
    }
}

#[async_trait]
impl HttpOrigin for PlannedOrigin {
    async fn send(&self, question: &Question, bounds: Bounds) -> Result<Answer, HttpError> {
        match question.method {
            Method::Get => self.inner.send(question, bounds).await,
            Method::Post => self.preview_send(question, bounds).await,
        }
    }

    async fn preview_send(&self, question: &Question, bounds: Bounds) -> Result<Answer, HttpError> {
        self.inner.preview_send(question, bounds).await
    }
}
