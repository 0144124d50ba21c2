"""Decoding in slots beside the batches of ``transformers``, on the same prompts: programs a second, and the limit.

    python benchmarks/bench_generation.py [--model smollm2] [--benchmark humaneval] [--limit 164] [--save NAME]

Both sides decode greedily, and both sides' programs are compared. The old path decodes each batch to the length of its
longest text, or to the most new tokens; slots give a place that is free to the next prompt and, as the study's loops
do, end a text as soon as its program is whole (left out with ``--whole-texts``). The limit is what no way of decoding
goes below: all tokens of prompts and texts read in forward passes, none of them waiting for the one before.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pandas as pd
import torch

from cycle_utils import load_problems
from cycle_utils.models.decoding import decode, greedy
from cycle_utils.models.generation import LOOK_EVERY, _ends
from cycle_utils.models.loading import decode as text_of
from cycle_utils.models.loading import load_model, load_tokenizer
from cycle_utils.models.programs import is_whole, trim
from cycle_utils.models.prompts import one_time_prompt


def in_batches(model, tokenizer, ids: list[list[int]], most: int, width: int) -> list[list[int]]:
    """New tokens of each prompt, by ``model.generate`` on one padded batch after the other."""
    ends, made = _ends(model, tokenizer), []
    for start in range(0, len(ids), width):
        batch = tokenizer.pad({"input_ids": ids[start : start + width]}, padding_side="left", return_tensors="pt")
        out = model.generate(
            **batch, do_sample=False, max_new_tokens=most, pad_token_id=tokenizer.pad_token_id, eos_token_id=ends
        )
        for row in out[:, batch["input_ids"].shape[1] :].tolist():
            made.append(row[: next((n for n, token in enumerate(row) if token in ends), len(row))])
    return made


def in_slots(model, tokenizer, ids, most: int, width: int, problems) -> list[list[int]]:
    """The same by slots; ``problems`` end texts whose program is whole, if any are given."""

    def enough(made) -> bool:
        problem = problems[made.number]
        looked_at = len(made.tokens) % LOOK_EVERY == 0
        return looked_at and is_whole(text_of(tokenizer, made.tokens), problem.entry_point, problem.prompt)

    found = decode(model, ids, greedy, _ends(model, tokenizer), most, width, enough if problems else None)
    return [made.tokens for made in sorted(found, key=lambda made: made.number)]


def forward(model, ids: list[list[int]], made: list[list[int]]) -> None:
    """Read each prompt with its text once."""
    for prompt, text in zip(ids, made):
        model(input_ids=torch.tensor([prompt + text]), use_cache=False)


def timed(function, *arguments):
    begin = time.perf_counter()
    with torch.inference_mode():
        found = function(*arguments)
    return found, time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--benchmark", default="humaneval")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--most", type=int, default=256, help="new tokens of a text")
    parser.add_argument("--width", type=int, default=32, help="texts at a time")
    parser.add_argument("--whole-texts", action="store_true", help="end no text early")
    parser.add_argument("--save", metavar="NAME", help="save the figures as reproduction/tables/NAME")
    chosen = parser.parse_args()
    model, tokenizer = load_model(chosen.model).eval(), load_tokenizer(chosen.model)
    problems = load_problems(chosen.benchmark, limit=chosen.limit)
    prompts = tokenizer([one_time_prompt(problem).text for problem in problems])["input_ids"]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    problems, ids = [problems[i] for i in order], [prompts[i] for i in order]
    common = (model, tokenizer, ids, chosen.most, chosen.width)
    slots, took = timed(in_slots, *common, None if chosen.whole_texts else problems)
    batches, took_before = timed(in_batches, *common)
    _, least = timed(forward, model, ids, slots)
    programs = [
        [trim(text_of(tokenizer, made), p.entry_point, p.prompt) for made, p in zip(side, problems)]
        for side in (slots, batches)
    ]
    same = sum(a == b for a, b in zip(*programs))
    rows = [("batches of transformers", took_before, batches), ("slots", took, slots), ("limit", least, slots)]
    table = pd.DataFrame([
        {"how": how, "seconds": round(seconds, 1), "programs a second": round(len(ids) / seconds, 2),
         "ratio": round(took_before / seconds, 2), "new tokens": sum(map(len, made))}
        for how, seconds, made in rows
    ])  # fmt: skip
    print(table.to_string(index=False))
    print(f"{same} of {len(ids)} greedy programs are the same")
    if chosen.save:
        from cycle_utils.analysis.figures import save_table

        save_table(table.assign(programs=len(ids), same=same, machine=os.cpu_count()), chosen.save)


if __name__ == "__main__":
    main()
