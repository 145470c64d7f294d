# One image for the four services; docker-compose.yml says which one a container runs.
FROM python:3.13-slim AS build
WORKDIR /source
RUN python -m venv /opt/pricetime
COPY requirements.lock ./
# The lock as constraints: its versions, but neither the embedded servers nor the tools for development
ENV PIP_CONSTRAINT=/source/requirements.lock PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY . .
RUN /opt/pricetime/bin/pip install ".[tracing]"

FROM python:3.13-slim
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin pricetime \
 && install --directory --owner pricetime /data
COPY --from=build /opt/pricetime /opt/pricetime
ENV PATH=/opt/pricetime/bin:$PATH PYTHONUNBUFFERED=1 PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1
USER pricetime
WORKDIR /data
