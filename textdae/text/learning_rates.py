"""The learning rates of a masked encoder, by its width."""

_WIDTH, _MUON, _ADAMW = 256, 0.02, 1e-3
_MUON_EXPONENT, _ADAMW_EXPONENT = 0.3, 0.5
_NARROWEST = 128


def rates_for(width: int) -> dict[str, float]:
    """Return the peak learning rates that train a model of this width best: the wider, the lower.

    A power of the width for each optimizer, fitted to runs of widths 128 to 384 on two texts (`benchmarks/recipes.py rates`,
    ABLATIONS.md). Narrower models take the rates of 128. Depth has no part in it: 8 layers wanted what 4 wanted.

    Example:
        >>> rates_for(256)
        {'learning_rate': 0.001, 'muon_learning_rate': 0.02}
    """
    ratio = _WIDTH / max(width, _NARROWEST)
    rates = {
        "learning_rate": _ADAMW * ratio**_ADAMW_EXPONENT,
        "muon_learning_rate": _MUON * ratio**_MUON_EXPONENT,
    }
    return {name: float(f"{rate:.2g}") for name, rate in rates.items()}
