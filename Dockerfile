# syntax=docker/dockerfile:1
# One image for all processes: docs/deploying.md. docs/adr/0035 has the reasons.
ARG PYTHON=3.13-slim-bookworm

FROM python:${PYTHON} AS build
WORKDIR /srv/build
COPY . .
# From the lock as well, with their hashes. The wheel holds the guide, which is made by the server's own modules.
RUN python -m venv /srv/uv \
    && sed -nE '/^(uv|setuptools)==/,/[^\\]$/p' requirements.lock > build.txt \
    && /srv/uv/bin/pip install --no-cache-dir --no-deps --require-hashes --requirement build.txt \
    && /srv/uv/bin/uv pip install --no-cache --only-binary :all: --constraint requirements.lock \
        --python /srv/uv/bin/python --requirements pyproject.toml --extra docs \
    && /srv/uv/bin/uv build --wheel --no-build-isolation --python /srv/uv/bin/python --out-dir dist .
# Versions and hashes are those of the lock, and nothing is compiled. Later no process can write bytecode.
RUN python -m venv --without-pip /srv/sagahold \
    && /srv/uv/bin/uv pip install --no-cache --only-binary :all: --constraint requirements.lock \
        --compile-bytecode --python /srv/sagahold/bin/python dist/*.whl

FROM python:${PYTHON}
LABEL org.opencontainers.image.title="Sagahold" \
    org.opencontainers.image.source="https://github.com/sagahold/sagahold" \
    org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /srv/sagahold /srv/sagahold
# The only folder that processes write is /tmp, so the rest of the file system may be read-only.
ENV PATH=/srv/sagahold/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    SAGAHOLD_HOST=0.0.0.0 \
    SAGAHOLD_PORT=8000
WORKDIR /tmp
# A number, by which Kubernetes knows that it is not root. It needs no entry in /etc/passwd.
USER 10001:10001
EXPOSE 8000
ENTRYPOINT ["sagahold"]
CMD ["web"]
# For `web`; compose.yaml turns it off for the others. A client without proxies: HTTP_PROXY is for tools.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s \
    CMD ["python", "-c", "import os, http.client as c; h = c.HTTPConnection('127.0.0.1', os.environ['SAGAHOLD_PORT'], timeout=4); h.request('GET', '/healthz'); raise SystemExit(h.getresponse().status != 200)"]
