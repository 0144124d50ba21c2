"""PGM hides what it should and nothing else; a run that goes on from a checkpoint equals one that was never cut."""

import pytest
import torch

from cycle_utils.method.masking import IGNORED, Masking, PGMCollator
from cycle_utils.method.mixture import encode_example
from cycle_utils.method.training import TrainSettings, at_targets, encode, train
from cycle_utils.models import load_model
from cycle_utils.models.prompts import refine_prompt, shown_code
from cycle_utils.problems import tinyprograms as tp


@pytest.fixture(scope="module")
def examples(tokenizer):
    """Refine examples of real problems, each taught from a wrong reading of itself."""
    rows = []
    for problem in tp.generate("train", 60):
        faulty = shown_code(problem, problem.canonical_solutions[-1])
        row = {"kind": "refine", "code": faulty, "feedback": "Input: f()", "target": problem.canonical_solutions[0]}
        rows.append(encode_example(tokenizer, problem, row))
    return rows


def collate(tokenizer, examples, **masking):
    collator = PGMCollator(tokenizer.pad_token_id, Masking(**masking))
    return collator, collator([{**e, "index": i} for i, e in enumerate(examples)])


@pytest.mark.parametrize("span", ["past_generation", "template"])
def test_only_the_span_is_hidden(tokenizer, examples, span):
    _, batch = collate(tokenizer, examples, ratio=1.0, span=span)
    for row, example in enumerate(examples):
        start, end = example["spans"][span]
        hidden = (batch["attention_mask"][row, : len(example["input_ids"])] == 0).nonzero().flatten().tolist()
        assert hidden == list(range(start, end))
        assert all(example["labels"][i] == IGNORED for i in hidden), "a target token was hidden"


def test_tokens_and_targets_are_untouched(tokenizer, examples):
    _, masked = collate(tokenizer, examples, ratio=0.5)
    _, plain = collate(tokenizer, examples, ratio=0.0)
    assert torch.equal(masked["input_ids"], plain["input_ids"]) and torch.equal(masked["labels"], plain["labels"])
    assert masked["attention_mask"].sum() < plain["attention_mask"].sum()


@pytest.mark.parametrize("ratio", [0.0, 0.05, 0.3, 1.0])
def test_the_stated_share_is_hidden(tokenizer, examples, ratio):
    many = examples * 20
    collator, _ = collate(tokenizer, many, ratio=ratio)
    hidden = sum(int(collator.hidden({**e, "index": i}).sum()) for i, e in enumerate(many))
    size = sum(e["spans"]["past_generation"][1] - e["spans"]["past_generation"][0] for e in many)
    sd = (ratio * (1 - ratio) * size) ** 0.5
    assert abs(hidden - ratio * size) <= 5 * sd


def test_redraw(tokenizer, examples):
    def masks(redraw):
        collator, first = collate(tokenizer, examples, ratio=0.3, redraw=redraw)
        collator.epoch = 1
        return first["attention_mask"], collator([{**e, "index": i} for i, e in enumerate(examples)])["attention_mask"]

    assert not torch.equal(*masks("every batch"))
    assert torch.equal(*masks("once"))


def test_a_hidden_token_cannot_change_the_targets_logits(random_lm, tokenizer, examples):
    model = load_model(random_lm)
    example = {**examples[0], "index": 0}
    collator = PGMCollator(tokenizer.pad_token_id, Masking(1.0))
    batch, changed = collator([example]), collator([example])
    start, end = example["spans"]["past_generation"]
    changed["input_ids"][0, start:end] = (changed["input_ids"][0, start:end] + 7) % 500
    target = batch["labels"][0] != IGNORED
    with torch.inference_mode():
        a, b = model(**batch).logits[0, target], model(**changed).logits[0, target]
        seen = {k: v for k, v in changed.items() if k != "attention_mask"}
        c = model(**seen).logits[0, target]
    assert torch.allclose(a, b, atol=1e-5)
    assert not torch.allclose(a, c, atol=1e-3), "without the mask the change must show"


@pytest.mark.parametrize("bad", [{"ratio": 1.5}, {"ratio": -0.1}, {"span": "all"}, {"redraw": "never"}])
def test_bad_masking(bad):
    with pytest.raises(ValueError, match=str(next(iter(bad.values())))):
        Masking(**bad)


def test_the_loss_is_on_the_target_only(tokenizer):
    example = encode(tokenizer, "def f():", "\n    return 1")
    kept = [i for i in example["labels"] if i != IGNORED]
    assert tokenizer.decode(kept) == "\n    return 1<|endoftext|>"


class Cut(Exception):
    pass


@pytest.mark.parametrize(("save_steps", "cut_at"), [(2, 5), (5, 6)], ids=["between epochs", "in the second epoch"])
def test_a_resumed_run_equals_an_uninterrupted_one(
    random_lm, tokenizer, examples, tmp_path, monkeypatch, save_steps, cut_at
):
    settings = TrainSettings(steps=6, batch_size=16, save_steps=save_steps)

    def run(folder, cut_at=None):
        model = load_model(random_lm)
        collator = PGMCollator(tokenizer.pad_token_id, Masking(0.3))
        if cut_at:
            calls, real = [], PGMCollator.__call__

            def counting(self, features):
                calls.append(1)
                if len(calls) > cut_at:
                    raise Cut
                return real(self, features)

            with monkeypatch.context() as patch:
                patch.setattr(PGMCollator, "__call__", counting)
                with pytest.raises(Cut):
                    train(model, examples, collator, settings, folder, progress=False)
            model = load_model(random_lm)
        losses = train(model, examples, collator, settings, folder, progress=False)
        return losses, model.state_dict()

    whole, weights = run(tmp_path / "whole")
    resumed, again = run(tmp_path / "cut", cut_at)
    assert whole == resumed
    assert all(torch.equal(weights[name], again[name]) for name in weights)


@pytest.mark.parametrize("option", ["lora", "gradient_checkpointing"])
def test_adapters_and_checkpointing(random_lm, tokenizer, examples, tmp_path, option):
    """Adapters leave a plain model that has learned, and are kept; checkpointing changes memory, not the result."""

    def trained(folder, **options):
        model = load_model(random_lm)
        settings = TrainSettings(steps=6, batch_size=8, **options)
        losses = train(model, examples, PGMCollator(tokenizer.pad_token_id), settings, tmp_path / folder, False)
        return model, [row["loss"] for row in losses]

    before, (model, losses) = load_model(random_lm), trained("option", **{option: True})
    assert losses[-1] < losses[0] and set(model.state_dict()) == set(before.state_dict())
    if option == "gradient_checkpointing":
        assert losses == pytest.approx(trained("plain")[1], abs=1e-4)
        return
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before.state_dict()[name])}
    assert changed and not any("wte" in name or "ln" in name or "embed" in name for name in changed)
    assert (tmp_path / "option" / "adapter" / "adapter_model.safetensors").is_file()


def test_nothing_to_train_on(random_lm, tokenizer, tmp_path):
    with pytest.raises(ValueError, match="nothing to train on"):
        train(load_model(random_lm), [], PGMCollator(0), TrainSettings(), tmp_path)


def test_plain_variant_keeps_the_docstring_whole():
    problem = tp.generate("test", 1)[0]
    text = refine_prompt(problem, "def f():\n    pass", "Input: f()", "plain").text
    assert text.endswith('Good solution:\n    """')
    compile(text + "\n    pass", "<prompt>", "exec")


def test_logits_at_targets_alone_give_the_same_loss_and_gradients(random_lm):
    model = load_model(random_lm)
    ids = torch.arange(36).reshape(3, 12) + 5
    labels = ids.clone()
    labels[:, :4], labels[1, 9:], labels[2, :7] = IGNORED, IGNORED, IGNORED
    found = []
    for more in ({}, at_targets(labels)):
        model.zero_grad()
        answer = model(ids, labels=labels, num_items_in_batch=torch.tensor(20), **more)
        answer.loss.backward()
        found.append((answer.loss.item(), answer.logits.shape[1], model.get_input_embeddings().weight.grad.clone()))
    (whole, columns, gradient), (part, kept, same) = found
    assert part == pytest.approx(whole) and (kept, columns) == (8, 12)
    torch.testing.assert_close(same, gradient)


def test_a_training_at_targets_alone_learns_the_same(random_lm, tokenizer, examples, tmp_path):
    losses = {}
    for few in (False, True):
        settings = TrainSettings(steps=3, batch_size=2, target_logits=few)
        collator = PGMCollator(tokenizer.pad_token_id)
        losses[few] = train(load_model(random_lm), examples, collator, settings, tmp_path / str(few), progress=False)
    assert [row["loss"] for row in losses[True]] == pytest.approx([row["loss"] for row in losses[False]], rel=1e-4)
