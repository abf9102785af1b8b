//! Directories: a walk that holds every directory by its descriptor, and cannot be led anywhere else.
//!
//! It opens a file only to read, compress or empty it by name, never follows a link, never enters another file system, and removes only by the last name
//! below a descriptor it holds. Whether a removal may happen at all is core's to say.
//!
//! # What a filter means here
//! - **A match** is a regular file without the sticky bit (the old sign for *keep this*), whose path is included and not
//!   excluded, and whose newest named stamp is strictly before the cutoff. `*` and `?` stop at a slash, `**` does not. A file
//!   without any of the named stamps has no age and matches no cutoff.
//! - **Left, and counted as skipped**: a match with several links (its other name may be live data), one that the system
//!   refuses to give up, a subdirectory that may not be read, one deeper than [`DEPTH_MAX`], and one that holds a
//!   database's data.
//! - **Not entered, not counted**: mount points, other devices, links, `lost+found`, and subdirectories whose own path is
//!   excluded.
//! - **`remove_emptied`**: a subdirectory goes when this removal took its last entry, whatever its own age; one that was
//!   empty before goes when its own stamp is before the cutoff and its path is included. An excluded one stays. Emptied
//!   directories follow their last entry, children first, so a walk holds as many directories open as it is deep.
//! - **`directory_as_unit`** (needs `recursive`; without it no subdirectory is looked into): each directory directly below
//!   the root goes whole, subdirectories and itself included, or stays whole. It goes when everything in it is a directory
//!   or a match: the newest file decides; of one without files, its newest directory. A special file, a link, a mount, an
//!   excluded or a sticky file keeps it whole. Its files are included by its own path or by theirs. One that matches but
//!   holds a file with several links, or that may not be removed, is skipped with all its files; one that does not fit into
//!   the allowance ends the removal before its first file. Files directly below the root are judged one by one.
//!   If a file changes between the look and the removal, what is left of the unit stays, and counts as skipped.
//!
//! A summary, a histogram and a page show what matches, skipped or not: `summary.files` is a removal's `files + skipped`.
//!
//! # Two looks that agree
//! A preview runs the same walk and stops short of the last system call. What it cannot foresee is what the system refuses
//! for reasons other than modes, owners, sticky directories, immutable files and mount points.
//!
//! # Cursors
//! An open walk stays here under the cursor's token, [`OPEN_WALKS_MAX`] of them; a token that is not known any more, after a
//! crash or because it is an old one, starts its walk again. What was removed is gone, so a removal does nothing twice.
//! `max` bounds the entries visited, whatever they are; a unit's entries are visited once to decide and once to remove.
//!
//! # Compressing
//! A file is compressed when it matches, has one name, is not compressed already and no process has it open for writing, as
//! far as `/proc` may be read; the age in the filter is what holds where it may not. The copy is written to
//! `.NAME.gz.partial`, kept on the disk, read back and compared, named `NAME.gz`, and only then the original goes. What a
//! run that died on the way left is found by the next: a partial file without a writer is removed, and an original beside
//! its own finished copy goes without being compressed again. Two of the same name with different contents stay as they are.
//!
//! Walks of many directories go on up to [`WORKERS_MAX`] threads, a directory at a time; pages keep to one.

mod compress;
mod cursor;
mod directory;
mod error;
mod filter;
mod fit;
mod linux;
pub mod memory;
mod moves;
mod named;
mod system;
mod walk;
mod writers;

pub use cursor::OPEN_WALKS_MAX;
pub use fit::open;
pub use walk::{DEPTH_MAX, WORKERS_MAX};
