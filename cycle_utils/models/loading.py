"""Loading a causal LM and its tokenizer: the shipped tiny LM, a folder, a Hub ID, or a model that runs elsewhere."""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cycle_utils import downloads
from cycle_utils.models.gguf import converted, is_gguf
from cycle_utils.models.servers import API, ServedLM, VllmLM, split_name
from cycle_utils.models.wholeness import damaged
from cycle_utils.paths import ASSETS

TINY = "tiny"  # the shipped LM
ADAPTER = "adapter_config.json"  # is in a folder of LoRA adapters
TRUST = "CYCLE_TRUST_REMOTE_CODE"  # environment variable: see :func:`load_model`
log = logging.getLogger(__name__)
SIZED = "tiny-"  # begins the names of the shipped LMs of other sizes, such as ``tiny-0.2M``
# Files of a model on the Hub, as far as transformers reads them; the old weights are torch's own format.
_ABOUT = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.py", "additional_chat_templates/*")
_WEIGHTS = ("model*.safetensors", "adapter_model.safetensors")
_OLD_WEIGHTS = ("pytorch_model*.bin", "adapter_model.bin")
_PROBE = "def f(x):\n    if x:\n\treturn  [1, 2.5]\n\n  # two spaces\n    return 'a  b' !\n"


def locate(model: str | Path) -> str:
    """The folder or Hub ID that a model's name stands for; a served model's name as it is.

    Raises:
        FileNotFoundError: a path that is not there, or a folder without ``config.json``.
        ImportError, ValueError: a GGUF file that cannot be read, see :func:`cycle_utils.models.gguf.converted`.
    """
    prefix, rest = split_name(model)
    if prefix:
        return str(model) if prefix == API else locate(rest)
    if str(model) == TINY:
        model = shipped()
    elif is_gguf(model):
        model = converted(model)
    elif str(model).startswith(SIZED):
        model = shipped(str(model).removeprefix(SIZED))
        if not model.is_dir():
            sizes = ", ".join(sorted(path.name.removeprefix("tiny-lm-") for path in ASSETS.glob("tiny-lm-*")))
            raise FileNotFoundError(
                f"no tiny LM of size {model.name.removeprefix('tiny-lm-')} is shipped (there are {sizes or 'none'}); "
                "make it with: papermill 10_tiny_lm.ipynb out.ipynb -p shape SIZE -p ship True"
            )
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file() and not is_adapter(folder):
            raise FileNotFoundError(
                f"{folder} has neither config.json nor adapter_config.json: it is no model folder as save_pretrained "
                "writes it"
            )
        return str(folder.resolve())
    name = str(model)
    near = _near(folder)
    if folder.is_absolute() or name.startswith(".") or name.count("/") > 1 or "\\" in name or ("/" in name and near):
        raise FileNotFoundError(f"there is no model folder {name}{near}; give an existing folder, a Hub ID or {TINY!r}")
    return name


def _near(folder: Path) -> str:
    """A hint at folders of similar names beside one that is not there."""
    beside = [path.name for path in folder.parent.iterdir() if path.is_dir()] if folder.parent.is_dir() else []
    near = difflib.get_close_matches(folder.name, beside, 1)
    return f" (there is {folder.parent / near[0]})" if near else ""


def shipped(shape: str | None = None) -> Path:
    """The folder of the shipped LM, or of that of another shape (see ``tiny_lm.SHAPES``)."""
    return ASSETS / ("tiny-lm" if shape is None else f"tiny-lm-{shape}")


def count_parameters(model: str | Path) -> int:
    """Parameters of an LM, from its configuration alone; tied ones count once."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = _from(AutoConfig, root_of(model))
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=_trusts()).num_parameters()


def load_tokenizer(model: str | Path):
    """The tokenizer, padding on the left, with a pad token, checked on indented code; none of a served model.

    One that puts its end token after each text is kept from doing so: it would end a prompt before it is answered.

    Raises:
        ValueError: the tokenizer changes code in a round trip, or has more tokens than the model's embedding.
        FileNotFoundError, OSError: as :func:`locate` and :func:`fetch`.
    """
    if split_name(model)[0] == API:
        return None
    from transformers import AutoTokenizer

    root = root_of(model)
    tokenizer = _from(AutoTokenizer, root)
    _check_size(tokenizer, root)
    _end_nothing(tokenizer, root)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if decode(tokenizer, tokenizer(_PROBE, add_special_tokens=False)["input_ids"]) != _PROBE:
        raise ValueError(
            f"the tokenizer of {model} does not give indented code back unchanged, so copies could not be counted; "
            "use its fast tokenizer of transformers 5 or another model"
        )
    return tokenizer


def _check_size(tokenizer, root: str) -> None:
    from transformers import AutoConfig

    rows = getattr(_from(AutoConfig, root).get_text_config(), "vocab_size", None)
    if rows and len(tokenizer) > rows:
        beyond = tokenizer.convert_ids_to_tokens(rows)
        raise ValueError(
            f"the tokenizer of {root} has {len(tokenizer)} tokens, the model's embedding {rows} rows: {beyond!r} "
            "and what comes behind it would be out of range. Take out tokens that were added, or enlarge the model "
            "with resize_token_embeddings and save it again"
        )


def _end_nothing(tokenizer, root: str) -> None:
    """Keep a tokenizer from putting special tokens after a text."""
    plain, whole = (tokenizer("x", add_special_tokens=special)["input_ids"] for special in (False, True))
    begin = next((i for i in range(len(whole)) if whole[i : i + len(plain)] == plain), 0)
    behind = whole[begin + len(plain) :]
    if not behind:
        return
    from tokenizers import processors

    if not hasattr(tokenizer, "backend_tokenizer"):
        raise ValueError(
            f"the tokenizer of {root} puts {tokenizer.convert_ids_to_tokens(behind)} behind each text, so that "
            "a prompt would end before its answer: use its fast version, or set add_eos_token to false in its "
            "tokenizer_config.json"
        )
    backend = tokenizer.backend_tokenizer
    state = json.dumps(json.loads(backend.to_str())["post_processor"])
    parts = [processors.ByteLevel(trim_offsets='"trim_offsets": true' in state)] if "ByteLevel" in state else []
    if begin:
        starts = list(zip(tokenizer.convert_ids_to_tokens(whole[:begin]), whole[:begin]))
        single = " ".join([*(name for name, _ in starts), "$A"])
        parts.append(processors.TemplateProcessing(single=single, special_tokens=starts))
    tokenizer.add_eos_token = False
    backend.post_processor = processors.Sequence(parts)
    names = tokenizer.convert_ids_to_tokens(behind)
    log.warning("the tokenizer of %s puts %s behind each text; here it does not, or no prompt would be answered", root,
                " ".join(names))  # fmt: skip


def load_model(model: str | Path, bf16: bool = False):
    """The LM in float32 on the best device at hand, ready for inference; a folder of adapters is merged into its base.

    float32 is asked for explicitly: transformers 5 would otherwise keep the checkpoint's own type, and
    training CodeGen in its float16 diverges. A model that runs elsewhere is only made ready to be asked. Python code
    that a model brings along is run only where the environment variable :data:`TRUST` is 1.

    Args:
        bf16: convert it to bfloat16 once it is loaded: to generate, not to train.

    Raises:
        ValueError: adapters made for another base, or a model that brings code along which is not trusted.
        OSError: as :func:`fetch`; files that are not there, not whole or only git-lfs pointers.
        ImportError, ServerError: see :mod:`cycle_utils.models.servers`.
    """
    prefix, rest = split_name(model)
    if prefix:
        return ServedLM(rest) if prefix == API else VllmLM(locate(rest), _trusts())
    import torch
    from transformers import AutoModelForCausalLM

    place, base = locate(model), base_of(model)
    if base == place:
        loaded = _from(AutoModelForCausalLM, base, weights=True, dtype=torch.float32)
    else:
        loaded = _merged(load_model(base), place, base)
        loaded.name_or_path = place  # adapters trained on it are for it, not for its base
    loaded = loaded.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    return loaded.to(torch.bfloat16) if bf16 else loaded


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds LoRA adapters and no whole model."""
    return (folder / ADAPTER).is_file() and not (folder / "config.json").is_file()


def adapter_digest(folder: Path) -> str:
    """Digest of the configuration of a folder's adapters, wherever their base is."""
    config = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
    config.pop("base_model_name_or_path", None)
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def base_of(model: str | Path) -> str:
    """Where the weights are that a model's adapters were made for; for a whole model, where it is itself.

    A base that moved together with its adapters, or with the shipped LMs, is found beside them.

    Raises:
        FileNotFoundError: as :func:`locate`; adapters that do not name a base, or one that is not there.
    """
    place = locate(model)
    if not Path(place).is_dir() or not is_adapter(Path(place)):
        return place
    base = json.loads((Path(place) / ADAPTER).read_text(encoding="utf-8")).get("base_model_name_or_path")
    beside = [folder for folder in (Path(place).parent, ASSETS) if base and (folder / Path(base).name).is_dir()]
    try:
        is_moved = beside and not Path(base).is_dir() and Path(base).is_absolute()
        return locate(beside[0] / Path(base).name if is_moved else base or "/")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"the adapters in {place} were made for {base}, which is not there: put it back or beside them, or set "
            f"base_model_name_or_path in their {ADAPTER}"
        ) from error


def root_of(model: str | Path) -> str:
    """The whole model at the end: adapters may be for a base that is itself a folder of adapters."""
    base = base_of(model)
    return base if base == locate(model) else root_of(base)


def _merged(base, adapters: str, place: str):
    from peft import PeftModel

    try:
        whole = PeftModel.from_pretrained(base, adapters)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"the adapters in {adapters} do not fit {place}: they were made for another base ({error})"
        ) from error
    return whole.merge_and_unload()


def _from(auto, model: str | Path, weights: bool = False, **options):
    place = locate(model)
    is_here = Path(place).is_dir()
    folder = Path(place) if is_here else fetch(place, weights)
    about = f"the model folder {folder}" if is_here else f"{place} in the cache (delete {folder.parents[1]})"
    if wrong := damaged(folder):
        raise OSError(f"{about} is damaged or not whole: {wrong}")
    try:
        found = auto.from_pretrained(folder, trust_remote_code=_trusts(), **options)
    except OSError as error:
        raise OSError(f"{about} is damaged or not whole: {error}") from error
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise ValueError(
            f"{place} brings Python code along, which would run with all your rights: read it, and if you trust it, "
            f"set the environment variable {TRUST}=1 (trust_remote_code of transformers)"
        ) from error
    found.name_or_path = place  # not where the cache keeps it: adapters name their base
    return found


@functools.cache  # a study asks the Hub once, and all its stages see one commit
def fetch(name: str, weights: bool = True) -> Path:
    """The folder in the Hub's cache that holds a model, downloaded if need be; old weights if there are no others.

    Raises:
        OSError: as :func:`cycle_utils.downloads.fetched`, or the Hub has something of this name that is no model.
    """
    instead = f"give a model folder (there is none at {name}), or the shipped LM with model={TINY!r}"
    folder = downloads.fetched(name, downloads.MODEL, [*_ABOUT, *(_WEIGHTS if weights else ())], instead)
    if not (folder / "config.json").is_file() and not is_adapter(folder):
        raise OSError(f"{name} on the Hub has neither config.json nor {ADAPTER}: it is no model of transformers")
    if weights and not any(folder.glob("*.safetensors")):
        downloads.fetched(name, downloads.MODEL, _OLD_WEIGHTS, instead)
    return folder


def _trusts() -> bool:
    return os.environ.get(TRUST) == "1"


def decode(tokenizer, ids) -> str:
    """Text of token ids, exactly: no special tokens, no white-space clean-up (it would edit code)."""
    return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def render_chat(tokenizer, messages: Sequence[Mapping[str, str]]) -> str:
    """A conversation as the model's chat template writes it, up to where its answer begins.

    Raises:
        ValueError: the tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise ValueError(
            "the tokenizer has no chat template, so the style 'chat' cannot be used with this model: take its "
            "instruction-tuned version, set tokenizer.chat_template, or use the style 'plain' ('cycle' for a model "
            "that was trained to refine)"
        )
    return tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)


def context_length(model) -> int | None:
    """The most tokens, prompt and completion together, that the model was built for; none if it is not known."""
    if isinstance(model, ServedLM | VllmLM):
        return model.context
    config = model.config
    return getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 2048
