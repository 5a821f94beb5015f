//! Charts as inline SVG: scales with readable ticks, lines, bands, bars and heat maps.
//!
//! Each chart is drawn twice, wide and narrow, and the style sheet shows the one that fits: scaled
//! text would be unreadable on a telephone. Nothing moves and nothing is scripted; what the pointer
//! rests on tells its numbers by `<title>`, and the same numbers stand in a table beside each
//! chart.

use maud::{Markup, html};

/// Where a value lies on an axis.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scale {
    Linear,
    Logarithmic,
}

/// An axis with its ends and ticks. The ends differ, and a logarithmic one begins above zero.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From 0 to `high` or the next round number above it.
    pub(super) fn from_zero(high: f64, format: impl Fn(f64) -> String) -> Self {
        let high = if high.is_finite() && high > 0.0 { high } else { 1.0 };
        let step = round_step(high / 4.0);
        let count = (high / step).ceil().max(1.0) as u32;
        let ticks = (0..=count).map(|n| f64::from(n) * step);
        let ticks = ticks.map(|value| (value, format(value))).collect();
        Self { scale: Scale::Linear, low: 0.0, high: step * f64::from(count), ticks }
    }

    /// From `low` to `high` with these ticks.
    pub(super) fn with_ticks(scale: Scale, low: f64, high: f64, ticks: Vec<(f64, String)>) -> Self {
        let low = if scale == Scale::Logarithmic { low.max(f64::MIN_POSITIVE) } else { low };
        let high = if high > low { high } else { low + low.abs().max(1.0) };
        Self { scale, low, high, ticks }
    }

    /// Whole powers of ten and their doubles and fives, enough to hold `low` to `high`.
    pub(super) fn logarithmic(low: f64, high: f64, format: impl Fn(f64) -> String) -> Self {
        let low = if low.is_finite() && low > 0.0 { low } else { 1.0 };
        let high = if high.is_finite() { high.max(low * 1.01) } else { low * 10.0 };
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let steps = (first..=last)
            .flat_map(|power| [1.0, 2.0, 5.0].map(|factor| factor * 10f64.powi(power)));
        let steps: Vec<f64> = steps.collect();
        let low = steps.iter().rev().find(|&&step| step <= low).copied().unwrap_or(low);
        let high = steps.iter().find(|&&step| step >= high).copied().unwrap_or(high);
        let mut ticks = steps;
        ticks.retain(|&value| value >= low && value <= high);
        // Where they would be left out by twos, the powers alone are easier to read.
        if ticks.len() > TICKS_MAX {
            ticks.retain(|value| (value.log10() - value.log10().round()).abs() < 1e-9);
        }
        let ticks = ticks.into_iter().map(|value| (value, format(value))).collect();
        Self { scale: Scale::Logarithmic, low, high, ticks }
    }

    /// The place of a value from 0 to 1; outside the axis its nearer end.
    fn place(&self, value: f64) -> f64 {
        let place = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Logarithmic => {
                (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
            }
        };
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// At most `most` of the ticks, evenly left out.
    fn ticks(&self, most: usize) -> impl Iterator<Item = &(f64, String)> {
        self.ticks.iter().step_by(self.ticks.len().div_ceil(most.max(1)).max(1))
    }
}

/// The round number (1, 2 or 5 times a power of ten) at or above `step`.
pub(super) fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= step * 0.999_999);
    factor.unwrap_or(10.0) * power
}

/// How a line is drawn, so that colour is not all that tells lines apart.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Stroke {
    #[default]
    Solid,
    Dashed,
    Dotted,
}

impl Stroke {
    const fn class(self) -> &'static str {
        match self {
            Self::Solid => "solid",
            Self::Dashed => "dashed",
            Self::Dotted => "dotted",
        }
    }
}

/// The most ticks of an upright axis.
const TICKS_MAX: usize = 8;

/// How many colours there are for series.
pub(super) const COLORS: usize = 8;

/// A line of a chart. A gap in the data begins a new piece.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    /// Which colour, from 0; from [`COLORS`] on they repeat.
    pub(super) color: usize,
    pub(super) stroke: Stroke,
    pub(super) pieces: Vec<Vec<(f64, f64)>>,
    /// Points that are shown as dots, each with its text.
    pub(super) dots: Vec<(f64, f64, String)>,
    /// Bands between two lines, drawn below them: x, lower and upper end.
    pub(super) bands: Vec<Vec<(f64, (f64, f64))>>,
}

impl Series {
    pub(super) fn line(name: impl Into<String>, color: usize, points: Vec<(f64, f64)>) -> Self {
        Self {
            name: name.into(),
            color,
            stroke: Stroke::Solid,
            pieces: vec![points],
            dots: Vec::new(),
            bands: Vec::new(),
        }
    }

    pub(super) fn stroke(mut self, stroke: Stroke) -> Self {
        self.stroke = stroke;
        self
    }

    fn color_class(&self) -> String {
        format!("c{}", self.color % COLORS)
    }
}

/// A chart of lines.
#[derive(Clone, Debug)]
pub(super) struct LineChart {
    /// What is shown, for those who cannot see it.
    pub(super) description: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) x_name: &'static str,
    pub(super) series: Vec<Series>,
    /// Stretches of the x axis that tell their numbers: from, to, text.
    pub(super) hovers: Vec<(f64, f64, String)>,
}

/// The size of a drawing, in CSS pixels at its natural size.
#[derive(Clone, Copy, Debug)]
struct Size {
    class: &'static str,
    width: f64,
    height: f64,
    x_ticks: usize,
}

const SIZES: [Size; 2] = [
    Size { class: "wide", width: 600.0, height: 280.0, x_ticks: 9 },
    Size { class: "narrow", width: 350.0, height: 240.0, x_ticks: 5 },
];

/// Room for the labels around the plot.
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 40.0;

impl Size {
    fn x(&self, place: f64) -> f64 {
        LEFT + place * (self.width - LEFT - RIGHT)
    }

    fn y(&self, place: f64) -> f64 {
        self.height - BOTTOM - place * (self.height - TOP - BOTTOM)
    }
}

/// A coordinate with one decimal, which is finer than a pixel.
fn n(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

/// Draws for each size.
fn drawn(description: &str, draw: impl Fn(Size) -> Markup) -> Markup {
    html! {
        @for size in SIZES {
            svg.chart.(size.class) viewBox={ "0 0 " (size.width) " " (size.height) }
                role="img" aria-label=(description) {
                (draw(size))
            }
        }
    }
}

/// Grid, ticks and names of both axes.
fn axes(size: Size, x: &Axis, y: &Axis, x_name: &str) -> Markup {
    let (left, right) = (size.x(0.0), size.x(1.0));
    let (bottom, top) = (size.y(0.0), size.y(1.0));
    html! {
        g.grid {
            @for (value, label) in y.ticks(TICKS_MAX) {
                @let at = size.y(y.place(*value));
                line x1=(n(left)) x2=(n(right)) y1=(n(at)) y2=(n(at)) {}
                text.tick.y x=(n(left - 7.0)) y=(n(at + 4.0)) { (label) }
            }
            @for (value, label) in x.ticks(size.x_ticks) {
                @let at = size.x(x.place(*value));
                line.faint x1=(n(at)) x2=(n(at)) y1=(n(top)) y2=(n(bottom)) {}
                // A long label at the right end would be cut off.
                @let class = if label.len() > 5 && x.place(*value) > 0.93 { "end" } else { "x" };
                @let x = if class == "end" { right + RIGHT } else { at };
                text.tick.(class) x=(n(x)) y=(n(bottom + 17.0)) { (label) }
            }
            line.axis x1=(n(left)) x2=(n(right)) y1=(n(bottom)) y2=(n(bottom)) {}
            @if !x_name.is_empty() {
                text.name x=(n((left + right) / 2.0)) y=(n(size.height - 5.0)) { (x_name) }
            }
        }
    }
}

impl LineChart {
    /// The chart with its legend.
    pub(super) fn markup(&self) -> Markup {
        html! {
            (legend(&self.series))
            (drawn(&self.description, |size| self.drawing(size)))
        }
    }

    fn drawing(&self, size: Size) -> Markup {
        let at = |x: f64, y: f64| (size.x(self.x.place(x)), size.y(self.y.place(y)));
        let join = |points: &mut dyn Iterator<Item = (f64, f64)>| {
            points.map(|(x, y)| format!("{},{}", n(x), n(y))).collect::<Vec<_>>().join(" ")
        };
        html! {
            (axes(size, &self.x, &self.y, self.x_name))
            @for series in &self.series {
                g.series.(series.color_class()).(series.stroke.class()) {
                    @for band in &series.bands {
                        @let upper = band.iter().map(|&(x, (_, high))| at(x, high));
                        @let lower = band.iter().rev().map(|&(x, (low, _))| at(x, low));
                        polygon.band points=(join(&mut upper.chain(lower))) {}
                    }
                    @for piece in &series.pieces {
                        polyline points=(join(&mut piece.iter().map(|&(x, y)| at(x, y)))) {}
                    }
                    @for (x, y, text) in &series.dots {
                        @let (x, y) = at(*x, *y);
                        circle.dot cx=(n(x)) cy=(n(y)) r="3" {}
                        circle.hover cx=(n(x)) cy=(n(y)) r="9" { title { (text) } }
                    }
                }
            }
            @for (from, to, text) in &self.hovers {
                @let (from, to) = (size.x(self.x.place(*from)), size.x(self.x.place(*to)));
                rect.hover x=(n(from)) width=(n((to - from).max(1.0)))
                    y=(n(size.y(1.0))) height=(n(size.y(0.0) - size.y(1.0))) {
                    title { (text) }
                }
            }
        }
    }
}

/// What each line is, where there is more than one.
fn legend(series: &[Series]) -> Markup {
    html! {
        @if series.len() > 1 {
            ul.legend {
                @for one in series {
                    li {
                        svg.swatch viewBox="0 0 26 10" aria-hidden="true" {
                            g.series.(one.color_class()).(one.stroke.class()) {
                                line x1="1" x2="25" y1="5" y2="5" {}
                            }
                        }
                        (one.name)
                    }
                }
            }
        }
    }
}

/// A chart of bars that stand side by side.
#[derive(Clone, Debug)]
pub(super) struct BarChart {
    pub(super) description: String,
    pub(super) y: Axis,
    pub(super) x_name: &'static str,
    /// Name below, height and text of each.
    pub(super) bars: Vec<(String, f64, String)>,
    /// What stands on top of each bar; none where there are too many bars for it.
    pub(super) labels: Vec<String>,
    pub(super) color: usize,
}

impl BarChart {
    pub(super) fn markup(&self) -> Markup {
        let count = self.bars.len().max(1) as f64;
        let middle = |index: usize| (index as f64 + 0.5) / count;
        let names = self.bars.iter().enumerate().map(|(i, (name, ..))| (middle(i), name.clone()));
        let x = Axis::with_ticks(Scale::Linear, 0.0, 1.0, names.collect());
        drawn(&self.description, |size| {
            let width = (size.x(1.0) - size.x(0.0)) / count;
            html! {
                (axes(size, &x, &self.y, self.x_name))
                g.bars.{ "c" (self.color % COLORS) } {
                    @for (index, (_, value, text)) in self.bars.iter().enumerate() {
                        @let top = size.y(self.y.place(*value));
                        rect x=(n(size.x(middle(index)) - width * 0.4)) width=(n(width * 0.8))
                            y=(n(top)) height=(n(size.y(0.0) - top)) { title { (text) } }
                        @if let Some(label) = self.labels.get(index) {
                            text.x x=(n(size.x(middle(index)))) y=(n(top - 5.0)) { (label) }
                        }
                    }
                }
            }
        })
    }
}

/// Cells over two axes, the darker the more.
#[derive(Clone, Debug)]
pub(super) struct HeatMap {
    pub(super) description: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) x_name: &'static str,
    /// Each with its ends on both axes.
    pub(super) cells: Vec<Cell>,
}

/// One cell of a heat map.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) x: (f64, f64),
    pub(super) y: (f64, f64),
    /// How much is in it, 0 to 1.
    pub(super) weight: f64,
    pub(super) text: String,
}

impl HeatMap {
    pub(super) fn markup(&self) -> Markup {
        drawn(&self.description, |size| {
            html! {
                (axes(size, &self.x, &self.y, self.x_name))
                g.heat {
                    @for cell in &self.cells {
                        @let x = |at| size.x(self.x.place(at));
                        @let y = |at| size.y(self.y.place(at));
                        @let (left, right) = (x(cell.x.0), x(cell.x.1));
                        @let (low, high) = (y(cell.y.0), y(cell.y.1));
                        rect x=(n(left)) width=(n((right - left).max(0.5))) y=(n(high))
                            height=(n((low - high).max(0.5)))
                            fill-opacity=(format!("{:.2}", cell.weight.clamp(0.0, 1.0))) {
                            title { (cell.text) }
                        }
                    }
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().map(|(_, label)| label.clone()).collect()
    }

    #[test]
    fn ticks_are_round_numbers_that_hold_the_values() {
        let axis = Axis::from_zero(1_000_000.0, |value| value.to_string());
        assert_eq!(labels(&axis), ["0", "500000", "1000000"]);
        let axis = Axis::from_zero(7.3, |value| value.to_string());
        assert_eq!(labels(&axis), ["0", "2", "4", "6", "8"]);
        let axis = Axis::logarithmic(30.0, 900.0, |value| value.to_string());
        assert_eq!(labels(&axis), ["20", "50", "100", "200", "500", "1000"]);
        let axis = Axis::logarithmic(30.0, 9e6, |value| value.to_string());
        assert_eq!(labels(&axis), ["100", "1000", "10000", "100000", "1000000", "10000000"]);
    }

    #[test]
    fn round_steps_are_one_two_and_five() {
        for (step, rounded) in [(0.7, 1.0), (1.0, 1.0), (1.1, 2.0), (3.0, 5.0), (60.0, 100.0)] {
            assert!((round_step(step) - rounded).abs() < 1e-9, "{step}");
        }
    }

    proptest! {
        #[test]
        fn every_value_has_a_place_on_every_axis(
            low in prop::num::f64::ANY,
            high in prop::num::f64::ANY,
            value in prop::num::f64::ANY,
        ) {
            let format = |value: f64| value.to_string();
            let (least, most) = (low.abs().min(1e300), high.abs().min(1e300));
            let given = |scale| Axis::with_ticks(scale, least, most, Vec::new());
            for axis in [
                Axis::from_zero(high, format),
                Axis::logarithmic(
                    low.abs().clamp(1e-9, 1e15),
                    high.abs().clamp(1e-9, 1e15),
                    format,
                ),
                given(Scale::Linear),
                given(Scale::Logarithmic),
            ] {
                prop_assert!((0.0..=1.0).contains(&axis.place(value)), "{:?}", axis);
                prop_assert!(axis.ticks.len() < 100);
            }
        }
    }
}
