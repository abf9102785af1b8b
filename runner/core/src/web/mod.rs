//! What may be sent where: origins, requests and the addresses that nobody may be sent to.
//!
//! Pure decisions over texts and numbers. Nothing here resolves a name or opens a connection: the http adapter does, and
//! asks here before it connects.

mod address;
mod message;
mod origin;

pub use address::{NotPublic, refuse};
pub use message::{
    Answer, BODY_BYTES_MAX, Method, Question, RequestError, is_header_name, is_header_of_guests,
    is_header_of_operators, is_header_told, is_header_value,
};
pub use origin::{Origin, OriginError};
