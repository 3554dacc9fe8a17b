"""FlowRL for any causal language model: post-training that matches the reward distribution."""

__version__ = "0.1.0"
