# docker build -t mnist .                                    for CPUs
# docker build -t mnist:cuda --build-arg TORCH=cu130 .       for NVIDIA GPUs
# docs/docker.md has the lines to run it.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
# The build of torch by uv's name for it: cpu, cu130 and others. Empty is PyPI's own.
ARG TORCH=cpu
RUN pip install --no-cache-dir uv==0.13.9 && python -m venv --without-pip /venv
WORKDIR /source
# The dependencies have a layer of their own, which a change of the code leaves as it is.
COPY pyproject.toml constraints.txt ./
RUN uv pip install --no-cache --python /venv/bin/python ${TORCH:+--torch-backend "$TORCH"} \
    -c constraints.txt -r pyproject.toml --extra all
COPY README.md LICENSE ./
COPY configs configs
COPY mnist_cli mnist_cli
RUN uv pip install --no-cache --python /venv/bin/python --no-deps .

FROM python:${PYTHON}-slim
COPY --from=build /venv /venv
RUN mkdir -p /home/mnist/data /home/mnist/runs && chown -R 1000:1000 /home/mnist
# Matplotlib's font cache goes to /tmp, since `docker run --user` may be anyone.
ENV PATH=/venv/bin:$PATH HOME=/home/mnist USER=mnist MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /home/mnist
USER 1000:1000
VOLUME ["/home/mnist/data", "/home/mnist/runs"]
ENTRYPOINT ["mnist"]
CMD ["--help"]
