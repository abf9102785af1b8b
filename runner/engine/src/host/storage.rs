//! `storage`: whole objects in one granted storage.

use sereno_core::grant::Verb;
use sereno_core::ports::plugins::CallError;
use sereno_core::ports::storage as port;
use sereno_core::units::show_bytes;

use crate::bindings::storage::{Host, Listing, Object, Part};
use crate::bindings::types;
use crate::convert;
use crate::state::{Pace, State};

type Answer<T> = wasmtime::Result<Result<T, types::Error>>;

/// One object that a guest puts: a report with its pictures is a tenth of it. What is larger, the host writes itself. The
/// limit on a call's bytes, which an operator sets, is nearer by default.
const OBJECT_BYTES_MAX: usize = 16 << 20;

/// What is read at once, so that it fits beside everything else that a guest keeps.
const PART_BYTES_MAX: u32 = 1 << 20;

fn object(found: port::Object) -> Object {
    Object {
        key: found.key.into(),
        bytes: found.bytes,
        modified: found.modified.timestamp_micros(),
    }
}

impl Host for State {
    async fn list(
        &mut self,
        storage: String,
        prefix: String,
        cursor: Option<String>,
        max: u32,
    ) -> Answer<Listing> {
        let call = self.call(Pace::Step)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let max = convert::page(max)?;
                let storage = reach.storage(Verb::Read, &storage)?;
                let page = storage.list(&prefix, cursor.as_deref(), max).await?;
                Ok(Listing {
                    objects: page.objects.into_iter().map(object).collect(),
                    cursor: page.cursor,
                })
            })
            .await)
    }

    async fn head(&mut self, storage: String, key: String) -> Answer<Option<Object>> {
        let call = self.call(Pace::Look)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let found = reach.storage(Verb::Read, &storage)?.head(&key).await?;
                Ok(found.map(object))
            })
            .await)
    }

    async fn get(&mut self, storage: String, key: String, from: u64, max: u32) -> Answer<Part> {
        let call = self.call(Pace::Look)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let storage = reach.storage(Verb::Read, &storage)?;
                let part = storage.get(&key, from, max.min(PART_BYTES_MAX)).await?;
                Ok(Part {
                    bytes: part.bytes,
                    total: part.total,
                })
            })
            .await)
    }

    async fn put(&mut self, storage: String, key: String, content: Vec<u8>) -> Answer<Object> {
        let call = self.call(Pace::Step)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let storage = reach.storage(Verb::Write, &storage)?;
                if content.len() > OBJECT_BYTES_MAX {
                    return Err(CallError::Limit(format!(
                        "an object of a plugin has at most {}, and this one has {}",
                        show_bytes(OBJECT_BYTES_MAX as u64),
                        show_bytes(content.len() as u64)
                    )));
                }
                Ok(object(storage.put(&key, content).await?))
            })
            .await)
    }

    async fn remove(&mut self, storage: String, key: String) -> Answer<bool> {
        let call = self.call(Pace::Step)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move { reach.storage(Verb::Remove, &storage)?.remove(&key).await })
            .await)
    }
}
