# The bot as an image: built from the wheel and the locked dependencies, run by a user without rights.
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements requirements
RUN python -m venv /opt/allora-mqtt \
 && /opt/allora-mqtt/bin/pip install --no-cache-dir --require-hashes -r requirements/run.lock
COPY pyproject.toml README.md LICENSE ./
COPY allora_mqtt allora_mqtt
COPY cli cli
RUN /opt/allora-mqtt/bin/pip install --no-cache-dir --no-deps --no-build-isolation --no-index .

FROM python:3.13-slim
COPY --from=build /opt/allora-mqtt /opt/allora-mqtt
RUN useradd --system --create-home --home-dir /data --uid 10001 bot
USER bot
ENV PATH=/opt/allora-mqtt/bin:$PATH BOT_DATA_DIR=/data BOT_LOG_FORMAT=json
VOLUME /data
ENTRYPOINT ["allora-mqtt"]
CMD ["run"]
