"""Recipes: what a run is told, every field with its meaning, checked before anything starts.

A recipe is a YAML file; ``key=value`` on the command line overrides it (``train.steps=50``). The
order of precedence: defaults here < what the algorithm's preset brings < the recipe < the command
line. Unknown keys, wrong types and impossible combinations end in one sentence that names the field
and what is allowed.
"""

import evenflow.tasks  # noqa: F401 (their rewards have short names)
from evenflow.config.benchmark import BenchmarkConfig, SampledModel
from evenflow.config.diversity import DiversityConfig, JudgeConfig
from evenflow.config.explain import explain, fields
from evenflow.config.reading import (
    Change,
    apply,
    check,
    dump,
    load,
    parse_setting,
    read_yaml,
    resolve,
)
from evenflow.config.recipe import GIVEN, PretrainConfig, Recipe, TrainConfig
from evenflow.config.sections import (
    ArchitectureConfig,
    CheckpointConfig,
    CriticConfig,
    DataConfig,
    EvaluationConfig,
    HeadConfig,
    LogConfig,
    LoraConfig,
    ModelConfig,
    OptimizerConfig,
    ResetConfig,
    RewardConfig,
    RolloutConfig,
    Section,
    refuse_server,
)
from evenflow.config.study import CompareConfig, ExactConfig

__all__ = [
    "GIVEN",
    "ArchitectureConfig",
    "BenchmarkConfig",
    "Change",
    "CheckpointConfig",
    "CompareConfig",
    "CriticConfig",
    "DataConfig",
    "DiversityConfig",
    "EvaluationConfig",
    "ExactConfig",
    "HeadConfig",
    "JudgeConfig",
    "LogConfig",
    "LoraConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PretrainConfig",
    "Recipe",
    "ResetConfig",
    "RewardConfig",
    "RolloutConfig",
    "SampledModel",
    "Section",
    "TrainConfig",
    "apply",
    "check",
    "dump",
    "explain",
    "fields",
    "load",
    "parse_setting",
    "read_yaml",
    "refuse_server",
    "resolve",
]
