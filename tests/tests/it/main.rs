//! Every test that crosses crates, in one binary, one file for each port or subject.

mod database;
