# Short names for the steps of .ci/run and for what one runs by hand. `just` lists them.

# List the recipes
default:
    @just --list

# All checks that a change has to pass
ci *steps:
    .ci/run {{steps}}

# The quick checks: formatting and lints
check:
    .ci/run format lint

# All tests that need no cluster
test *args:
    cargo test --locked {{args}}

# Random histories of the event loop
sim histories="100000" seed="1":
    POD_REGISTRAR_TEST_HISTORIES={{histories}} POD_REGISTRAR_TEST_SEED={{seed}} \
        cargo test --locked --release --test simulation histories -- --nocapture

# Random inputs for everything that parses text of others
fuzz rounds="100000":
    POD_REGISTRAR_TEST_FUZZ_ROUNDS={{rounds}} cargo test --locked --lib fuzz

# Tests against registries of others, which are built for them
registries:
    .ci/run registries

# From the previous version to this one and back; the previous one is built
upgrade:
    .ci/run upgrade

# Tests of the Helm chart and of the alerts, with tools that are built for them
chart:
    .ci/run chart

# Tests against a control plane, which is started for them
cluster:
    .ci/run cluster

# Measurements of the release build; see docs/performance.md
bench *args="--pods 10000":
    cargo bench --locked --bench envelope -- {{args}}

# A simulated cluster, the controller and the reference registry in one process
demo *args:
    cargo run --locked -- demo {{args}}

# Format the code
fmt:
    cargo fmt

# The documentation of the code
doc:
    .ci/run doc

# Licences, sources, bans and advisories of the dependencies
audit:
    .ci/run audit

# The executable of the image, and a check of the image without a container engine
image:
    .ci/run image
