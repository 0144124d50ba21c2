"""Several processes that build one run together: how many there are, which one writes, and what the others wait for.

Processes count as one until :func:`start` has been called, which only ``cycle_utils.study.launch`` does. What is
waited for here may take hours (sampling, judging, another notebook's lock), so messages go through a gloo group of
their own with a long timeout; collectives of the training itself keep the backend's short one, by which a hang is
noticed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

WAIT = timedelta(days=7)  # for the main process, which may be sampling and judging all that time
_group: Any = None


def start() -> None:
    """Join the processes that ``accelerate launch`` or ``torchrun`` began; a process by itself stays alone."""
    global _group
    import torch
    from accelerate import PartialState
    from torch import distributed

    if PartialState(cpu=not torch.cuda.is_available()).num_processes > 1:
        _group = distributed.new_group(backend="gloo", timeout=WAIT)


def stop() -> None:
    """Leave them, when all work is done."""
    global _group
    if _group is not None:
        from torch import distributed

        distributed.barrier(_group)
        _group = None
        distributed.destroy_process_group()


def count() -> int:
    """How many processes there are."""
    return 1 if _group is None else _group.size()


def is_main() -> bool:
    """Whether this process is the one that writes."""
    return _group is None or _group.rank() == 0


def told(value: Any) -> Any:
    """The main process's ``value``, in all of them: each must call this, and waits until the main one does."""
    if _group is None:
        return value
    from torch import distributed

    values = [value]
    distributed.broadcast_object_list(values, src=0, group=_group)
    return values[0]
