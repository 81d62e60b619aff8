# Installs the locked dependencies and the package's wheel into an environment without pip.
FROM python:3.12-slim AS build
WORKDIR /src
RUN python -m venv --without-pip /venv
COPY requirements.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip --python /venv/bin/python install --require-hashes --no-deps -r requirements.txt
COPY . .
# A clone made under umask 077 is readable by its owner only; the files get the usual modes.
RUN --mount=type=cache,target=/root/.cache/pip \
    chmod -R go=rX . \
 && python -m pip wheel --no-deps --wheel-dir /dist . \
 && python -m pip --python /venv/bin/python install --no-deps --no-index /dist/*.whl


FROM python:3.12-slim AS runtime
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
LABEL org.opencontainers.image.title="flask-redis-counter" \
      org.opencontainers.image.description="The visit counter that does not lie" \
      org.opencontainers.image.licenses="MIT"
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin counter \
 && install -d -o 10001 -g 10001 /spool
COPY --from=build /venv /venv
USER 10001
WORKDIR /srv
EXPOSE 5000
# http.client, because urllib uses HTTP_PROXY, which Docker's client may set in containers.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "from http.client import HTTPConnection; c = HTTPConnection('127.0.0.1', 5000, timeout=2); c.request('GET', '/healthz'); exit(c.getresponse().status != 200)"]


# docker build --target dev: the source under /src takes precedence over the installed package.
FROM runtime AS dev
ENV PYTHONPATH=/src
COPY --from=build /src/flask_redis_counter /src/flask_redis_counter
CMD ["flask", "--app", "flask_redis_counter", "run", "--host=0.0.0.0", "--reload"]


FROM runtime AS production
CMD ["flask-redis-counter", "serve", "--host=0.0.0.0"]
