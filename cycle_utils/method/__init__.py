"""The paper: fine-tune, collect the model's own mistakes, learn to refine them with PGM and the mixture, iterate.

Each idea has a room (``loop``, ``masking``, ``distillation``, ``mixture``), and ``stages`` builds runs out of them from
the configs in ``configs``. ``runs`` and ``processes`` say what a run is and who writes it. How results are scored, and
which of several runs a study needs, is decided above.
"""
