# cabench on the CPU: docker build -t cabench . && docker run --rm -v "$PWD/work:/work" cabench list
FROM python:3.12-slim
# The compiler is for compiled training steps (scale quick), as g++ or clang++ is outside of Docker
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir torch torchvision --index-url https://download.pytorch.org/whl/cpu
COPY . /src
RUN pip install --no-cache-dir /src && rm -rf /src
WORKDIR /work
ENTRYPOINT ["cabench"]
