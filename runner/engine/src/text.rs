//! Texts from a guest, made fit for logs and terminals: nothing in them moves a cursor, starts a line or hides.

use std::fmt::Write;

/// Bytes of any one text from a guest: a screenful.
pub(crate) const TEXT_BYTES_MAX: usize = 4 << 10;

/// Stands where something was cut off.
const CUT: &str = "…";

/// True for what is shown as it is. Controls, line and paragraph separators, and the marks that turn the direction
/// of text or have no width are not.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `text` with everything unfit escaped as Rust would (`\n`, `\u{1b}`), at most `bytes_max` long.
pub(crate) fn clean(text: &str, bytes_max: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(bytes_max));
    for c in text.chars() {
        let before = clean.len();
        if is_plain(c) {
            clean.push(c);
        } else {
            // A backslash itself stays as it is: these texts are read by people, not parsed back.
            write!(clean, "{}", c.escape_default()).expect("a string takes everything");
        }
        if clean.len() > bytes_max {
            clean.truncate(before);
            while clean.len() + CUT.len() > bytes_max && clean.pop().is_some() {}
            if clean.len() + CUT.len() <= bytes_max {
                clean.push_str(CUT);
            }
            return clean;
        }
    }
    clean
}

/// [`clean`], with the length that most texts may have.
pub(crate) fn line(text: &str) -> String {
    clean(text, TEXT_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_terminal_is_escaped_and_letters_are_not() {
        assert_eq!(line("año 🌙 \"ok\" C:\\temp"), "año 🌙 \"ok\" C:\\temp");
        assert_eq!(line("a\nb\r\x1b[2Jc\0\t"), r"a\nb\r\u{1b}[2Jc\u{0}\t");
        assert_eq!(line("\u{202e}evil\u{2028}"), r"\u{202e}evil\u{2028}");
    }

    #[test]
    fn a_text_of_the_largest_length_stays_and_one_byte_more_is_cut() {
        let fits = "x".repeat(TEXT_BYTES_MAX);
        assert_eq!(line(&fits), fits);
        let cut = line(&format!("{fits}x"));
        assert!(cut.len() <= TEXT_BYTES_MAX && cut.ends_with(CUT), "{}", cut.len());
    }

    #[test]
    fn a_cut_never_splits_a_character_or_an_escape() {
        for bytes_max in 0..20 {
            let cut = clean("ñ\u{1b}ñ\nñ🌙ñ", bytes_max);
            assert!(cut.len() <= bytes_max, "{cut:?} for {bytes_max}");
        }
    }
}
