"""Decoding in slots gives what transformers gives, whatever leaves and enters meanwhile."""

import pytest
import torch
from transformers import set_seed

from cycle_utils.models.decoding import BatchDraws, OwnDraws, decode, greedy, nucleus
from cycle_utils.models.loading import load_model, load_tokenizer
from cycle_utils.models.prompts import one_time_prompt
from cycle_utils.problems import tinyprograms as tp

MOST = 40


@pytest.fixture(scope="module")
def lm():
    return load_model("tiny-0.2M").eval()  # a trained one: its choices do not hang on float noise


@pytest.fixture(scope="module")
def prompts():
    tokenizer = load_tokenizer("tiny-0.2M")
    return tokenizer([one_time_prompt(problem).text for problem in tp.generate("test", 11)])["input_ids"]


def by_transformers(lm, prompts, ends, **options):
    longest = max(map(len, prompts))
    ids = torch.tensor([[1] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    with torch.inference_mode():
        out = lm.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=MOST, pad_token_id=ends[0], eos_token_id=ends, **options
        )[:, longest:].tolist()
    return [row[: next((n for n, token in enumerate(row) if token in ends), MOST)] for row in out]


def some_ends(lm, prompts):
    """Tokens that end some of the sequences early."""
    made = by_transformers(lm, prompts, [0], do_sample=False)
    return [0, made[0][9], made[1][17]]


@pytest.mark.parametrize("width", [1, 3, 11])
def test_greedy_sequences_are_those_of_transformers(lm, prompts, width):
    ends = some_ends(lm, prompts)
    expected = by_transformers(lm, prompts, ends, do_sample=False)
    assert len({len(row) for row in expected}) > 1  # some leave before others
    made = sorted(decode(lm, prompts, greedy, ends, MOST, width), key=lambda one: one.number)
    assert [one.tokens for one in made] == expected
    assert [one.why for one in made] == ["length" if len(row) == MOST else "end" for row in expected]


def test_a_batch_draws_what_transformers_draws(lm, prompts):
    ends = some_ends(lm, prompts)
    set_seed(3)
    expected = by_transformers(lm, prompts, ends, do_sample=True, temperature=0.8, top_p=0.9, top_k=0)
    set_seed(3)
    made = sorted(
        decode(lm, prompts, BatchDraws(0.8, 0.9, len(prompts)), ends, MOST, len(prompts)), key=lambda one: one.number
    )
    assert [one.tokens for one in made] == expected


def test_own_draws_do_not_depend_on_company_or_order(lm, prompts):
    seeds = [100 + i for i in range(len(prompts))]

    def sampled(chosen, width):
        choose = OwnDraws(1.0, 0.95, [seeds[i] for i in chosen], MOST)
        found = decode(lm, [prompts[i] for i in chosen], choose, [0], MOST, width)
        return {chosen[one.number]: one.tokens for one in found}

    together = sampled(range(len(prompts)), 4)
    assert sampled(list(reversed(range(len(prompts)))), 3) == together
    assert sampled([5], 1) == {5: together[5]}
    assert len({tuple(tokens[:8]) for tokens in together.values()}) > 1


def test_a_caller_that_has_enough_ends_a_sequence(lm, prompts):
    made = list(decode(lm, prompts, greedy, [], MOST, 4, enough=lambda one: len(one.tokens) == 2 + one.number))
    assert {one.number: (len(one.tokens), one.why) for one in made} == {i: (2 + i, "program") for i in range(11)}


def test_the_same_prompt_is_read_once(lm, prompts):
    shapes = []
    hook = lm.register_forward_pre_hook(lambda _, args, given: shapes.append(given["input_ids"].shape), with_kwargs=True)
    list(decode(lm, [prompts[0]] * 5, greedy, [], 2, 2))
    hook.remove()
    assert shapes[0] == (1, len(prompts[0])) and all(columns == 1 for _, columns in shapes[1:])


def test_nucleus_draws_from_the_likeliest_tokens_by_their_chances():
    chances = torch.tensor([[0.5, 0.3, 0.15, 0.05]])
    drawn = torch.linspace(0, 0.9999, 2000)
    tokens = nucleus(chances.log().expand(2000, -1), 0.75, drawn)
    counts = torch.bincount(tokens, minlength=4) / 2000
    assert torch.allclose(counts, torch.tensor([0.625, 0.375, 0, 0]), atol=2e-3)
    assert nucleus(chances.log(), 0.01, torch.tensor([0.99])).item() == 0
    assert set(nucleus(chances.log().expand(2000, -1), 1.0, drawn).tolist()) == {0, 1, 2, 3}


def test_nucleus_looks_beyond_the_likeliest_ones_where_it_must():
    flat = torch.zeros(1, 5000)
    assert len(set(nucleus(flat.expand(500, -1), 0.9, torch.linspace(0, 0.999, 500)).tolist())) == 500
