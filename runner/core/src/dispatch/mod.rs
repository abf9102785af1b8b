//! The one path of every run: admit, execute, settle, rescue.
