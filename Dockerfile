# Two stages: what it takes to build is not in what runs. Build with: docker build -t kv .
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN cargo build --release --locked --bin kv-server --bin kv-cli

FROM debian:bookworm-slim
RUN useradd --uid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin kv \
    && install -d -o kv -g kv -m 0700 /data
COPY --from=build /source/target/release/kv-server /source/target/release/kv-cli /usr/local/bin/
USER kv
WORKDIR /data
VOLUME /data
EXPOSE 7878 8080
# Inside a container the addresses are its own; who may reach them is decided by what is published.
ENV KV_LISTEN=0.0.0.0:7878 KV_HTTP=0.0.0.0:8080 KV_DATA_DIR=/data
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["kv-cli", "--timeout", "2s", "ping"]
# SIGTERM drains; it may take --drain-timeout.
STOPSIGNAL SIGTERM
ENTRYPOINT ["kv-server"]
