# perceive, perceive --serve and perceive --web on a CPU, without windows and tracks.
#   docker build -t pvt-hydranet .
# Run lines: docs/install.md
# Versions of Debian's packages are those of the base's release: its archive drops older ones.
ARG BASE=debian:12.12-slim

# onnxruntime-web for perceive --web: only the npm tarball leaves this stage.
FROM ${BASE} AS web
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates npm \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /web
RUN npm pack --silent onnxruntime-web@1.30.0

FROM ${BASE} AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/perceive
COPY . /source
RUN /opt/perceive/bin/pip install --no-cache-dir -c /source/constraints.txt '/source[headless,hub]' \
    && /opt/perceive/bin/pip uninstall -y pip
COPY --from=web /web/onnxruntime-web-1.30.0.tgz /tmp/
RUN PVT_HYDRANET_CACHE=/opt/cache \
    /opt/perceive/bin/perceive-web fetch --tarball /tmp/onnxruntime-web-1.30.0.tgz

FROM ${BASE}
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 perceive
COPY --from=build /opt/perceive /opt/perceive
COPY --from=build --chown=perceive /opt/cache /home/perceive/.cache/pvt-hydranet
ENV PATH=/opt/perceive/bin:$PATH PYTHONUNBUFFERED=1
USER 1000
WORKDIR /data
EXPOSE 8000
ENTRYPOINT ["perceive"]
CMD ["--help"]
