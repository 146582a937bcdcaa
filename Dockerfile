# The project with all that it needs, for CPU or CUDA.
#
#     docker build -t effps_solo .
#     docker build -t effps_solo:cpu --build-arg TORCH_INDEX_URL=INDEX_OF_CPU_BUILDS .
#     docker run --rm -v "$PWD:/data" effps_solo demo --input /data/street.jpg --output /data/predictions
#     docker run --rm --gpus all -v "$PWD:/data" --entrypoint .venv/bin/python effps_solo train_net.py --config-file ...
#
# torch of the package index brings its own CUDA libraries; the host needs the driver alone.
FROM python:3.11-slim

ARG TORCH_INDEX_URL=""
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends make git \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/effps_solo
COPY . .
RUN TORCH_INDEX_URL="$TORCH_INDEX_URL" make venv && .venv/bin/pip install --no-cache-dir gradio
ENV PYTHONUNBUFFERED=1
EXPOSE 7860
ENTRYPOINT [".venv/bin/python", "-m", "effps_solo"]
CMD ["demo"]
