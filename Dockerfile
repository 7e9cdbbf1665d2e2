# `reconcile` with the drivers of PostgreSQL, for a scheduler that runs containers: docs/container.md.
# Both stages are Debian 12, so that the environment of the first finds its Python in the second.
FROM debian:12-slim AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends binutils python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
RUN python3 -m venv /opt/build
COPY requirements/runtime.lock requirements/
RUN python3 -m venv --without-pip /opt/reconcile \
    && /opt/build/bin/pip --python /opt/reconcile/bin/python install --no-cache-dir --no-compile --no-deps \
       --require-hashes --requirement requirements/runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY migrations migrations
COPY reconciler reconciler
# Symbols for debuggers are a tenth of the image. Libraries that a wheel brings along for its own stay as they are.
RUN /opt/build/bin/pip --python /opt/reconcile/bin/python install --no-cache-dir --no-compile --no-deps . \
    && find /opt/reconcile -name '*.so' -not -path '*.libs/*' -exec strip --strip-unneeded {} +
# The demo shows that all works, and compiles what a run imports; all else compiled has another 15 MB.
RUN /opt/reconcile/bin/reconcile demo \
    && /opt/reconcile/bin/python -c "import adbc_driver_postgresql.dbapi, reconciler.sources.postgres, reconciler.state.postgres"

# It has Python and neither a shell nor a package manager.
FROM gcr.io/distroless/python3-debian12:nonroot
COPY --from=build /opt/reconcile /opt/reconcile
ENV PATH=/opt/reconcile/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /work
ENTRYPOINT ["/opt/reconcile/bin/reconcile"]
CMD ["--help"]
