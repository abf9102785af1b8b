//! Takes the literals out of a statement's text, so that nobody's data leaves the server with it.
//!
//! It is no parser: where it cannot be sure where a literal ends, everything from there on is left out.

/// A statement longer than this is told up to here.
const TEXT_MAX: usize = 2_000;

/// What stands for everything that was left out.
const REST: &str = "...";

/// `text` with `?` for every literal, without comments, on one line.
pub(super) fn redact(text: &str) -> String {
    let mut reader = Reader {
        left: text,
        out: String::new(),
    };
    while reader.out.len() < TEXT_MAX {
        if reader.left.is_empty() {
            return reader.out.trim().to_owned();
        }
        if reader.step().is_none() {
            break;
        }
    }
    format!("{} {REST}", reader.out.trim())
}

struct Reader<'a> {
    left: &'a str,
    out: String,
}

impl Reader<'_> {
    /// Takes the next token; none: nobody knows where it ends.
    fn step(&mut self) -> Option<()> {
        let first = self.left.chars().next()?;
        let text = self.left;
        if first.is_whitespace() {
            self.skip(first.len_utf8());
            if !self.out.ends_with(' ') && !self.out.is_empty() {
                self.out.push(' ');
            }
        } else if text.starts_with("--") {
            self.skip(text.find('\n').unwrap_or(text.len()));
        } else if text.starts_with("/*") {
            self.skip(comment_end(text)?);
        } else if first == '\'' {
            let end = string_end(text)?;
            self.literal(end);
        } else if first == '"' {
            let end = 1 + text[1..].find('"')? + 1;
            self.keep(end);
        } else if first == '$' {
            self.dollar()?;
        } else if first.is_ascii_digit()
            || (first == '.' && text[1..].starts_with(|c: char| c.is_ascii_digit()))
        {
            let end = text
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_'))
                .unwrap_or(text.len());
            self.literal(end);
        } else if first.is_alphabetic() || first == '_' {
            let end = text
                .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
                .unwrap_or(text.len());
            // E'..', B'..', X'..', N'..' and U&'..' are literals with a letter before them.
            let is_prefix = matches!(
                text[..end].to_ascii_lowercase().as_str(),
                "e" | "b" | "x" | "n" | "u"
            );
            if is_prefix && text[end..].starts_with('\'') {
                self.skip(end);
            } else if is_prefix && text[end..].starts_with("&'") {
                self.skip(end + 1);
            } else {
                self.keep(end);
            }
        } else {
            self.keep(first.len_utf8());
        }
        Some(())
    }

    /// `$1` stays, `$tag$ ... $tag$` is a literal.
    fn dollar(&mut self) -> Option<()> {
        let text = self.left;
        let inner = &text[1..];
        let end = inner
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(inner.len());
        if inner[end..].starts_with('$') && !inner.starts_with(|c: char| c.is_ascii_digit()) {
            let tag = &text[..end + 2];
            let body = text[tag.len()..].find(tag)?;
            self.literal(tag.len() + body + tag.len());
        } else {
            self.keep(1 + end);
        }
        Some(())
    }

    fn skip(&mut self, bytes: usize) {
        self.left = &self.left[bytes..];
    }

    fn keep(&mut self, bytes: usize) {
        self.out.push_str(&self.left[..bytes]);
        self.skip(bytes);
    }

    fn literal(&mut self, bytes: usize) {
        self.out.push('?');
        self.skip(bytes);
    }
}

/// Where a string in quotes ends. One with a backslash may go on behind the next quote or not, by a setting that the text does
/// not tell.
fn string_end(text: &str) -> Option<usize> {
    let mut at = 1;
    loop {
        let close = at + text[at..].find('\'')?;
        if text[at..close].contains('\\') {
            return None;
        }
        if !text[close + 1..].starts_with('\'') {
            return Some(close + 1);
        }
        at = close + 2;
    }
}

/// Where a comment ends; they nest.
fn comment_end(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        let open = text[at..].find("/*").map(|place| at + place);
        let close = text[at..].find("*/").map(|place| at + place);
        match (open, close) {
            (Some(open), Some(close)) if open < close => {
                depth += 1;
                at = open + 2;
            }
            (_, Some(close)) => {
                depth -= 1;
                at = close + 2;
                if depth == 0 {
                    return Some(at);
                }
            }
            (_, None) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn nothing_of_a_literal_is_left() {
        for (text, redacted) in [
            (
                "SELECT * FROM t WHERE a = 'O''Hara' AND b = 12.5e3",
                "SELECT * FROM t WHERE a = ? AND b = ?",
            ),
            ("SELECT $1, $2::text", "SELECT $1, $2::text"),
            (
                "DO $do$ secret 'x' $do$ LANGUAGE plpgsql",
                "DO ? LANGUAGE plpgsql",
            ),
            ("SELECT U&'s', X'ff', e1 FROM t1", "SELECT ?, ?, e1 FROM t1"),
            ("ALTER USER a\n  PASSWORD 'secret'", "ALTER USER a PASSWORD ?"),
            (
                "SELECT /* user 'bob' /* x */ */ 1 -- card 4111\n, 2",
                "SELECT ? , ?",
            ),
            ("SELECT \"Col'umn\" FROM t", "SELECT \"Col'umn\" FROM t"),
            ("SELECT 'a\\' secret, 'b'", "SELECT ..."),
            ("SELECT 'never closed", "SELECT ..."),
            ("SELECT $x$ never closed $y$", "SELECT ..."),
            ("SELECT /* never closed", "SELECT ..."),
        ] {
            assert_eq!(redact(text), redacted, "{text}");
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        let text = format!("SELECT {}", "a, ".repeat(5_000));
        let redacted = redact(&text);
        assert!(
            redacted.len() < 2_100 && redacted.ends_with(" ..."),
            "{}",
            redacted.len()
        );
    }
}
