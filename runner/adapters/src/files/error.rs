//! The port's errors, with paths that a terminal can stand.

use std::fmt::Write as _;
use std::io;

use sereno_core::ports::files::FilesError;

/// A path as text on one line: what is no UTF-8 as `\xFF`, what does not print escaped.
pub(super) fn show(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for letter in chunk.valid().chars() {
            // Quotes are no danger in a message, and escaping them makes paths harder to copy.
            if matches!(letter, '\'' | '"') {
                text.push(letter);
            } else {
                text.extend(letter.escape_debug());
            }
        }
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02X}").expect("a String takes all that fits in memory");
        }
    }
    text
}

/// The system refused `operation` on `path`, which is shown as it is.
pub(super) fn refused(operation: &'static str, path: &str, source: io::Error) -> FilesError {
    let path = path.to_owned();
    if source.kind() == io::ErrorKind::NotFound {
        FilesError::NotFound { path }
    } else {
        FilesError::Io {
            operation,
            path,
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::show;

    #[test]
    fn a_path_is_shown_on_one_line_and_cannot_move_the_cursor() {
        assert_eq!(show("/srv/año/it's.tmp".as_bytes()), "/srv/año/it's.tmp");
        assert_eq!(show(b"a\nb\x1b[2J\xff"), "a\\nb\\u{1b}[2J\\xFF");
        assert_eq!(show("cod\u{202e}gpj".as_bytes()), "cod\\u{202e}gpj");
    }
}
