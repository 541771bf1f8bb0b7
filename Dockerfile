# One image for every service and for `shoudan migrate`; compose.yaml says which runs where.
# Pin by digest for production: --build-arg PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:...
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# What builds stays here: /opt/shoudan alone goes into the image, and has not even pip.
RUN python -m venv /opt/build && python -m venv --without-pip /opt/shoudan
WORKDIR /source
# The libraries change seldom: a layer of their own.
COPY requirements-build.lock requirements-run.lock ./
RUN /opt/build/bin/pip install --require-hashes --no-deps -r requirements-build.lock \
    && /opt/build/bin/pip --python /opt/shoudan/bin/python install --require-hashes --no-deps -r requirements-run.lock
COPY README.md LICENSE pyproject.toml ./
COPY protos protos
COPY kit kit
COPY cli cli
COPY fakes fakes
COPY signing signing
COPY services services
COPY gateway gateway
COPY console console
COPY demo demo
COPY docs docs
COPY tools tools
# The partners' pages, out of the tables that serve them: the libraries run it, zensical stands beside hatchling.
RUN PYTHONPATH=protos/gen:kit:fakes:signing:gateway:services/order:services/pay:services/delivery:. \
    /opt/shoudan/bin/python -m tools.partner_site gateway/shoudan_gateway/site /opt/build/bin/zensical
# hatchling is in the lock: nothing else is fetched to build.
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels ./protos . \
    && /opt/build/bin/pip --python /opt/shoudan/bin/python install --no-deps /wheels/*.whl \
    && /opt/shoudan/bin/python -m compileall -q /opt/shoudan

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 shoudan \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin shoudan \
    && install -d -o 10001 -g 10001 /data /state /statements /pki /pki/order /pki/pay \
        /pki/delivery /pki/erp_ingest /pki/identity /pki/finance /pki/console /pki/gateway /pki/cli /pki/nats /pki/postgres \
    && install -d -m 2770 -o 10001 -g 10001 /wal
COPY --from=build /opt/shoudan /opt/shoudan
COPY docker/nats.conf /etc/shoudan/nats.conf
# What is in this image, for scanners.
COPY sbom.cdx.json /usr/share/shoudan/sbom.cdx.json
ENV PATH=/opt/shoudan/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
ENTRYPOINT ["shoudan"]
CMD ["--help"]
