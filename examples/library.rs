//! portreeve as a library: a capture goes in, alerts come out. `cargo run --example library -- capture.pcap`
//! The core reads no clock and no file: the loop below is all there is between packets and incidents.

use portreeve::alert::Alert;
use portreeve::capture::CaptureFile;
use portreeve::company::Company;
use portreeve::engine::memory::InstallKey;
use portreeve::engine::{Engine, Settings, model::Model};
use portreeve::smtp::{WireRoad, WireSettings};
use portreeve::time::CivilClock;
use std::{error::Error, path::Path, sync::Arc};

/// Judges a capture; calls `tell` for every alert.
pub fn judge(capture: &Path, mut tell: impl FnMut(Alert)) -> Result<(), Box<dyn Error>> {
    let networks = vec!["10.20.0.0/16".parse()?, "203.0.113.0/24".parse()?, "192.0.2.0/24".parse()?];
    let company = Arc::new(Company::new(networks, &[], Vec::new(), CivilClock::utc()));
    let mut road = WireRoad::new(Arc::clone(&company), WireSettings::default());
    // The key hides recipients in what is remembered: make one with getrandom and keep it with the state.
    let mut engine = Engine::new(company, Model::shipped()?, Settings::default(), InstallKey([7; 16]));
    let (mut file, mut seen, mut changes) = (CaptureFile::open(capture)?, Vec::new(), Vec::new());
    while let Some(packet) = file.next()? {
        road.packet(&packet, &mut seen);
        for observation in seen.drain(..) {
            engine.observe(&observation, &mut changes);
        }
        changes.drain(..).for_each(|change| tell(Alert::of(&change)));
    }
    Ok(())
}

#[allow(dead_code, reason = "a test judges too")]
fn main() -> Result<(), Box<dyn Error>> {
    let capture = std::env::args().nth(1).ok_or("give a capture")?;
    judge(Path::new(&capture), |alert| println!("{}", alert.headline))
}
