# Each line is a command that a person could type. `make demo` and `make test` are all that a newcomer needs.

.PHONY: demo test filtered lint bench evaluate lab fuzz screenshots package deny sbom reproducible clean

# Builds, makes a small world of mail, finds the hijacks in it, prints the alerts and the score. `make demo WEB=1` then
# shows it in the browser.
demo:
	@.ci/install
	cargo run --release --quiet -- demo $(if $(WEB),--web)

# Runs every test. Tests that need ../shared, root or a package say why they skip.
test:
	@.ci/install
	@.ci/install chromium chromium-driver || true
	cargo test

# Runs every test under the filters of the service (Landlock, seccomp, no capabilities), by a runner that each test program
# is started through. Tests that need more say so and skip, as without root.
filtered:
	@.ci/install
	cargo build --example filtered
	env CARGO_TARGET_$$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')_RUNNER=$(CURDIR)/target/debug/examples/filtered \
		cargo test --no-fail-fast

lint:
	@.ci/install
	cargo fmt --check
	cargo clippy --all-targets --quiet -- -D warnings

# Prints MB/s and packets/s of a generated capture, lines/s of a generated log, up to the engine; then what the store
# commits and the sinks deliver in a second.
bench:
	@.ci/install
	cargo bench --bench judge --bench join --bench whole_way --bench log_speed --bench store --bench sinks

# A small company on this machine, in network namespaces: real mail servers, a span port, the sensor, three hijacks.
# Needs root. Prints when each alert came; nothing outlives it.
lab:
	@.ci/install postfix rsyslog dnsmasq-base sasl2-bin libsasl2-modules iproute2 python3 openssl
	cargo build --release --quiet
	tests/lab/run

# Takes the pictures of docs/screenshots anew, in a real browser.
screenshots:
	@.ci/install chromium chromium-driver
	PORTREEVE_SCREENSHOTS=docs/screenshots cargo test --release --test web_pages

# The .deb and the .rpm in target/package. The .deb is installed in a throw-away machine with a systemd of its own, started,
# reloaded, upgraded, removed; then the same machine with the lab's company around it (needs root).
package:
	@.ci/install dpkg-dev rpm systemd
	contrib/package test

# Licences, bans, sources. Advisories need the network: `cargo deny check advisories`.
deny:
	@[ -x target/tools/bin/cargo-deny ] || cargo install --locked --quiet --root target/tools cargo-deny
	cargo fetch --locked --quiet
	PATH=$$PWD/target/tools/bin:$$PATH cargo deny --offline check bans licenses sources

# What the program is made of, in CycloneDX.
sbom:
	@.ci/install python3
	python3 contrib/sbom

# Two builds in two folders, the same bytes.
reproducible:
	contrib/reproducible

# Runs each fuzz target for FUZZ_SECONDS (30) on the stable compiler. Longer runs: docs/proofs.md.
fuzz:
	@.ci/install g++
	fuzz/run

# Holds the judge and nine of the ones to beat to the same histories and worlds; prints tables, draws the curves.
evaluate:
	@.ci/install
	cargo run --release --quiet --example evaluate

clean:
	cargo clean
