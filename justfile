# Everything a developer types, and all that CI runs. `./just` lists it; how `just` itself gets here is in `just`, what a
# machine must have is in scripts/setup. Nothing here is needed to *run* sereno.

set positional-arguments

target := env('CARGO_TARGET_DIR', justfile_directory() / 'target')
sereno := target / 'release/sereno'

# List the recipes.
[private]
default:
    @{{ quote(just_executable()) }} --justfile {{ quote(justfile()) }} --list --unsorted

# See it work: build everything, then a guided tour on data made for it. Arguments go to `sereno demo`.
demo *args: build
    {{ quote(sereno) }} demo "$@"

# The release program, and every plugin built, packed and ready in the target folder's plugins/.
build: (setup 'build')
    cargo build --release --package sereno
    scripts/guests {{ quote(sereno) }}

# The program and the plugins into Cargo's folder (~/.cargo), for a `sereno` on your path.
install: build
    scripts/install {{ quote(target) }}

# All tests: unit, documentation, conformance, scenarios, hostile guests. Installs PostgreSQL if there is none.
test *args: (setup 'test') debug
    cargo test --workspace "$@"

# Formatting and lints, warnings as errors: for this machine, and for the plugins as WebAssembly.
lint: (setup 'build')
    scripts/lint

# Licences, banned crates and where crates come from, by the rules of deny.toml.
deny: (setup 'compiler')
    scripts/deny

# Write docs/reference anew, from the program itself.
docs: debug
    scripts/docs {{ quote(target / 'debug/sereno') }}

# Fail when docs/reference is not what the program would write.
docs-check: docs
    @git diff --exit-code -- docs/reference
    @test -z "$(git status --porcelain -- docs/reference)" || { git status --short -- docs/reference; exit 1; }

# Five minutes of 100 jobs each minute in two processes on one ledger, one of them killed at random: each tick runs once.
soak: (setup 'test') debug
    SERENO_SERVE_MINUTES=5 SERENO_SERVE_JOBS=100 cargo test --package sereno-tests --test it -- --nocapture serve::program::two_processes

# Measure; arguments choose what and are the benchmark program's own.
bench *args: build
    cargo run --release --package sereno-tests --bin bench -- "$@"

# Exactly what CI runs: test, lint, deny, docs-check.
ci:
    .ci/run

# What the machine itself must have (scripts/setup says for what); silent when all is there.
[private]
setup wanted='test':
    @scripts/setup {{ wanted }}

# The program and the plugins for tests: the same features as `cargo test`, so that nothing is built twice.
[private]
debug: (setup 'build')
    cargo build --workspace --all-targets
    scripts/guests {{ quote(target / 'debug/sereno') }}
