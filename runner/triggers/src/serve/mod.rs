//! The clock of a process that stays: each tick of each schedule becomes a run. It speaks no HTTP.
