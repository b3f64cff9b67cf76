//! Plots as SVG.

use std::fmt::Write;

use super::{COLORS, escape};
use crate::load::compare::Spread;

/// One line; its color is its position.
pub(super) struct Line {
    pub(super) points: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    Log,
    /// Time from 0.
    Seconds,
    /// Of 1/(1 - quantile), logarithmic: 1, 10, 100, … are p0, p90, p99, …
    Percentile,
}

pub(super) struct Plot<'a> {
    pub(super) title: &'a str,
    pub(super) unit: &'a str,
    pub(super) x: Scale,
    pub(super) y: Scale,
    pub(super) lines: Vec<Line>,
}

/// The size of a drawing. There are two of each plot, and the style shows the one that fits the screen: text keeps its
/// size.
struct Frame {
    class: &'static str,
    width: f64,
    height: f64,
    left: f64,
    right: f64,
}

const FRAMES: [Frame; 2] = [
    Frame { class: "wide", width: 900.0, height: 320.0, left: 70.0, right: 40.0 },
    Frame { class: "narrow", width: 400.0, height: 260.0, left: 56.0, right: 24.0 },
];
const TOP: f64 = 12.0;
const BOTTOM: f64 = 36.0;

/// Values on an axis, with their labels.
struct Axis {
    log: bool,
    low: f64,
    high: f64,
    ticks: Vec<(f64, String)>,
}

impl Plot<'_> {
    pub(super) fn svg(&self) -> String {
        let heading =
            format!("<section><h2>{} <small>({})</small></h2>", escape(self.title), escape(self.unit));
        let points = || self.lines.iter().flat_map(|line| &line.points);
        if points().count() == 0 {
            return format!("{heading}<p>Nothing was measured.</p></section>\n");
        }
        let x = Axis::new(self.x, points().map(|point| point.0));
        let y = Axis::new(self.y, points().map(|point| point.1));
        let drawings: String = FRAMES.iter().map(|frame| self.draw(frame, &x, &y)).collect();
        format!("{heading}<figure>{drawings}</figure></section>\n")
    }

    fn draw(&self, frame: &Frame, x: &Axis, y: &Axis) -> String {
        let &Frame { class, width, height, left, right } = frame;
        let place_x = |value| left + x.share(value) * (width - left - right);
        let place_y = |value| height - BOTTOM - y.share(value) * (height - TOP - BOTTOM);
        let title = escape(self.title);
        let mut out = format!(
            "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\">\n"
        );
        for (value, label) in &y.ticks {
            let at = place_y(*value);
            // Writing to a string does not fail.
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{left}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                width - right,
                left - 8.0,
                at + 5.0
            );
        }
        for (value, label) in &x.ticks {
            let at = place_x(*value);
            let bottom = height - BOTTOM;
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
                 <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
                height - 12.0
            );
        }
        for (position, line) in self.lines.iter().enumerate() {
            let _ = write!(out, "<polyline class=\"{}\" points=\"", line_class(position));
            for &(at, value) in &line.points {
                let _ = write!(out, "{:.1},{:.1} ", place_x(at), place_y(value));
            }
            out.push_str("\"/>\n");
        }
        out.push_str("</svg>");
        out
    }
}

/// Where the colors come again, the lines are dashed.
fn line_class(position: usize) -> String {
    let dashed = if position / COLORS % 2 == 1 { " dashed" } else { "" };
    format!("l{}{dashed}", position % COLORS)
}

impl Axis {
    fn new(scale: Scale, values: impl Iterator<Item = f64>) -> Axis {
        let (mut low, mut high) = (f64::INFINITY, 0.0f64);
        for value in values {
            low = low.min(value);
            high = high.max(value);
        }
        match scale {
            Scale::Linear | Scale::Seconds => {
                let step = nice_step(high.max(1e-6) / 5.0);
                // The end of time is where the measurement ends; a value's axis ends on a tick.
                let count =
                    if scale == Scale::Seconds { (high / step).floor() } else { (high / step).ceil() };
                let count = count.max(1.0) as u32;
                let label = |value: f64| {
                    let unit = if scale == Scale::Seconds { " s" } else { "" };
                    format!("{}{unit}", plain(value))
                };
                let ticks = (0..=count).map(|tick| f64::from(tick) * step).map(|value| (value, label(value)));
                let ticks: Vec<_> = ticks.collect();
                let last = ticks.last().map_or(high, |tick| tick.0);
                Axis { log: false, low: 0.0, high: high.max(last), ticks }
            }
            Scale::Log | Scale::Percentile => {
                let begin = low.max(1e-4).log10().floor() as i32;
                let end = (high.max(1e-4).log10().ceil() as i32).max(begin + 1);
                let ticks = (begin..=end).map(|power| {
                    let value = 10f64.powi(power);
                    let label = if scale == Scale::Percentile { percentile(power) } else { plain(value) };
                    (value, label)
                });
                Axis { log: true, low: 10f64.powi(begin), high: 10f64.powi(end), ticks: ticks.collect() }
            }
        }
    }

    /// Where a value is between the ends.
    fn share(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        share.clamp(0.0, 1.0)
    }
}

/// 1, 2 or 5 times a power of ten, at least `step`.
fn nice_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let nice = [1.0, 2.0, 5.0].into_iter().map(|factor| factor * power).find(|&nice| nice >= step);
    nice.unwrap_or(10.0 * power)
}

pub(super) fn plain(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} M", (value / 1e4).round() / 100.0),
        value if value >= 1e4 => format!("{} k", (value / 10.0).round() / 100.0),
        value => format!("{}", (value * 1e4).round() / 1e4),
    }
}

/// More than the spread of a few rounds has a meaning for.
pub(super) fn three_digits(value: f64) -> f64 {
    if value <= 0.0 {
        return 0.0;
    }
    let unit = 10f64.powf(value.log10().floor() - 2.0).min(1.0);
    (value / unit).round() * unit
}

fn percentile(power: i32) -> String {
    match power {
        0 => "p0".into(),
        1 => "p90".into(),
        2 => "p99".into(),
        power => format!("p99.{}", "9".repeat((power - 2).max(0) as usize)),
    }
}

/// Horizontal bars with the spread as a line over each; the names stand above, where long ones have room.
pub(super) fn bars(title: &str, values: &[(&str, Spread)]) -> String {
    let drawings: String = FRAMES.iter().map(|frame| draw_bars(title, values, frame)).collect();
    format!("<h2>{}</h2><figure>{drawings}</figure>\n", escape(title))
}

fn draw_bars(title: &str, values: &[(&str, Spread)], frame: &Frame) -> String {
    const ROW: f64 = 52.0;
    const BAR: f64 = 24.0;
    const VALUE: f64 = 90.0;
    let most = values.iter().map(|(_, spread)| spread.max).fold(1e-9, f64::max);
    let width = |value: f64| value / most * (frame.width - VALUE);
    let height = ROW * values.len() as f64 + 4.0;
    let mut out = format!(
        "<svg class=\"{}\" viewBox=\"0 0 {} {height}\" role=\"img\" aria-label=\"{}\">\n",
        frame.class,
        frame.width,
        escape(title)
    );
    for (position, (name, spread)) in values.iter().enumerate() {
        let top = ROW * position as f64;
        let bar = top + 20.0;
        let middle = bar + BAR / 2.0;
        let (low, high) = (width(spread.min), width(spread.max));
        let _ = writeln!(
            out,
            "<text class=\"name\" x=\"0\" y=\"{:.1}\">{}</text>\
             <rect class=\"f{}\" x=\"0\" y=\"{bar:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"3\"/>\
             <line class=\"whisker\" x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>\
             <text class=\"name\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            top + 14.0,
            escape(name),
            position % COLORS,
            width(spread.median),
            high + 8.0,
            middle + 5.0,
            plain(three_digits(spread.median))
        );
    }
    out.push_str("</svg>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_hold_all_values() {
        for scale in [Scale::Linear, Scale::Log, Scale::Seconds, Scale::Percentile] {
            let values = [1.0, 3.7, 812.0];
            let axis = Axis::new(scale, values.into_iter());
            for value in values {
                assert!(axis.low <= value && value <= axis.high);
            }
            assert!((2..=8).contains(&axis.ticks.len()));
        }
    }

    #[test]
    fn steps_are_round() {
        for (step, nice) in [(0.9, 1.0), (1.1, 2.0), (3.0, 5.0), (6.0, 10.0), (0.03, 0.05)] {
            assert!((nice_step(step) - nice).abs() < 1e-9, "{step}");
        }
    }
}
