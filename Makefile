# Each line is a command that a person could type. `make demo` and `make test` are all that a newcomer needs.

.PHONY: demo test lint bench evaluate clean

# Builds, makes a small world of mail, finds the hijacks in it, prints the alerts and the score.
demo:
	@.ci/install
	cargo run --release --quiet -- demo

# Runs every test. Tests that need ../shared, root or a package say why they skip.
test:
	@.ci/install
	cargo test

lint:
	@.ci/install
	cargo fmt --check
	cargo clippy --all-targets --quiet -- -D warnings

# Prints MB/s and packets/s of a generated capture, lines/s of a generated log, up to the engine; then what the store
# commits and the sinks deliver in a second.
bench:
	@.ci/install
	cargo bench --bench judge --bench whole_way --bench store --bench sinks

# Holds the judge and nine of the ones to beat to the same histories and worlds; prints tables, draws the curves.
evaluate:
	@.ci/install
	cargo run --release --quiet --example evaluate

clean:
	cargo clean
