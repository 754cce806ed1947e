# The bot as an image: the wheel with the locked dependencies, run by a user without rights. Only /data is written to, and
# /tmp, so that everything else may be read-only.
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements requirements
RUN python -m venv /opt/allora-mqtt \
 && /opt/allora-mqtt/bin/pip install --no-cache-dir --require-hashes -r requirements/image.lock
COPY pyproject.toml README.md LICENSE ./
COPY allora_mqtt allora_mqtt
COPY cli cli
RUN /opt/allora-mqtt/bin/python -m hatchling build -t wheel -d /wheel \
 && /opt/allora-mqtt/bin/pip install --no-cache-dir --no-deps --no-index /wheel/*.whl

FROM python:3.13-slim
LABEL org.opencontainers.image.title="allora-mqtt" \
      org.opencontainers.image.description="AlloraMind: a trading bot for HyperLiquid, steered and seen over MQTT" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"
# tini passes signals on and buries the dead. The numbers of user and group are what the owners of secrets are set to.
RUN apt-get update \
 && apt-get install -y --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --system --gid 10001 bot \
 && useradd --system --uid 10001 --gid bot --home-dir /data --no-create-home bot \
 && install -d -o bot -g bot -m 700 /data
COPY --from=build /opt/allora-mqtt /opt/allora-mqtt
ENV PATH=/opt/allora-mqtt/bin:$PATH HOME=/data BOT_DATA_DIR=/data BOT_LOG_FORMAT=json PYTHONDONTWRITEBYTECODE=1
WORKDIR /data
USER 10001:10001
VOLUME /data
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s --retries=3 CMD ["allora-mqtt", "health"]
ENTRYPOINT ["tini", "--", "allora-mqtt"]
CMD ["run"]
