//! What the tests that cross crates stand on: throw-away servers and bounded waiting.

pub mod guests;
pub mod house;
pub mod lambda;
pub mod mail;
pub mod moto;
pub mod postgres;
pub mod tmpfs;
pub mod wait;
pub mod web;
