"""What is asked: a problem, the data files that problems are read from, the benchmarks, and the generated one.

Everything above speaks of :class:`Problem`. What answers a problem (a model, a prompt) or judges an answer lives on the
floors above: nothing here runs a program that a model wrote, and nothing here imports torch.
"""

from cycle_utils.problems.problem import Problem, Test

__all__ = ["Problem", "Test"]
