"""FlowRL and its family in TRL: `FlowRLTrainer` is a `GRPOTrainer` with another loss.

    from evenflow.plugins.trl import FlowRLConfig, FlowRLTrainer

All that TRL brings stays: generation, vLLM, several processes, LoRA, tools, trackers, checkpoints.
TRL's hooks are private and move with its releases, so that those tested are named in `release`.
"""

from evenflow.plugins.trl.release import require_release

require_release()

from evenflow.plugins.trl.config import FlowRLConfig  # noqa: E402
from evenflow.plugins.trl.trainer import FlowRLTrainer  # noqa: E402

__all__ = ["FlowRLConfig", "FlowRLTrainer"]
