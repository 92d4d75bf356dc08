//! The plots, from the numbers that the book keeps.

use std::fs;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

use crate::book::{Book, Name, Whose};

const SIZE: (u32, u32) = (760, 420);

/// A line: what it is called, whose it is, and the curves whose points it joins.
struct Line<'a> {
    label: &'a str,
    whose: Whose,
    curves: &'a [Name<'a>],
    colour: RGBColor,
}

/// A plot.
struct Plot<'a> {
    file: &'a str,
    title: &'a str,
    x: &'a str,
    y: &'a str,
    /// Whether the axes are logarithmic.
    logarithmic: [bool; 2],
    /// Where its lines leave room for their names.
    names: SeriesLabelPosition,
    lines: Vec<Line<'a>>,
}

// Told apart by everybody.
const BLACK: RGBColor = RGBColor(60, 60, 60);
const BLUE: RGBColor = RGBColor(0, 114, 178);
const RED: RGBColor = RGBColor(213, 94, 0);
const SKY: RGBColor = RGBColor(86, 180, 233);
const GOLD: RGBColor = RGBColor(230, 159, 0);
const GREEN: RGBColor = RGBColor(0, 158, 115);

/// Draws all that there are numbers for.
pub(crate) fn draw(book: &Book, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for plot in plots() {
        let path = folder.join(plot.file);
        plot.draw(book, &path)
            .map_err(|error| anyhow!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn plots() -> [Plot<'static>; 4] {
    const ACTIVE: &[Name<'_>] = &[("cpu", "rate"), ("rates", "rate")];
    const STANDBY: &[Name<'_>] = &[("cpu", "rate_standby"), ("rates", "rate_standby")];
    let line = |label, whose, curves, colour| Line {
        label,
        whose,
        curves,
        colour,
    };
    [
        Plot {
            file: "cpu.svg",
            title: "CPU per flow over the rate",
            x: "flows per second",
            y: "µs per flow",
            logarithmic: [true, false],
            names: SeriesLabelPosition::UpperRight,
            lines: vec![
                line("active node, original", Whose::Original, ACTIVE, RED),
                line("active node, ours", Whose::Ours, ACTIVE, BLUE),
                line("receiving and counting", Whose::Floor, ACTIVE, BLACK),
                line("standby, original", Whose::Original, STANDBY, GOLD),
                line("standby, ours", Whose::Ours, STANDBY, SKY),
            ],
        },
        Plot {
            file: "scale.svg",
            title: "CPU per event over the size of the table",
            x: "entries",
            y: "µs per event",
            logarithmic: [true, false],
            names: SeriesLabelPosition::UpperLeft,
            lines: vec![
                line("original", Whose::Original, &[("scale", "event")], RED),
                line("ours", Whose::Ours, &[("scale", "event")], BLUE),
            ],
        },
        Plot {
            file: "takeover.svg",
            title: "Takeover until the peer is complete",
            x: "entries",
            y: "seconds",
            logarithmic: [true, true],
            names: SeriesLabelPosition::UpperLeft,
            lines: vec![
                line("original", Whose::Original, &[("takeover", "stock")], RED),
                line(
                    "ours, the same commands",
                    Whose::Ours,
                    &[("takeover", "stock")],
                    BLUE,
                ),
                line(
                    "ours, role primary",
                    Whose::Ours,
                    &[("takeover", "role")],
                    GREEN,
                ),
            ],
        },
        Plot {
            file: "latency.svg",
            title: "Latency, insert to datagram: that many percent take no longer",
            x: "percent",
            y: "µs",
            logarithmic: [false, true],
            names: SeriesLabelPosition::UpperLeft,
            lines: vec![
                line(
                    "original, idle",
                    Whose::Original,
                    &[("latency", "idle")],
                    RED,
                ),
                line("ours, idle", Whose::Ours, &[("latency", "idle")], BLUE),
                line("relay, idle", Whose::Floor, &[("latency", "idle")], BLACK),
                line(
                    "original, 20,000 changes/s",
                    Whose::Original,
                    &[("latency", "updates")],
                    GOLD,
                ),
                line(
                    "ours, 20,000 changes/s",
                    Whose::Ours,
                    &[("latency", "updates")],
                    SKY,
                ),
            ],
        },
    ]
}

type Points = Vec<(f64, f64)>;

impl Plot<'_> {
    fn draw(&self, book: &Book, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let lines: Vec<(&Line<'_>, Points)> = self
            .lines
            .iter()
            .map(|line| {
                let curves = line.curves.iter();
                let mut points: Points = curves
                    .flat_map(|curve| book.curve(*curve, line.whose))
                    .collect();
                points.sort_by(|a, b| a.0.total_cmp(&b.0));
                (line, points)
            })
            .filter(|(_, points)| !points.is_empty())
            .collect();
        let all = || lines.iter().flat_map(|(_, points)| points);
        let largest = |of: fn(&(f64, f64)) -> f64| all().map(of).fold(0.0, f64::max);
        let least = |of: fn(&(f64, f64)) -> f64| all().map(of).fold(f64::MAX, f64::min);
        if lines.is_empty() {
            return Ok(());
        }
        let (x, y) = (
            least(|p| p.0) * 0.9..largest(|p| p.0) * 1.1,
            // Room for names above the lines.
            0.0..largest(|p| p.1) * 1.5,
        );
        let low_y = least(|p| p.1) * 0.8..largest(|p| p.1) * 1.3;
        match self.logarithmic {
            [true, true] => self.on(path, x.log_scale(), low_y.log_scale(), &lines),
            [true, false] => self.on(path, x.log_scale(), y, &lines),
            [false, true] => self.on(path, 0.0..100.0, low_y.log_scale(), &lines),
            [false, false] => self.on(path, x, y, &lines),
        }
    }

    fn on<X, Y>(
        &self,
        path: &Path,
        x: X,
        y: Y,
        lines: &[(&Line<'_>, Points)],
    ) -> Result<(), Box<dyn std::error::Error>>
    where
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let area = SVGBackend::new(path, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 17))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(58)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .x_desc(self.x)
            .y_desc(self.y)
            .x_label_formatter(&|value| plain(*value))
            .y_label_formatter(&|value| plain(*value))
            .light_line_style(WHITE)
            .draw()?;
        for (line, points) in lines {
            let colour = line.colour;
            chart
                .draw_series(LineSeries::new(
                    points.iter().copied(),
                    colour.stroke_width(2),
                ))?
                .label(line.label)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2))
                });
            chart.draw_series(
                points
                    .iter()
                    .map(|point| Circle::new(*point, 3, colour.filled())),
            )?;
        }
        chart
            .configure_series_labels()
            .position(self.names.clone())
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK)
            .draw()?;
        area.present()?;
        Ok(())
    }
}

/// A number as people write it.
fn plain(value: f64) -> String {
    match value {
        large if large >= 1e6 => format!("{}M", large / 1e6),
        large if large >= 1e4 => format!("{}k", large / 1e3),
        other => format!("{}", (other * 1000.0).round() / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plot_is_drawn_from_the_book_alone() {
        let mut book = Book::default();
        for plot in plots() {
            for line in &plot.lines {
                for curve in line.curves {
                    for x in [10.0, 50.0, 90.0] {
                        book.point(*curve, line.whose, x, x / 3.0);
                    }
                }
            }
        }
        let folder = std::env::temp_dir().join(format!("bench-plots-{}", std::process::id()));
        draw(&book, &folder).unwrap();
        for plot in plots() {
            let text = fs::read_to_string(folder.join(plot.file)).unwrap();
            for line in &plot.lines {
                assert!(text.contains(line.label), "{}: {}", plot.file, line.label);
            }
        }
        fs::remove_dir_all(folder).unwrap();
        // Without numbers there is nothing to draw.
        draw(&Book::default(), &std::env::temp_dir()).unwrap();
    }
}
