//! Mistakes in a configuration, underlined where they stand.

use std::ops::Range;
use std::path::Path;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value as Json, json};
use sereno_core::config::Diagnostic;
use sereno_core::report::Severity;

use super::paint::Paint;

/// All of them for people, in the order of the file.
pub(crate) fn text(file: &Path, source: &str, mistakes: &[Diagnostic], paint: Paint) -> String {
    titled(&Level::ERROR, file, source, mistakes, paint)
}

/// The same of what is no mistake: something to look at, or only to know.
pub(crate) fn doubts(
    severity: Severity,
    file: &Path,
    source: &str,
    found: &[Diagnostic],
    paint: Paint,
) -> String {
    let level = match severity {
        Severity::Info => Level::NOTE,
        Severity::Warn | Severity::Critical => Level::WARNING,
    };
    titled(&level, file, source, found, paint)
}

fn titled(level: &Level<'_>, file: &Path, source: &str, mistakes: &[Diagnostic], paint: Paint) -> String {
    let renderer = if paint.is_colored() {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let renderer = renderer.decor_style(DecorStyle::Ascii);
    let path = file.display().to_string();
    let mut text = String::new();
    for mistake in in_order(mistakes) {
        let title = level.clone().primary_title(&mistake.message).id(mistake.code);
        let group = match span(source, mistake) {
            Some(span) => {
                let annotation = AnnotationKind::Primary.span(span);
                let annotation = if mistake.label.is_empty() {
                    annotation
                } else {
                    annotation.label(&mistake.label)
                };
                title.element(Snippet::source(source).path(&path).annotation(annotation))
            }
            None => Group::with_title(title),
        };
        let group: Group<'_> = match &mistake.hint {
            Some(hint) => group.element(Level::HELP.with_name(Some("hint")).message(hint)),
            None => group,
        };
        text.push_str(&renderer.render(&[group]));
        text.push_str("\n\n");
    }
    text
}

/// The same for programs.
pub(crate) fn json(file: &Path, source: &str, mistakes: &[Diagnostic]) -> Vec<Json> {
    in_order(mistakes)
        .into_iter()
        .map(|mistake| {
            let place = span(source, mistake).map(|span| place(source, span.start));
            json!({
                "code": mistake.code,
                "message": mistake.message,
                "label": mistake.label,
                "file": file.display().to_string(),
                "line": place.map(|(line, _)| line),
                "column": place.map(|(_, column)| column),
                "hint": mistake.hint,
            })
        })
        .collect()
}

fn in_order(mistakes: &[Diagnostic]) -> Vec<&Diagnostic> {
    let mut mistakes: Vec<&Diagnostic> = mistakes.iter().collect();
    mistakes.sort_by_key(|mistake| mistake.span.as_ref().map_or(0, |span| span.start));
    mistakes
}

/// The span, held within the text and at the borders of characters.
fn span(source: &str, mistake: &Diagnostic) -> Option<Range<usize>> {
    let span = mistake.span.as_ref()?;
    let border = |at: usize| {
        (0..=at.min(source.len()))
            .rev()
            .find(|at| source.is_char_boundary(*at))
            .unwrap_or(0)
    };
    let (start, end) = (border(span.start), border(span.end));
    Some(start..end.max(start))
}

/// Line and column, counted from 1.
fn place(source: &str, at: usize) -> (usize, usize) {
    let before = &source[..at];
    let line = 1 + before.matches('\n').count();
    let column = 1 + before.rsplit('\n').next().unwrap_or_default().chars().count();
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "version = 1\n\n[job.temp]\nplugin = \"temp-files\"\nshedule = \"0 4 * * *\"\n";

    fn mistakes() -> Vec<Diagnostic> {
        let at = SOURCE.find("shedule").expect("it is there");
        vec![
            Diagnostic {
                code: "unknown-key",
                message: "`shedule` is not a key of a job".to_owned(),
                span: Some(at..at + 7),
                label: "nobody reads this".to_owned(),
                hint: Some("did you mean `schedule`?".to_owned()),
            },
            Diagnostic {
                code: "missing",
                message: "there is no ledger".to_owned(),
                span: None,
                label: String::new(),
                hint: None,
            },
        ]
    }

    #[test]
    fn every_mistake_is_underlined_with_its_hint() {
        let text = text(Path::new("sereno.toml"), SOURCE, &mistakes(), Paint::plain());
        assert_eq!(
            text,
            "error[missing]: there is no ledger

error[unknown-key]: `shedule` is not a key of a job
 --> sereno.toml:5:1
  |
5 | shedule = \"0 4 * * *\"
  | ^^^^^^^ nobody reads this
  |
  = hint: did you mean `schedule`?

"
        );
    }

    #[test]
    fn programs_get_lines_and_columns() {
        let json = json(Path::new("sereno.toml"), SOURCE, &mistakes());
        assert_eq!(json[0]["line"], Json::Null);
        assert_eq!(
            (&json[1]["line"], &json[1]["column"]),
            (&Json::from(5), &Json::from(1))
        );
        assert_eq!(
            (&json[1]["code"], &json[1]["label"]),
            (&Json::from("unknown-key"), &Json::from("nobody reads this"))
        );
    }

    #[test]
    fn a_span_beyond_the_text_or_inside_a_character_harms_nobody() {
        for span in [0..500, 400..500, 9..10] {
            let mistake = Diagnostic {
                code: "x",
                message: "m".to_owned(),
                span: Some(span.clone()),
                label: String::new(),
                hint: None,
            };
            let shown = text(Path::new("f"), "a = \"éé\"\n", &[mistake], Paint::plain());
            assert!(shown.starts_with("error[x]: m\n"), "{span:?}: {shown}");
        }
    }
}
