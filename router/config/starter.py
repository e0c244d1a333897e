"""The configuration to start from that `init` and `--generate-config` write."""

STARTER = """\
# devstral-router. Check it with: devstral-router check THIS_FILE
# Every key, its default and the reason for it: docs/configuration.md and conf/router.yaml of the project.
# ${VAR}, ${VAR:-default} and ${VAR:?message} take values from the environment and from .env.

# The servers behind the router. Clients use http://THIS_HOST:9000/v1 as their base URL.
backends:
  - url: http://127.0.0.1:8000            # one vLLM server; without a path, /v1 is added
    # name: gpu-1                         # in metrics and logs; host:port if not given
    # api_key: "${VLLM_API_KEY:-}"        # sent to this backend only, never shown
    # weight: 1                           # its share of the requests, 1 to 100
  # - url: http://127.0.0.1:8001          # the next one

server:
  host: 0.0.0.0                           # 127.0.0.1: for this machine only. Clients are not asked for a key.
  port: 9000

# timeouts:
#   first_byte: 120s                      # until a streamed answer begins: raise it for long prompts
#   total: off                            # of a whole exchange

# logging:
#   level: info
#   file: off                             # off: standard error
"""
