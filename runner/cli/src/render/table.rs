//! Columns that line up, without lines between them.

use super::paint::Paint;

/// Lays rows out under a header; the last column is as long as it is.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]], paint: Paint) -> String {
    let mut widths = header.map(width);
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(width(cell));
        }
    }
    let line = |cells: &[&str]| {
        let mut line = String::new();
        for (place, (cell, widest)) in cells.iter().zip(widths).enumerate() {
            line.push_str(cell);
            if place + 1 < N {
                line.push_str(&" ".repeat(widest - width(cell) + 2));
            }
        }
        line.trim_end().to_owned()
    };
    let mut text = format!("{}\n", paint.faint(line(&header)));
    for row in rows {
        let cells: Vec<&str> = row.iter().map(String::as_str).collect();
        text.push_str(&line(&cells));
        text.push('\n');
    }
    text
}

/// Characters, which for names and numbers is what a terminal shows.
fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let rows = [
            ["a".to_owned(), "1".to_owned(), "x".to_owned()],
            ["año".to_owned(), "22".to_owned(), String::new()],
        ];
        assert_eq!(
            table(["job", "runs", "last"], &rows, Paint::plain()),
            "job  runs  last\na    1     x\naño  22\n"
        );
    }
}
