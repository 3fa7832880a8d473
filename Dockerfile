# CPU:   docker build --tag mscon .
# CUDA:  docker build --tag mscon:cuda --build-arg BASE=nvidia/cuda:12.8.1-base-ubuntu24.04 .
# Run:   docker run --rm --volume "$PWD:/work" --user "$(id -u):$(id -g)" mscon check mine.toml --table mine.csv
# On a CPU, --build-arg PIP_EXTRA_INDEX_URL=... with the index of CPU builds that pytorch.org names makes it much smaller.
ARG BASE=debian:trixie-slim
FROM ${BASE}

# Of the base, whose packages have no versions that stay available.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 mscon \
    && install --directory --owner mscon --mode 1777 /work

COPY pyproject.toml README.md LICENSE /opt/source/
COPY src /opt/source/src
ARG EXTRAS=pretrained,onnx,serve
ARG PIP_EXTRA_INDEX_URL=
RUN python3 -m venv /opt/mscon \
    && /opt/mscon/bin/pip install --no-cache-dir "/opt/source[${EXTRAS}]"

# Any user can write there, also one that `docker run --user` names.
ENV PATH=/opt/mscon/bin:${PATH} HOME=/tmp
USER 10001
WORKDIR /work
ENTRYPOINT ["mscon"]
CMD ["--help"]
