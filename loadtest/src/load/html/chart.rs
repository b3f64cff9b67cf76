//! Bars with their spread as an SVG file of its own: small, for light and dark, without script, font or network.

use std::fmt::Write;

use super::escape;
use super::plot::{plain, three_digits};
use crate::load::compare::Spread;

/// One drawing.
pub struct Chart<'a> {
    pub title: &'a str,
    pub panels: Vec<Panel<'a>>,
}

/// One quantity of several candidates, below each other.
pub struct Panel<'a> {
    /// What it is, its unit, and what is better: `CPU µs per request (less is better)`.
    pub title: &'a str,
    pub bars: Vec<Bar<'a>>,
}

pub struct Bar<'a> {
    pub name: &'a str,
    /// Where the lowest and the highest are the median, no spread is drawn.
    pub spread: Spread,
    /// Drawn in the color that stands out.
    pub ours: bool,
}

const WIDTH: f64 = 760.0;
const MARGIN: f64 = 16.0;
/// Names stand to the left of it.
const BARS_LEFT: f64 = 170.0;
/// Room for the number behind the longest bar.
const VALUE: f64 = 80.0;
const TITLE: f64 = 34.0;
const PANEL_TITLE: f64 = 26.0;
const ROW: f64 = 26.0;
const BAR: f64 = 16.0;
const PANEL_GAP: f64 = 10.0;

impl Chart<'_> {
    pub fn svg(&self) -> String {
        let panels = self.panels.iter().map(Panel::height).sum::<f64>();
        let height = TITLE + panels + MARGIN;
        let title = escape(self.title);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" role=\"img\" aria-label=\"{title}\">\n<style>{STYLE}</style>\n\
             <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
             <text class=\"title\" x=\"{MARGIN}\" y=\"24\">{title}</text>\n"
        );
        let mut top = TITLE;
        for panel in &self.panels {
            panel.draw(top, &mut out);
            top += panel.height();
        }
        out.push_str("</svg>\n");
        out
    }
}

impl Panel<'_> {
    fn height(&self) -> f64 {
        PANEL_TITLE + ROW * self.bars.len() as f64 + PANEL_GAP
    }

    fn draw(&self, top: f64, out: &mut String) {
        let most = self.bars.iter().map(|bar| bar.spread.max).fold(1e-9, f64::max);
        let at = |value: f64| BARS_LEFT + value / most * (WIDTH - BARS_LEFT - VALUE - MARGIN);
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "<text class=\"dim\" x=\"{MARGIN}\" y=\"{:.0}\">{}</text>",
            top + 16.0,
            escape(self.title)
        );
        for (position, Bar { name, spread, ours }) in self.bars.iter().enumerate() {
            let bar = top + PANEL_TITLE + ROW * position as f64;
            let middle = bar + BAR / 2.0;
            let class = if *ours { "ours" } else { "peer" };
            let _ = writeln!(
                out,
                "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>\
                 <rect class=\"{class}\" x=\"{BARS_LEFT}\" y=\"{bar:.0}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\"/>",
                BARS_LEFT - 8.0,
                middle + 4.5,
                escape(name),
                at(spread.median) - BARS_LEFT
            );
            if spread.max > spread.min {
                let (low, high) = (at(spread.min), at(spread.max));
                let (from, to) = (middle - 4.0, middle + 4.0);
                let _ = writeln!(
                    out,
                    "<path class=\"spread\" d=\"M{low:.1} {from:.0}V{to:.0}M{low:.1} {middle:.0}H{high:.1}\
                     M{high:.1} {from:.0}V{to:.0}\"/>"
                );
            }
            let _ = writeln!(
                out,
                "<text x=\"{:.0}\" y=\"{:.0}\">{}</text>",
                at(spread.max) + 8.0,
                middle + 4.5,
                plain(three_digits(spread.median))
            );
        }
    }
}

const STYLE: &str = "
:root{--bg:#fff;--fg:#1b1f24;--dim:#5b6570;--ours:#0b62c4;--peer:#aab4bf}
@media (prefers-color-scheme:dark){:root{--bg:#14171b;--fg:#e6e9ed;--dim:#9aa5b1;--ours:#6cb2ff;--peer:#56606b}}
text{fill:var(--fg);font:13px system-ui,sans-serif}.title{font-size:13.5px;font-weight:600}.dim{fill:var(--dim)}
.paper{fill:var(--bg)}.ours{fill:var(--ours)}.peer{fill:var(--peer)}.spread{fill:none;stroke:var(--fg);stroke-width:1.5}
";

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(min: f64, median: f64, max: f64) -> Spread {
        Spread { median, min, max }
    }

    #[test]
    fn every_bar_stays_on_the_paper_and_names_cannot_break_it() {
        let bars = vec![
            Bar { name: "a<b", spread: spread(1.0, 2.0, 3.0), ours: true },
            Bar { name: "c", spread: spread(0.0, 0.0, 0.0), ours: false },
        ];
        let svg = Chart { title: "x & y", panels: vec![Panel { title: "µs", bars }] }.svg();
        assert!(svg.contains("a&lt;b") && svg.contains("x &amp; y"), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 3, "{svg}");
        assert_eq!(svg.matches("class=\"spread\"").count(), 1, "{svg}");
        for x in svg.split(" x=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!((0.0..=WIDTH - 40.0).contains(&x.parse::<f64>().expect("a number")), "{svg}");
        }
    }

    #[test]
    fn numbers_have_the_digits_that_mean_something() {
        for (value, shown) in
            [(13.734, 13.7), (0.4567, 0.457), (71_019.0, 71_019.0), (0.0, 0.0), (489.2, 489.0)]
        {
            assert!((three_digits(value) - shown).abs() < 1e-9, "{value}");
        }
    }
}
