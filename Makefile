# Each target does all set-up by itself: libtorch into .libtorch/ (once), then the build.

CARGO ?= cargo
OUT ?= advmod-report

.PHONY: setup build audit test bench clean

setup:
	@python3 scripts/fetch-libtorch.py

build: setup
	$(CARGO) build --release --locked

# The main job on the embedded model and images: all attacks in their small budgets, curves, report.
audit: build
	./target/release/advmod audit --attacks all --preset quick --out $(OUT)

# Everything that CI runs. The tests come last, so that their summary ends the output.
test: setup
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --quiet
	$(CARGO) test --workspace --locked

# Speed beside other attack libraries on the same model and images; see benches/README.md.
# WEIGHTS, IMAGES, PEERS and PYTHON say what to compare with; BENCH takes more options, such as --only jsma,cw.
bench: build
	python3 benches/compare.py --weights $(WEIGHTS) --images $(IMAGES) --peers $(PEERS) --python $(or $(PYTHON),python3) $(BENCH)

clean:
	$(CARGO) clean
	rm -rf .libtorch .libtorch-download
