# evenflow on a CPU or, started with `--gpus all` and built with TORCH=cuda, on an NVIDIA GPU.
#
#   docker build -t evenflow .
#   docker run --rm -v "$PWD/runs:/data/runs" evenflow train countdown seed=1
FROM python:3.12-slim

# cpu or cuda: the file of constraints/, whose exact versions are those that the tests run with.
ARG TORCH=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

WORKDIR /src
COPY constraints/ constraints/
# On its own, so that a change of the code does not bring it again.
RUN if [ "$TORCH" = cpu ]; then \
      pip install -c constraints/cpu.txt --extra-index-url https://download.pytorch.org/whl/cpu torch; \
    else \
      pip install -c constraints/cuda.txt torch; \
    fi
COPY pyproject.toml README.md LICENSE ./
COPY src/ src/
COPY recipes/ recipes/
RUN pip install -c "constraints/$TORCH.txt" '.[lora,math,data,plots]'

# Nothing of a run needs root.
RUN useradd --create-home --uid 1000 evenflow && install -d -o evenflow /data /data/runs
USER 1000
WORKDIR /data
VOLUME /data/runs
ENTRYPOINT ["evenflow"]
CMD ["--help"]
