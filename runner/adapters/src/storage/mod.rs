//! Storages: whole objects in a folder, in a bucket or in memory.
//!
//! - **A folder** has an adapter of its own: an object must outlast a power failure once it was answered, and no link may
//!   lead a key out of the folder, which general-purpose libraries leave to their callers.
//! - **A bucket** is spoken to in S3's protocol; compiled in with the feature `aws`.
//! - **Memory** is for tests; it says what the others must do.
//!
//! Which object may be put or removed is core's to say.

pub mod local;
pub mod memory;
#[cfg(feature = "aws")]
mod s3;

use std::sync::Arc;

use sereno_core::ports::storage::{Storage, StorageError};

use crate::secrets::Secret;

/// How to reach a bucket, references resolved. What is absent is found in the environment or given by the machine's role.
pub struct S3Options {
    /// `s3://bucket/prefix`.
    pub url: Secret,
    /// `us-east-1`.
    pub region: Option<Secret>,
    /// A server other than AWS.
    pub endpoint: Option<Secret>,
    /// Who asks.
    pub access_key_id: Option<Secret>,
    /// Its proof.
    pub secret_access_key: Option<Secret>,
}

/// Opens a part of a bucket. Nothing is asked of it yet.
///
/// # Errors
/// The URL or an option makes no sense.
#[cfg(feature = "aws")]
pub fn open_s3(options: &S3Options) -> Result<Arc<dyn Storage>, StorageError> {
    s3::open(options)
}

/// Opens a part of a bucket.
///
/// # Errors
/// Always: this build speaks no S3.
#[cfg(not(feature = "aws"))]
pub fn open_s3(_options: &S3Options) -> Result<Arc<dyn Storage>, StorageError> {
    Err(StorageError::Invalid(
        "this build of sereno does not speak S3; use the default build".to_owned(),
    ))
}
