//! Forecasts of hourly counts: an exponentially weighted mean, and Holt-Winters with a daily season.

use super::Judge;

/// Least standard deviation, messages: a sender of nothing must not alarm at one.
const DEVIATION_MIN: f64 = 1.0;
/// Hours before anything is said.
const WARM_HOURS: u32 = 48;

/// Walks hour by hour: `close` is told each finished hour and its count, `score` the running one.
fn hourly<S: 'static>(mut state: S, close: fn(&mut S, i64, f64), score: fn(&S, i64, f64) -> f64) -> Judge {
    let mut under_way: Option<(i64, f64)> = None;
    Box::new(move |seen| {
        let hour = (seen.at / 3_600.0).floor() as i64;
        let (mut at, mut count) = under_way.unwrap_or((hour, 0.0));
        while at < hour {
            close(&mut state, at, count);
            (at, count) = (at + 1, 0.0);
        }
        count += 1.0;
        under_way = Some((at, count));
        score(&state, at, count)
    })
}

#[derive(Default)]
struct Ewma {
    mean: f64,
    variance: f64,
    hours: u32,
}

/// Weight of the newest hour.
const WEIGHT: f64 = 0.1;

/// Standard deviations above the weighted mean.
pub fn ewma() -> Judge {
    hourly(
        Ewma::default(),
        |state, _, count| {
            let error = count - state.mean;
            state.mean += WEIGHT * error;
            state.variance = (1.0 - WEIGHT) * (state.variance + WEIGHT * error * error);
            state.hours += 1;
        },
        |state, _, count| {
            if state.hours < WARM_HOURS {
                return 0.0;
            }
            (count - state.mean) / state.variance.sqrt().max(DEVIATION_MIN)
        },
    )
}

struct HoltWinters {
    level: f64,
    trend: f64,
    season: [f64; 24],
    deviation: [f64; 24],
    hours: u32,
}

impl HoltWinters {
    fn forecast(&self, hour: i64) -> f64 {
        self.level + self.trend + self.season[hour.rem_euclid(24) as usize]
    }
}

/// Smoothing of level, trend, season and deviation.
const SMOOTHING: (f64, f64, f64, f64) = (0.1, 0.0035, 0.1, 0.1);

/// Deviations above the forecast.
pub fn holt_winters() -> Judge {
    let state = HoltWinters { level: 0.0, trend: 0.0, season: [0.0; 24], deviation: [0.0; 24], hours: 0 };
    hourly(
        state,
        |state, hour, count| {
            let (alpha, beta, gamma, delta) = SMOOTHING;
            let place = hour.rem_euclid(24) as usize;
            let error = count - state.forecast(hour);
            let level = alpha * (count - state.season[place]) + (1.0 - alpha) * (state.level + state.trend);
            state.trend = beta * (level - state.level) + (1.0 - beta) * state.trend;
            state.level = level;
            state.season[place] = gamma * (count - level) + (1.0 - gamma) * state.season[place];
            state.deviation[place] = delta * error.abs() + (1.0 - delta) * state.deviation[place];
            state.hours += 1;
        },
        |state, hour, count| {
            if state.hours < 2 * WARM_HOURS {
                return 0.0;
            }
            let deviation = state.deviation[hour.rem_euclid(24) as usize];
            (count - state.forecast(hour)) / deviation.max(DEVIATION_MIN)
        },
    )
}
