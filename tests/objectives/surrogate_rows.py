"""The presets of the surrogate, complete: a length where a recipe would give one."""

from __future__ import annotations

from evenflow.objectives import PRESETS, Surrogate

L = 8.0


def complete(choices: Surrogate) -> Surrogate:
    """With L = 8 tokens where the aggregation takes the recipe's longest answer."""
    if choices.aggregation == "constant" and choices.aggregation_length is None:
        return choices.model_copy(update={"aggregation_length": L})
    return choices


SURROGATES: dict[str, Surrogate] = {
    name: complete(preset.objective)
    for name, preset in PRESETS.items()
    if isinstance(preset.objective, Surrogate)
}
