# Each line is a command that a person could type. `make demo` and `make test` are all that a newcomer needs.

.PHONY: demo test lint bench lab screenshots clean

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

lint:
	@.ci/install
	cargo fmt --check
	cargo clippy --all-targets --quiet -- -D warnings

# Prints MB/s and packets/s of a generated capture, lines/s of a generated log, up to the engine; then what the store
# commits and the sinks deliver in a second.
bench:
	@.ci/install
	cargo bench --bench whole_way --bench store --bench sinks

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

clean:
	cargo clean
