"""Make a tiny Mistral model, with random weights, that a real vLLM server loads in Mistral mode.

Needs numpy and mistral-common only; no model hub. The tokenizer is the Tekken one that mistral-common ships, cut to
its first ids (every byte is still there, so any text round-trips). It calls itself v13, or v11 when asked to: vLLM
enforces tool_choice with a grammar only for Tekken >= v11. It has 64 special tokens instead of 1000, because vLLM
spends about 45 ms per 1000 of them on each tool parser that it makes, at least two per chat request.

Random weights alone never end an answer, never call a tool and never close a JSON string. Five channels of the
residual stream are therefore reserved: no layer writes to them, but for one attention head, and the output head reads
biases from them. So sampled text ends by itself, a tool is called where tools are offered, and JSON gets closed.
The same seed gives the same bytes.
"""

import argparse
import base64
import json
import struct
from dataclasses import dataclass
from pathlib import Path

import mistral_common
import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]

CONTROL_TOKENS = [  # rank order as in Mistral's own v11 and v13 files
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]"),
    *("[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"),
    *(f"<SPECIAL_{rank}>" for rank in range(20, 32)),
    *("[ARGS]", "[CALL_ID]"),
]
END, TOOLS_END, TOOL_CALLS = (CONTROL_TOKENS.index(name) for name in ("</s>", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]"))

# The reserved channels.
ONE = 0  # always 1: what reads it is a plain bias
AT_TOOLS_END = 1  # this token is [/AVAILABLE_TOOLS]
SEEN_TOOLS = 2  # such a token came before; written by the last attention head of the first layer
AT_BRACE = 3  # this token has a "}"
AT_CALL = 4  # this token is [TOOL_CALLS]
RESERVED = 5


@dataclass(frozen=True)
class Shape:
    """Sizes of the model: 1.1 million parameters."""

    vocabulary: int = 8192
    specials: int = 64
    hidden: int = 64
    layers: int = 2
    heads: int = 2
    head_dim: int = 32  # vLLM's attention on a CPU wants a multiple of 32
    feed_forward: int = 128
    positions: int = 4096
    mean_answer: float = 24  # tokens of a sampled answer at temperature 1


def tekken(shape: Shape, version: str) -> dict[str, object]:
    """Return the tokenizer's file. `version` decides how conversations are rendered."""
    source = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
    original = json.loads(source.read_text("utf-8"))
    ranks = shape.vocabulary - shape.specials
    config = {
        "num_vocab_tokens": ranks,
        "default_vocab_size": shape.vocabulary,
        "default_num_special_tokens": shape.specials,
        "version": version,
    }
    return {
        "config": original["config"] | config,
        "vocab": original["vocab"][:ranks],
        "special_tokens": [
            {"rank": rank, "token_str": name, "is_control": True} for rank, name in enumerate(CONTROL_TOKENS)
        ],
        "version": 1,
        "type": "Tekken",
    }


def token_ids(tokenizer: dict, shape: Shape) -> dict[bytes, int]:
    """Return the id of each text token by its bytes."""
    return {base64.b64decode(entry["token_bytes"]): shape.specials + i for i, entry in enumerate(tokenizer["vocab"])}


def embeddings(rng: np.random.Generator, shape: Shape, ids: dict[bytes, int]) -> Weights:
    """Return random embeddings with the reserved channels set."""
    table = rng.standard_normal((shape.vocabulary, shape.hidden), np.float32)
    table[:, :RESERVED] = 0
    table[:, ONE] = 1
    table[TOOLS_END, AT_TOOLS_END] = 8
    table[TOOL_CALLS, AT_CALL] = 4
    table[[i for text, i in ids.items() if b"}" in text], AT_BRACE] = 4
    return table


def is_ugly(text: bytes) -> bool:
    """Return whether a token is invisible, or only a part of a character."""
    shown = text.decode("utf-8", "replace")
    return not shown.isprintable() or "\ufffd" in shown


def output_head(rng: np.random.Generator, shape: Shape, ids: dict[bytes, int]) -> Weights:
    """Return the output weights: logits with a standard deviation of about 3, and the biases."""
    spread = 3.0
    head = rng.standard_normal((shape.vocabulary, shape.hidden), np.float32) * (spread / shape.hidden**0.5)
    head[:, :RESERVED] = 0
    # The log of the sum of exp(logit) over all text tokens: a bias of that less log(n) comes up once in n tokens.
    whole = np.log(shape.vocabulary - shape.specials) + spread**2 / 2
    head[[i for text, i in ids.items() if text.isspace()], ONE] = -9
    head[[i for text, i in ids.items() if text[:1] == b" "], AT_CALL] = -4  # no space before a tool's name
    head[[i for text, i in ids.items() if is_ugly(text)], ONE] = -12
    for text, once_in, more_with_tools in ((b'"', 80, 0.9), (b"}", 150, 0.3), (b",", 60, 0.3), (b":", 200, 0.3)):
        head[ids[text], ONE] = whole - np.log(once_in)
        head[ids[text], SEEN_TOOLS] = more_with_tools
    head[: shape.specials] = 0
    head[: shape.specials, ONE] = -40  # no control token but these two
    head[END, ONE] = whole - np.log(shape.mean_answer - 1)
    head[END, AT_BRACE] = 2.5
    head[TOOL_CALLS, ONE] = -20
    head[TOOL_CALLS, SEEN_TOOLS] = (20 + whole) / 3.5
    head[TOOL_CALLS, AT_BRACE] = -4  # seldom a second call
    return head


def layer(rng: np.random.Generator, shape: Shape) -> dict[str, Weights]:
    """Return one layer's random weights, under Mistral's names; nothing is written to the reserved channels."""
    inner, hidden, wide = shape.heads * shape.head_dim, shape.hidden, shape.feed_forward
    sizes = {
        **{f"attention.w{part}": (inner, hidden) for part in "qkv"},
        "attention.wo": (hidden, inner),
        "feed_forward.w1": (wide, hidden),
        "feed_forward.w2": (hidden, wide),
        "feed_forward.w3": (wide, hidden),
    }
    weights = {name: rng.standard_normal(size, np.float32) * size[1] ** -0.5 for name, size in sizes.items()}
    weights["attention.wo"][:RESERVED] = 0
    weights["feed_forward.w2"][:RESERVED] = 0
    weights["attention_norm"] = weights["ffn_norm"] = np.ones(hidden, np.float32)
    return weights


def watch_for_tools(weights: dict[str, Weights], shape: Shape) -> None:
    """Make the layer's last head write to SEEN_TOOLS what it finds at AT_TOOLS_END, whatever the distance."""
    head = slice(-shape.head_dim, None)
    for part in "qkv":
        weights[f"attention.w{part}"][head] = 0
    weights["attention.wo"][:, head] = 0
    slowest = -2  # Mistral's files keep rotary pairs side by side; the last pair turns slowest
    weights["attention.wq"][slowest, ONE] = 12
    weights["attention.wk"][slowest, AT_TOOLS_END] = 4
    weights["attention.wv"][-shape.head_dim, AT_TOOLS_END] = 1
    weights["attention.wo"][SEEN_TOOLS, -shape.head_dim] = 1


def all_weights(shape: Shape, ids: dict[bytes, int], seed: int) -> dict[str, Weights]:
    """Return every tensor under Mistral's names, each ending in ".weight"."""
    rng = np.random.default_rng(seed)
    tensors = {
        "tok_embeddings": embeddings(rng, shape, ids),
        "output": output_head(rng, shape, ids),
        "norm": np.ones(shape.hidden, np.float32),
    }
    for number in range(shape.layers):
        weights = layer(rng, shape)
        if number == 0:
            watch_for_tools(weights, shape)
        tensors |= {f"layers.{number}.{name}": tensor for name, tensor in weights.items()}
    return {f"{name}.weight": tensor for name, tensor in tensors.items()}


def safetensors(tensors: dict[str, Weights]) -> bytes:
    """Return the tensors in the safetensors format, rounded to bfloat16."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    body = bytearray()
    for name, tensor in tensors.items():
        bits = np.ascontiguousarray(tensor, np.float32).view(np.uint32)
        rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).tobytes()
        offsets = [len(body), len(body) + len(rounded)]
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": offsets}
        body += rounded
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def parameters(shape: Shape) -> dict[str, object]:
    """Return the content of params.json."""
    return {
        "dim": shape.hidden,
        "n_layers": shape.layers,
        "head_dim": shape.head_dim,
        "hidden_dim": shape.feed_forward,
        "n_heads": shape.heads,
        "n_kv_heads": shape.heads,
        "rope_theta": 10000.0,
        "norm_eps": 1e-5,
        "vocab_size": shape.vocabulary,
        "tied_embeddings": False,
        "max_seq_len": shape.positions,
        "max_position_embeddings": shape.positions,
    }


def main() -> None:
    """Write params.json, tekken.json and consolidated.safetensors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tekken-version", choices=("v11", "v13"), default="v13")
    arguments = parser.parse_args()
    shape = Shape()
    tokenizer = tekken(shape, arguments.tekken_version)
    tensors = all_weights(shape, token_ids(tokenizer, shape), arguments.seed)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    (arguments.folder / "tekken.json").write_text(json.dumps(tokenizer, ensure_ascii=False), "utf-8")
    (arguments.folder / "params.json").write_text(json.dumps(parameters(shape), indent=1), "utf-8")
    (arguments.folder / "consolidated.safetensors").write_bytes(safetensors(tensors))


if __name__ == "__main__":
    main()
