"""Which part of a text is judged: our syntax tree beside EvalPlus' sanitiser, on real completions of HumanEval or MBPP.

    pip install evalplus
    python benchmarks/compare_sanitiser.py --file completions.jsonl[.gz]  # lines with task_id and completion
    python benchmarks/compare_sanitiser.py --model smollm2 --limit 164    # whole greedy texts of a model, made now

Each text goes to the judge three times: as it is, as :func:`cycle_utils.models.programs.trim` cuts it, and as EvalPlus
does. Their verdicts are counted, and each text on which the two ways disagree is printed with both programs.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pandas as pd
from evalplus.sanitize import sanitize

from cycle_utils import Judge, load_problems
from cycle_utils.analysis.figures import save_table
from cycle_utils.models.generation import generate
from cycle_utils.models.loading import load_model, load_tokenizer
from cycle_utils.models.programs import trim
from cycle_utils.models.prompts import defines, one_time_prompt
from cycle_utils.models.sampling import Sampling

WAYS = ("as it is", "trim", "evalplus")


def texts_of(options: argparse.Namespace, problems: dict) -> pd.DataFrame:
    """``task_id`` and ``completion`` of each text."""
    if options.file:
        return pd.read_json(options.file, lines=True)
    tokenizer = load_tokenizer(options.model)
    sampling = Sampling(temperature=0.0, max_new_tokens=options.max_new_tokens, batch_size=32, draws="own", bf16=True)
    prompts = [one_time_prompt(problem) for problem in problems.values()]
    made = generate(load_model(options.model, bf16=True), tokenizer, prompts, sampling)
    return pd.DataFrame({"task_id": list(problems), "completion": [text.text for (text,) in made]})


def by_evalplus(problem, completion: str) -> str:
    """What EvalPlus keeps of the whole program; it stands for itself, so that the prompt is no part of it."""
    alone = defines(completion, problem.entry_point)
    joined = completion if alone else f"{problem.prompt.rstrip()}\n{completion.lstrip(chr(10))}"
    return sanitize(joined, entrypoint=problem.entry_point)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--benchmark", default="humaneval")
    parser.add_argument("--file", type=Path, help="completions; otherwise --model makes them")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--limit", type=int, help="of the problems")
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--save", help="name of a table under results/")
    options = parser.parse_args()
    problems = {p.task_id: p for p in load_problems(options.benchmark, limit=options.limit)}
    texts = texts_of(options, problems)
    texts = texts[texts["task_id"].isin(problems)].reset_index(drop=True)
    asked = [problems[name] for name in texts["task_id"]]
    programs = {
        "as it is": list(texts["completion"]),
        "trim": [trim(text, p.entry_point, p.prompt) for text, p in zip(texts["completion"], asked)],
        "evalplus": ["\n" + by_evalplus(p, text) for text, p in zip(texts["completion"], asked)],
    }
    with Judge() as judge:
        verdicts = {way: judge.run(asked, programs[way], progress=True) for way in WAYS}
    status = pd.DataFrame({way: [v.status for v in found] for way, found in verdicts.items()})
    passed = status.eq("passed")
    for i in status.index[passed["trim"] != passed["evalplus"]]:
        print(f"--- {texts['task_id'][i]}: trim {status['trim'][i]}, evalplus {status['evalplus'][i]}")
        print(f"{programs['trim'][i].strip()}\n-- evalplus keeps\n{programs['evalplus'][i].strip()}")
    ours, theirs = passed["trim"], passed["evalplus"]
    table = pd.DataFrame([{
        "texts": len(texts), **{f"passed, {way}": int(passed[way].sum()) for way in WAYS},
        "only by trim": int((ours & ~theirs).sum()), "only by evalplus": int((theirs & ~ours).sum()),
        "same status": int((status["trim"] == status["evalplus"]).sum()),
    }])  # fmt: skip
    print(table.T.to_string(header=False))
    if options.save:
        save_table(table.assign(source=options.file.name if options.file else options.model), options.save)


if __name__ == "__main__":
    main()
