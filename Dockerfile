# syntax=docker/dockerfile:1

# A static executable resolves names without shared libraries from glibc 2.34 on.
FROM rust:1.95-slim-bookworm AS builder
# jemalloc's build needs make.
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The commit that --version shows.
ARG COMMIT=
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    POD_REGISTRAR_COMMIT=$COMMIT .ci/build /out/pod-registrar

FROM scratch
COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=builder /out/pod-registrar /pod-registrar
USER 65532:65532
EXPOSE 8080 7070
ENTRYPOINT ["/pod-registrar"]
