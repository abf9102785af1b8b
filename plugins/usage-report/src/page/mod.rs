//! The pages: one report as HTML, Markdown and text.
//!
//! Every number in them is a field of the report, as the JSON object has it, or the sum or share of such fields.

pub(crate) mod html;
pub(crate) mod markdown;
mod picture;
pub(crate) mod text;
pub(crate) mod words;
