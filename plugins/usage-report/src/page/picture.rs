//! Pictures as inline SVG, in the colours of the page's style: bars and lines over time.
//!
//! A picture shows numbers that stand beside it as text; for those who cannot see it that is said.

use std::fmt::Write as _;

use super::html::escaped;
use crate::report::Moment;

/// One piece of a bar: the class that colours it, and its amount.
pub(super) type Piece = (&'static str, u64);

/// A bar as wide as its cell, of which `whole` would fill all.
pub(super) fn bar(pieces: &[Piece], whole: u64, label: &str) -> String {
    let mut svg = format!(
        "<svg class=\"bar\" viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">\
         <rect class=\"ground\" width=\"1000\" height=\"10\"/>",
        escaped(label)
    );
    let mut from = 0.0;
    for (class, amount) in pieces.iter().filter(|_| whole > 0) {
        let width = *amount as f64 * 1_000.0 / whole as f64;
        let width = width.min(1_000.0 - from);
        if width > 0.0 {
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{from:.2}\" width=\"{width:.2}\" height=\"10\"/>"
            );
        }
        from += width;
    }
    svg.push_str("</svg>");
    svg
}

/// A bar of a share with a mark where the limit is.
pub(super) fn share(percent: f64, limit: f64, label: &str) -> String {
    let filled = (percent * 10.0).clamp(0.0, 1_000.0);
    let at = (limit * 10.0).clamp(0.0, 1_000.0);
    let class = if percent >= limit { "bad" } else { "rows" };
    format!(
        "<svg class=\"bar\" viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">\
         <rect class=\"ground\" width=\"1000\" height=\"10\"/><rect class=\"{class}\" width=\"{filled:.2}\" height=\"10\"/>\
         <rect class=\"mark\" x=\"{:.2}\" width=\"6\" height=\"10\"/></svg>",
        escaped(label),
        (at - 3.0).clamp(0.0, 994.0)
    )
}

/// How a series went, with its limit where that is not far above it.
pub(super) struct Line<'a> {
    pub(super) points: &'a [(Moment, f64)],
    pub(super) limit: Option<f64>,
    /// What it grows by a day, drawn ahead as a dashed line.
    pub(super) per_day: Option<f64>,
    pub(super) show: &'a dyn Fn(f64) -> String,
    pub(super) label: String,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 200.0;
/// Room for the numbers to the left and the days below.
const LEFT: f64 = 84.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 28.0;

/// The part of the time shown that is looked ahead.
const AHEAD: f64 = 0.25;

/// A limit that is further above than this would press the line flat: it is then only told.
const LIMIT_NEAR: f64 = 3.0;

impl Line<'_> {
    /// The picture; none of fewer than two points.
    pub(super) fn draw(&self) -> Option<String> {
        let (first, last) = (self.points.first()?, self.points.last()?);
        let span = (last.0.0 - first.0.0) as f64;
        if span <= 0.0 {
            return None;
        }
        let highest = self.points.iter().map(|(_, value)| *value).fold(0.0, f64::max);
        let limit = self.limit.filter(|limit| *limit <= highest * LIMIT_NEAR);
        let ahead = self.per_day.map(|pace| {
            let seconds = span * AHEAD;
            (last.1 + pace * seconds / 86_400.0).max(0.0)
        });
        let top = [Some(highest), limit, ahead]
            .into_iter()
            .flatten()
            .fold(1.0, f64::max)
            * 1.06;
        let whole = if ahead.is_some() {
            span * (1.0 + AHEAD)
        } else {
            span
        };
        let x = |seconds: f64| LEFT + seconds / whole * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
        let at = |moment: Moment| x((moment.0 - first.0.0) as f64);
        let mut svg = format!(
            "<svg class=\"line\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escaped(&self.label)
        );
        for quarter in 0..=4 {
            let value = top / 1.06 * f64::from(quarter) / 4.0;
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                y(value) + 4.0,
                escaped(&(self.show)(value)),
                y = y(value)
            );
        }
        if let Some(limit) = limit {
            let _ = write!(
                svg,
                "<line class=\"limit\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\">limit</text>",
                WIDTH - RIGHT,
                LEFT + 6.0,
                y(limit) - 4.0,
                y = y(limit)
            );
        }
        let path = |svg: &mut String, class: &str, places: &[(f64, f64)]| {
            let _ = write!(svg, "<polyline class=\"{class}\" points=\"");
            for (x, y) in places {
                let _ = write!(svg, "{x:.1},{y:.1} ");
            }
            svg.push_str("\"/>");
        };
        let places: Vec<_> = self
            .points
            .iter()
            .map(|(moment, value)| (at(*moment), y(*value)))
            .collect();
        path(&mut svg, "path", &places);
        if let Some(ahead) = ahead {
            let to = (x(whole), y(ahead));
            path(&mut svg, "ahead", &[(at(last.0), y(last.1)), to]);
        }
        let _ = write!(
            svg,
            "<circle class=\"dot\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"/>\
             <text class=\"axis\" x=\"{LEFT}\" y=\"{:.1}\">{}</text>\
             <text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{}\">{}</text></svg>",
            at(last.0),
            y(last.1),
            HEIGHT - 8.0,
            first.0.day(),
            at(last.0),
            HEIGHT - 8.0,
            if ahead.is_some() { "middle" } else { "end" },
            last.0.day()
        );
        Some(svg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_never_leaves_its_ground() {
        let svg = bar(&[("rows", 600), ("index", 600)], 1_000, "a<b");
        assert!(
            svg.contains("x=\"0.00\" width=\"600.00\"") && svg.contains("x=\"600.00\" width=\"400.00\""),
            "{svg}"
        );
        assert!(svg.contains("a&lt;b"), "{svg}");
        assert!(!bar(&[("rows", 5)], 0, "").contains("NaN"));
    }

    #[test]
    fn a_line_needs_two_points_in_time() {
        let show = |value: f64| value.to_string();
        let line = |points: &[(Moment, f64)]| {
            Line {
                points,
                limit: Some(10.0),
                per_day: Some(1.0),
                show: &show,
                label: String::new(),
            }
            .draw()
        };
        assert_eq!(line(&[]), None);
        assert_eq!(line(&[(Moment(5), 1.0)]), None);
        assert_eq!(line(&[(Moment(5), 1.0), (Moment(5), 2.0)]), None);
        let drawn = line(&[(Moment(0), 4.0), (Moment(86_400), 5.0)]).expect("a picture");
        assert!(
            drawn.contains("class=\"limit\"") && drawn.contains("class=\"ahead\""),
            "{drawn}"
        );
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
    }
}
