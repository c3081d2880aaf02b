"""The learning rates of a masked encoder, by its width and the length of its run."""

USUAL_STEPS = 1000
"""The length that is assumed without `train.max_steps`."""
_WIDTH, _ADAMW, _ADAMW_EXPONENT = 128, 1e-3, 0.3
_MUON, _MUON_EXPONENT, _STEPS_EXPONENT = 0.012, 0.37, 0.5
_SHORTEST, _LONGEST = 150, 4000


def rates_for(width: int, steps: float = USUAL_STEPS) -> dict[str, float]:
    """Return the peak learning rates for a model of this width in a run of so many steps: the wider and the longer, the lower.

    Powers that follow the best rates of short runs (`benchmarks/recipes.py`, ABLATIONS.md): of ModernBERT's layers on hidden tokens,
    128 to 384 wide, 150 to 1,000 steps. Narrower models take the rates of 128, and a run longer than 4,000 steps those of 4,000; other
    widths are extrapolated. Depth is left out: eight layers want a little less than four.

    Example:
        >>> rates_for(128)
        {'learning_rate': 0.001, 'muon_learning_rate': 0.012}
    """
    ratio = _WIDTH / max(width, _WIDTH)
    length = USUAL_STEPS / min(max(steps, _SHORTEST), _LONGEST)
    rates = {
        "learning_rate": _ADAMW * ratio**_ADAMW_EXPONENT,
        "muon_learning_rate": _MUON * ratio**_MUON_EXPONENT * length**_STEPS_EXPONENT,
    }
    return {name: float(f"{rate:.2g}") for name, rate in rates.items()}
