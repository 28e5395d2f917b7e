# docker build -t neuroenc .   As envs/neuroenc.def does for apptainer; tests/test_containers.py holds them side by side.
FROM python:3.11-slim

WORKDIR /opt/neuroenc
COPY envs/requirements.txt envs/uv.txt envs/
RUN pip install --no-cache-dir --require-hashes -r envs/uv.txt \
    && uv pip install --system --no-cache --require-hashes -r envs/requirements.txt
COPY neuroenc neuroenc
COPY pyproject.toml README.md LICENSE ./
RUN uv pip install --system --no-cache --no-deps --no-build-isolation .

ENV HF_HUB_OFFLINE=1
RUN useradd --create-home neuroenc
USER neuroenc
WORKDIR /home/neuroenc
CMD ["neuroenc", "--help"]
