"""Programs that try to cheat, hang, break or leave the judge. See ``tests/test_judge_hostile.py``."""
