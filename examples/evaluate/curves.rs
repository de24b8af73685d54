//! The curves: share of attacks found, and share of their mail leaked, over the false alarms paid for it.
//!
//! *In*: what detectors said. *Out*: one SVG file.

use crate::population::Honest;
use crate::score::{Trail, summary, threshold};
use crate::tables::{alarms, names};
use plotters::prelude::*;
use std::path::Path;

/// Budgets drawn, false alarms per 1,000 sender-days.
const BUDGETS: [f64; 9] = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0];

/// Draws both panels.
pub fn draw(fresh: &Honest, attacked: &[Vec<Trail>], path: &Path) {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).unwrap();
    }
    let root = SVGBackend::new(path, (1_100, 460)).into_drawing_area();
    root.fill(&WHITE).unwrap();
    let panels = root.split_evenly((1, 2));
    let panel = |area, title, of: fn(&crate::score::Summary) -> f64| {
        let mut chart = ChartBuilder::on(area)
            .caption(title, ("sans-serif", 16))
            .margin(10)
            .x_label_area_size(36)
            .y_label_area_size(44)
            .build_cartesian_2d((0.1f64..50.0).log_scale(), 0.0f64..1.0)
            .unwrap();
        chart
            .configure_mesh()
            .x_desc("false alarms per 1,000 sender-days (on fresh honest histories)")
            .y_desc("share")
            .draw()
            .unwrap();
        for (index, name) in names().enumerate() {
            let mut falling = fresh.days[index].clone();
            falling.sort_by(|a, b| b.total_cmp(a));
            let points = BUDGETS.map(|budget| {
                let at = threshold(&falling, budget);
                (budget, of(&summary(&alarms(&attacked[index], at))))
            });
            let colour = Palette99::pick(index).to_rgba();
            let width = if index == 0 { 3 } else { 1 };
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(width)))
                .unwrap()
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(width)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::MiddleRight)
            .background_style(WHITE.mix(0.7))
            .label_font(("sans-serif", 10))
            .draw()
            .unwrap();
    };
    panel(&panels[0], "attacks found", |sum| sum.found);
    panel(&panels[1], "attack mail sent before the alarm", |sum| sum.leaked);
    root.present().unwrap();
}
