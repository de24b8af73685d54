//! docs/sources.md: every configuration it shows is one that is accepted.

#![allow(clippy::unwrap_used)] // a test fails loudly

use portreeve::config::Config;
use portreeve::tail::Way;

#[test]
fn every_snippet_of_the_page_is_accepted() {
    let page = include_str!("../docs/sources.md");
    let snippets: Vec<&str> =
        page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let mut kinds = [0; 4];
    for snippet in &snippets {
        let config = Config::parse(snippet).unwrap_or_else(|error| panic!("{error}\n{snippet}"));
        for log in &config.source.log {
            let kind = match log.way().unwrap() {
                Way::File(_) => 0,
                Way::Stdin => 1,
                Way::Journal(_) => 2,
                Way::Listen(_) => 3,
            };
            kinds[kind] += 1;
        }
    }
    assert!(kinds.iter().all(|many| *many > 0), "each way in has its snippet: {kinds:?}");
}
