"""Makes tokenizer files of every version that is in use, from the vocabulary that mistral-common ships.

The vocabulary is cut to its first entries: it still holds every byte, so any text goes in, and it loads at once.
"""

import json
from pathlib import Path

VOCABULARY = 2_000
SPECIAL_SLOTS = 64
SPECIAL = (
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]",
    "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]", "[ARGS]", "[CALL_ID]",
)  # fmt: skip
THINK = ("[THINK]", "[/THINK]")
SETTINGS = ("[MODEL_SETTINGS]", "[/MODEL_SETTINGS]")
EFFORT = {"reasoning_effort": {"accepts_none": True, "default": "none", "values": ["none", "high"]}}

# name -> (version, special tokens besides, takes images)
TOKENIZERS: dict[str, tuple[str, tuple[str, ...], bool]] = {
    "v3": ("v3", (), True),
    "v7": ("v7", (), True),
    "v11": ("v11", (), True),
    "v13": ("v13", (), True),
    "v13-think": ("v13", THINK, True),
    "v15": ("v15", (*THINK, *SETTINGS), True),
    "v13-text": ("v13", (), False),
}


def write_tokenizers(folder: Path, source: Path) -> dict[str, Path]:
    """Write one file for each of TOKENIZERS into `folder`; `source` is one that mistral-common ships."""
    shipped = json.loads(source.read_text("utf-8"))
    return {name: _write(folder / f"{name}-tekken.json", shipped, *wanted) for name, wanted in TOKENIZERS.items()}


def _write(path: Path, shipped: dict, version: str, special: tuple[str, ...], images: bool) -> Path:
    sizes = {
        "num_vocab_tokens": VOCABULARY,
        "default_vocab_size": VOCABULARY + SPECIAL_SLOTS,
        "default_num_special_tokens": SPECIAL_SLOTS,
    }
    made = {
        "config": {**shipped["config"], **sizes, "version": version},
        "vocab": shipped["vocab"][:VOCABULARY],
        "special_tokens": [
            {"rank": rank, "token_str": text, "is_control": True} for rank, text in enumerate((*SPECIAL, *special))
        ],
        "version": 1,  # of the file format
        "type": "Tekken",
    }
    if images:
        made["image"] = {"image_patch_size": 16, "max_image_size": 64}
    if SETTINGS[0] in special:
        made["model_settings_builder"] = EFFORT
    path.write_text(json.dumps(made))
    return path
