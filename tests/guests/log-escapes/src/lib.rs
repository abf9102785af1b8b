//! 12: texts that move a cursor, start a line, turn the writing round or look like another record.

use kit::{Answer, Context, Finding, log, measurements};

const TEXT: &str =
    "a\u{1b}[2J\u{1b}]0;title\u{7}b\r\nlevel=error\0\u{202e}c{\"level\":\"error\"}\u{200b}\u{2028}d";

fn run(_context: &Context) -> Answer {
    log::write(TEXT, TEXT, &[(TEXT.to_owned(), TEXT.to_owned())]);
    measurements::add(&measurements::Measurement {
        name: TEXT.to_owned(),
        target: TEXT.to_owned(),
        value: Some(f64::NAN),
        unit: TEXT.to_owned(),
        note: Some(TEXT.to_owned()),
    });
    kit::done_with(vec![Finding {
        code: TEXT.to_owned(),
        severity: TEXT.to_owned(),
        target: TEXT.to_owned(),
        text: TEXT.to_owned(),
        next: Some(TEXT.to_owned()),
    }])
}

kit::guest!(run);
