# Each target does all set-up by itself: libtorch into .libtorch/ (once), then the build.

CARGO ?= cargo
OUT ?= advmod-report
CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
CHECKED := target/checked
# Where cargo-deny keeps the database of security advisories.
ADVISORIES := $(or $(CARGO_HOME),$(HOME)/.cargo)/advisory-dbs

.PHONY: setup build audit test check-dependencies check-outputs check-package check-cost check-folders check-python check-torchscript
.PHONY: check-strong wheel check-wheel release bench docs clean check-hostile advisories notices sbom fuzz
.PHONY: check-masked check-cases measure-harm measure-coverage

setup:
	@python3 scripts/fetch-libtorch.py

build: setup
	$(CARGO) build --release --locked

# The main job on the embedded model and images: all attacks in their small budgets, curves, report.
audit: build
	./target/release/advmod audit --attacks all --preset quick --force --out $(OUT)

# Everything that CI runs. The tests come last, so that their summary ends the output.
test: setup check-dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items --locked --quiet
	$(CARGO) test --workspace --locked --features toy --test toy --test conformance
	$(CARGO) test --workspace --locked --no-run
	@$(MAKE) --no-print-directory check-outputs
	@$(MAKE) --no-print-directory check-package
	$(CARGO) test --workspace --locked

# Licences, sources and version requirements of all dependencies, by deny.toml, and that their notices are here. Security advisories are looked
# up in the copy of their database that `make advisories` has fetched: nothing else asks the network.
check-dependencies:
	@python3 scripts/notices.py --check
	@if $(CARGO) deny --version > /dev/null 2>&1; then \
		$(CARGO) fetch --locked --quiet && $(CARGO) deny --offline --all-features check bans licenses sources || exit 1; \
		if [ -n "$$(ls -A $(ADVISORIES) 2> /dev/null)" ]; then \
			$(CARGO) deny --offline --all-features check --disable-fetch advisories; \
		else \
			echo "skipped: security advisories: there is no copy of their database (make advisories fetches one)"; \
		fi \
	else \
		echo "skipped: the licences, sources and security advisories of dependencies: cargo-deny is not installed"; \
	fi

# The database of security advisories, from the network.
advisories:
	$(CARGO) deny fetch db

# The notices of all that the program is made of, in third-party/.
notices:
	python3 scripts/notices.py

# What the program is made of, for machines: a CycloneDX list beside each crate of the workspace, which git does not see.
sbom:
	@if $(CARGO) cyclonedx --version > /dev/null 2>&1; then \
		$(CARGO) cyclonedx --format json --override-filename advmod.cdx --target x86_64-unknown-linux-gnu; \
		mkdir -p target/sbom && mv advmod.cdx.json target/sbom/ && rm -f attacks/advmod.cdx.json && ls target/sbom/*; \
	else \
		echo "skipped: cargo-cyclonedx is not installed (cargo install cargo-cyclonedx)"; exit 1; \
	fi

# Reads back what a run writes, with other programs than those that wrote it. Needs target/debug/advmod, which the tests build.
check-outputs: .venv/ready
	@rm -rf $(CHECKED)
	@./target/debug/advmod audit --attacks fgsm,cw --preset quick --samples 16 --gate 'asr.fgsm <= 99 %' --quiet --out $(CHECKED)/run \
		> /dev/null || [ $$? = 4 ]
	@./target/debug/advmod export $(CHECKED)/run --format npz --output $(CHECKED)/arrays --quiet > /dev/null
	@./target/debug/advmod export $(CHECKED)/run --format png --output $(CHECKED)/pictures --quiet > /dev/null
	.venv/bin/python scripts/check_formats.py $(CHECKED)/run --export $(CHECKED)/arrays --export $(CHECKED)/pictures
	@if [ -n "$(CHROMIUM)" ]; then \
		.venv/bin/python scripts/check_html.py "$(CHROMIUM)" $(CHECKED)/run/report.html; \
	else \
		echo "skipped: report.html in a browser: there is no Chromium (CHROMIUM says where it is)"; \
	fi

# The Python package with the program that the tests built, where PyTorch is at hand: its packages take gigabytes, so nothing fetches them here.
check-package:
	@if .venv-torch/bin/python -c "import torch, pytest" 2> /dev/null; then \
		ADVMOD_BINARY=$(CURDIR)/target/debug/advmod .venv-torch/bin/python -m pytest -q; \
	else \
		echo "skipped: the Python package: there is no PyTorch in .venv-torch (make .venv-torch/ready)"; \
	fi

# The Python package with the program in it: dist/advmod-….whl.
wheel: build .venv-wheel/ready
	rm -rf build dist/advmod-*.whl
	ADVMOD_BINARY=$(CURDIR)/target/release/advmod PATH="$(CURDIR)/.venv-wheel/bin:$$PATH" .venv-wheel/bin/python -m build --wheel --no-isolation --outdir dist
	PATH="$(CURDIR)/.venv-wheel/bin:$$PATH" .venv-wheel/bin/python scripts/check_wheel.py dist/advmod-*.whl

# What a release consists of: wheel, source and their sums. Sign dist/SHA256SUMS; publish nothing that it does not name.
release: wheel
	PATH="$(CURDIR)/.venv-wheel/bin:$$PATH" .venv-wheel/bin/python -m build --sdist --no-isolation --outdir dist
	cd dist && sha256sum advmod-* > SHA256SUMS && cat SHA256SUMS

# Installs the wheel with the PyTorch that it asks for into a new virtual environment, and runs it: gigabytes of packages.
check-wheel: wheel
	PATH="$(CURDIR)/.venv-wheel/bin:$$PATH" .venv-wheel/bin/python scripts/check_wheel.py dist/advmod-*.whl --install target/wheel-venv

# Exported torchvision models against PyTorch itself: gigabytes of packages, and minutes.
check-python: build .venv-torch/ready
	$(CARGO) build --release --locked --example gradient
	.venv-torch/bin/python scripts/check_exports.py $(FAMILIES)

# The same of TorchScript, traced, scripted and frozen.
check-torchscript: build .venv-torch/ready
	$(CARGO) build --release --locked --example gradient
	.venv-torch/bin/python scripts/check_torchscript.py $(FAMILIES)

# AutoAttack, and each of its attacks, beside pyautoattack on one network: tens of minutes. STRONG says more, such as --model FILE --eps 0.1.
check-strong: build .venv-torch/ready
	.venv-torch/bin/python -m pip install --quiet --disable-pip-version-check safetensors==0.8.0 tqdm==4.70.1
	.venv-torch/bin/python -m pip install --quiet --disable-pip-version-check --no-deps pyautoattack==0.2.0
	.venv-torch/bin/python scripts/check_strong.py target/release/advmod $(STRONG)

# That files made to fill the memory are refused within their bound. The programs that PyTorch exports are among them.
check-cost: build .venv-torch/ready
	.venv-torch/bin/python scripts/check_cost.py target/release/advmod

# That files made to do harm are refused in a line, and reach for nothing.
check-hostile: build
	python3 scripts/check_hostile.py target/release/advmod

# Every reader on a million inputs that are made to break it, or for five minutes: two hours. See docs/security.md.
fuzz: setup
	python3 scripts/fuzz.py $(READERS)

# That no run that ends well loses a file: hundreds of small audits, and minutes.
check-folders: build .venv/ready
	.venv/bin/python scripts/check_folders.py target/release/advmod

# That no network with masked gradients passes a gate that claims robustness, through any door; the masks are made by PyTorch.
check-masked: build .venv-torch/ready
	.venv-torch/bin/python scripts/check_masked.py target/release/advmod

# Inputs that users have, in a folder with a part for each kind; see the script. CASES says where it is.
check-cases: build
	python3 scripts/check_cases.py $(CASES) target/release/advmod

# The tables and the picture of docs/harm.md: what follows the success of attacks. HARM takes --model, --data and --normalize.
measure-harm: build
	python3 scripts/measure_harm.py target/release/advmod target/harm --samples 300 $(HARM)

# The tables of docs/statistics.md: how often intervals hold the truth. COVERAGE takes --model, --data, --normalize, --sets, --images and --n.
measure-coverage: setup
	$(CARGO) run --release --locked --example coverage -- $(COVERAGE)

.venv/ready: scripts/requirements.txt
.venv-torch/ready: scripts/requirements-torch.txt
.venv-wheel/ready: scripts/requirements-wheel.txt
.venv/ready .venv-torch/ready .venv-wheel/ready:
	python3 -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# The pages as a site, in target/book/book.
docs:
	@python3 scripts/make_book.py target/book
	@if mdbook --version > /dev/null 2>&1; then \
		mdbook build target/book; \
	else \
		echo "The pages lie in target/book. To make a site of them, install mdBook: cargo install mdbook --locked"; \
	fi

# Speed beside other attack libraries on the same model and images; see benches/README.md.
# WEIGHTS, IMAGES, PEERS and PYTHON say what to compare with; BENCH takes more options, such as --only jsma,cw.
bench: build
	python3 benches/compare.py --weights $(WEIGHTS) --images $(IMAGES) --peers $(PEERS) --python $(or $(PYTHON),python3) $(BENCH)

clean:
	$(CARGO) clean
	rm -rf .libtorch .libtorch-download .venv .venv-torch .venv-wheel build dist
