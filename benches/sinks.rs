//! How fast the sinks are: figures to read, no claims. `cargo bench --bench sinks`.

#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

#[path = "../tests/sink_support/mod.rs"]
mod sink_support;

use sink_support::*;
use std::time::{Duration, Instant};

fn main() {
    drains_to_a_file();
    drains_to_local_http();
    commits_while_draining();
}

fn drains_to_a_file() {
    let mut world = World::at(tempfile::tempdir().unwrap());
    for format in ["ndjson", "ecs"] {
        let path = world.path().join(format);
        let sinks = [config(&format!("type = \"file\"\npath = {path:?}\nformat = {format:?}"))];
        world.register(&sinks);
        world.commit(50_000);
        let began = Instant::now();
        let delivered = world.deliver(&sinks, 600)[0].delivered;
        let seconds = began.elapsed().as_secs_f64();
        println!(
            "file, {format}: {delivered} alerts in {seconds:.2} s = {:.0}/s",
            delivered as f64 / seconds
        );
    }
}

fn drains_to_local_http() {
    let mut world = World::at(tempfile::tempdir().unwrap());
    let server = HttpServer::start(|request| {
        if request.path == "/_bulk" {
            let ids: Vec<String> = String::from_utf8_lossy(&request.body)
                .lines()
                .step_by(2)
                .map(|line| {
                    serde_json::from_str::<serde_json::Value>(line).unwrap()["create"]["_id"].to_string()
                })
                .map(|id| format!("{{\"create\":{{\"_id\":{id},\"status\":201}}}}"))
                .collect();
            return answer("200 OK", &format!("{{\"errors\":false,\"items\":[{}]}}", ids.join(",")));
        }
        answer("200 OK", "{}")
    });
    for kind in ["webhook", "elastic"] {
        let sinks = [config(&format!(
            "type = {kind:?}\nurl = \"{}\"\nallow_networks = [\"127.0.0.0/8\"]",
            server.url()
        ))];
        world.register(&sinks);
        world.commit(20_000);
        let began = Instant::now();
        let delivered = world.deliver(&sinks, 600)[0].delivered;
        let seconds = began.elapsed().as_secs_f64();
        println!("{kind}: {delivered} alerts in {seconds:.2} s = {:.0}/s", delivered as f64 / seconds);
    }
}

/// Commits go on while sinks drain: how long does the slowest take?
fn commits_while_draining() {
    let mut world = World::at(tempfile::tempdir().unwrap());
    let path = world.path().join("out");
    let sinks = [config(&format!("type = \"file\"\npath = {path:?}"))];
    world.register(&sinks);
    world.commit(30_000);
    let delivery = world.start(&sinks);
    let mut slowest = Duration::ZERO;
    for _ in 0..100 {
        let began = Instant::now();
        world.commit(10);
        slowest = slowest.max(began.elapsed());
        delivery.committed();
    }
    let status = &delivery.finish(Duration::from_secs(600))[0];
    println!(
        "{} delivered; slowest of 100 commits beside it {:.3} s",
        status.delivered,
        slowest.as_secs_f64()
    );
}
