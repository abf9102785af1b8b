//! A writer that is looked at and never told.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::ports::writer::{Notice, Writer, WriterError};

/// The plan-mode decorator of a [`Writer`].
pub struct PlannedWriter {
    inner: Arc<dyn Writer>,
}

impl PlannedWriter {
    /// Decorates `inner`.
    pub fn new(inner: Arc<dyn Writer>) -> Self {
        Self { inner }
    }
}

#[async_trait]
impl Writer for PlannedWriter {
    async fn notify(&self, time: Duration) -> Result<Notice, WriterError> {
        self.preview_notify(time).await
    }

    async fn preview_notify(&self, time: Duration) -> Result<Notice, WriterError> {
        self.inner.preview_notify(time).await
    }
}
